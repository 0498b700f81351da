"""Finding paths in all snapshots."""

from __future__ import annotations

import pytest

from lamina.engine.search import Criteria, Hit, find, runs_of
from lamina.errors import UsageError
from lamina.model.entries import Entry, EntryType, Metadata, SlicedContent
from lamina.testing.repositories import SmallRepository
from tests.unit.engine.stored_trees import DAY, SOME_DAY, save


def search(small: SmallRepository, *patterns: str, **criteria: object) -> list[Hit]:
    opened = small.open()
    try:
        wanted = Criteria(tuple(patterns), **criteria)  # type: ignore[arg-type]
        return list(find(opened, opened.snapshots(), wanted, small.operation()))
    finally:
        opened.close()


def paths(hits: list[Hit]) -> list[str]:
    return [hit.path for hit in hits]


TREE = {"etc/a.conf": b"a", "etc/x/b.conf": b"b", "home/a.conf/deep.txt": b"c", "top.conf": b"d"}


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("*.conf", ["etc/a.conf", "etc/x/b.conf", "home/a.conf", "top.conf"]),
        ("etc/*.conf", ["etc/a.conf"]),
        ("/etc/**/*.conf", ["etc/a.conf", "etc/x/b.conf"]),
        ("**/b.conf", ["etc/x/b.conf"]),
        ("[ab].conf", ["etc/a.conf", "etc/x/b.conf", "home/a.conf"]),
        ("a", []),
        ("home/a.conf/**", ["home/a.conf/deep.txt"]),
    ],
)
def test_a_pattern_with_a_slash_is_for_paths_any_other_for_names(
    small: SmallRepository, pattern: str, found: list[str]
):
    save(small, TREE)
    assert paths(search(small, pattern)) == found


def test_one_of_several_patterns_has_to_fit(small: SmallRepository):
    save(small, TREE)
    assert paths(search(small, "top.*", "etc/*.conf")) == ["etc/a.conf", "top.conf"]


def test_a_pattern_that_is_none_is_refused(small: SmallRepository):
    save(small, TREE)
    with pytest.raises(UsageError, match="not a pattern"):
        search(small, "[a")


def test_snapshots_in_a_row_with_the_same_entry_are_one_hit(small: SmallRepository):
    """Changed in the third, gone in the fourth, back as it was in the first."""
    saved = [
        save(small, tree)
        for tree in ({"f": b"1"}, {"f": b"1", "other": b"x"}, {"f": b"2"}, {"other": b"y"}, {"f": b"1"})
    ]
    hits = search(small, "f")
    ids = [[one.id for one in hit.snapshots] for hit in hits]
    assert ids == [[saved[0].id, saved[1].id], [saved[2].id], [saved[4].id]]
    assert [hit.entry.size for hit in hits] == [1, 1, 1]


def test_rows_of_snapshots_do_not_mix_names(small: SmallRepository):
    saved = [save(small, {"f": b"1"}, name=name) for name in ("web", "db", "web", "db")]
    hits = search(small, "f")
    assert [[one.id for one in hit.snapshots] for hit in hits] == [
        [saved[1].id, saved[3].id],
        [saved[0].id, saved[2].id],
    ]


def test_what_changes_by_itself_does_not_break_a_row(small: SmallRepository):
    def entry(ctime: int, inode: int) -> Entry:
        return Entry(b"", EntryType.FILE, Metadata(0o644, 0, 0, SOME_DAY, ctime, inode), SlicedContent(0))

    for number in range(3):
        save(small, {"f": entry(number, number)})
    (hit,) = search(small, "f")
    assert len(hit.snapshots) == 3


def test_times_sizes_and_types_narrow_it_down(small: SmallRepository):
    def entry(kind: EntryType, mtime: int) -> Entry:
        return Entry(b"", kind, Metadata(0o644, mtime_ns=mtime), target=b"x")

    save(
        small,
        {"big": b"x" * 100, "small": b"x", "old": entry(EntryType.FIFO, 5 * DAY), "new": entry(EntryType.SYMLINK, 2 * SOME_DAY)},
    )  # fmt: skip
    assert paths(search(small, "*", larger=1)) == ["big"]
    assert paths(search(small, "*", smaller=100)) == ["small"]
    assert paths(search(small, "*", newer_ns=SOME_DAY)) == ["new"]
    assert paths(search(small, "*", older_ns=SOME_DAY)) == ["old"]
    assert paths(search(small, "*", types=frozenset({EntryType.FIFO, EntryType.SYMLINK}))) == ["new", "old"]


def test_names_that_are_no_utf_8_are_found(small: SmallRepository):
    save(small, {"caf\udce9": b"1", "caf\n": b"2"})
    assert paths(search(small, "caf?")) == ["caf\n", "caf\udce9"]


def test_runs_of_bits():
    assert list(runs_of(0)) == []
    assert list(runs_of((1 << 1000) - 1)) == [(0, 1000)]
    assert list(runs_of(0b10110)) == [(1, 3), (4, 5)]
