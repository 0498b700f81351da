"""Image files as targets, and what can go wrong with them."""

from __future__ import annotations

import errno
import os

import pytest

from lamina.errors import TargetExists, TargetTooSmall, TargetUnwritable, UsageError
from lamina.targets import image
from lamina.targets.image import open_image_target

MIB = 1 << 20


@pytest.fixture
def opened():
    """A function that opens a target which is closed at the end."""
    targets = []

    def open_it(path, size, *, force=False, resume=False):
        targets.append(open_image_target(str(path), size, force=force, resume=resume))
        return targets[-1]

    yield open_it
    for target in targets:
        target.close()


def test_a_new_file_is_private_sparse_and_of_the_right_size(tmp_path, opened):
    path = tmp_path / "a.img"
    target = opened(path, 1 << 40)
    target.write(5 * MIB, b"x")
    target.write_zeros(6 * MIB, 1 << 39)
    target.finish()
    assert target.fresh
    status = path.stat()
    assert (status.st_size, status.st_mode & 0o777) == (1 << 40, 0o600)
    assert status.st_blocks * 512 < MIB


@pytest.mark.parametrize("name", ["file", "link", "dangling"])
def test_what_exists_is_not_touched_without_force(tmp_path, opened, name):
    (tmp_path / "file").write_bytes(b"precious")
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "dangling").symlink_to("nowhere")
    with pytest.raises((TargetExists, TargetUnwritable)) as raised:
        opened(tmp_path / name, 100)
    assert raised.value.hint
    assert (tmp_path / "file").read_bytes() == b"precious"
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize(
    ("how", "before"),
    [({"force": True}, 10), ({"force": True}, 1000), ({"resume": True}, 100), ({"resume": True, "force": True}, 10)],
)
def test_with_force_or_resume_what_is_there_stays_until_it_is_written(tmp_path, opened, how, before):
    path = tmp_path / "a.img"
    path.write_bytes(b"o" * before)
    target = opened(path, 100, **how)
    assert not target.fresh
    buffer = bytearray(100)
    assert target.read_into(0, memoryview(buffer)) == 100
    assert buffer == (b"o" * before).ljust(100, b"\0")[:100]
    target.write(0, b"new")
    target.finish()
    assert path.read_bytes() == b"new" + bytes(buffer[3:])


def test_resume_creates_what_is_not_there(tmp_path, opened):
    assert opened(tmp_path / "a.img", 100, resume=True).fresh


def test_resume_goes_on_with_an_empty_file(tmp_path, opened):
    (tmp_path / "a.img").touch()
    opened(tmp_path / "a.img", 100, resume=True).finish()
    assert (tmp_path / "a.img").read_bytes() == bytes(100)


@pytest.mark.parametrize("size", [1, 99, 101])
def test_resume_does_not_touch_what_no_interrupted_restore_leaves_behind(tmp_path, opened, size):
    (tmp_path / "a.img").write_bytes(b"o" * size)
    with pytest.raises(TargetExists, match="is no interrupted restore of this image") as raised:
        opened(tmp_path / "a.img", 100, resume=True)
    assert "--force" in raised.value.hint
    assert (tmp_path / "a.img").read_bytes() == b"o" * size


def test_a_target_the_user_named_may_be_a_link(tmp_path, opened):
    (tmp_path / "elsewhere").touch()
    (tmp_path / "link").symlink_to("elsewhere")
    target = opened(tmp_path / "link", 3, force=True)
    target.write(0, b"new")
    target.finish()
    assert (tmp_path / "elsewhere").read_bytes() == b"new"


def test_a_file_that_is_replaced_while_it_is_opened_is_not_touched(tmp_path, opened, monkeypatch):
    path, other = tmp_path / "a.img", tmp_path / "other"
    path.write_bytes(bytes(100))
    other.write_bytes(b"precious")
    real = os.stat

    def stat(name, **options):
        status = real(name, **options)
        if name == str(path):
            other.replace(path)
        return status

    monkeypatch.setattr(os, "stat", stat)
    with pytest.raises(TargetUnwritable, match="was replaced"):
        opened(path, 100, resume=True)
    assert path.read_bytes() == b"precious"


def test_zeros_over_data_free_its_space(tmp_path, opened):
    path = tmp_path / "a.img"
    path.write_bytes(b"x" * 4 * MIB)
    before = path.stat().st_blocks
    target = opened(path, 4 * MIB, force=True)
    target.write_zeros(MIB, 2 * MIB)
    target.finish()
    assert path.stat().st_blocks <= before - 2 * MIB // 512
    assert path.read_bytes() == b"x" * MIB + bytes(2 * MIB) + b"x" * MIB


def test_zeros_are_written_where_holes_cannot_be_punched(tmp_path, opened, monkeypatch):
    path = tmp_path / "a.img"
    path.write_bytes(b"x" * 4 * MIB)
    monkeypatch.setattr(image, "punch", lambda *_: False)
    target = opened(path, 4 * MIB, force=True)
    target.write_zeros(7, 3 * MIB)
    target.finish()
    assert path.read_bytes() == b"x" * 7 + bytes(3 * MIB) + b"x" * (MIB - 7)


def test_a_directory_is_a_usage_error(tmp_path, opened):
    for path in (tmp_path, f"{tmp_path}/new/"):
        with pytest.raises(UsageError, match="directory"):
            opened(path, 100, force=True)


def test_a_pipe_is_refused_without_waiting_for_it(tmp_path, opened):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(TargetUnwritable, match="neither") as raised:
        opened(tmp_path / "pipe", 100, force=True)
    assert "standard output" in raised.value.hint


def test_a_missing_directory_is_named_with_what_to_do(tmp_path, opened):
    with pytest.raises(TargetUnwritable, match=r"missing/a\.img: No such file") as raised:
        opened(tmp_path / "missing" / "a.img", 100)
    assert "create the directory" in raised.value.hint


def test_a_size_the_file_system_cannot_hold_leaves_nothing_behind(tmp_path, opened):
    with pytest.raises((TargetTooSmall, TargetUnwritable)):
        opened(tmp_path / "a.img", (1 << 63) - 1)
    assert not (tmp_path / "a.img").exists()


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_says_how_to_go_on(tmp_path, opened, monkeypatch, code):
    target = opened(tmp_path / "a.img", 100)

    def pwrite(fd, data, offset):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "pwrite", pwrite)
    with pytest.raises(TargetUnwritable, match=r"a\.img is full") as raised:
        target.write(0, b"x")
    assert "--resume" in raised.value.hint


def test_a_fault_at_the_end_is_no_success(tmp_path, opened, monkeypatch):
    target = opened(tmp_path / "a.img", 100)

    def fsync(fd):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(TargetUnwritable, match="Input/output error"):
        target.finish()


def test_short_writes_are_carried_on(tmp_path, opened, monkeypatch):
    target = opened(tmp_path / "a.img", 10)
    real = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, data, offset: real(fd, data[:3], offset))
    target.write(0, b"0123456789")
    target.finish()
    assert (tmp_path / "a.img").read_bytes() == b"0123456789"


def test_file_and_directory_are_synced(tmp_path, opened, monkeypatch):
    synced = []
    real = os.fsync

    def fsync(fd):
        synced.append(os.readlink(f"/proc/self/fd/{fd}"))
        real(fd)

    monkeypatch.setattr(os, "fsync", fsync)
    opened(tmp_path / "a.img", 10).finish()
    assert synced == [str(tmp_path / "a.img"), str(tmp_path)]
