"""What a snapshot saved, in short: its sources, and what of them is not whole."""

from __future__ import annotations

from collections.abc import Iterator

from lamina.model.entries import Entry, EntryType, Totals
from lamina.model.snapshots import Snapshot
from lamina.repository.repository import Repository
from lamina.repository.trees import get_entry, read_directory


def saved_entries(repository: Repository, snapshot: Snapshot) -> list[tuple[str, Entry]]:
    """Each source as it is stored, with its path. Raises: Damaged, ChunkMissing, NotPermitted."""
    reader = repository.reader()
    found = []
    for path in snapshot.paths:
        entry = get_entry(reader, snapshot.root, path.lstrip("/"))
        if not path and entry.child is not None:
            below = list(read_directory(reader, entry.child))
            entry = entry._replace(totals=_totals(below))
        found.append((path, entry))
    return found


def flawed_entries(repository: Repository, snapshot: Snapshot) -> Iterator[tuple[str, Entry]]:
    """Every entry that is not whole; directories that hold none are not read. Raises: as `saved_entries`."""
    reader = repository.reader()
    todo = [("", get_entry(reader, snapshot.root, ""))]
    while todo:
        path, entry = todo.pop()
        if entry.is_flawed:
            yield path, entry
        if entry.child is None or (entry.totals is not None and not entry.totals.flawed):
            continue
        below = [
            (
                f"{path}/{one.name.decode('utf-8', 'surrogateescape')}"
                if path
                else one.name.decode(errors="surrogateescape"),
                one,
            )
            for one in read_directory(reader, entry.child)
            if one.is_flawed or one.type is EntryType.DIRECTORY
        ]
        todo += reversed(below)


def _totals(entries: list[Entry]) -> Totals:
    below = [entry.totals or Totals(size=entry.size) for entry in entries]
    return Totals(
        len(entries) + sum(one.entries for one in below),
        sum(one.size for one in below),
        sum(one.flawed for one in below) + sum(entry.is_flawed for entry in entries),
    )
