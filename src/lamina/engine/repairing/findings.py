"""What a repair found, would do, and did."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from lamina.engine.outcome import Flaw
from lamina.engine.repairing.mirror import FromMirror
from lamina.engine.repairing.survey import Survey
from lamina.engine.repairing.wanted import Piece
from lamina.engine.verifying.findings import Problem
from lamina.model.ids import ChunkId, PackId, SessionId
from lamina.model.process import Process
from lamina.model.snapshots import Snapshot
from lamina.repository.repository import Repository
from lamina.repository.salvage import SavedBlob

REPAIRED = "repaired"  # the tag of snapshots that a repair made


@dataclass(frozen=True, slots=True)
class RepairOptions:
    """What the user wants of a repair."""

    index_only: bool = False  # believe that packs hold what their ends say, and mend only the index
    rewrite: bool = True  # make new snapshots of what is left of those that lost something
    compression: str = "default"
    process: Process = field(default_factory=Process)
    program: str = ""


@dataclass(frozen=True, slots=True)
class Helpers:
    """Where what is lost may be had from."""

    second: Repository | None = None  # with copies of snapshots, or a mirror of this one's storage
    source: str | None = None  # a directory that stands for the root of the snapshots

    def mirror_of(self, repository: Repository) -> Repository | None:
        """The second repository, if it is a copy of the storage."""
        return self.second if self.second is not None and self.second.id == repository.id else None

    def other_than(self, repository: Repository) -> Repository | None:
        """The second repository, if it has keys of its own."""
        return self.second if self.second is not None and self.second.id != repository.id else None


@dataclass(frozen=True, slots=True)
class FoundChunk:
    """A lost chunk that a helper has."""

    chunk: ChunkId
    pieces: Sequence[Piece]  # what it held
    copy: Snapshot | None  # of the snapshot that needs it


@dataclass(frozen=True, slots=True)
class PlannedCopy:
    """Directories and lists of chunks that are lost here, and stand in a copy of the snapshot."""

    snapshot: Snapshot
    copy: Snapshot
    directories: tuple[str, ...]
    streams: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LostContent:
    """What stays lost of one snapshot."""

    snapshot: Snapshot
    entries: int
    bytes: int
    flaws: tuple[Flaw, ...]  # the first of them
    repaired: SessionId | None = None  # the new snapshot of what is left


@dataclass(frozen=True, slots=True)
class RepairPlan:
    """What is broken, and what can be done about it."""

    broken: tuple[Problem, ...]  # objects
    renew: tuple[str, ...]  # parameters that have to be written anew
    is_index_whole: (
        bool  # whether all of the index that counts can be read, and its segments name only packs that are there
    )
    adopt: tuple[PackId, ...]  # packs that have to be added to the index
    rescue: tuple[SavedBlob, ...]  # blobs that lie only in damaged packs
    mirror: FromMirror
    found: tuple[FoundChunk, ...]  # lost chunks that a copy or the source has
    copies: tuple[PlannedCopy, ...]
    lost: tuple[LostContent, ...]  # once all this is done, as far as can be seen before
    survey: Survey = field(repr=False, compare=False)
    helpers: Helpers = field(repr=False, compare=False)
    damaged: tuple[Snapshot, ...] = ()  # snapshots that lack something now
    gone: tuple[PackId, ...] = ()  # packs that the index names and nobody has any more

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to be done."""
        steps = (self.renew, self.adopt, self.rescue, self.found, self.copies)
        return self.is_index_whole and not any(steps) and not self.mirror and not self.lost


@dataclass(frozen=True, slots=True)
class RepairReport:
    """What a repair did."""

    renewed: tuple[str, ...]
    fetched: tuple[str, ...]  # objects that were put back as the mirror has them
    adopted: int  # packs
    put: int  # chunks that were stored anew
    lost: tuple[LostContent, ...]
    failed: tuple[Problem, ...]  # what could not be done, although it was planned
    broken: tuple[Problem, ...]  # objects that stay damaged where they are
    duration: timedelta
