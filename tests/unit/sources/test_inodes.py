"""What the kernel knows of an object besides its status."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import subprocess

import pytest

from lamina.model.entries import EntryType, Metadata
from lamina.sources import inodes
from lamina.sources.inodes import birth_ns, complete, complete_by_path, flags, found_of, xattrs

NOTHING = Metadata()
NO_DUMP = 0x40
FS_IOC_SETFLAGS = 0x40086602
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may do that")


@pytest.fixture
def opened():
    """A function that opens a path with some flags; closed at the end."""
    fds = []

    def open_it(path, how=os.O_RDONLY):
        fds.append(os.open(path, how | os.O_NOFOLLOW))
        return fds[-1]

    yield open_it
    for fd in fds:
        os.close(fd)


def refuse(number):
    def call(*_args):
        raise OSError(number, os.strerror(number))

    return call


def test_birth_time_is_that_of_the_system(tmp_path, opened):
    path = tmp_path / "a"
    path.write_bytes(b"x")
    os.utime(path, ns=(0, 0))
    said = subprocess.run(["stat", "-c", "%W", path], capture_output=True, check=True, text=True).stdout.strip()
    if said in {"0", "-", "?"}:
        pytest.skip("this file system keeps no birth times")
    assert birth_ns(opened(path)) // 1_000_000_000 == int(said)


def test_without_birth_times_there_is_none(opened, monkeypatch):
    assert birth_ns(opened("/proc/self/stat")) is None
    monkeypatch.setattr(inodes, "_statx", None)
    assert birth_ns(opened("/")) is None


def test_a_fault_is_not_read_as_no_birth_time():
    with pytest.raises(OSError, match="Bad file descriptor"):
        birth_ns(1 << 20)


def test_flags_are_those_that_a_person_set(tmp_path, opened):
    path = tmp_path / "a"
    path.write_bytes(b"x")
    fd = opened(path)
    before = flags(fd)
    try:
        fcntl.ioctl(fd, FS_IOC_SETFLAGS, NO_DUMP.to_bytes(4, "little") + bytes(4))
    except OSError as error:
        pytest.skip(f"this file system has no flags: {error}")
    assert (before & NO_DUMP, flags(fd)) == (0, NO_DUMP)


def test_flags_of_a_directory_are_read(tmp_path, opened):
    assert flags(opened(tmp_path, os.O_RDONLY | os.O_DIRECTORY)) & ~inodes.SETTABLE_FLAGS == 0


def test_a_file_system_without_flags_has_none(opened):
    assert flags(opened("/proc/self/stat")) == 0


def test_a_fault_is_not_read_as_no_flags(opened, monkeypatch):
    monkeypatch.setattr(fcntl, "ioctl", refuse(errno.EIO))
    with pytest.raises(OSError, match="Input/output"):
        flags(opened("/"))


def test_xattrs_are_sorted_bytes(tmp_path, opened):
    path = tmp_path / "a"
    path.write_bytes(b"x")
    os.setxattr(path, b"user.b\xff", b"\0\1")
    os.setxattr(path, b"user.a", b"")
    os.setxattr(path, b"user.long", b"v" * 1000)
    expected = ((b"user.a", b""), (b"user.b\xff", b"\0\1"), (b"user.long", b"v" * 1000))
    assert tuple(pair for pair in xattrs(opened(path)) if pair[0].startswith(b"user.")) == expected


def test_a_value_of_64_kib_is_read_whole(opened):
    path = "/dev/shm/lamina-test-xattr"
    with open(path, "wb"):
        pass
    try:
        os.setxattr(path, b"user.long", b"v" * 65536)
        assert xattrs(opened(path)) == ((b"user.long", b"v" * 65536),)
    except OSError as error:
        pytest.skip(f"no file system here takes a value of 64 KiB: {error}")
    finally:
        os.unlink(path)


def test_an_attribute_that_vanishes_meanwhile_is_left_out(tmp_path, opened, monkeypatch):
    path = tmp_path / "a"
    path.write_bytes(b"x")
    os.setxattr(path, b"user.stays", b"1")
    os.setxattr(path, b"user.vanishes", b"2")
    fd = opened(path)
    real = os.getxattr

    def getxattr(place, name):
        if name == "user.vanishes":
            os.removexattr(fd, name)
        return real(place, name)

    monkeypatch.setattr(os, "getxattr", getxattr)
    assert [pair for pair in xattrs(fd) if pair[0].startswith(b"user.")] == [(b"user.stays", b"1")]


def test_a_file_system_without_attributes_has_none(opened, monkeypatch):
    monkeypatch.setattr(os, "listxattr", refuse(errno.EOPNOTSUPP))
    assert xattrs(opened("/")) == ()


def test_more_attributes_than_can_be_listed_are_a_fault(opened, monkeypatch):
    monkeypatch.setattr(os, "listxattr", refuse(errno.E2BIG))
    with pytest.raises(OSError, match="more extended attributes"):
        xattrs(opened("/"))


def test_a_fault_is_not_read_as_no_attribute(tmp_path, opened, monkeypatch):
    path = tmp_path / "a"
    path.write_bytes(b"x")
    os.setxattr(path, b"user.a", b"1")
    monkeypatch.setattr(os, "getxattr", refuse(errno.EIO))
    with pytest.raises(OSError, match="Input/output"):
        complete(NOTHING, opened(path))


@needs_root
def test_attributes_of_a_link_are_its_own(tmp_path, opened):
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "link").symlink_to("file")
    os.setxattr(tmp_path / "file", b"trusted.file", b"1")
    os.setxattr(tmp_path / "link", b"trusted.link", b"2", follow_symlinks=False)
    metadata = complete_by_path(NOTHING, opened(tmp_path / "link", os.O_PATH))
    assert metadata.xattrs == ((b"trusted.link", b"2"),)


@needs_root
def test_pipes_and_devices_are_described_without_opening_them(tmp_path, opened):
    os.mkfifo(tmp_path / "pipe")
    os.mknod(tmp_path / "device", 0o020600, os.makedev(240, 7))  # that no driver has, so that opening it would fail
    for name in ("pipe", "device"):
        os.setxattr(tmp_path / name, b"trusted.a", b"1")
        metadata = complete_by_path(NOTHING, opened(tmp_path / name, os.O_PATH))
        assert (metadata.flags, metadata.xattrs) == (0, ((b"trusted.a", b"1"),))


def test_found_says_what_the_status_says(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"12345")
    path.chmod(0o4751)
    os.utime(path, ns=(1, -1_500_000_001))
    os.link(path, tmp_path / "b")
    status = os.lstat(path)
    assert found_of(b"a", status, {}) == (
        b"a",
        EntryType.FILE,
        Metadata(0o4751, status.st_uid, status.st_gid, -1_500_000_001, status.st_ctime_ns, status.st_ino, 2, 0),
        5,
        None,
        "",
    )


def test_every_type_is_known(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("nowhere")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
    types = [found_of(b"", os.lstat(tmp_path / name), {}).type for name in ("pipe", "link", "socket", ".")]
    assert types == [EntryType.FIFO, EntryType.SYMLINK, EntryType.SOCKET, EntryType.DIRECTORY]
    null = found_of(b"null", os.lstat("/dev/null"), {})
    assert (null.type, null.special, null.size) == (EntryType.CHARACTER_DEVICE, (1, 3), 0)


def test_devices_are_numbered_as_they_are_met():
    devices = {}
    met = [found_of(b"", os.stat(path), devices).metadata.device for path in ("/", "/proc", "/", "/proc")]
    assert met == [0, 1, 0, 1]
    assert found_of(b"", os.stat("/proc"), devices).metadata.device == 1
    assert list(devices) == [os.stat("/").st_dev, os.stat("/proc").st_dev]


def test_where_proc_is_not_mounted_nothing_is_taken_for_vanished(tmp_path, opened, monkeypatch):
    os.symlink("somewhere", tmp_path / "link")
    fd = opened(tmp_path / "link", os.O_PATH)
    monkeypatch.setattr(os, "listxattr", refuse(errno.ENOENT))
    with pytest.raises(OSError, match="/proc is not mounted") as raised:
        complete_by_path(NOTHING, fd)
    assert raised.value.errno == errno.EIO
