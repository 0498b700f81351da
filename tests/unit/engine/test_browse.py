"""Listing directories and writing contents."""

from __future__ import annotations

import pytest

from lamina.engine.browse import find_files, list_entries, write_contents
from lamina.errors import EntryMissing, NotPermitted, UsageError
from lamina.model.entries import Entry, EntryState, EntryType, Position, SlicedContent
from lamina.model.snapshots import Snapshot
from lamina.testing.images import MemoryStream
from lamina.testing.repositories import CHUNK, SmallRepository
from tests.unit.engine.stored_trees import FOLDER, Cut, Fixed, save

TREE = {"etc/fstab": b"disk", "etc/ssh/key": b"secret", "top": b""}


def listed(small: SmallRepository, path: str | None, holder: str = "owner", *, recursive: bool = False) -> list[str]:
    opened = small.open(holder)
    try:
        snapshot = opened.snapshots()[-1]
        return [one.path for one in list_entries(opened, snapshot, path, recursive=recursive)]
    finally:
        opened.close()


def written(
    small: SmallRepository, snapshot: Snapshot, *paths: str, holder: str = "owner"
) -> tuple[bytes, tuple[str, ...]]:
    opened = small.open(holder)
    try:
        stream = MemoryStream()
        files = find_files(opened, opened.get_snapshot(snapshot.id), paths)
        unread = write_contents(opened, files, stream, small.operation())
        return bytes(stream.content), unread
    finally:
        opened.close()


def test_a_directory_is_listed_alone_or_with_all_below_it(small: SmallRepository):
    save(small, TREE)
    assert listed(small, None) == ["etc", "top"]
    assert listed(small, "etc") == ["etc/fstab", "etc/ssh"]
    assert listed(small, "etc", recursive=True) == ["etc/fstab", "etc/ssh", "etc/ssh/key"]
    assert listed(small, "etc/fstab") == ["etc/fstab"]


def test_a_path_that_is_not_there_is_missing(small: SmallRepository):
    save(small, TREE)
    with pytest.raises(EntryMissing, match="etc/none"):
        listed(small, "etc/none")


def test_an_unread_directory_stands_for_itself(small: SmallRepository):
    save(small, {"d": Entry(b"", EntryType.DIRECTORY, FOLDER, state=EntryState.UNREAD, error="permission denied")})
    assert listed(small, "d", recursive=True) == ["d"]


def test_a_writer_lists_its_own_snapshots_and_reads_no_content(small: SmallRepository):
    snapshot = save(small, TREE, holder="writer")
    assert listed(small, "etc", "writer") == ["etc/fstab", "etc/ssh"]
    with pytest.raises(NotPermitted, match="writer key cannot read content"):
        written(small, snapshot, "etc/fstab", holder="writer")


@pytest.mark.parametrize("holder", ["other", "steward"])
def test_who_may_not_read_names_is_told_so(small: SmallRepository, holder: str):
    save(small, TREE, holder="writer")
    with pytest.raises(NotPermitted, match="cannot read the names in snapshot"):
        listed(small, None, holder)


def test_contents_of_every_form_come_in_the_order_asked_for(small: SmallRepository):
    content = bytes(range(256)) * (CHUNK // 256)
    tree = {"image": Fixed(content, None, b"end"), "cut": Cut(b"x" * 1000, b"y" * 5), "empty": b""}
    snapshot = save(small, tree, bundles={"d": [("a", b"first"), ("b", b"second")]})
    data, unread = written(small, snapshot, "d/b", "image", "empty", "cut", "d/a")
    assert data == b"second" + content + bytes(CHUNK) + b"end" + b"x" * 1000 + b"y" * 5 + b"first"
    assert unread == ()


def test_what_could_not_be_read_is_named(small: SmallRepository):
    gone = Entry(b"", EntryType.FILE, state=EntryState.UNREAD, error="i/o error")
    old = Entry(b"", EntryType.FILE, content=SlicedContent(0), state=EntryState.KEPT)
    snapshot = save(small, {"gone": gone, "old": old, "torn": Fixed(Position.UNREAD, b"rest"), "well": b"1"})
    data, unread = written(small, snapshot, "gone", "old", "torn", "well")
    assert data == bytes(CHUNK) + b"rest" + b"1"
    assert unread == ("gone", "old", "torn")


def test_what_has_no_content_is_refused_before_anything_is_written(small: SmallRepository):
    snapshot = save(small, TREE | {"pipe": Entry(b"", EntryType.FIFO)})
    for path, what in (("etc", "directory"), ("pipe", "fifo")):
        with pytest.raises(UsageError, match=f"is a {what}"):
            written(small, snapshot, "top", path)
