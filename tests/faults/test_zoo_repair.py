"""Every damaged repository, repaired: nothing is taken away, nothing gets worse, and what can come back does."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest

from lamina.engine.prune import PruneOptions, prune
from lamina.engine.repair import Helpers, RepairOptions, RepairReport, plan_repair, repair
from lamina.model.process import Process
from lamina.testing.damage import copy_storage
from lamina.testing.damaged import DamagedRepository, damage_kinds, damaged_repository
from lamina.testing.repositories import SmallRepository
from tests.faults.test_zoo import SOAK, animals, explained, other_damages, restorable

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


def mended(animal: DamagedRepository, helpers: Helpers | None = None) -> RepairReport | None:
    """What a repair did; None if it was refused, which only happens with an explanation."""
    small = animal.repository
    before = {item.name: small.storage.get(item.name) for item in small.storage.objects()}
    reports: list[RepairReport] = []
    explained(lambda: reports.append(run(small, helpers or Helpers())))
    after = {item.name: small.storage.get(item.name) for item in small.storage.objects()}
    assert {name: after.get(name) for name in before} == before, "a repair took something away"
    return reports[0] if reports else None


def run(small: SmallRepository, helpers: Helpers) -> RepairReport:
    repository = small.open()
    plan = plan_repair(repository, helpers, RepairOptions(), small.operation())
    try:
        return repair(repository, plan, RepairOptions(), small.operation())
    finally:
        plan.survey.close()
        repository.close()


def whole(animal: DamagedRepository) -> SmallRepository:
    """The same repository without the damage, as a mirror of the storage has it."""
    copied = SmallRepository(copy_storage(animal.repository.storage))
    DamagedRepository(
        animal.kind, copied, animal.objects, animal.contents, animal.may_lose, animal.notice, animal.before
    ).heal()
    return copied


@other_damages
def test_a_repair_makes_nothing_worse_and_brings_back_what_is_said_elsewhere(kind: str):
    for animal in animals(kind):
        before = restorable(animal)
        report = mended(animal)
        after = restorable(animal)
        assert before <= after, "a repair made it worse"
        at_end = kind.startswith("flipped") and any(one in kind for one in ENDS)
        if kind.endswith(REDUNDANT) or (kind.endswith("-pack") and at_end):
            assert report is not None
            assert after == set(animal.contents)


@kinds(lambda kind: is_replaceable(kind) or kind.startswith("missing"))
def test_a_mirror_brings_back_packs_and_what_is_missing(kind: str):
    for animal in animals(kind):
        before = restorable(animal)
        report = mended(animal, Helpers(second=whole(animal).open()))
        after = restorable(animal)
        assert before <= after
        is_missing = kind.startswith("missing") and "birth" not in kind
        if kind.endswith("-pack") or kind.endswith(REDUNDANT) or is_missing:
            assert report is not None
            assert after == set(animal.contents)


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
    assert restorable(animal) == set(animal.contents)
