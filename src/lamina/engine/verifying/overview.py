"""How much of a repository was verified when, as is recorded in it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from lamina.engine.verifying.findings import Amount
from lamina.model.operation import Operation
from lamina.repository.coverage import Coverage, Depth
from lamina.repository.format import Kind
from lamina.repository.inspection import kinds_of
from lamina.repository.object_names import pack_id
from lamina.repository.repository import Repository
from lamina.storage.storage import StoredObject

AGES = (timedelta(days=1), timedelta(days=7), timedelta(days=30), timedelta(days=90), timedelta(days=365))


@dataclass(frozen=True, slots=True)
class DepthCoverage:
    """What was verified at one depth, or deeper."""

    depth: Depth
    within: tuple[tuple[timedelta, Amount], ...]  # so many packs were checked no longer ago than that
    ever: Amount
    never: Amount
    oldest: datetime | None  # check of a pack that was not checked again since; None: no pack was checked


@dataclass(frozen=True, slots=True)
class CoverageReport:
    """How much was verified when."""

    packs: Amount
    depths: tuple[DepthCoverage, ...]


def read_coverage(repository: Repository, operation: Operation) -> CoverageReport:
    """What is recorded of the packs that are there. Raises: StorageError."""
    now = operation.clock.now()
    coverage = Coverage()
    coverage.load(repository.access, now)
    packs = [item for item in repository.storage.objects() if kinds_of(item.name) == {Kind.PACK}]
    return CoverageReport(_amount(packs), tuple(_at(depth, packs, coverage, now) for depth in Depth))


def _at(depth: Depth, packs: list[StoredObject], coverage: Coverage, now: datetime) -> DepthCoverage:
    times = {item.name: coverage.verified(pack_id(item.name), depth) for item in packs}
    known = [time for time in times.values() if time is not None]
    within = tuple(
        (age, _amount(item for item in packs if (time := times[item.name]) is not None and now - time <= age))
        for age in AGES
    )
    ever = _amount(item for item in packs if times[item.name] is not None)
    never = _amount(item for item in packs if times[item.name] is None)
    return DepthCoverage(depth, within, ever, never, min(known, default=None))


def _amount(packs: Iterable[StoredObject]) -> Amount:
    sizes = [item.size for item in packs]
    return Amount(len(sizes), sum(sizes))
