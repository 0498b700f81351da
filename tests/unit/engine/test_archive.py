"""Snapshots as tar and zip streams, read by the standard library."""

from __future__ import annotations

import io
import stat
import struct
import tarfile
import zipfile
from collections.abc import Mapping

import pytest

from lamina.engine.archive import ArchiveFormat, DumpReport, dump, plan_dump
from lamina.errors import EntryMissing, NotPermitted
from lamina.model.entries import Entry, EntryState, EntryType, Metadata, Position, SlicedContent
from lamina.model.snapshots import Snapshot
from lamina.testing.images import MemoryStream
from lamina.testing.repositories import CHUNK, SmallRepository
from tests.unit.engine.stored_trees import FILE, FOLDER, SECOND, SOME_DAY, Cut, Fixed, Stored, save

ACL = struct.pack("<I", 2) + b"".join(
    struct.pack("<HHI", *entry)
    for entry in ((1, 6, 2**32 - 1), (2, 4, 1001), (4, 4, 2**32 - 1), (16, 4, 0), (32, 0, 0))
)


class Dumped:
    """An archive, and what was said while it was made."""

    def __init__(self, small: SmallRepository, snapshot: Snapshot, path: str | None, form: ArchiveFormat) -> None:
        opened = small.open()
        stream, self.warnings = MemoryStream(), list[str]()
        try:
            plan = plan_dump(opened, snapshot, path, form)
            self.report: DumpReport = dump(opened, plan, stream, small.operation(), self.warnings.append)
        finally:
            opened.close()
        self.data = bytes(stream.content)

    def tar(self) -> dict[str, tuple[tarfile.TarInfo, bytes]]:
        found = {}
        with tarfile.open(fileobj=io.BytesIO(self.data), errors="surrogateescape") as archive:
            for member in archive:
                file = archive.extractfile(member) if member.isreg() or member.islnk() else None
                found[member.name] = (member, file.read() if file is not None else b"")
        return found

    def zip(self) -> zipfile.ZipFile:
        archive = zipfile.ZipFile(io.BytesIO(self.data))
        assert archive.testzip() is None
        return archive


def dumped(
    small: SmallRepository, tree: Mapping[str, Stored], path: str | None = None, form: str = "tar", **options: object
) -> Dumped:
    return Dumped(small, save(small, tree, **options), path, ArchiveFormat(form))  # type: ignore[arg-type]


def test_contents_of_every_form_are_in_the_tar(small: SmallRepository):
    content = bytes(range(256)) * (CHUNK // 256)
    tree = {"d/cut": Cut(b"x" * 1000, b"y" * 5), "d/image": Fixed(content, b"end"), "empty": b""}
    found = dumped(small, tree, bundles={"e": [("a", b"first"), ("b", b"second")]}).tar()
    assert {name: data for name, (_, data) in found.items()} == {
        "d/cut": b"x" * 1000 + b"y" * 5,
        "d/image": content + b"end",
        "e/a": b"first",
        "e/b": b"second",
        "empty": b"",
    }


def test_metadata_is_in_the_tar(small: SmallRepository):
    xattrs = ((b"system.posix_acl_access", ACL), (b"user.a=b", b"\xff\n\0"))
    data = Metadata(0o4751, 1000, 1000, SOME_DAY + 123_456_789, SOME_DAY, xattrs=xattrs)
    huge = Metadata(0o600, 2**31 + 5, 2**32 - 2, -SECOND // 2, 1)
    tree = {
        "d/f": Entry(b"", EntryType.FILE, data, SlicedContent(0)),
        "huge": Entry(b"", EntryType.FILE, huge, SlicedContent(0)),
        "pipe": Entry(b"", EntryType.FIFO, FILE),
        "disk": Entry(b"", EntryType.BLOCK_DEVICE, FILE, special=(259, 1048575)),
        "tty": Entry(b"", EntryType.CHARACTER_DEVICE, FILE, special=(4, 7)),
        "link": Entry(b"", EntryType.SYMLINK, FILE, target=b"to/" + b"long" * 100),
    }
    found = dumped(small, tree, parents={"d": FOLDER}).tar()
    member = found["d/f"][0]
    assert (member.mode, member.uid, member.uname, member.gname) == (0o4751, 1000, "anna", "staff")
    assert member.pax_headers["mtime"] == f"{SOME_DAY // SECOND}.123456789"
    assert member.pax_headers["SCHILY.acl.access"] == "user::rw-,user:1001:r--,group::r--,mask::r--,other::---"
    assert member.pax_headers["SCHILY.xattr.user.a%3Db"].encode("utf-8", "surrogateescape") == b"\xff\n\0"
    assert (found["huge"][0].uid, found["huge"][0].gid) == (2**31 + 5, 2**32 - 2)
    assert found["huge"][0].pax_headers["mtime"] == "-0.500000000"
    assert found["pipe"][0].isfifo()
    assert (found["disk"][0].devmajor, found["disk"][0].devminor) == (259, 1048575)
    assert found["tty"][0].ischr()
    assert found["link"][0].linkname == "to/" + "long" * 100
    assert (found["d"][0].isdir(), found["d"][0].mode) == (True, 0o755)


@pytest.mark.parametrize(
    "name", ["plain", "ümläut", "caf\udce9", "line\nbreak", "x" * 255, "ü" * 127, "\udcff" * 200, "a" * 100, "a" * 101]
)
def test_every_name_is_in_the_tar_as_it_is(small: SmallRepository, name: str):
    assert set(dumped(small, {f"{name}": b"1", f"d/{name}/{name}": b"2"}).tar()) == {name, f"d/{name}/{name}"}


def test_directories_that_only_lead_somewhere_are_left_to_whoever_unpacks(small: SmallRepository):
    found = dumped(small, {"srv/www/f": b"1"}, parents={"srv/www": FOLDER}).tar()
    assert list(found) == ["srv/www", "srv/www/f"]


def test_names_are_relative_to_the_directory_that_is_dumped(small: SmallRepository):
    tree = {"a/b/f": b"1", "a/b/c/g": b"2", "x": b"3"}
    assert list(dumped(small, tree, "a/b", parents={"a/b": FOLDER}).tar()) == [".", "c/g", "f"]
    assert list(dumped(small, tree, "a/b/f").tar()) == ["f"]
    with pytest.raises(EntryMissing):
        dumped(small, tree, "nothing")


def test_names_of_one_file_are_hard_links_unless_their_contents_differ(small: SmallRepository):
    data = FILE._replace(links=4, inode=42)
    torn = Entry(b"", EntryType.FILE, data, SlicedContent(0))

    def first(content: bytes) -> Dumped:
        opened = small.open()
        opened.close()
        snapshot = save(small, {"b": content})
        opened = small.open()
        from lamina.repository.trees import get_entry

        entry = get_entry(opened.reader(), snapshot.root, "b")._replace(metadata=data)
        opened.close()
        return dumped(small, {"a": entry, "d/b": entry, "d/c": torn, "e": entry})

    found = first(b"content").tar()
    assert [(name, one.islnk(), one.linkname, body) for name, (one, body) in found.items()] == [
        ("a", False, "", b"content"),
        ("d/b", True, "a", b"content"),
        ("d/c", False, "", b""),
        ("e", True, "a", b"content"),
    ]


@pytest.mark.parametrize(
    "chunks",
    [
        [None, b"x" * CHUNK, None, None, b"y" * CHUNK],
        [b"x" * CHUNK, None, Position.ZERO],
        [None] * 1500,
        [b"x" * CHUNK, None, b"tail"],
    ],
)
def test_holes_take_no_space_in_the_tar(small: SmallRepository, chunks: list[bytes | None]):
    one = dumped(small, {"d/sparse": Fixed(*chunks), "next": b"1"})
    found = one.tar()
    expected = b"".join(chunk if isinstance(chunk, bytes) else bytes(CHUNK) for chunk in chunks)
    assert found["d/sparse"][1] == expected
    assert found["next"][1] == b"1"
    assert len(one.data) < sum(len(chunk) for chunk in chunks if isinstance(chunk, bytes)) + 20_000


@pytest.mark.parametrize("form", ["tar", "zip"])
def test_flags_that_are_lost_are_spoken_of(small: SmallRepository, form: str):
    entry = Entry(b"", EntryType.FILE, FILE._replace(flags=16), SlicedContent(0))
    assert "flags" in dumped(small, {"f": entry}, form=form).warnings[-1]


def test_a_large_file_says_its_size_beyond_eight_gibibytes(small: SmallRepository):
    from lamina.engine.archives.tar_headers import FILE as KIND
    from lamina.engine.archives.tar_headers import Member, encode_member

    header = encode_member(Member(b"f", KIND, size=9 << 30))
    with tarfile.open(fileobj=io.BytesIO(header + bytes(1024))) as archive:
        assert archive.next().size == 9 << 30  # type: ignore[union-attr]


@pytest.mark.parametrize("form", ["tar", "zip"])
def test_what_cannot_be_held_or_was_not_read_is_named(small: SmallRepository, form: str):
    tree = {
        "changed": Entry(b"", EntryType.FILE, FILE, SlicedContent(0), state=EntryState.CHANGED, error="busy"),
        "fine": b"1",
        "gone": Entry(b"", EntryType.FILE, FILE, state=EntryState.UNREAD, error="i/o error"),
        "socket": Entry(b"", EntryType.SOCKET, FILE),
        "torn": Fixed(Position.UNREAD, b"rest"),
        "what": Entry(b"", EntryType.UNKNOWN, state=EntryState.UNREAD),
    }
    one = dumped(small, tree, form=form)
    assert (one.report.entries, one.report.unread, one.report.left_out) == (3, 4, 3)
    said = "\n".join(one.warnings)
    for text in (
        "changed: it changed",
        "gone: it could not",
        "socket: a " + form,
        "torn: some of it",
        "what: it could",
    ):
        assert text in said
    names = set(one.tar()) if form == "tar" else set(one.zip().namelist())
    assert names == {"changed", "fine", "torn"}


def test_files_directories_and_links_are_in_the_zip(small: SmallRepository):
    content = bytes(range(256)) * (CHUNK // 256)
    tree = {
        "d/image": Fixed(content, None, b"end"),
        "link": Entry(b"", EntryType.SYMLINK, FILE, target=b"d/image"),
        "run": Entry(b"", EntryType.FILE, FILE._replace(mode=0o4755), SlicedContent(0)),
        "ü": b"text",
    }
    archive = dumped(small, tree, form="zip", parents={"d": FOLDER}).zip()
    assert archive.namelist() == ["d/", "d/image", "link", "run", "ü"]
    assert archive.read("d/image") == content + bytes(CHUNK) + b"end"
    assert archive.read("link") == b"d/image"
    assert stat.S_ISLNK(archive.getinfo("link").external_attr >> 16)
    assert archive.getinfo("run").external_attr >> 16 == stat.S_IFREG | 0o4755
    assert archive.getinfo("d/").is_dir()
    assert archive.getinfo("run").date_time == (2024, 10, 4, 0, 0, 0)


def test_what_a_zip_changes_is_said(small: SmallRepository):
    entry = Entry(b"", EntryType.FILE, FILE._replace(links=2, xattrs=((b"user.a", b"1"),)), SlicedContent(0))
    one = dumped(
        small, {"caf\udce9": b"1", "caf\\xe9": b"2", "linked": entry, "pipe": Entry(b"", EntryType.FIFO)}, form="zip"
    )
    assert len(one.zip().namelist()) == 3
    assert {one.zip().read(name) for name in one.zip().namelist()} == {b"", b"1", b"2"}
    said = "\n".join(one.warnings)
    for text in ("cannot hold this name", "two entries", "pipe: a zip", "attributes and ACLs: 1", "another name: 1"):
        assert text in said


@pytest.mark.parametrize("mtime", [-(2**63), -1, 2**64 - 1, 3_000_000_000 * SECOND])
def test_times_that_no_zip_has_are_moved_to_its_ends(small: SmallRepository, mtime: int):
    entry = Entry(b"", EntryType.FILE, Metadata(mtime_ns=mtime, ctime_ns=1), SlicedContent(0))
    (info,) = dumped(small, {"f": entry}, form="zip").zip().infolist()
    assert 1980 <= info.date_time[0] <= 2107


def test_a_writer_dumps_nothing(small: SmallRepository):
    snapshot = save(small, {"f": b"1"}, holder="writer")
    opened = small.open("writer")
    with pytest.raises(NotPermitted, match="cannot read content"):
        plan_dump(opened, opened.get_snapshot(snapshot.id), None, ArchiveFormat.TAR)
    opened.close()
