"""Omissions, planted one at a time: each takes one rule of the protocol out of the real code.

A simulator that does not find every one of them would prove nothing by finding nothing else. `tests/simulation/test_plants.py`
holds it to that, and docs/concepts/proof.md says how often each was found.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from typing import Any
from unittest.mock import patch

from lamina.engine.pruning import generation as pruning
from lamina.engine.pruning import outlook, waiting
from lamina.engine.pruning.outlook import mark_all
from lamina.engine.pruning.rescue import Rescue, Rescuer
from lamina.errors import ObjectExists, ObjectMissing, StorageUnavailable
from lamina.model.snapshots import Role, Snapshot
from lamina.repository import control, sessions
from lamina.repository.decisions import decide_abort
from lamina.repository.format import Kind
from lamina.repository.generations import Generations, read_generations
from lamina.repository.index_records import CountedRecords
from lamina.repository.object_names import snapshot_name
from lamina.repository.repository import Repository
from lamina.repository.sessions import Parent, Session, SnapshotFacts, say_caught_up
from lamina.storage.retrying import Retrying
from lamina.storage.storage import StoredObject
from lamina.testing.simulated_storage import Disk

Plant = Callable[[ExitStack], None]
PLANTS: dict[str, Plant] = {}


@contextmanager
def planted(name: str) -> Iterator[None]:
    """Inside this block one rule is left out. Raises: KeyError."""
    with ExitStack() as stack:
        PLANTS[name](stack)
        yield


def plant(function: Plant) -> Plant:
    """Give an omission its name: that of the function, with blanks."""
    PLANTS[function.__name__.strip("_").replace("_", " ")] = function
    return function


# storage


@plant
def _no_fsync(stack: ExitStack) -> None:
    """A put is acknowledged before the disk has it."""
    stack.enter_context(patch.object(Disk, "make_durable", lambda *_: None))


@plant
def _error_read_as_absence(stack: ExitStack) -> None:
    """A storage that does not answer counts as one that has nothing (restic 4612, kopia 5217)."""

    def get(storage: Retrying, *where: Any) -> bytes:
        try:
            return storage._storage.get_range(*where) if len(where) > 1 else storage._storage.get(*where)
        except StorageUnavailable as error:
            raise ObjectMissing(where[0]) from error

    def stat(storage: Retrying, name: str) -> StoredObject:
        try:
            return storage._storage.stat(name)
        except StorageUnavailable as error:
            raise ObjectMissing(name) from error

    def objects(storage: Retrying, prefix: str = "") -> Iterator[StoredObject]:
        try:
            return storage._storage.objects(prefix)
        except StorageUnavailable:
            return iter([])

    for name, method in (("get", get), ("get_range", get), ("stat", stat), ("objects", objects)):
        stack.enter_context(patch.object(Retrying, name, method))


@plant
def _commit_overwrites(stack: ExitStack) -> None:
    """The snapshot is put whatever is there, an abort marker for example."""
    write = control.ControlRecords.write

    def overwrite(records: control.ControlRecords, kind: Kind, name: str, *rest: Any, **more: Any) -> None:
        if kind is Kind.SNAPSHOT:
            records._storage.delete(name)
        write(records, kind, name, *rest, **more)

    stack.enter_context(patch.object(control.ControlRecords, "write", overwrite))


# writers


@plant
def _index_published_after_the_commit(stack: ExitStack) -> None:
    """The snapshot is there before anybody can know where its chunks are."""

    def commit(session: Session, facts: SnapshotFacts) -> None:
        session.writer.flush()
        session.catch_up()
        name = snapshot_name(session.id)
        session._access.control.write(Kind.SNAPSHOT, name, session._record(facts), session._body(facts))
        session._publish()

    stack.enter_context(patch.object(Session, "commit", commit))


@plant
def _condemned_packs_not_avoided(stack: ExitStack) -> None:
    """A writer deduplicates against packs that a prune is about to delete."""

    def read(*arguments: Any) -> Generations:
        return replace(read_generations(*arguments), condemned=frozenset())

    stack.enter_context(patch.object(sessions, "read_generations", read))


@plant
def _no_comparison_at_refresh(stack: ExitStack) -> None:
    """A writer says that it caught up, and did not look what it uses."""

    def catch_up(session: Session) -> None:
        generations = read_generations(session._access.storage, session._access.control)
        if generations.newest > session._caught_up:
            say_caught_up(session._access, session.id, generations.newest)
            session._caught_up = generations.newest

    stack.enter_context(patch.object(Session, "catch_up", catch_up))


@plant
def _parent_not_looked_at_again(stack: ExitStack) -> None:
    """What a parent refers to is believed to stay, whatever became of the parent."""

    def rely_on(session: Session, parent: Parent) -> bool:
        session.parents.append(replace(parent, still_there=lambda: True))
        return True

    stack.enter_context(patch.object(Session, "rely_on", rely_on))


@plant
def _generation_read_again_neither_after_the_start_nor_before_the_commit(stack: ExitStack) -> None:
    """A prune that began while the session announced itself is overlooked. Either look alone finds it."""
    kept: dict[int, Generations] = {}  # by who asks

    def read(storage: Any, records: control.ControlRecords) -> Generations:
        if sys._getframe(1).f_code.co_name != "announce":
            return read_generations(storage, records)
        if id(records) in kept:
            return kept.pop(id(records))
        kept[id(records)] = read_generations(storage, records)
        return kept[id(records)]

    def commit(session: Session, facts: SnapshotFacts) -> None:
        session.writer.flush()
        session._publish()
        name = snapshot_name(session.id)
        session._access.control.write(Kind.SNAPSHOT, name, session._record(facts), session._body(facts))

    stack.enter_context(patch.object(sessions, "read_generations", read))
    stack.enter_context(patch.object(Session, "commit", commit))


@plant
def _caught_up_said_too_early(stack: ExitStack) -> None:
    """A writer says that it caught up, and only then copies what it needs."""
    catch_up = Session.catch_up

    def hasty(session: Session) -> None:
        generations = read_generations(session._access.storage, session._access.control)
        if generations.newest > session._caught_up:
            say_caught_up(session._access, session.id, generations.newest)
        catch_up(session)

    def once(access: Any, session: Any, generation: int) -> None:
        with suppress(ObjectExists):
            say_caught_up(access, session, generation)

    stack.enter_context(patch.object(Session, "catch_up", hasty))
    stack.enter_context(patch.object(sessions, "say_caught_up", once))


@plant
def _deltas_of_aborted_sessions_used(stack: ExitStack) -> None:
    """A writer deduplicates against what an aborted session wrote."""
    stack.enter_context(patch.object(CountedRecords, "doubtful_packs", lambda _: frozenset()))


# prunes


@plant
def _no_waiting_for_old_sessions(stack: ExitStack) -> None:
    """A prune deletes while sessions that know nothing of it are still writing."""
    stack.enter_context(patch.object(pruning.Pruning, "wait", lambda *_: ()))


@plant
def _no_second_mark(stack: ExitStack) -> None:
    """What was committed or brought back while the prune waited is not looked at."""
    stack.enter_context(patch.object(pruning, "mark_all", lambda *_: None))


@plant
def _removed_meanwhile_counts_as_dead(stack: ExitStack) -> None:
    """A snapshot that came and was removed while the prune waited is not marked, although it was not buried."""

    def mark(live: Any, committed: Any, buried: Any) -> None:
        mark_all(live, {session: one for session, one in committed.items() if one.removed_at is None}, buried)

    stack.enter_context(patch.object(pruning, "mark_all", mark))


@plant
def _no_copying_of_live_blobs(stack: ExitStack) -> None:
    """Condemned packs are deleted with what is needed of them."""
    stack.enter_context(patch.object(Rescuer, "empty", lambda *_: Rescue()))


@plant
def _removals_not_read_again(stack: ExitStack) -> None:
    """What was brought back after the prune looked, and before it said so, is buried."""
    stack.enter_context(patch.object(pruning, "still_removed", lambda opened, _: set(opened.buried)))


@plant
def _tombstones_of_today(stack: ExitStack) -> None:
    """A prune buries what is removed when it acts, not what it said that it would."""

    def removed(_: Any, committed: Any) -> set[Any]:
        return {session for session, one in committed.items() if one.removed_at is not None}

    stack.enter_context(patch.object(pruning, "still_removed", removed))


@plant
def _packs_of_undecided_sessions_condemned(stack: ExitStack) -> None:
    """A prune takes what a session has stored and not referred to yet."""
    stack.enter_context(patch.object(outlook._Decided, "may_go", lambda *_: True))


@plant
def _two_generations_at_once(stack: ExitStack) -> None:
    """A prune takes a number behind one that another prune has just begun (the simulator found that in an early version)."""

    def behind_all(storage: Any, _: Any, after: int) -> int:
        numbers = [int(found.name.split("/")[1]) for found in storage.objects("generations/")]
        return max([after, *numbers]) + 1

    for module in (outlook, pruning):
        stack.enter_context(patch.object(module, "next_number", behind_all))


@plant
def _abort_overwrites(stack: ExitStack) -> None:
    """The abort marker is put whatever is there, a snapshot for example."""

    def decide(records: control.ControlRecords, session: Any, record: Any) -> None:
        records._storage.delete(snapshot_name(session))
        decide_abort(records, session, record)

    stack.enter_context(patch.object(waiting, "decide_abort", decide))


# keepers


@plant
def _naive_undo(stack: ExitStack) -> None:
    """Who brings a snapshot back does not look whether a prune has buried it."""

    def unforget(repository: Repository, snapshot: Snapshot) -> Snapshot:
        repository._put_removal(snapshot, removed=False)
        return replace(snapshot, removed=False)

    stack.enter_context(patch.object(Repository, "unforget", unforget))


@plant
def _tombstones_of_anybody_believed(stack: ExitStack) -> None:
    """Whoever has any key may remove snapshots."""
    stack.enter_context(patch.dict(control.MAY_WRITE, {Kind.REMOVAL: frozenset(Role)}))
