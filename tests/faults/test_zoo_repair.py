"""Every damaged repository, repaired: nothing is taken away, nothing gets worse, and what can come back does."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

import pytest

from lamina.engine.prune import PruneOptions, prune
from lamina.engine.repair import Helpers, RepairOptions, RepairReport, plan_repair, repair
from lamina.errors import RepositoryError
from lamina.model.process import Process
from lamina.testing.damaged import DamagedRepository, damage_kinds, damaged_repository, whole_repository
from lamina.testing.repositories import SmallRepository
from tests.faults.test_zoo import NEWS, SOAK, animals, explained, other_damages, readable, restorable

# Whatever is damaged in these, something else says the same: all comes back without any help.
REDUNDANT = ("delta", "segment", "manifest", "format", "epoch", "slot")
# The end of a pack says nothing that its blobs and other objects do not say.
ENDS = ("footer", "trailer")
# Nothing may be put in place of what is damaged there; a copy of the storage gives these back by hand.
IRREPLACEABLE = ("birth", "start", "snapshot", "abort", "generation", "caught-up", "attributes", "removal")


def kinds(choose: Callable[[str], bool]) -> pytest.MarkDecorator:
    """Those damages that *choose* takes; where we soak, all."""
    return pytest.mark.parametrize("kind", [kind for kind in damage_kinds() if SOAK or choose(kind)])


def is_replaceable(kind: str) -> bool:
    return kind.endswith(("-pack", *REDUNDANT)) and kind.startswith(("missing", "swapped", "flipped-body"))


def mended(animal: DamagedRepository, mirror: SmallRepository | None = None) -> RepairReport | None:
    """What a repair did; None if it was refused, which only happens with an explanation."""
    before = objects(animal.repository)
    reports: list[RepairReport] = []
    refused = explained(lambda: reports.append(run(animal.repository, mirror)))
    assert refused is None or isinstance(refused, RepositoryError)
    after = objects(animal.repository)
    assert {name: after.get(name) for name in before} == before, "a repair took something away"
    return reports[0] if reports else None


def run(small: SmallRepository, mirror: SmallRepository | None) -> RepairReport:
    with ExitStack() as stack:
        repository, second = small.open(), mirror.open() if mirror else None
        stack.callback(repository.close)
        if second:
            stack.callback(second.close)
        before = objects(small)
        plan = plan_repair(repository, Helpers(second), RepairOptions(), small.operation())
        stack.callback(plan.survey.close)
        assert objects(small) == before, "a plan wrote something"
        return repair(repository, plan, RepairOptions(), small.operation())


def objects(small: SmallRepository) -> dict[str, bytes]:
    return {item.name: small.storage.get(item.name) for item in small.storage.objects()}


@other_damages
def test_a_repair_makes_nothing_worse_and_brings_back_what_is_said_elsewhere(kind: str):
    for animal in animals(kind):
        before = readable(animal)
        report = mended(animal)
        assert before <= readable(animal), "a repair made it worse"
        at_end = kind.startswith("flipped") and any(one in kind for one in ENDS)
        if kind.endswith(REDUNDANT) or (kind.endswith("-pack") and at_end):
            assert report is not None
            assert restorable(animal) == set(animal.contents)
        if kind.endswith(REDUNDANT):
            animal.repository.back_up(NEWS, name="shared")  # it is not only for reading


@other_damages
def test_with_a_copy_of_the_storage_a_repair_brings_back_everything(kind: str):
    for animal in animals(kind):
        mended(animal, whole_repository())
        if kind.endswith("-snapshot") and not kind.startswith(("missing", "duplicated")):
            continue  # its name is taken by what is damaged: the manual says to delete that first
        assert restorable(animal) == set(animal.contents)


@kinds(is_replaceable)
def test_a_prune_after_a_repair_loses_nothing(kind: str):
    for animal in animals(kind):
        if mended(animal) is None:
            continue
        before = restorable(animal)
        for _ in range(2):
            explained(partial(run_prune, animal.repository))
        assert before <= restorable(animal), "a prune lost what a repair had brought back"


def run_prune(small: SmallRepository) -> None:
    repository = small.open()
    try:
        prune(repository, Process(), PruneOptions(), small.operation())
    finally:
        repository.close()


@kinds(lambda kind: kind.startswith("flipped-body") and kind.endswith(IRREPLACEABLE))
def test_what_cannot_be_replaced_comes_back_by_hand(kind: str):
    animal = damaged_repository(kind)
    mended(animal)
    animal.heal()
    if kind.startswith("missing") and kind.endswith("-pack"):
        mended(animal)  # the first repair made an index without it
    assert restorable(animal) == set(animal.contents)
