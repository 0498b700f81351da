"""Who may be writing: sessions that announced themselves, and how far they caught up (spec: sessions)."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime

from lamina.errors import Damaged, RecordForged
from lamina.model.ids import SessionId
from lamina.repository.control import ControlRecords
from lamina.repository.format import Kind
from lamina.repository.object_names import (
    DELTAS,
    SESSIONS,
    SNAPSHOTS,
    delta_session,
    is_delta,
    session_folder,
    snapshot_name,
    start_name,
)
from lamina.repository.records import CaughtUpRecord, StartRecord, from_us
from lamina.storage.storage import Storage, StoredObject

_RECORD = re.compile(f"{SESSIONS}([0-9a-f]{{32}})/(start|gen-[0-9]{{8}})")


@dataclass(frozen=True, slots=True)
class Announcement:
    """What an undecided session says of itself."""

    session: SessionId
    level: int  # the newest generation that it knows of and needs nothing condemned by
    start: StartRecord | None  # None: damaged; then nothing is known, and nothing it says is believed
    started: datetime  # by its own clock; where it says nothing, by the storage's
    seen: datetime  # when the storage got its first record


def undecided(storage: Storage, control: ControlRecords) -> list[Announcement]:
    """Every session that may still commit. Raises: StorageError, FormatUnknown.

    Sessions are listed before decisions: one that is decided meanwhile is left out, never one that is not.
    """
    listed: defaultdict[SessionId, list[StoredObject]] = defaultdict(list)
    for found in storage.objects(SESSIONS):
        name = _RECORD.fullmatch(found.name)
        if name:
            listed[SessionId(bytes.fromhex(name[1]))].append(found)
    decided = {found.name for found in storage.objects(SNAPSHOTS)}
    waiting = (session for session in sorted(listed) if snapshot_name(session) not in decided)
    found_ones = (_announcement(control, session, listed[session]) for session in waiting)
    return [one for one in found_ones if one is not None]


def last_signs(storage: Storage, sessions: Collection[SessionId]) -> dict[SessionId, list[datetime]]:
    """When the storage got anything from *sessions* after their start, by its own clock."""
    signs: dict[SessionId, list[datetime]] = {session: [] for session in sessions}
    for found in _later_objects(storage, sessions):
        signs[found[0]].append(found[1])
    return signs


def _later_objects(storage: Storage, sessions: Collection[SessionId]) -> Iterable[tuple[SessionId, datetime]]:
    for found in storage.objects(DELTAS):
        if is_delta(found.name) and delta_session(found.name) in sessions:
            yield delta_session(found.name), found.modified
    for session in sessions:
        for found in storage.objects(session_folder(SESSIONS, session)):
            if not found.name.endswith("/start"):
                yield session, found.modified


def _announcement(control: ControlRecords, session: SessionId, records: list[StoredObject]) -> Announcement | None:
    """None if nobody believable began it: then none of its records count."""
    seen = min(found.modified for found in records)
    name = start_name(session)
    if all(found.name != name for found in records):
        return None
    try:
        start = control.read(name, Kind.START, StartRecord)
    except RecordForged:
        return None
    except Damaged:
        return Announcement(session, 0, None, seen, seen)
    level = start.structure.generation
    for found in records:
        if found.name != name:
            level = max(level, _caught_up(control, found.name, start.signer.slot))
    return Announcement(session, level, start.structure, from_us(start.structure.started), seen)


def _caught_up(control: ControlRecords, name: str, slot: bytes) -> int:
    """The generation that a record says the session caught up with; 0 if it is not to be believed."""
    try:
        said = control.read(name, Kind.CAUGHT_UP, CaughtUpRecord)
    except Damaged:
        return 0
    named = int(name.rpartition("-")[2])
    return named if said.signer.slot == slot and said.structure.generation == named else 0
