"""The snapshots that are there, as a prune has to know them: nothing is left out because it cannot be read."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple, NoReturn

from lamina.errors import Damaged, PruneRefused, RecordForged
from lamina.model.ids import ChunkId, SessionId
from lamina.repository.attributes import Attributes, fold_attributes
from lamina.repository.control import ControlRecords
from lamina.repository.decisions import DECISIONS
from lamina.repository.format import Kind
from lamina.repository.object_names import ATTRIBUTES, REMOVALS, SNAPSHOTS
from lamina.repository.records import RemovalRecord, SnapshotRecord, from_us
from lamina.storage.storage import Storage


@dataclass(frozen=True, slots=True)
class Committed:
    """One snapshot that was committed."""

    root: ChunkId
    removed_at: datetime | None  # by whoever removed it; None: it is not removed, or spared
    spared: str = ""  # why it stays although it is removed


class _Found(NamedTuple):
    """What the record of a snapshot says."""

    root: ChunkId
    protected: bool


def read_committed(
    storage: Storage, control: ControlRecords, without: Collection[SessionId]
) -> dict[SessionId, Committed]:
    """Every committed snapshot but those named, removed or not. Raises: PruneRefused if a record is damaged, StorageError.

    Removals are listed after snapshots are read, so that what is said here of one is not older than the call; and attributes
    after removals: whoever protects a snapshot looks for a removal after he said so.
    """
    found: dict[SessionId, _Found] = {}
    for item in storage.objects(SNAPSHOTS):
        session = _session(item.name)
        if session is not None and session not in without:
            one = _read(storage, control, item.name)
            if one is not None:
                found[session] = one
    names = _by_session(storage, REMOVALS)
    removals = {session: _removed_at(control, names.get(session, [])) for session in found}
    about = _by_session(storage, ATTRIBUTES) if any(removals.values()) else {}
    committed: dict[SessionId, Committed] = {}
    for session, one in found.items():
        removed_at = removals[session]
        spared = _why_spared(control, one, about.get(session, [])) if removed_at is not None else ""
        committed[session] = Committed(one.root, None if spared else removed_at, spared)
    return committed


def _by_session(storage: Storage, folder: str) -> defaultdict[SessionId, list[str]]:
    names: defaultdict[SessionId, list[str]] = defaultdict(list)
    for found in storage.objects(folder):
        session = _session(found.name.rpartition("/")[0])
        if session is not None:
            names[session].append(found.name)
    return names


def _session(name: str) -> SessionId | None:
    try:
        session = bytes.fromhex(name.rpartition("/")[2])
    except ValueError:
        return None
    return SessionId(session) if len(session) == 16 else None


def _read(storage: Storage, control: ControlRecords, name: str) -> _Found | None:
    """None for an abort marker, and for what is forged: that is nobody's snapshot."""
    try:
        record = control.decode(storage.get(name), name, DECISIONS).structure
    except RecordForged:
        return None
    except Damaged as error:
        raise PruneRefused(
            f"{error.message}; whether it is a snapshot, and what it needs, is not known", hint=_MEND
        ) from error
    if not isinstance(record, SnapshotRecord):
        return None
    return _Found(ChunkId(record.root), record.protected)


def _why_spared(control: ControlRecords, found: _Found, names: list[str]) -> str:
    """Why a removed snapshot stays: it is protected, and whoever removed it died before he could look again; or may be."""
    damaged: list[str] = []
    # a writer's word protects nothing
    if fold_attributes(control, names, None, Attributes(protected=found.protected), damaged.append).protected:
        return "it is protected: `lamina unforget` shows it again; to let it go then, `lamina unprotect` and forget it"
    return f"that it is protected may stand in a record that is damaged ({damaged[0]}): {_MEND}" if damaged else ""


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
