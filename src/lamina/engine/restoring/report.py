"""What came of restoring a tree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from enum import Enum

from lamina.engine.outcome import Missing
from lamina.engine.restoring.plan import Action, Tell
from lamina.engine.restoring.salvage import merged
from lamina.errors import Damaged, LaminaError
from lamina.targets.attributes import NotApplied
from lamina.targets.directory import HOPELESS
from lamina.targets.faults import target_fault
from lamina.targets.folders import Spot

EXAMPLES = 10  # of each finding; the rest is counted


class Finding(Enum):
    """What a person should know of, and the report counts."""

    LEFT_ALONE = "left alone"
    FAILED = "not restored"
    UNREAD = "not read when the snapshot was made"
    FLAWED = "not whole when the snapshot was made"
    CHANGED = "changed while the snapshot was made"
    KEPT_MOUNT = "not deleted"
    DIFFERENT = "different when read back"
    SALVAGED = "not whole any more"


@dataclass
class Findings:
    """How many of one kind, and the first of them."""

    count: int = 0
    examples: list[tuple[str, str]] = field(default_factory=list)  # path and reason

    def add(self, path: str, reason: str) -> None:
        self.count += 1
        if len(self.examples) < EXAMPLES:
            self.examples.append((path, reason))


@dataclass
class TreeReport:
    """What came of one restore of a tree; of a dry run, what would."""

    files: int = 0  # that were written
    directories: int = 0  # that were made
    links: int = 0  # further names of files with several
    others: int = 0  # symbolic links, pipes, sockets and devices that were made
    replaced: int = 0  # of all these, those that took the place of something
    kept: int = 0  # entries that were right already
    corrected: int = 0  # of these, those whose attributes were not
    deleted: int = 0  # names
    newer: int = 0  # files that stay because they are newer, as was asked for
    written: int = 0  # bytes
    kept_bytes: int = 0
    verified: bool = False
    compared: int = 0  # files, when it was verified
    duration: timedelta = timedelta()
    findings: dict[Finding, Findings] = field(default_factory=dict)
    damaged: int = 0  # files and directories that are not whole any more
    missing: list[Missing] = field(default_factory=list)  # of them, what is not restored
    not_applied: Mapping[str, NotApplied] = field(default_factory=dict)  # by kind

    def find(self, finding: Finding, spot: Spot, reason: str) -> None:
        """Note one finding."""
        self.findings.setdefault(finding, Findings()).add(spot.path.decode("utf-8", "surrogateescape"), reason)

    def count_of(self, finding: Finding) -> int:
        return self.findings[finding].count if finding in self.findings else 0

    @property
    def is_complete(self) -> bool:
        """Whether all is there as it was saved, but for attributes that only root may set."""
        return set(self.findings) <= {Finding.CHANGED} and all(one.privileged for one in self.not_applied.values())


class Record:
    """What a restore writes down while it runs."""

    def __init__(self, target: str, tell: Tell | None) -> None:
        self.report = TreeReport()
        self._tell = tell
        self._target = target

    def tell(self, action: Action, spot: Spot) -> None:
        """Say what is done with something, if anybody listens."""
        if self._tell is not None:
            self._tell(action, spot.path)

    def leave_alone(self, spot: Spot, reason: str) -> None:
        """Note that something that differs stays."""
        self.tell(Action.LEFT_ALONE, spot)
        self.report.find(Finding.LEFT_ALONE, spot, reason)

    def fail(self, spot: Spot, error: OSError | LaminaError, *, size: int = 0) -> None:
        """Note that something is not restored. Raises: TargetUnwritable if nothing else could be either."""
        if isinstance(error, LaminaError):
            self.report.find(Finding.FAILED, spot, error.message)
            if isinstance(error, Damaged):
                self._miss(Missing(_shown(spot), 0, size, "content", error.message))
            return
        if error.errno in HOPELESS:
            raise target_fault(self._target, error, resumable=False) from error
        self.report.find(Finding.FAILED, spot, error.strerror or str(error))

    def lose(self, spot: Spot, lost: Sequence[Missing]) -> None:
        """Note that some of a file could not be restored."""
        if lost:
            ranges = merged(replace(one, path=_shown(spot)) for one in lost)
            size = sum(one.length for one in ranges)
            self.report.find(Finding.SALVAGED, spot, f"{size} bytes are lost, zeros stand there: {ranges[0].reason}")
            self._miss(*ranges)

    def break_off(self, spot: Spot, error: Damaged) -> None:
        """Note that some of what is in a directory, or all, is not known any more."""
        self.report.find(Finding.FAILED, spot, f"what is in it cannot be read: {error}")
        self._miss(Missing(_shown(spot), 0, 0, "directory", error.message))

    def _miss(self, *missing: Missing) -> None:
        self.report.damaged += 1
        self.report.missing += missing


def _shown(spot: Spot) -> str:
    return spot.path.decode("utf-8", "surrogateescape")
