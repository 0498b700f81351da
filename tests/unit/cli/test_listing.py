"""Entries as lines."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from lamina.cli.listing import EntryLines, shown_name, shown_time
from lamina.model.entries import Entry, EntryState, EntryType, Metadata, SlicedContent, Totals
from lamina.model.ids import ChunkId, SessionId
from lamina.model.snapshots import Snapshot

DAY = datetime(2026, 1, 1, tzinfo=UTC)
SNAPSHOT = Snapshot(
    SessionId(b"s" * 16), DAY, DAY, ChunkId(b"r" * 32), 0, False, users={0: "root"}, groups={5: "staff"}
)
METADATA = Metadata(0o644, 0, 5, 1, 1)


def line(entry: Entry, name: str = "name") -> str:
    return EntryLines(SNAPSHOT).line(name, entry)


@pytest.mark.parametrize(
    ("entry", "first", "last"),
    [
        (Entry(b"", EntryType.FILE, METADATA, SlicedContent(1536)), "-rw-r--r-- root staff    1.5 KiB", "name"),
        (
            Entry(b"", EntryType.DIRECTORY, METADATA, totals=Totals(3, 5, 0)),
            "drw-r--r-- root staff        5 B",
            "name/",
        ),
        (Entry(b"", EntryType.SYMLINK, METADATA, target=b"a\xff"), "lrw-r--r--", "name -> a\\xff"),
        (Entry(b"", EntryType.BLOCK_DEVICE, METADATA, special=(8, 1)), "brw-r--r-- root staff       8, 1", "name"),
        (Entry(b"", EntryType.FILE, METADATA._replace(mode=0o4711, uid=7)), "-rws--x--x 7 staff", "name"),
        (Entry(b"", EntryType.UNKNOWN, state=EntryState.UNREAD, error="no\nway"), "?---", "name  (unread: no\\nway)"),
        (Entry(b"", EntryType.FILE, METADATA, state=EntryState.CHANGED), "-rw", "name  (changed)"),
        (Entry(b"", EntryType.FILE, METADATA, state=EntryState.KEPT), "-rw", "name  (kept)"),
        (Entry(b"", EntryType.FILE, METADATA, state=EntryState.FRESH), "-rw", "name"),
        (Entry(b"", EntryType.DIRECTORY, METADATA, totals=Totals(3, 5, 2)), "drw", "name/  (2 below are not whole)"),
    ],
)
def test_a_line_says_what_an_entry_is_and_marks_what_is_not_whole(entry: Entry, first: str, last: str):
    shown = line(entry)
    assert shown.startswith(first)
    assert shown.endswith(f" {last}")


def test_columns_grow_with_the_names_of_owners():
    lines = EntryLines(SNAPSHOT)
    entry = Entry(b"", EntryType.FILE, METADATA)
    assert "root staff " in lines.line("a", entry)
    assert "4294967295 staff" in lines.line("a", entry._replace(metadata=METADATA._replace(uid=2**32 - 1)))
    assert "root       staff " in lines.line("a", entry)


@pytest.mark.parametrize("name", ["a\nb", "a\x1b[31m", "\udcff", "a\u202eb"])
def test_no_name_breaks_the_line_or_steers_the_terminal(name: str):
    assert shown_name(name).isprintable()


@pytest.mark.parametrize("nanoseconds", [-(2**63), 2**64, 10**30, -1])
def test_every_time_can_be_shown(nanoseconds: int):
    assert shown_time(nanoseconds)
