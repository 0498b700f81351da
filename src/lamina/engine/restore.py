"""Bring the images of a snapshot back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from lamina.engine.backup import Difference
from lamina.model.operation import Operation
from lamina.model.snapshots import Snapshot
from lamina.repository.repository import Repository
from lamina.targets.target import ImageTarget, StreamTarget


@dataclass(frozen=True, slots=True)
class RestoreItem:
    """One stored image and where it goes."""

    path: str  # as stored
    size: int
    target: str  # a path, or `-`


@dataclass(frozen=True, slots=True)
class RestorePlan:
    """Which entries go where."""

    snapshot: Snapshot
    items: tuple[RestoreItem, ...]

    @property
    def size(self) -> int:
        return sum(item.size for item in self.items)


@dataclass(frozen=True, slots=True)
class RestoreReport:
    """What came of one restore."""

    size: int  # bytes of the images
    written: int  # bytes that had to be written
    kept: int  # bytes that were right already
    duration: timedelta
    verified: bool  # read back and compared
    unread: tuple[Difference, ...] = ()  # ranges the backup could not read; old content or zeros stand there


OpenTarget = Callable[[RestoreItem], ImageTarget | StreamTarget]


def plan_restore(repository: Repository, snapshot: Snapshot, path: str | None, target: str, *, is_directory: bool) -> RestorePlan:
    """Decide which entry goes where (`cp` rules: see the restore page of the manual).

    Raises: EntryMissing; UsageError if `-` would need more than one stream.
    """
    raise NotImplementedError


def restore(
    repository: Repository, plan: RestorePlan, open_target: OpenTarget, *, verify: bool, operation: Operation
) -> RestoreReport:
    """Carry *plan* out. Raises: Damaged, TargetError, StorageError, Stopped; what was written can be resumed."""
    raise NotImplementedError
