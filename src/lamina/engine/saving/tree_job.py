"""One tree on its way into the repository, and what is met on the way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass, field
from typing import NamedTuple

from lamina.engine.outcome import Flaw
from lamina.engine.saving.known import KnownEntry, TreeComparison
from lamina.engine.saving.recall import Recall
from lamina.engine.saving.sampling import Reservoir
from lamina.model.entries import Entry, EntryState
from lamina.sources.source import FileSource

FLAWS_NAMED = 1000  # more are only counted
SAMPLE_READ, SAMPLE_UNCHANGED = 256, 64  # files compared with the source afterwards: what was read anew weighs more


@dataclass(slots=True)
class TreeCounts:
    """What a backup met; all but directories are files and other objects."""

    new: int = 0
    changed: int = 0
    unchanged: int = 0
    vanished: int = 0
    directories: int = 0
    flawed: int = 0  # of all


def sum_counts(counts: Sequence[TreeCounts]) -> TreeCounts:
    """All of them together."""
    return TreeCounts(*(sum(values) for values in zip(*map(astuple, counts), strict=True)))


class Sampled(NamedTuple):
    """An object that may be compared with its source."""

    names: tuple[bytes, ...]  # from the root of the source
    entry: Entry | None  # None: what stands under these names


@dataclass(slots=True)
class TreeJob:
    """One tree on its way into the repository, and what was met on the way."""

    path: str  # it is stored under
    source: FileSource
    known: KnownEntry | None  # the same tree in the parent, whose chunks may be used as they are
    comparison: TreeComparison
    recall: Recall | None = None  # None: nothing is known of how directories looked, and nothing is noted
    counts: TreeCounts = field(default_factory=TreeCounts)
    flaws: list[Flaw] = field(default_factory=list)
    users: set[int] = field(default_factory=set)
    groups: set[int] = field(default_factory=set)
    lost: int = 0  # entries that could not be read; of some, an earlier snapshot's stand there
    read_files: Reservoir[Sampled] = field(default_factory=lambda: Reservoir(SAMPLE_READ))
    unchanged: Reservoir[Sampled] = field(default_factory=lambda: Reservoir(SAMPLE_UNCHANGED))

    def note(self, path: str, entry: Entry) -> None:
        """Remember an entry that is not as it should be."""
        self.counts.flawed += 1
        self.lost += entry.state is not EntryState.CHANGED
        if len(self.flaws) < FLAWS_NAMED:
            self.flaws.append(Flaw(path, entry.state, entry.error))
