"""One path through time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from lamina.engine.looking.differences import CONTENT, changed_fields, is_unknown, may_differ
from lamina.errors import EntryMissing
from lamina.model.entries import Entry, EntryState, EntryType
from lamina.model.ids import ChunkId
from lamina.model.operation import Operation
from lamina.model.quantities import format_count
from lamina.model.snapshots import Snapshot
from lamina.repository.chunks import ChunkReader
from lamina.repository.repository import Repository
from lamina.repository.trees import find_entry

APPEARED, GONE = "appeared", "gone"


class Change(NamedTuple):
    """What a path is from one snapshot on, until the next change."""

    snapshots: Sequence[Snapshot]  # of one name, in order, in which it is so
    what: tuple[str, ...]  # appeared, gone, content, type, or the fields that changed
    entry: Entry | None  # None: it is gone


def history(
    repository: Repository, snapshots: Sequence[Snapshot], path: str, operation: Operation
) -> dict[str | None, list[Change]]:
    """The changes of *path* for each name of snapshots that ever had it; *snapshots* are in order and `readable`.

    Raises: EntryMissing if none has it; Damaged, ChunkMissing, NotPermitted, Stopped.
    """
    named: defaultdict[str | None, list[Snapshot]] = defaultdict(list)
    for snapshot in snapshots:
        named[snapshot.name].append(snapshot)
    lookup = _Lookup(repository.reader(), path)
    found = {name: list(_changes(lookup, series, operation)) for name, series in named.items()}
    found = {name: changes for name, changes in found.items() if changes}
    if not found:
        raise EntryMissing(
            f"there is no entry {path!r} in {format_count(len(snapshots), 'snapshot')}",
            hint="`lamina find PATTERN` looks for names",
        )
    return found


def _changes(lookup: _Lookup, series: Sequence[Snapshot], operation: Operation) -> Iterator[Change]:
    before: Entry | None = None
    begun: tuple[int, tuple[str, ...]] | None = None
    for number, snapshot in enumerate(series):
        operation.check_stop()
        entry = lookup.entry(snapshot.root)
        what = _what(before, entry)
        if what:
            if begun is not None:
                yield Change(series[begun[0] : number], begun[1], before)
            begun = number, what
        if what or entry is None:
            before = entry
    if begun is not None:
        yield Change(series[begun[0] :], begun[1], before)


def _what(before: Entry | None, after: Entry | None) -> tuple[str, ...]:
    if before is None or after is None:
        return () if before is after else ((APPEARED,) if before is None else (GONE,))
    fields = changed_fields(before, after)
    return (CONTENT, *fields) if before.type is after.type and may_differ(before, after) else fields


class _Lookup:
    """Finds one path in many trees; a directory that several share is looked into once."""

    def __init__(self, reader: ChunkReader, path: str) -> None:
        self._reader = reader
        self._names = [name for name in path.encode("utf-8", "surrogateescape").split(b"/") if name]
        self._known: dict[tuple[ChunkId, int], Entry | None] = {}

    def entry(self, root: ChunkId) -> Entry | None:
        entry: Entry | None = None
        below: ChunkId | None = root
        for depth, name in enumerate(self._names):
            if below is None:
                return _hidden(entry)
            key = below, depth
            if key not in self._known:
                self._known[key] = find_entry(self._reader, below, name)
            entry = self._known[key]
            if entry is None:
                return None
            below = entry.child
        return entry


def _hidden(above: Entry | None) -> Entry | None:
    """What is known of a path in something that is no directory, or is one that could not be read: that is no absence."""
    if above is None or not is_unknown(above):
        return None
    return Entry(b"", EntryType.UNKNOWN, state=EntryState.UNREAD, error=above.error)
