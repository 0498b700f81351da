"""Back up images into a repository."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum

from lamina.model.ids import SessionId
from lamina.model.operation import Operation
from lamina.model.snapshots import Snapshot, Statistics
from lamina.repository.repository import Repository
from lamina.sources.hints import ChangedRanges
from lamina.sources.source import ImageSource, StreamSource


class VerifyMode(Enum):
    """How much of a fresh backup is compared with its source."""

    ADAPTIVE = "adaptive"  # all of a regular file; a sample of devices, streams that can be read again, hinted sources
    FULL = "full"
    SAMPLE = "sample"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Input:
    """One source and the path it is stored under (relative, `/`-separated, no `..`)."""

    path: str
    source: ImageSource | StreamSource
    hints: ChangedRanges | None = None  # None: nothing is known; empty ranges: nothing changed


@dataclass(frozen=True, slots=True)
class BackupOptions:
    """What the user wants of one backup."""

    name: str
    host: str = ""
    tags: frozenset[str] = frozenset()
    expires: datetime | None = None
    compression: str = "default"  # off | fast | default | better | best
    chunk_size: int | None = None  # None: the parent's, else the repository's default
    parent: Snapshot | None = None  # None: the newest snapshot of the name
    verify: VerifyMode = VerifyMode.ADAPTIVE
    check_encoding: bool = False  # decode and compare even when the run is verified in full
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class Difference:
    """One range in which stored data and source disagree, or that could not be read."""

    path: str
    offset: int
    length: int
    reason: str


@dataclass(frozen=True, slots=True)
class Coverage:
    """What of a fresh backup was compared with its source, and what came of it."""

    mode: VerifyMode  # FULL, SAMPLE or NONE: what was done
    compared: int = 0  # bytes
    of: int = 0  # bytes
    differences: tuple[Difference, ...] = ()

    @property
    def share(self) -> float:
        return self.compared / self.of if self.of else 1.0


@dataclass(frozen=True, slots=True)
class BackupReport:
    """What came of one backup."""

    snapshot: SessionId | None  # None for a dry run
    statistics: Statistics
    duration: timedelta
    parent: SessionId | None
    coverage: Coverage
    unread: tuple[Difference, ...] = ()  # ranges that could not be read; the snapshot is partial
    changed_while_read: tuple[str, ...] = ()  # paths
    hints_untrusted: tuple[str, ...] = ()  # paths whose hints were found lying; everything was read instead
    notes: tuple[str, ...] = ()


def backup(
    repository: Repository, inputs: Sequence[Input], options: BackupOptions, operation: Operation
) -> BackupReport:
    """Save *inputs* as one snapshot.

    Raises: SessionAborted, StorageError, SourceError; Stopped (what was uploaded is used by the next run).
    """
    raise NotImplementedError
