"""Loop devices as sources and targets, mounted and full file systems: the kernel's own answers."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import subprocess

import pytest

from lamina.errors import TargetExists, TargetTooSmall, TargetUnwritable
from lamina.model.entries import Extent
from lamina.sources.image import open_image
from lamina.sources.uncached import RWF_DONTCACHE
from lamina.targets.image import open_image_target
from lamina.testing.contracts.sources import ImageSourceContract
from lamina.testing.contracts.targets import ImageTargetContract

pytestmark = [pytest.mark.integration, pytest.mark.root]

MIB = 1 << 20
SBIN = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])


def program(name):
    path = shutil.which(name, path=SBIN)
    if path is None:
        pytest.skip(f"{name} is not installed")
    return path


@contextlib.contextmanager
def loop_device(file):
    """Give the name of a loop device over *file*."""
    losetup = program("losetup")
    made = subprocess.run([losetup, "--find", "--show", str(file)], capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"no loop device here: {made.stderr.strip()}")
    device = made.stdout.strip()
    try:
        yield device
    finally:
        subprocess.run([losetup, "--detach", device], check=True)


@contextlib.contextmanager
def mounted(arguments, directory):
    directory.mkdir()
    done = subprocess.run([program("mount"), *arguments, str(directory)], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"cannot mount here: {done.stderr.strip()}")
    try:
        yield directory
    finally:
        subprocess.run([program("umount"), str(directory)], check=True)


@pytest.fixture
def device(tmp_path):
    """A loop device of 8 MiB and the file behind it."""
    backing = tmp_path / "backing"
    with backing.open("wb") as file:
        file.truncate(8 * MIB)
    with loop_device(backing) as name:
        yield name


class TestDeviceAsSource(ImageSourceContract):
    any_size = False
    test_an_image_may_be_of_any_size = None  # a device comes in whole blocks

    @pytest.fixture
    def make_source(self, tmp_path):
        with contextlib.ExitStack() as stack:

            def make(content):
                backing = tmp_path / "backing"
                backing.write_bytes(content)
                device = stack.enter_context(loop_device(backing))
                source = open_image(device)
                stack.callback(source.close)
                return source

            yield make


class DevicePlace:
    def __init__(self, device):
        self.device = device

    def fill(self, content):
        with open(self.device, "r+b") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())

    def open(self, size):
        return open_image_target(self.device, size, force=True, resume=False)

    def content(self, size):
        with open(self.device, "rb") as file:
            return file.read(size)


class TestDeviceAsTarget(ImageTargetContract):
    any_size = False
    test_an_image_may_be_of_any_size = None

    @pytest.fixture
    def place(self, device):
        return DevicePlace(device)


def test_a_device_is_all_data_and_not_called_stable(device):
    source = open_image(device)
    try:
        assert (source.size, source.stable, source.changed()) == (8 * MIB, False, False)
        assert list(source.extents()) == [Extent(0, 8 * MIB)]
    finally:
        source.close()


def test_a_device_needs_force(device):
    DevicePlace(device).fill(b"precious")
    for resume in (False, True):
        with pytest.raises(TargetExists, match=device) as raised:
            open_image_target(device, 8 * MIB, force=False, resume=resume)
    assert "--force" in raised.value.hint
    assert DevicePlace(device).content(8) == b"precious"


def test_a_device_that_is_too_small_names_both_sizes_and_stays(device):
    DevicePlace(device).fill(b"precious")
    with pytest.raises(TargetTooSmall, match=f"{8 * MIB} bytes, the image has {8 * MIB + 1}"):
        open_image_target(device, 8 * MIB + 1, force=True, resume=False)
    assert DevicePlace(device).content(8) == b"precious"


def test_a_larger_device_keeps_what_lies_behind_the_image(device):
    DevicePlace(device).fill(b"x" * 8 * MIB)
    target = open_image_target(device, MIB + 3, force=True, resume=False)
    target.write_zeros(0, MIB + 3)
    target.finish()
    target.close()
    assert DevicePlace(device).content(8 * MIB) == bytes(MIB + 3) + b"x" * (7 * MIB - 3)


def test_zeros_on_a_device_take_no_space(device, tmp_path):
    DevicePlace(device).fill(b"x" * 8 * MIB)
    target = open_image_target(device, 8 * MIB, force=True, resume=False)
    target.write_zeros(MIB, 4 * MIB)
    target.finish()
    target.close()
    assert (tmp_path / "backing").stat().st_blocks * 512 <= 5 * MIB
    assert DevicePlace(device).content(8 * MIB) == b"x" * MIB + bytes(4 * MIB) + b"x" * 3 * MIB


def test_a_mounted_device_is_refused_even_with_force(device, tmp_path):
    subprocess.run([program("mkfs.ext4"), "-q", device], check=True)
    with mounted([device], tmp_path / "mnt"), pytest.raises(TargetUnwritable, match="busy") as raised:
        open_image_target(device, MIB, force=True, resume=False)
    assert "unmount" in raised.value.hint


def test_a_full_file_system_says_so_and_keeps_what_was_written(tmp_path):
    with mounted(["-t", "tmpfs", "-o", "size=1m", "tmpfs"], tmp_path / "small") as directory:
        target = open_image_target(str(directory / "a.img"), 4 * MIB, force=False, resume=False)
        try:
            target.write(0, b"x" * 4096)
            with pytest.raises(TargetUnwritable, match="is full") as raised:
                target.write(4096, b"y" * 2 * MIB)
        finally:
            target.close()
        assert "--resume" in raised.value.hint
        with (directory / "a.img").open("rb") as file:
            assert file.read(4096) == b"x" * 4096


def test_a_read_only_file_system_says_so(tmp_path):
    with mounted(["-t", "tmpfs", "-o", "ro", "tmpfs"], tmp_path / "fixed") as directory:
        with pytest.raises(TargetUnwritable, match="Read-only") as raised:
            open_image_target(str(directory / "a.img"), MIB, force=False, resume=False)
        assert "read-only" in raised.value.hint


@pytest.mark.parametrize("kernel", ["this", "before 6.14"])
def test_only_what_we_brought_into_the_page_cache_leaves_it(tmp_path, monkeypatch, kernel):
    if kernel != "this":
        real = os.preadv

        def preadv(fd, buffers, offset, flags=0):
            if flags == RWF_DONTCACHE:
                raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
            return real(fd, buffers, offset, flags)

        monkeypatch.setattr(os, "preadv", preadv)
    # A busy kernel may keep pages for a while, whatever it is advised: one time in three is enough.
    found = [_cached_before_and_after(tmp_path / f"{number}.img") for number in range(3)]
    if not any(4 * MIB <= before < 8 * MIB for before, _ in found):
        pytest.skip("the file system keeps its pages in its own way")
    assert any(4 * MIB <= after < before + 4 * MIB for before, after in found), found


def _cached_before_and_after(path):
    """Bytes of a file of 16 MiB in the page cache, a quarter of it read before: before and after we read all of it."""
    path.write_bytes(os.urandom(16 * MIB))
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
        file.seek(4 * MIB)
        file.read(4 * MIB)
    before = _resident(path)
    source = open_image(str(path))
    buffer = memoryview(bytearray(MIB))
    for offset in range(0, 16 * MIB, MIB):
        assert source.read_into(offset, buffer) == MIB
    source.close()
    return before, _resident(path)


def _resident(path):
    command = [program("fincore"), "-b", "-n", "-o", "RES", str(path)]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
