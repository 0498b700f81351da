"""What a verify reports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import NamedTuple


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is not as it should be."""

    object: str  # name of the object, or `snapshot ID:PATH`
    what: str
    snapshots: tuple[str, ...] = ()  # ids of the snapshots it affects, as far as known


class Amount(NamedTuple):
    """So many packs, and their bytes."""

    packs: int = 0
    bytes: int = 0


NOTHING = Amount()


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What a verify read and found."""

    objects: int
    read: int  # bytes
    chunks: int
    snapshots: int
    duration: timedelta
    problems: tuple[Problem, ...]
    warnings: tuple[Problem, ...] = ()  # odd, but nothing is lost (left-overs of a run that was killed)
    limits: tuple[str, ...] = ()  # what this key could not check
    packs: Amount = NOTHING  # of the repository
    checked: Amount = NOTHING  # of these, what was read
    left: Amount = NOTHING  # what was chosen, and not read before the limits of time or bytes were reached
    recorded: bool = False  # what was checked stands in the repository
    distrusted: tuple[str, ...] = ()  # ids of snapshots that were marked now
    verified: tuple[str, ...] = ()  # likewise
    notes: tuple[str, ...] = ()  # what could not be written down, or is not certain
    settled: bool = True  # False: prunes got on all the time, and some problems may be owed to them


def with_snapshots(problems: Sequence[Problem], affected: Mapping[str, set[str]]) -> list[Problem]:
    """The same problems, each with the snapshots that need something from its object."""
    return [replace(one, snapshots=tuple(sorted({*one.snapshots, *affected.get(one.object, ())}))) for one in problems]
