"""What one backup run saved: its record, as everybody speaks of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum

from lamina.model.ids import ChunkId, RepositoryId, SessionId

_ORIGIN_SIZE = 32


class Trust(Enum):
    """What is known about a snapshot's content."""

    FRESH = "fresh"  # stored, not compared with its source
    VERIFIED = "verified"  # compared with its source, or scrubbed since
    DISTRUSTED = "distrusted"  # found to differ, or to be damaged; the next backup of the name reads everything


class Role(Enum):
    """What a key may do; the letters' numbers are the format's (spec: roles)."""

    OWNER = "owner"  # everything
    WRITER = "writer"  # back up, deduplicate, read its own names; no content
    STEWARD = "steward"  # prune and scrub; neither names nor content


@dataclass(frozen=True, slots=True)
class Statistics:
    """What a run did, in bytes."""

    size: int = 0  # of all sources
    read: int = 0  # read from the sources
    new: int = 0  # found in no pack before, uncompressed
    stored: int = 0  # put into packs, compressed and sealed


@dataclass(frozen=True, slots=True)
class Origin:
    """The snapshot, of another repository, that a copy was first made from."""

    repository: RepositoryId
    snapshot: SessionId

    def encode(self) -> bytes:
        return self.repository + self.snapshot

    @staticmethod
    def decode(data: bytes) -> Origin | None:
        """None for a snapshot that is no copy (or says so in a way that is not known)."""
        return Origin(RepositoryId(data[:16]), SessionId(data[16:])) if len(data) == _ORIGIN_SIZE else None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One snapshot as this key sees it.

    `name`, `host`, `paths`, `users`, `groups`, `tags`, `note` are None or empty where the key cannot read names (`readable` is false then).
    """

    id: SessionId
    started: datetime
    finished: datetime
    root: ChunkId
    size: int  # bytes of all sources
    partial: bool  # some of the source could not be read
    readable: bool = True
    name: str | None = None
    host: str = ""
    paths: tuple[str, ...] = ()
    users: Mapping[int, str] = field(default_factory=dict)  # names of those who own entries, where they were saved
    groups: Mapping[int, str] = field(default_factory=dict)
    tags: frozenset[str] = frozenset()
    note: str = ""
    statistics: Statistics = Statistics()
    parent: SessionId | None = None
    copied_from: Origin | None = None
    decoded: bool = True  # every chunk was decoded before it was stored; else only a comparison makes it trustworthy
    made_by: str = "owner"  # or the id of the writer's slot, as its signature shows
    trust: Trust = Trust.FRESH
    damaged: int = 0  # depth of the verify that found damage; 0: that is not why it is distrusted
    expires: datetime | None = None
    protected: bool = False
    removed: bool = False
    name_hash: bytes = b""  # keyed: equal for equal names, also where they cannot be read
    tag_hashes: frozenset[bytes] = frozenset()  # likewise

    @property
    def is_doubtful(self) -> bool:
        """Whether nobody has yet seen its chunks decode, or somebody has seen that they do not."""
        return self.trust is Trust.DISTRUSTED or (self.trust is Trust.FRESH and not self.decoded)

    @property
    def short_id(self) -> str:
        """The first eight hex digits: enough in a list."""
        return self.id.hex()[:8]


@dataclass(frozen=True, slots=True)
class KeySlot:
    """One key that opens the repository."""

    id: str  # hex
    role: Role
    label: str
    created: datetime
    current: bool  # the one in use now
