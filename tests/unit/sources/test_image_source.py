"""Image files and what can go wrong with them."""

from __future__ import annotations

import errno
import os
import socket

import pytest

from lamina.errors import SourceMissing, SourceUnreadable
from lamina.model.entries import Extent, ExtentKind
from lamina.sources import uncached
from lamina.sources.image import open_image

MIB = 1 << 20


@pytest.fixture
def opened():
    """A function that opens an image which is closed at the end."""
    sources = []

    def open_it(path):
        sources.append(open_image(str(path)))
        return sources[-1]

    yield open_it
    for source in sources:
        source.close()


def test_metadata_is_that_of_the_file(tmp_path, opened):
    path = tmp_path / "a.img"
    path.write_bytes(b"x")
    path.chmod(0o640)
    os.utime(path, ns=(1, 1_234_567_890_123_456_789))
    os.setxattr(path, b"user.a", b"1")
    source = opened(path)
    assert source.name == str(path)
    assert source.stable
    assert (source.metadata.mode, source.metadata.uid) == (0o640, path.stat().st_uid)
    assert source.metadata.mtime_ns == 1_234_567_890_123_456_789
    assert (source.metadata.ctime_ns, source.metadata.inode) == (path.stat().st_ctime_ns, path.stat().st_ino)
    assert (b"user.a", b"1") in source.metadata.xattrs


def test_a_sparse_file_has_holes(tmp_path, opened):
    path = tmp_path / "a.img"
    with path.open("wb") as file:
        os.pwrite(file.fileno(), b"x" * MIB, MIB)
        os.pwrite(file.fileno(), b"x" * MIB, 3 * MIB)
        file.truncate(1 << 40)
    assert list(opened(path).extents()) == [
        Extent(0, MIB, ExtentKind.HOLE),
        Extent(MIB, MIB),
        Extent(2 * MIB, MIB, ExtentKind.HOLE),
        Extent(3 * MIB, MIB),
        Extent(4 * MIB, (1 << 40) - 4 * MIB, ExtentKind.HOLE),
    ]


def test_where_the_file_system_cannot_tell_all_is_data(tmp_path, opened, monkeypatch):
    path = tmp_path / "a.img"
    with path.open("wb") as file:
        file.truncate(MIB)
    source = opened(path)

    def lseek(fd, offset, whence):
        raise OSError(errno.EINVAL, "not here")

    monkeypatch.setattr(os, "lseek", lseek)
    assert list(source.extents()) == [Extent(0, MIB)]


def test_a_missing_image_is_named(tmp_path):
    with pytest.raises(SourceMissing, match=r"gone\.img does not exist") as raised:
        open_image(str(tmp_path / "gone.img"))
    assert raised.value.hint


def test_a_path_below_a_file_is_missing(tmp_path):
    (tmp_path / "a").write_bytes(b"")
    with pytest.raises(SourceMissing):
        open_image(str(tmp_path / "a" / "b.img"))


def test_a_dangling_link_says_where_it_points(tmp_path):
    (tmp_path / "link").symlink_to("nowhere.img")
    with pytest.raises(SourceMissing, match="a link to nothing") as raised:
        open_image(str(tmp_path / "link"))
    assert "nowhere.img" in raised.value.hint


def test_what_is_no_image_is_refused_without_waiting_for_it(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
    for path, kind in ((tmp_path, "directory"), (tmp_path / "pipe", "pipe"), (tmp_path / "socket", "socket")):
        with pytest.raises(SourceUnreadable, match=kind) as raised:
            open_image(str(path))
        assert raised.value.hint
    with pytest.raises(SourceUnreadable, match="character device"):
        open_image("/dev/null")


@pytest.fixture
def forbidden(tmp_path):
    """A file that the test may not read, not even if root runs it."""
    path = tmp_path / "a.img"
    path.write_bytes(b"x")
    path.chmod(0)
    uid = os.geteuid()
    if uid == 0:
        os.seteuid(65534)
    yield path
    os.seteuid(uid)


def test_a_file_without_permission_is_unreadable(forbidden):
    with pytest.raises(SourceUnreadable, match="Permission denied") as raised:
        open_image(str(forbidden))
    assert "user" in raised.value.hint


def test_a_file_that_shrinks_ends_early_and_has_changed(tmp_path, opened):
    path = tmp_path / "a.img"
    path.write_bytes(b"x" * MIB)
    source = opened(path)
    os.truncate(path, 1000)
    buffer = bytearray(4096)
    assert source.read_into(0, memoryview(buffer)) == 1000
    assert source.read_into(4096, memoryview(buffer)) == 0
    assert source.size == MIB
    assert source.changed()


def test_what_a_shrunken_file_lost_is_no_hole(tmp_path, opened):
    path = tmp_path / "a.img"
    path.write_bytes(b"x" * MIB)
    source = opened(path)
    os.truncate(path, 4096)
    extents = list(source.extents())
    assert sum(extent.length for extent in extents) == MIB
    assert all(extent.kind is ExtentKind.DATA for extent in extents)


def test_a_file_that_grows_is_read_as_it_was_opened(tmp_path, opened):
    path = tmp_path / "a.img"
    path.write_bytes(b"x" * 100)
    source = opened(path)
    with path.open("ab") as file:
        file.write(b"y" * 8192)
    assert source.size == 100
    assert list(source.extents()) == [Extent(0, 100)]
    assert source.changed()


def test_a_write_that_keeps_the_size_is_seen(tmp_path, opened):
    path = tmp_path / "a.img"
    path.write_bytes(b"x" * 100)
    os.utime(path, ns=(0, 0))
    source = opened(path)
    with path.open("r+b") as file:
        file.write(b"y")
    assert source.changed()


def test_a_read_fault_names_offset_length_and_reason(tmp_path, opened, monkeypatch):
    path = tmp_path / "a.img"
    path.write_bytes(b"x" * MIB)
    source = opened(path)
    real = os.preadv

    def preadv(fd, buffers, offset, flags=0):
        if offset >= 8192:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(fd, [buffers[0][: 8192 - offset]], offset)

    monkeypatch.setattr(os, "preadv", preadv)
    with pytest.raises(SourceUnreadable, match=r"57344 bytes at offset 8192 of .*a\.img: Input/output error") as raised:
        source.read_into(0, memoryview(bytearray(65536)))
    assert raised.value.hint


@pytest.mark.parametrize("unsupported", [(), (uncached.RWF_DONTCACHE,), (uncached.RWF_DONTCACHE, os.RWF_NOWAIT)])
def test_every_way_of_sparing_the_page_cache_reads_the_same(tmp_path, opened, monkeypatch, unsupported):
    content = os.urandom(MIB + 17)
    path = tmp_path / "a.img"
    path.write_bytes(content)
    real = os.preadv

    def preadv(fd, buffers, offset, flags=0):
        if flags in unsupported:
            raise OSError(errno.EOPNOTSUPP, "not here")
        return real(fd, buffers, offset, flags & ~uncached.RWF_DONTCACHE)  # older kernels run this test too

    monkeypatch.setattr(os, "preadv", preadv)
    source = opened(path)
    buffer = bytearray(len(content) + 1)
    assert source.read_into(0, memoryview(buffer)) == len(content)
    assert buffer[:-1] == content


def test_a_kernel_that_says_end_too_early_is_asked_again(tmp_path, opened, monkeypatch):
    """Linux 5.9 and 5.10 return 0 for RWF_NOWAIT where nothing is cached."""
    path = tmp_path / "a.img"
    path.write_bytes(b"x" * 100)
    real = os.preadv

    def preadv(fd, buffers, offset, flags=0):
        if flags == uncached.RWF_DONTCACHE:
            raise OSError(errno.EOPNOTSUPP, "not here")
        return 0 if flags else real(fd, buffers, offset)

    monkeypatch.setattr(os, "preadv", preadv)
    assert opened(path).read_into(0, memoryview(bytearray(100))) == 100
