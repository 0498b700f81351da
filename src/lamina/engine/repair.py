"""Mend what can be mended of a damaged repository. Nothing is ever deleted or changed: a repair only adds."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from lamina.engine.outcome import Flaw
from lamina.engine.permits import check_contents
from lamina.engine.repairing.acting import Acting
from lamina.engine.repairing.findings import (
    Helpers,
    LostContent,
    PlannedCopy,
    RepairOptions,
    RepairPlan,
    RepairReport,
)
from lamina.engine.repairing.mirror import FromMirror, Overlay, look_into_mirror
from lamina.engine.repairing.planning import (
    Search,
    View,
    broken_objects,
    damaged_snapshots,
    look,
    loss,
    needed_blobs,
)
from lamina.engine.repairing.survey import FAULTS, Survey, survey_packs
from lamina.engine.saving.dry_run import CountingPutter
from lamina.engine.verifying.findings import Problem
from lamina.errors import Damaged, FormatUnknown
from lamina.model.entries import EntryState
from lamina.model.ids import PackId
from lamina.model.operation import Operation
from lamina.model.snapshots import Snapshot
from lamina.repository.adoption import condemned_packs, is_index_whole
from lamina.repository.object_names import pack_id
from lamina.repository.repository import Repository

__all__ = [
    "Helpers",
    "LostContent",
    "PlannedCopy",
    "RepairOptions",
    "RepairPlan",
    "RepairReport",
    "plan_repair",
    "repair",
]


def plan_repair(repository: Repository, helpers: Helpers, options: RepairOptions, operation: Operation) -> RepairPlan:
    """Find out what is broken, what can be done about it, and what stays lost. Writes nothing.

    The plan holds temporary files: close its survey. Raises: NotPermitted unless this is an owner; StorageError, Stopped.
    """
    check_contents(repository)
    has_index = _load_index(repository)
    broken = tuple(broken_objects(repository, operation))
    survey = survey_packs(repository, has_index=has_index, ends_only=options.index_only, operation=operation)
    mirror = helpers.mirror_of(repository)
    fetched = look_into_mirror(repository, mirror, survey, has_index=has_index) if mirror is not None else FromMirror()
    gone = tuple(pack_id(name) for name in survey.missing if name not in fetched.packs)
    rescue = needed_blobs(survey)
    view = look(repository, survey, rescue, _overlay(repository, mirror, fetched))
    damaged = damaged_snapshots(view, repository.snapshots(), operation) if not options.index_only else []
    found, copies = Search(repository, helpers, view, operation).find(damaged)
    lost = _losses(view, damaged, operation)
    return RepairPlan(
        broken=(*broken, *_broken_packs(survey)),
        renew=repository.access.damaged,
        is_index_whole=is_index_whole(repository.access, gone),
        adopt=_to_adopt(repository, survey, fetched, has_index=has_index),
        rescue=rescue,
        mirror=fetched,
        found=tuple(found),
        copies=tuple(copies),
        lost=tuple(lost) if options.rewrite else (),
        survey=survey,
        helpers=helpers,
        damaged=tuple(damaged),
        gone=gone,
    )


def repair(repository: Repository, plan: RepairPlan, options: RepairOptions, operation: Operation) -> RepairReport:
    """Carry *plan* out; what others store meanwhile is not touched. Run again, it goes on where it was.

    Raises: StorageError, SessionAborted, NotPermitted, Stopped.
    """
    begun = operation.clock.monotonic()
    acting = Acting(repository, plan, options, operation)
    operation.progress.start("repair", None)
    renewed = repository.renew_parameters() if plan.renew else []
    acting.fetch()
    adopted = acting.adopt()
    acting.fill()
    lost = _rewrite(repository, plan, acting, options, operation)
    return RepairReport(
        renewed=tuple(renewed),
        fetched=tuple(acting.fetched),
        adopted=adopted,
        put=acting.put,
        lost=tuple(lost),
        failed=tuple(acting.failed),
        broken=plan.broken,
        duration=timedelta(seconds=operation.clock.monotonic() - begun),
    )


def _rewrite(
    repository: Repository, plan: RepairPlan, acting: Acting, options: RepairOptions, operation: Operation
) -> list[LostContent]:
    """New snapshots of what is left of those that still lack something."""
    view = look(repository, plan.survey, plan.rescue, None)
    lost: list[LostContent] = []
    for snapshot in plan.damaged:
        operation.check_stop()
        if view.is_whole(snapshot):
            continue
        if not options.rewrite:
            lost.append(LostContent(snapshot, 0, 0, ()))
            continue
        try:
            lost.append(acting.rewrite(view, snapshot))
        except (Damaged, FormatUnknown) as error:
            acting.failed.append(Problem(f"snapshot {snapshot.short_id}", error.message))
    return lost


def _load_index(repository: Repository) -> bool:
    """Whether the repository's own index can be read."""
    try:
        repository.uncached_reader()
    except FAULTS:
        return False
    return True


def _overlay(repository: Repository, mirror: Repository | None, fetched: FromMirror) -> Overlay | None:
    if mirror is None:
        return None
    return Overlay(repository.storage, mirror.storage, frozenset((*fetched.packs, *fetched.replaced)))


def _losses(view: View, damaged: Sequence[Snapshot], operation: Operation) -> list[LostContent]:
    """What would stay lost of each snapshot; nothing is stored."""
    lost: list[LostContent] = []
    for snapshot in damaged:
        if view.is_whole(snapshot):
            continue
        try:
            lost.append(loss(view, snapshot, CountingPutter(view.repository), operation)[0])
        except (Damaged, FormatUnknown) as error:
            flaw = Flaw("", EntryState.UNREAD, error.message)
            lost.append(LostContent(snapshot, 0, snapshot.size, (flaw,)))
    return lost


def _to_adopt(repository: Repository, survey: Survey, fetched: FromMirror, *, has_index: bool) -> tuple[PackId, ...]:
    """Packs that the index has to be told of: never those that a prune is about to delete."""
    packs = [*survey.unindexed, *(() if has_index else map(pack_id, fetched.packs))]
    condemned = condemned_packs(repository.access.storage, repository.access.control) if packs else frozenset()
    return tuple(pack for pack in dict.fromkeys(packs) if pack not in condemned)


def _broken_packs(survey: Survey) -> list[Problem]:
    damaged = [Problem(one.name, f"{one.what}; {len(one.saved)} chunks of it can be read") for one in survey.damaged]
    return [
        *damaged,
        *(Problem(name, "is missing, and the index says that it holds chunks") for name in survey.missing),
    ]
