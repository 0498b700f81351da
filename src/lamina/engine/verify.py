"""Read and check everything a repository holds."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from lamina.model.operation import Operation
from lamina.repository.repository import Repository


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is not as it should be."""

    object: str  # name of the object, or `snapshot ID:PATH`
    what: str
    snapshots: tuple[str, ...] = ()  # ids of the snapshots it affects, as far as known


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


def verify(repository: Repository, operation: Operation) -> VerifyReport:
    """Check every object, committed or not, and every chunk of every snapshot as deep as this key can."""
    raise NotImplementedError
