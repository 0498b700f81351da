"""Figures of a whole repository."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from lamina.engine.looking.references import References
from lamina.engine.usage import Amount, by_set
from lamina.model.operation import Operation
from lamina.model.snapshots import Snapshot
from lamina.repository.object_names import META, PACKS
from lamina.repository.repository import Repository


@dataclass(slots=True)
class NameStats:
    """The snapshots of one name."""

    name: str | None  # None: this key cannot read it
    snapshots: int = 0
    size: int = 0  # bytes of all their sources together
    own: int = 0  # stored bytes that only snapshots of this name refer to


@dataclass(slots=True)
class Stats:
    """What a repository holds."""

    snapshots: int = 0  # that were not forgotten
    forgotten: int = 0
    size: int = 0  # bytes of the sources of all snapshots together
    data: Amount = field(default_factory=Amount)  # that snapshots refer to
    metadata: Amount = field(default_factory=Amount)
    forgotten_only: Amount = field(default_factory=Amount)  # that only forgotten snapshots refer to
    unreferenced: Amount = field(default_factory=Amount)  # that none refers to; extra copies are among these
    data_packs: int = 0
    metadata_packs: int = 0
    pack_bytes: int = 0
    unindexed_bytes: int = (
        0  # of packs that no index record speaks of: left by runs that were killed, or just being written
    )
    index_bytes: int = 0
    other_bytes: int = 0  # keys, snapshots, records
    missing: int = 0  # chunks that snapshots refer to and no index record speaks of
    names: list[NameStats] = field(default_factory=list)

    @property
    def compression(self) -> float | None:
        """How many times larger the content would be uncompressed."""
        return self.data.plain / self.data.stored if self.data.stored else None

    @property
    def deduplication(self) -> float | None:
        """How many times larger the content would be if each snapshot had its own."""
        return self.size / self.data.plain if self.data.plain else None

    @property
    def reclaimable(self) -> int:
        """Bytes that a prune could return, forgotten snapshots included."""
        return self.unreferenced.stored + self.forgotten_only.stored + self.unindexed_bytes

    @property
    def overhead(self) -> int:
        """Bytes of packs that are no blobs: headers, key tables, footers."""
        blobs = (self.data, self.metadata, self.forgotten_only, self.unreferenced)
        return self.pack_bytes - self.unindexed_bytes - sum(one.stored for one in blobs)

    @property
    def total(self) -> int:
        """Bytes of all objects."""
        return self.pack_bytes + self.index_bytes + self.other_bytes


def gather(repository: Repository, operation: Operation) -> Stats:
    """Look at every snapshot and list every object. Raises: Damaged, ChunkMissing, StorageError, Stopped."""
    everything = repository.snapshots(removed=True)
    references = References(repository, everything)
    references.follow(operation)
    stats = Stats(missing=len(references.missing))
    _count_snapshots(stats, everything)
    _count_chunks(stats, references)
    _count_objects(stats, repository, {place.pack.name for place in references.ordinals.places()})
    return stats


def _count_snapshots(stats: Stats, snapshots: Iterable[Snapshot]) -> None:
    names: dict[str | None, NameStats] = {}
    for snapshot in snapshots:
        if snapshot.removed:
            stats.forgotten += 1
            continue
        stats.snapshots += 1
        stats.size += snapshot.size
        one = names.setdefault(snapshot.name, NameStats(snapshot.name))
        one.snapshots += 1
        one.size += snapshot.size
    stats.names = sorted(names.values(), key=lambda one: one.name or "")


def _count_chunks(stats: Stats, references: References) -> None:
    live = sum(1 << number for number, one in enumerate(references.snapshots) if not one.removed)
    masks = [
        (one, sum(1 << n for n, s in enumerate(references.snapshots) if not s.removed and s.name == one.name))
        for one in stats.names
    ]
    for (who, is_metadata), amount in by_set(references).items():
        if not who:
            stats.unreferenced.add(amount)
        elif not who & live:
            stats.forgotten_only.add(amount)
        else:
            (stats.metadata if is_metadata else stats.data).add(amount)
            for one, mask in masks:
                if not who & live & ~mask:
                    one.own += amount.stored


def _count_objects(stats: Stats, repository: Repository, indexed: set[str]) -> None:
    for item in repository.storage.objects():
        is_meta = item.name.startswith(META)
        if item.name.startswith(PACKS):
            stats.pack_bytes += item.size
            stats.data_packs += not is_meta
            stats.metadata_packs += is_meta
            stats.unindexed_bytes += 0 if item.name in indexed else item.size
        elif item.name.startswith("index/"):
            stats.index_bytes += item.size
        else:
            stats.other_bytes += item.size
