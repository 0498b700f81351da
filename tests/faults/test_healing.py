"""Damage is marked, healed by the next backup, and forgotten once it is healed."""

from __future__ import annotations

import random
from typing import Any

import pytest

from lamina.engine.verify import VerifyOptions, VerifyReport, verify
from lamina.errors import LaminaError
from lamina.model.snapshots import Trust
from lamina.testing.damage import flip_bit
from lamina.testing.repositories import CHUNK, SmallRepository

FIRST = random.Random(1).randbytes(4 * CHUNK)
OTHER = random.Random(2).randbytes(2 * CHUNK)


@pytest.fixture
def small() -> SmallRepository:
    """Two snapshots of one image, one of another; not verified in the end, as tests damage it."""
    repository = SmallRepository()
    repository.back_up(FIRST)
    repository.back_up(FIRST)
    repository.back_up(OTHER, name="other")
    return repository


def check(small: SmallRepository, holder: str = "owner", **options: Any) -> VerifyReport:
    repository = small.open(holder)
    try:
        return verify(repository, small.operation(), VerifyOptions(**{"record": True, "mark": True, **options}))
    finally:
        repository.close()


def largest(small: SmallRepository, folder: str = "data/") -> str:
    """The pack that holds most."""
    return max(small.storage.objects(folder), key=lambda item: item.size).name


def trust(small: SmallRepository) -> list[Trust]:
    return [one.trust for one in small.snapshots()]


def test_verify_marks_the_snapshots_that_need_what_is_damaged_and_no_others(small: SmallRepository):
    lost = largest(small)
    flip_bit(small.storage, lost, 1000)
    report = check(small)
    first, second, other = small.snapshots()
    assert set(report.distrusted) == {first.id.hex(), second.id.hex()}
    assert [first.trust, second.trust, other.trust] == [Trust.DISTRUSTED, Trust.DISTRUSTED, Trust.VERIFIED]
    assert lost in first.note
    assert first.damaged
    again = check(small)
    assert again.distrusted == ()
    assert small.snapshots()[0].note == first.note


@pytest.mark.parametrize("options", [{"mark": False}, {"mark": False, "structure_only": True}])
def test_nothing_is_marked_unless_it_is_wanted(small: SmallRepository, options: dict[str, Any]):
    small.storage.delete(largest(small))
    assert check(small, **options).problems
    assert Trust.DISTRUSTED not in trust(small)


def test_a_writer_marks_nothing(small: SmallRepository):
    flip_bit(small.storage, largest(small), 1000)
    assert check(small, "writer").problems
    assert Trust.DISTRUSTED not in trust(small)


@pytest.mark.parametrize("damage", ["flipped", "lost"])
@pytest.mark.parametrize(("finder", "healer"), [("owner", "owner"), ("steward", "writer"), ("steward", "owner")])
def test_damage_is_marked_healed_and_then_no_problem_any_more(
    small: SmallRepository, damage: str, finder: str, healer: str
):
    lost = largest(small)
    if damage == "lost":
        small.storage.delete(lost)
    else:
        flip_bit(small.storage, lost, 1000)
    assert check(small, finder).distrusted
    with pytest.raises(LaminaError):
        small.restore("vm@latest")
    small.back_up(FIRST, holder=healer)
    assert small.restore("vm@latest") == FIRST
    assert small.restore("vm@latest~1") == FIRST
    report = check(small)
    assert report.problems == ()
    assert [warning.object for warning in report.warnings] == [lost]
    assert "whole copies" in report.warnings[0].what
    assert Trust.DISTRUSTED not in trust(small)
    assert not any(one.is_doubtful for one in small.snapshots())


def test_damaged_metadata_is_healed_too(small: SmallRepository):
    for item in list(small.storage.objects("meta/")):
        flip_bit(small.storage, item.name, 300)
    assert len(check(small).distrusted) == 3
    small.back_up(FIRST)
    small.back_up(OTHER, name="other")
    assert small.restore("vm@latest") == FIRST
    report = check(small)
    assert {snapshot for problem in report.problems for snapshot in problem.snapshots} == set()


def test_a_steward_forgives_what_a_steward_found(small: SmallRepository):
    lost = largest(small)
    whole = small.storage.get(lost)
    flip_bit(small.storage, lost, 1000)
    assert check(small, "steward").distrusted
    small.storage.delete(lost)
    small.storage.put(lost, [whole])  # somebody brought it back from a copy of the storage
    assert check(small, "steward").problems == ()
    assert trust(small) == [Trust.FRESH, Trust.FRESH, Trust.VERIFIED]


def test_a_steward_does_not_forgive_what_an_owner_found(small: SmallRepository):
    lost = largest(small)
    whole = small.storage.get(lost)
    flip_bit(small.storage, lost, 1000)
    check(small)
    small.storage.delete(lost)
    small.storage.put(lost, [whole])
    check(small, "steward")
    assert trust(small)[0] is Trust.DISTRUSTED
    check(small)
    assert trust(small) == [Trust.VERIFIED] * 3


def test_what_an_owner_found_too_a_steward_does_not_forgive_either(small: SmallRepository):
    lost = largest(small)
    whole = small.storage.get(lost)
    flip_bit(small.storage, lost, 1000)
    assert check(small, "steward").distrusted
    assert check(small).distrusted == ()
    small.storage.delete(lost)
    small.storage.put(lost, [whole])
    check(small, "steward")
    assert trust(small)[0] is Trust.DISTRUSTED
    check(small)
    assert trust(small)[0] is Trust.VERIFIED


def test_a_snapshot_that_differs_from_its_source_stays_distrusted_however_whole_it_is(small: SmallRepository):
    repository = small.open()
    repository.edit(repository.find_snapshot("other@latest"), trust=Trust.DISTRUSTED, note="differs from its source")
    repository.close()
    check(small)
    (other,) = [one for one in small.snapshots() if one.name == "other"]
    assert (other.trust, other.note) == (Trust.DISTRUSTED, "differs from its source")


def test_damage_is_said_beside_what_was_noted_before(small: SmallRepository):
    repository = small.open()
    repository.edit(repository.find_snapshot("vm@latest"), note="before the upgrade")
    repository.close()
    flip_bit(small.storage, largest(small), 1000)
    check(small)
    assert small.snapshots()[1].note.startswith("before the upgrade; damaged: data/")


def test_a_damaged_footer_costs_no_snapshot_but_is_named(small: SmallRepository):
    lost = largest(small)
    flip_bit(small.storage, lost, -30)
    report = check(small)
    assert [(problem.object, problem.snapshots) for problem in report.problems] == [(lost, ())]
    assert Trust.DISTRUSTED not in trust(small)
    assert small.restore("vm@latest") == FIRST
