"""What differs between two snapshots."""

from __future__ import annotations

import random
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamina.engine.diff import Diff, Difference, DiffSummary, Kind, Place
from lamina.errors import EntryMissing, NotPermitted
from lamina.model.entries import Entry, EntryState, EntryType, Metadata, Position, SlicedContent
from lamina.testing.repositories import CHUNK, SmallRepository
from tests.unit.engine.stored_trees import FILE, FOLDER, SOME_DAY, Cut, Fixed, Stored, save

RANDOM = random.Random(11)
A, B, C, D = (RANDOM.randbytes(CHUNK) for _ in range(4))


def compare(
    small: SmallRepository,
    before: Mapping[str, Stored],
    after: Mapping[str, Stored],
    *,
    brief: bool = False,
    paths: tuple[str | None, str | None] = (None, None),
) -> tuple[list[Difference], DiffSummary]:
    first, second = save(small, before), save(small, after)
    return compared(small, Place(first, paths[0]), Place(second, paths[1]), brief=brief)


def compared(
    small: SmallRepository, before: Place, after: Place, *, brief: bool = False, holder: str = "owner"
) -> tuple[list[Difference], DiffSummary]:
    opened = small.open(holder)
    try:
        diff = Diff(opened, before, after, small.operation(), brief=brief)
        return list(diff), diff.summary
    finally:
        opened.close()


def kinds(found: list[Difference]) -> dict[str, Kind]:
    return {one.path: one.kind for one in found}


def test_each_kind_of_difference_is_told_apart(small: SmallRepository):
    entry = Entry(b"", EntryType.FILE, FILE, SlicedContent(0))
    before = {"same": b"1", "d/gone": b"12", "d/edited": b"old", "touched": entry, "was-file": b"123"}
    after = {
        "same": b"1",
        "d/edited": b"newer",
        "d/new/deep": b"1234",
        "touched": entry._replace(metadata=FILE._replace(mode=0o600, mtime_ns=5)),
        "was-file": Entry(b"", EntryType.SYMLINK, Metadata(mtime_ns=SOME_DAY), target=b"x"),
    }
    found, summary = compare(small, before, after)
    assert kinds(found) == {
        "d/edited": Kind.CONTENT,
        "d/gone": Kind.REMOVED,
        "d/new": Kind.ADDED,
        "d/new/deep": Kind.ADDED,
        "touched": Kind.METADATA,
        "was-file": Kind.TYPE,
    }
    assert next(one.fields for one in found if one.path == "touched") == ("mode", "mtime")
    assert summary.paths == {Kind.ADDED: 2, Kind.REMOVED: 1, Kind.CONTENT: 1, Kind.METADATA: 1, Kind.TYPE: 1}
    assert (summary.added, summary.removed, summary.changed) == (4, 5, 5)


def test_equal_snapshots_have_no_difference(small: SmallRepository):
    found, summary = compare(small, {"d/f": b"1"}, {"d/f": b"1"})
    assert found == []
    assert summary.is_same


def test_what_changes_by_itself_is_no_difference(small: SmallRepository):
    def entry(**changes: int) -> Entry:
        return Entry(b"", EntryType.FILE, FILE._replace(**changes), SlicedContent(0), state=EntryState.WHOLE)

    fresh = entry(ctime_ns=1, inode=99, links=2)._replace(state=EntryState.FRESH)
    assert compare(small, {"f": entry()}, {"f": fresh})[0] == []


@pytest.mark.parametrize(
    ("before", "after", "changed", "ranges"),
    [
        ([A, B, C], [A, D, C], CHUNK, 1),
        ([A, B, C, D], [D, B, D, C], 3 * CHUNK, 2),
        ([A, None, C], [A, Position.ZERO, C], None, None),
        ([A, None], [A, B], CHUNK, 1),
        ([A, B], [A, B, C, D], 2 * CHUNK, 1),
        ([A, B, b"tail"], [A, B, b"tailor"], 6, 1),
        ([A, B, C], [A], 2 * CHUNK, 1),
        ([A], [B], CHUNK, 1),
        ([], [A], CHUNK, 1),
        ([A, B[:100]], [A], 100, 1),
    ],
)
def test_of_images_the_bytes_and_ranges_that_differ_are_counted(
    small: SmallRepository,
    before: list[bytes | None],
    after: list[bytes | None],
    changed: int | None,
    ranges: int | None,
):
    found, summary = compare(small, {"disk": Fixed(*before)}, {"disk": Fixed(*after)})
    assert [(one.changed, one.ranges) for one in found] == ([] if changed is None else [(changed, ranges)])
    assert summary.changed == (changed or 0)


def test_ranges_of_a_large_image_are_joined_across_its_nodes(small: SmallRepository):
    before = [Position.ZERO] * 3000
    after: list[bytes | Position] = [*before]
    after[1023] = after[1024] = A
    after[2500] = B
    (one,), _ = compare(small, {"disk": Fixed(*before)}, {"disk": Fixed(*after)})
    assert (one.changed, one.ranges) == (3 * CHUNK, 2)
    (one,), _ = compare(small, {"disk": Fixed(*after)}, {"disk": Fixed(*after, *before)})
    assert (one.changed, one.ranges) == (3000 * CHUNK, 1)


def test_of_long_files_the_chunks_that_are_new_are_counted(small: SmallRepository):
    """An insertion at the beginning moves everything and changes little."""
    (one,), _ = compare(small, {"f": Cut(A, B, C)}, {"f": Cut(b"inserted", A, B, C)})
    assert (one.changed, one.ranges) == (8, None)


def test_small_files_that_were_only_bundled_anew_are_equal(small: SmallRepository):
    first = save(small, {}, bundles={"d": [("a", b"aaaa"), ("b", b"bbbb")]})
    second = save(small, {}, bundles={"d": [("0", b"000"), ("a", b"aaaa"), ("b", b"BBBB")]})
    found, _ = compared(small, Place(first, None), Place(second, None))
    assert kinds(found) == {"d/0": Kind.ADDED, "d/b": Kind.CONTENT}


def test_the_same_bytes_stored_in_two_forms_are_equal(small: SmallRepository):
    assert compare(small, {"f": Cut(A, b"tail")}, {"f": Fixed(A, b"tail")})[0] == []
    assert kinds(compare(small, {"f": Cut(A, b"tail")}, {"f": Fixed(A, b"tale")})[0]) == {"f": Kind.CONTENT}


def test_parts_of_snapshots_are_compared_with_themselves_included(small: SmallRepository):
    found, _ = compare(
        small,
        {"old/d/f": b"1", "old/x": b"2"},
        {"new/f": b"3"},
        paths=("old/d", "new"),
    )
    assert kinds(found) == {"f": Kind.CONTENT}
    found, _ = compare(small, {"a": b"1"}, {"b": b"2"}, paths=("a", "b"))
    assert kinds(found) == {"": Kind.CONTENT}
    with pytest.raises(EntryMissing):
        compare(small, {"a": b"1"}, {"b": b"2"}, paths=("a", "a"))


def test_what_could_not_be_read_is_not_taken_for_removed(small: SmallRepository):
    folder = Entry(b"", EntryType.DIRECTORY, FOLDER, state=EntryState.UNREAD, error="permission denied")
    file = Entry(b"", EntryType.FILE, FILE, state=EntryState.UNREAD, error="i/o error")
    for brief in (False, True):
        found, summary = compare(small, {"d/e/f": b"1", "g": b"2"}, {"d": folder, "g": file}, brief=brief)
        assert {one.path: (one.kind, "state" in one.fields) for one in found} == {
            "d": (Kind.METADATA, True),
            "g": (Kind.METADATA, True),
        }
        assert (summary.removed, summary.changed) == (0, 0)


def test_a_writer_compares_its_own_snapshots_and_no_others(small: SmallRepository):
    """Of small files that may only have been bundled anew it knows as much as change detection: their times."""
    trees: list[dict[str, Stored]] = [{"f": b"1", "g": b"1"}, {"f": b"22", "g": b"2"}]
    first, second = (save(small, tree, holder="writer") for tree in trees)
    foreign = save(small, {"f": b"3"})
    opened = small.open("writer")
    mine, yours, theirs = (Place(opened.get_snapshot(one.id), None) for one in (first, second, foreign))
    opened.close()
    assert kinds(compared(small, mine, yours, holder="writer")[0]) == {"f": Kind.CONTENT}
    with pytest.raises(NotPermitted, match="names"):
        compared(small, mine, theirs, holder="writer")


names = st.sampled_from(["a", "b", "c"])
trees = st.dictionaries(
    st.lists(names, min_size=1, max_size=3).map("/".join), st.binary(max_size=3), min_size=1, max_size=6
).filter(lambda tree: not any(other.startswith(f"{path}/") for path in tree for other in tree))


@given(trees, trees)
def test_differences_and_summaries_are_those_of_the_trees(before: dict[str, bytes], after: dict[str, bytes]):
    small = SmallRepository()
    first, second = Place(save(small, before), None), Place(save(small, after), None)
    found, summary = compared(small, first, second)
    files = {one.path: one.kind for one in found if (one.after or one.before).type is EntryType.FILE}  # type: ignore[union-attr]
    for path, kind in files.items():
        if kind is Kind.ADDED:
            assert path in after
            assert path not in before
        elif kind is Kind.REMOVED:
            assert path in before
            assert path not in after
        elif kind is Kind.CONTENT:
            assert before[path] != after[path]
    differing = {path for path in before.keys() | after.keys() if before.get(path) != after.get(path)}
    assert differing <= {one.path for one in found}
    assert compared(small, first, second, brief=True)[1] == summary
