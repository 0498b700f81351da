"""What a prune sees before it acts: reads only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from lamina.engine.pruning.choice import Choice, Rules, choose
from lamina.errors import Damaged, FormatUnknown, ObjectMissing, PruneRefused
from lamina.model.ids import PackId, SessionId
from lamina.model.operation import Operation
from lamina.model.snapshots import Role
from lamina.repository.access import Access
from lamina.repository.committed import Committed, read_committed
from lamina.repository.generations import (
    Generation,
    all_buried,
    due_of,
    generation_session,
    last_closed,
    lost_records,
    newest_generation,
    next_number,
)
from lamina.repository.index import Index
from lamina.repository.index_records import CountedRecords, read_delta
from lamina.repository.liveness import Liveness
from lamina.repository.moving import read_header
from lamina.repository.object_names import SESSIONS, SNAPSHOTS, delta_session, find_pack, snapshot_name, start_name
from lamina.repository.pack_use import PackUse, StoredPack, list_packs, survey
from lamina.repository.tables import Table


@dataclass(slots=True)
class Outlook:
    """The repository as a prune finds it."""

    number: int  # of the generation to come, or of the one that is taken over
    under_way: Generation | None
    last: Generation | None  # the newest that is closed
    committed: dict[SessionId, Committed]  # without those buried before
    burying: frozenset[SessionId]
    index: Index
    live: Liveness
    listed: dict[PackId, StoredPack]
    decided: frozenset[str]  # names of decisions, listed before `committed` was read
    choice: Choice = field(default_factory=Choice)
    deltas: int = 0  # of decided sessions: they can be folded
    orphans: dict[SessionId, str] = field(default_factory=dict)  # never announced, with the name of a pack they wrote
    problems: list[str] = field(default_factory=list)

    @property
    def condemned(self) -> frozenset[PackId]:
        """The packs of the generation."""
        if self.under_way is not None:
            return frozenset(PackId(pack) for pack in self.under_way.opened.condemned)
        return frozenset(one.id for one in self.choice.packs)


def look(
    access: Access,
    rules: Rules,
    undo_window: timedelta,
    operation: Operation,
    given_up: AbstractSet[SessionId] = frozenset(),
) -> Outlook:
    """Read what a prune has to know, and choose what it condemns; sessions that are *given_up* count as decided.

    Raises: PruneRefused, Damaged, StorageError, Stopped.
    """
    operation.progress.start("look", None)
    seen = _look_at_snapshots(access, undo_window, operation)
    try:
        operation.progress.start("mark", None)
        mark_all(seen.live, seen.committed, seen.burying)
        _check_count(access, seen)
        counted = CountedRecords(access.storage, access.control)
        named = _check_deltas(access, counted)
        seen.deltas = sum(delta_session(name) not in counted.undecided for name in counted.deltas)
        table = seen.index.join()
        _check_packs(table, seen.listed, named)
        uses = survey(table, seen.live, seen.listed, trust_copies=access.role is Role.OWNER)
        if seen.under_way is None:
            seen.choice = choose(uses, _Decided(access, seen, given_up).may_go, rules)
        else:
            seen.choice = _condemned_before(uses, seen.condemned)
    except BaseException:
        seen.index.close()
        raise
    return seen


def mark_all(live: Liveness, committed: Mapping[SessionId, Committed], buried: AbstractSet[SessionId]) -> None:
    """Mark what all snapshots need that are not buried; those removed of late are not. Raises: PruneRefused, StorageError."""
    for session, one in committed.items():
        if session in buried:
            continue
        try:
            live.mark(one.root)
        except PruneRefused as error:
            error.say_too(f"snapshot {session.hex()[:16]} needs it; nothing was deleted")
            raise


def _look_at_snapshots(access: Access, undo_window: timedelta, operation: Operation) -> Outlook:
    storage, control = access.storage, access.control
    _check_generations(access)
    newest, last = newest_generation(storage, control), last_closed(storage, control)
    under_way = newest if newest is not None and newest.closed is None else None
    decided = frozenset(found.name for found in storage.objects(SNAPSHOTS))
    committed = read_committed(storage, control, all_buried(last))
    for generation in (last, under_way):
        check_committed(generation, committed, all_buried(last))
    if under_way is not None:
        burying = frozenset(SessionId(session) for session in under_way.opened.buried)
    else:
        burying = frozenset(_long_removed(committed, operation.clock.now() - undo_window))
    index = Index(None, operation.progress.message)  # a cache may be wrong: what is deleted here is gone
    try:
        index.load(storage, control)
        index.join()
        live = Liveness(access, index, operation.check_stop)
        listed = list_packs(storage)  # after the index: a pack is there before a record names it
    except BaseException:
        index.close()
        raise
    for name in due_of(last):
        if (pack := find_pack(name)) is not None:
            listed.pop(pack, None)
    problems = [
        f"snapshot {session.hex()[:8]} is forgotten, and stays: {one.spared}"
        for session, one in committed.items()
        if one.spared
    ]
    number = (
        under_way.number if under_way is not None else next_number(storage, control, newest.number if newest else 0)
    )
    return Outlook(number, under_way, last, committed, burying, index, live, listed, decided, problems=problems)


def _long_removed(committed: Mapping[SessionId, Committed], before: datetime) -> Iterable[SessionId]:
    return (s for s, one in committed.items() if one.removed_at is not None and one.removed_at <= before)


def _check_generations(access: Access) -> None:
    """No record of a prune is gone: the number of one whose beginning is gone would be used again. Raises: PruneRefused."""
    gone = lost_records(access.storage, access.control)
    if gone:
        raise PruneRefused(
            f"{gone[0]} is not there any more, and later records of prunes say that it was",
            hint="put it back from a copy of the storage; without it nobody can know what was condemned and buried",
        )


def check_committed(
    generation: Generation | None, committed: Mapping[SessionId, Committed], buried: AbstractSet[SessionId]
) -> None:
    """Whoever was committed once is there or buried: a listing that leaves him out proves nothing. Raises: PruneRefused."""
    for session in generation.opened.committed if generation is not None else ():
        if session not in committed and session not in buried:
            raise PruneRefused(
                f"snapshot {session.hex()[:16]} was there at the last prune and is not any more, and nobody buried it",
                hint="the storage leaves objects out of its lists, or somebody deleted them: compare it with a copy",
            )


def _check_count(access: Access, seen: Outlook) -> None:
    """As long as no snapshot went, what they need cannot become less. Raises: PruneRefused."""
    if seen.last is None:
        return
    before = read_evidence(seen.last.opened.evidence)
    marked = set(seen.committed) - seen.burying
    marked_before = {SessionId(session) for session in seen.last.opened.committed} - set(seen.last.opened.buried)
    comparable = before.get("role") in {
        access.role.value,
        Role.OWNER.value,
    }  # a steward believes more, an owner the truth
    if comparable and marked >= marked_before and seen.live.count < int(before.get("chunks", "0")):
        raise PruneRefused(
            f"the snapshots of the last prune needed {before['chunks']} chunks, and all there are now need"
            f" {seen.live.count}",
            hint="run `lamina verify`; and then `lamina prune` with an owner's key, which knows lies from what is true",
        )


def evidence(access: Access, seen: Outlook) -> str:
    """What the choice rests on."""
    size = sum(one.size for one in seen.listed.values())
    return f"role={access.role.value} chunks={seen.live.count} packs={len(seen.listed)} bytes={size}"


def read_evidence(text: str) -> dict[str, str]:
    """The same, taken apart.

    >>> read_evidence("role=owner chunks=7")
    {'role': 'owner', 'chunks': '7'}
    """
    parts = (item.partition("=") for item in text.split())
    return {key: value for key, _, value in parts}


def _check_deltas(access: Access, counted: CountedRecords) -> set[PackId]:
    """The packs that deltas name. Raises: PruneRefused if one of a committed session cannot be read."""
    named: set[PackId] = set()
    for name in counted.deltas:
        try:
            record = read_delta(access.storage, access.control, name)
        except ObjectMissing:
            continue  # folded in this moment: its packs are named by a segment now
        except Damaged as error:
            if delta_session(name) in counted.committed:
                raise PruneRefused(
                    f"{error.message}; nothing was deleted", hint="`lamina repair` makes it anew"
                ) from error
            continue
        named.update(PackId(pack.id) for pack in (record.packs if record else ()))
    return named


def _check_packs(table: Table | None, listed: Mapping[PackId, StoredPack], claimed: AbstractSet[PackId]) -> None:
    """Every pack of a segment is there; what only deltas say is the word of a writer. Raises: PruneRefused."""
    missing = [one for one in (table.packs if table else ()) if one.id not in listed and one.id not in claimed]
    if missing:
        raise PruneRefused(
            f"{len(missing)} packs that the index names are not there, {missing[0].name} is one; nothing was deleted",
            hint="the storage leaves objects out of its lists, or lost them: `lamina verify` says what is hurt,"
            " `lamina repair` takes them out of the index",
        )


def _condemned_before(uses: Iterable[PackUse], condemned: AbstractSet[PackId]) -> Choice:
    """The choice of whoever began the generation that is taken over."""
    packs = [one for one in uses if one.id in condemned]
    return Choice(tuple(one for one in packs if one.is_empty), tuple(one for one in packs if not one.is_empty))


class _Decided:
    """Whether the session that wrote a pack is decided: only then all of its chunks are known."""

    def __init__(self, access: Access, seen: Outlook, given_up: AbstractSet[SessionId]) -> None:
        self._access = access
        self._seen = seen
        self._given_up = given_up
        self._announced = {found.name for found in access.storage.objects(SESSIONS)}
        self._prunes = {generation_session(access.structure_key, number) for number in range(1, seen.number)}

    def may_go(self, one: PackUse) -> bool:
        try:
            session = read_header(self._access, one.id, meta=one.meta).session
        except (
            Damaged,
            FormatUnknown,
            ObjectMissing,
        ) as error:  # anybody can put junk that looks like of a newer Lamina
            self._seen.problems.append(f"{one.name} stays: {error.message}")
            return False
        if session in self._prunes or session in self._given_up or snapshot_name(session) in self._seen.decided:
            return True
        if start_name(session) not in self._announced:
            self._seen.orphans[session] = one.name
        return False
