"""The snapshots that are there, as a prune has to know them: nothing is left out because it cannot be read."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import NoReturn

from lamina.errors import Damaged, PruneRefused, RecordForged
from lamina.model.ids import ChunkId, SessionId
from lamina.repository.control import ControlRecords
from lamina.repository.decisions import DECISIONS
from lamina.repository.format import Kind
from lamina.repository.object_names import REMOVALS, SNAPSHOTS
from lamina.repository.records import RemovalRecord, SnapshotRecord, from_us
from lamina.storage.storage import Storage


@dataclass(frozen=True, slots=True)
class Committed:
    """One snapshot that was committed."""

    root: ChunkId
    removed_at: datetime | None  # by whoever removed it; None: it is not removed


def read_committed(
    storage: Storage, control: ControlRecords, without: Collection[SessionId]
) -> dict[SessionId, Committed]:
    """Every committed snapshot but those named, removed or not. Raises: PruneRefused if a record is damaged, StorageError.

    Removals are listed after snapshots are read, so that what is said here of one is not older than the call.
    """
    roots: dict[SessionId, ChunkId] = {}
    for found in storage.objects(SNAPSHOTS):
        session = _session(found.name)
        if session is not None and session not in without:
            root = _root(storage, control, found.name)
            if root is not None:
                roots[session] = root
    removals: defaultdict[SessionId, list[str]] = defaultdict(list)
    for found in storage.objects(REMOVALS):
        session = _session(found.name.rpartition("/")[0])
        if session in roots:
            removals[session].append(found.name)
    return {session: Committed(root, _removed_at(control, removals[session])) for session, root in roots.items()}


def _session(name: str) -> SessionId | None:
    try:
        session = bytes.fromhex(name.rpartition("/")[2])
    except ValueError:
        return None
    return SessionId(session) if len(session) == 16 else None


def _root(storage: Storage, control: ControlRecords, name: str) -> ChunkId | None:
    """None for an abort marker, and for what is forged: that is nobody's snapshot."""
    try:
        record = control.decode(storage.get(name), name, DECISIONS).structure
    except RecordForged:
        return None
    except Damaged as error:
        raise PruneRefused(
            f"{error.message}; whether it is a snapshot, and what it needs, is not known", hint=_MEND
        ) from error
    return ChunkId(record.root) if isinstance(record, SnapshotRecord) else None


def _removed_at(control: ControlRecords, names: list[str]) -> datetime | None:
    """When the newest believed tombstone says that it was removed; None if it says that it was not."""
    newest: RemovalRecord | None = None
    for signed in control.numbered(names, Kind.REMOVAL, RemovalRecord, _refuse):
        newest = signed.structure
    return from_us(newest.time) if newest is not None and newest.removed else None


def _refuse(message: str) -> NoReturn:
    raise PruneRefused(message, hint=_MEND)


_MEND = (
    "put it back from a copy of the storage; `lamina verify` and `lamina repair` say more."
    " If it never was anything but junk that somebody put there, delete it"
)
