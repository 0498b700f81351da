"""One path through time."""

from __future__ import annotations

import pytest

from lamina.engine.history import Change, history
from lamina.errors import EntryMissing
from lamina.model.entries import Entry, EntryState, EntryType, Metadata, SlicedContent
from lamina.testing.repositories import SmallRepository
from tests.unit.engine.stored_trees import FILE, SOME_DAY, save


def changes(small: SmallRepository, path: str) -> dict[str | None, list[Change]]:
    opened = small.open()
    try:
        return history(opened, opened.snapshots(), path, small.operation())
    finally:
        opened.close()


def test_each_change_is_one_line_with_what_it_was(small: SmallRepository):
    plain = Entry(b"", EntryType.FILE, FILE, SlicedContent(0))
    trees = [
        {"x": b""},
        {"d/f": b"one"},
        {"d/f": b"one", "x": b""},
        {"d/f": b"two"},
        {"d/f": plain},
        {"d/f": plain._replace(metadata=FILE._replace(mode=0o600, uid=5, ctime_ns=9))},
        {"d/f": plain._replace(metadata=FILE._replace(mode=0o600, uid=5), state=EntryState.CHANGED, error="busy")},
        {"d/f": Entry(b"", EntryType.SYMLINK, Metadata(0o777, mtime_ns=SOME_DAY), target=b"y")},
        {"x": b""},
        {"d/f": b"one"},
    ]
    saved = [save(small, tree) for tree in trees]
    found = changes(small, "d/f")
    assert list(found) == ["vm"]
    assert [(one.snapshots[0].id, len(one.snapshots), one.what) for one in found["vm"]] == [
        (saved[1].id, 2, ("appeared",)),
        (saved[3].id, 1, ("content",)),
        (saved[4].id, 1, ("content",)),
        (saved[5].id, 1, ("mode", "owner")),
        (saved[6].id, 1, ("state",)),
        (saved[7].id, 1, ("type",)),
        (saved[8].id, 1, ("gone",)),
        (saved[9].id, 1, ("appeared",)),
    ]
    assert found["vm"][-2].entry is None


def test_each_name_has_its_own_history(small: SmallRepository):
    for name, content in (("a", b"1"), ("b", b"2"), ("a", b"1")):
        save(small, {"f": content}, name=name)
    save(small, {"g": b""}, name="c")
    assert {name: len(found) for name, found in changes(small, "f").items()} == {"a": 1, "b": 1}


def test_a_directory_changes_with_what_is_in_it(small: SmallRepository):
    for content in (b"1", b"2"):
        save(small, {"d/e/f": content})
    assert [one.what for one in changes(small, "d")["vm"]] == [("appeared",), ("content",)]


def test_what_could_not_be_read_is_not_gone(small: SmallRepository):
    """Neither below a directory that could not be read, nor the directory itself."""
    unread = Entry(b"", EntryType.DIRECTORY, FILE, state=EntryState.UNREAD, error="permission denied")
    for tree in ({"d/f": b"1"}, {"d": unread}, {"d/f": b"1"}):
        save(small, tree)
    found = changes(small, "d/f")["vm"]
    assert [one.what for one in found] == [("appeared",), ("state",), ("state",)]
    assert found[1].entry is not None
    assert found[1].entry.error == "permission denied"
    assert "gone" not in {what for one in changes(small, "d")["vm"] for what in one.what}


def test_a_path_that_no_snapshot_has_is_missing(small: SmallRepository):
    save(small, {"d/f": b""})
    with pytest.raises(EntryMissing, match=r"in 1 snapshot$"):
        changes(small, "d/f/g")
