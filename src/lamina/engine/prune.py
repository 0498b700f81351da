"""Give back the space of what no snapshot needs, beside everything else that is going on.

A prune is a numbered generation (spec: generations). It says what it condemns and buries, waits until every session that may not
know of it is decided or has caught up, looks again, copies what is needed out of condemned packs, publishes the index without
them, and only then deletes. Whoever runs it again goes on where it was left, with what was said at the beginning.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from lamina.engine.pruning.choice import Rules
from lamina.engine.pruning.generation import Pruning
from lamina.engine.pruning.outlook import Outlook, look
from lamina.engine.pruning.waiting import Patience, Waited, blockers, find_dead
from lamina.errors import ObjectMissing, PruneRefused, UsageError
from lamina.model.ids import SessionId
from lamina.model.operation import Operation
from lamina.model.process import Process
from lamina.repository.access import Access
from lamina.repository.announcements import undecided
from lamina.repository.generations import Generation, newest_generation
from lamina.repository.index_records import newest_manifest
from lamina.repository.repository import Repository

FOLD_DELTAS = 32  # so many deltas of sessions that ended are worth a generation of their own


@dataclass(frozen=True, slots=True)
class PruneOptions:
    """How patient a prune is, and how much it does at once."""

    undo_window: timedelta = timedelta(days=7)  # snapshots removed for less can still be brought back afterwards
    wait: timedelta = timedelta(seconds=60)  # for sessions that have not caught up, in this run
    abort_after: timedelta = timedelta(hours=24)  # without a sign of life a session is given up
    max_repack: int | None = None  # bytes copied at most
    max_time: timedelta | None = None  # after that nothing more is copied
    threshold: float = 0.7  # packs of which a smaller share is needed are rewritten
    is_running: Callable[[Process], bool] = field(default=lambda _: True)  # of this machine


@dataclass(frozen=True, slots=True)
class Undoable:
    """Snapshots that are forgotten and stay for now: they can be brought back, and take their space until then."""

    count: int = 0
    until: datetime | None = None  # a prune after that buries the first of them


@dataclass(frozen=True, slots=True)
class PrunePlan:
    """What a prune would do now."""

    generation: int
    takes_over: bool  # a generation that another run began
    buried: tuple[SessionId, ...]
    condemned: int  # packs
    freed: int  # bytes of packs, less what is copied
    copied: int  # bytes that are read and written again, at most
    aborted: tuple[SessionId, ...]  # sessions that would be given up
    waits_for: tuple[Waited, ...]  # sessions that have to end or to catch up first
    problems: tuple[str, ...] = ()
    undoable: Undoable = Undoable()


@dataclass(frozen=True, slots=True)
class PruneReport:
    """What a prune did."""

    generation: int  # 0: there was nothing to do
    finished: bool  # False: the next prune goes on from here
    buried: tuple[SessionId, ...] = ()
    deleted: int = 0  # packs
    freed: int = 0  # bytes of them
    copied: int = 0  # bytes of what was needed of them
    aborted: tuple[SessionId, ...] = ()
    waits_for: tuple[Waited, ...] = ()
    problems: tuple[str, ...] = ()
    left: int = 0  # condemned packs that stay, for lack of time
    undoable: Undoable = Undoable()


def plan_prune(repository: Repository, process: Process, options: PruneOptions, operation: Operation) -> PrunePlan:
    """What `prune` would do now; only reads. Raises: PruneRefused, NotPermitted, Damaged, StorageError, Stopped."""
    repository.check_keeper("prune")
    _check(options)
    access = repository.access
    found = undecided(access.storage, access.control)
    dead = find_dead(access, found, _patience(process, options), operation.clock.now()).keys()
    seen = look(access, _rules(repository, options), options.undo_window, operation, dead)
    try:
        return PrunePlan(
            seen.number,
            seen.under_way is not None,
            tuple(sorted(seen.burying)),
            len(seen.condemned),
            seen.choice.freed,
            seen.choice.copied,
            tuple(sorted(dead)),
            tuple(Waited(one.session, one.started) for one in blockers(access, seen.number) if one.session not in dead),
            tuple(seen.problems),
            _undoable(seen, options),
        )
    finally:
        seen.index.close()


def prune(repository: Repository, process: Process, options: PruneOptions, operation: Operation) -> PruneReport:
    """Bury what was removed long enough ago, and give its space back; run it again at any time.

    Raises: PruneRefused (nothing was deleted), NotPermitted, Damaged, StorageError, Stopped.
    """
    repository.check_keeper("prune")
    _check(options)
    pruning = Pruning(repository.access, _patience(process, options), operation)
    pruning.finish_deletions()
    pruning.give_up_the_dead()
    while True:
        seen = _look(repository, options, operation, pruning)
        try:
            pruning.problems += seen.problems
            pruning.give_up_orphans(seen)
            undoable = _undoable(seen, options)
            if not _is_worth_it(seen):
                return _report(pruning, 0, undoable)
            generation = pruning.open(seen)
            if generation is None:
                continue  # another prune was faster: help it
            waits_for = pruning.wait(generation.number, options.wait)
            if waits_for:
                return _report(pruning, generation.number, undoable, waits_for)
            pruning.carry_out(generation, seen, options.max_time)
            return _report(pruning, generation.number, undoable)
        finally:
            seen.index.close()


def _look(repository: Repository, options: PruneOptions, operation: Operation, pruning: Pruning) -> Outlook:
    """Look until what was seen is of one moment; a generation under way that makes no sense any more is called off."""
    access = repository.access
    while True:
        before = _how_far(access)
        try:
            return look(access, _rules(repository, options), options.undo_window, operation)
        except (PruneRefused, ObjectMissing):
            now = _how_far(access)
            if now != before:
                continue  # another prune went on meanwhile
            generation, _ = now
            if generation is not None and generation.closed is None:
                pruning.call_off(generation)
            raise


def _how_far(access: Access) -> tuple[Generation | None, int]:
    """How far prunes have come: the newest generation, and the number of the newest manifest. Raises: Damaged, StorageError."""
    manifest = newest_manifest(access.storage, access.control)
    return newest_generation(access.storage, access.control), manifest.number if manifest is not None else 0


def _undoable(seen: Outlook, options: PruneOptions) -> Undoable:
    removed = [one.removed_at for session, one in seen.committed.items() if session not in seen.burying]
    until = [when + options.undo_window for when in removed if when is not None]
    return Undoable(len(until), min(until, default=None))


def _report(pruning: Pruning, generation: int, undoable: Undoable, waits_for: tuple[Waited, ...] = ()) -> PruneReport:
    return PruneReport(
        generation=generation,
        finished=not waits_for,
        buried=pruning.buried,
        deleted=pruning.deleted,
        freed=pruning.freed,
        copied=pruning.copied,
        aborted=tuple(sorted(pruning.aborted)),
        waits_for=waits_for,
        problems=tuple(pruning.problems),
        left=pruning.left,
        undoable=undoable,
    )


def _is_worth_it(seen: Outlook) -> bool:
    return bool(seen.under_way or seen.burying or seen.condemned or seen.deltas >= FOLD_DELTAS)


def _patience(process: Process, options: PruneOptions) -> Patience:
    return Patience(process, options.is_running, options.abort_after)


def _rules(repository: Repository, options: PruneOptions) -> Rules:
    record = repository.access.format
    return Rules(options.threshold, options.max_repack, record.data_pack, record.meta_pack)


def _check(options: PruneOptions) -> None:
    if not 0 <= options.threshold <= 1:
        raise UsageError("the share below which packs are rewritten is a number from 0 to 1")
