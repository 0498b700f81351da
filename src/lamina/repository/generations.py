"""Prune generations: what is condemned now, what is buried for ever (spec: generations)."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

from lamina.crypto.hashing import derive
from lamina.errors import Damaged, ObjectMissing, RecordForged, RepositoryError
from lamina.model.ids import PackId, SessionId
from lamina.model.operation import Operation
from lamina.model.snapshots import Snapshot
from lamina.repository.control import LAST_NUMBER, ControlRecords
from lamina.repository.format import Kind
from lamina.repository.index_records import newest_manifest
from lamina.repository.object_names import GENERATIONS, numbered
from lamina.repository.records import GenerationClosedRecord, GenerationOpenRecord
from lamina.storage.storage import Storage

BURIAL_WAIT_S = 60.0  # for a prune that is about to end; it may as well wait for somebody else
BURIAL_POLL_S = 1.0
_RECORD = re.compile(f"{GENERATIONS}[0-9]{{8}}/(?:open|closed)")
_OPEN = re.compile(f"{GENERATIONS}([0-9]{{8}})/open")


@dataclass(frozen=True, slots=True)
class Generations:
    """The newest generation, and what the generations that are not closed have condemned."""

    newest: int
    condemned: frozenset[PackId]


@dataclass(frozen=True, slots=True)
class Generation:
    """One prune, as its records say."""

    number: int
    opened: GenerationOpenRecord
    closed: GenerationClosedRecord | None  # None: it is under way, or its program died


def read_generations(storage: Storage, control: ControlRecords) -> Generations:
    """What is there now; forged records are ignored. Raises: Damaged, StorageError."""
    newest = 0
    condemned: set[PackId] = set()
    for one in _newest_first(storage, control):
        newest = newest or one.number
        if one.closed is not None:
            break  # a generation begins only when the one before is closed
        condemned.update(PackId(pack) for pack in one.opened.condemned)
    return Generations(newest, frozenset(condemned))


def newest_generation(storage: Storage, control: ControlRecords) -> Generation | None:
    """The newest believed generation, or None if nobody ever pruned. Raises: Damaged, StorageError."""
    return next(_newest_first(storage, control), None)


def due_of(generation: Generation | None) -> tuple[str, ...]:
    """What a closed generation had to delete; nothing of any other."""
    return () if generation is None or generation.closed is None else tuple(generation.closed.due)


def last_closed(storage: Storage, control: ControlRecords) -> Generation | None:
    """The newest generation that was closed. Raises: Damaged, StorageError."""
    return next((one for one in _newest_first(storage, control) if one.closed is not None), None)


def read_buried(storage: Storage, control: ControlRecords) -> frozenset[SessionId]:
    """Every snapshot that prunes buried for good, one that has decided and not ended too. Raises: Damaged, StorageError."""
    newest = newest_generation(storage, control)
    if newest is None or newest.closed is not None:
        return all_buried(newest)
    manifest = newest_manifest(storage, control)
    decided = manifest.buried if manifest is not None and manifest.generation == newest.number else []
    return all_buried(last_closed(storage, control)).union(map(SessionId, decided))


def all_buried(last: Generation | None) -> frozenset[SessionId]:
    """Whom the last closed generation buried, and all before it."""
    if last is None or last.closed is None:
        return frozenset()
    return frozenset(SessionId(session) for session in (*last.closed.buried_before, *last.closed.buried))


def buried_by(storage: Storage, control: ControlRecords, session: SessionId) -> Generation | None:
    """The generation that buries *session*: a closed one's final list is believed, an open one's is a warning."""
    found: Generation | None = None
    for one in _newest_first(storage, control):
        if one.closed is None:
            if session in one.opened.buried:
                return one
        elif session in one.closed.buried:
            return one
        elif session in one.closed.buried_before:
            found = found or one  # an older one, which is looked for
        else:
            break
    return found


def await_burial(storage: Storage, control: ControlRecords, snapshot: Snapshot, operation: Operation) -> None:
    """Return if no generation buries *snapshot*; one that is about to is waited for. Raises: RepositoryError, Stopped."""
    clock = operation.clock
    until = clock.monotonic() + BURIAL_WAIT_S
    while (found := buried_by(storage, control, snapshot.id)) is not None:
        if found.closed is not None:
            raise RepositoryError(
                f"prune generation {found.number} has buried snapshot {snapshot.short_id}: a burial is final",
                hint="copies of it elsewhere are all that is left",
            )
        if clock.monotonic() >= until:
            raise RepositoryError(
                f"prune generation {found.number} is under way and may have buried snapshot {snapshot.short_id}",
                hint="run `lamina prune` until it ends, then look at `lamina snapshots`: what it spared is back",
            )
        operation.check_stop()
        clock.sleep(BURIAL_POLL_S)


def generation_session(structure_key: bytes, number: int) -> SessionId:
    """The session that packs written by a prune belong to: whoever takes the generation over goes on in its name."""
    return SessionId(derive(structure_key, "lamina/1 generation", number.to_bytes(4, "little"))[:16])


def generation_name(number: int, state: str) -> str:
    """The name of one record of a generation. Raises: Damaged for a number that no name can carry."""
    if not 0 < number <= LAST_NUMBER:
        raise Damaged(f"there is no generation {number}")
    return f"{numbered(GENERATIONS, number)}/{state}"


def missing_generations(listed: Iterable[str]) -> list[str]:
    """Names of records that must have been there once, because a later one is *listed*."""
    found = {name for name in listed if _RECORD.fullmatch(name)}
    numbers = sorted({int(name[len(GENERATIONS) :].partition("/")[0]) for name in found})
    wanted = {generation_name(number, "open") for number in numbers if number}
    wanted |= {generation_name(number, "closed") for number in numbers[:-1] if number}
    return sorted(wanted - found)


def lost_records(storage: Storage, control: ControlRecords) -> list[str]:
    """The same, for records that believed ones speak for: what is forged proves nothing. Raises: Damaged, StorageError."""
    gone = missing_generations(found.name for found in storage.objects(GENERATIONS))
    if not gone:
        return []
    opened = {one.number: one for one in _newest_first(storage, control)}
    newest = max(opened, default=0)
    lost: list[str] = []
    for name in gone:
        number, _, state = name.removeprefix(GENERATIONS).partition("/")
        closes = state == "closed" and int(number) in opened and int(number) < newest
        opens = state == "open" and read_closed(control, int(number)) is not None
        lost += [name] if closes or opens else []
    return lost


def next_number(storage: Storage, control: ControlRecords, after: int) -> int:
    """The first number behind *after* where nothing forged lies.

    A prune that has just begun there is no reason to go on: there is one generation at a time, and only one can have its
    number. Raises: Damaged, StorageError.
    """
    names = {found.name for found in storage.objects(GENERATIONS)}
    number = after + 1
    while _is_spoiled(control, number, names):
        number += 1
    return number


def _is_spoiled(control: ControlRecords, number: int, names: Collection[str]) -> bool:
    opened, closed = generation_name(number, "open"), generation_name(number, "closed")
    if opened in names:
        try:
            control.read(opened, Kind.GENERATION_OPEN, GenerationOpenRecord)
        except RecordForged:
            return True
        return False
    return closed in names and read_closed(control, number) is None


def _newest_first(storage: Storage, control: ControlRecords) -> Iterator[Generation]:
    found = (_OPEN.fullmatch(item.name) for item in storage.objects(GENERATIONS))
    for number in sorted((int(name[1]) for name in found if name), reverse=True):
        try:
            opened = control.read(generation_name(number, "open"), Kind.GENERATION_OPEN, GenerationOpenRecord)
        except RecordForged:
            continue
        yield Generation(number, opened.structure, read_closed(control, number))


def read_closed(control: ControlRecords, number: int) -> GenerationClosedRecord | None:
    """How a generation ended; None if it did not, for all that is believed. Raises: Damaged, StorageError."""
    try:
        name = generation_name(number, "closed")
        return control.read(name, Kind.GENERATION_CLOSED, GenerationClosedRecord).structure
    except (ObjectMissing, RecordForged):
        return None
