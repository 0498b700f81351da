"""What snapshots occupy (docs/concepts/usage.md has the formulas)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from lamina.engine.looking.references import Link, References, iter_links
from lamina.engine.permits import check_names
from lamina.model.entries import CutContent, Entry, SlicedContent
from lamina.model.operation import Operation
from lamina.model.snapshots import Snapshot
from lamina.repository.directories import fixed_kind
from lamina.repository.format import BlobKind
from lamina.repository.repository import Repository
from lamina.repository.trees import get_entry, read_directory


@dataclass(slots=True)
class Amount:
    """Some chunks."""

    chunks: int = 0
    plain: int = 0  # bytes before compression
    stored: int = 0  # bytes as they lie in packs

    def add(self, other: Amount) -> None:
        self.chunks += other.chunks
        self.plain += other.plain
        self.stored += other.stored


@dataclass(slots=True)
class Usage:
    """What one snapshot occupies."""

    snapshot: Snapshot
    own: Amount = field(default_factory=Amount)  # content that no other snapshot refers to
    shared: Amount = field(default_factory=Amount)
    own_metadata: Amount = field(default_factory=Amount)
    shared_metadata: Amount = field(default_factory=Amount)
    fair: float = 0.0  # stored bytes, content and metadata, each chunk's divided by the snapshots that refer to it

    @property
    def freed(self) -> int:
        """Stored bytes that nothing needs once this snapshot is gone."""
        return self.own.stored + self.own_metadata.stored


@dataclass(frozen=True, slots=True)
class BackyUsage:
    """The columns of `backy2 du`, in bytes before compression."""

    snapshot: Snapshot
    real: int  # all that is referred to, repeats included
    null: int  # the rest of its size: holes and zeros
    dedup_own: int  # repeats of chunks that only this snapshot has
    dedup_others: int  # chunks that another snapshot has too, repeats included
    individual: int  # chunks referred to once by all snapshots together
    space: float  # each reference's share of its chunk
    freed: int  # chunks that only this snapshot has, each once


@dataclass(frozen=True, slots=True)
class PathUsage:
    """What an entry of a snapshot, and what is below it, occupies."""

    path: str
    entry: Entry
    size: int  # bytes of contents
    stored: int  # bytes in packs of all chunks that it refers to, each once
    own: int  # those that no other snapshot refers to


def measure(repository: Repository, operation: Operation) -> list[Usage]:
    """What each snapshot occupies, oldest first. Raises: Damaged, ChunkMissing, StorageError, Stopped."""
    references = References(repository, repository.snapshots())
    references.follow(operation)
    return usages(references)


def usages(references: References) -> list[Usage]:
    """The figures of all snapshots."""
    found = [Usage(snapshot) for snapshot in references.snapshots]
    for (who, is_metadata), amount in by_set(references).items():
        members = references.members(who)
        for number, _ in members:
            one = found[number]
            alone = len(members) == 1
            if is_metadata:
                (one.own_metadata if alone else one.shared_metadata).add(amount)
            else:
                (one.own if alone else one.shared).add(amount)
            one.fair += amount.stored / len(members)
    return found


def by_set(references: References) -> dict[tuple[int, bool], Amount]:
    """The chunks, put together by the snapshots that refer to them and by whether they are metadata."""
    amounts: dict[tuple[int, bool], Amount] = {}
    for place in references.ordinals.places():
        key = references.set_of(place.ordinal), place.pack.meta
        amount = amounts.get(key)
        if amount is None:
            amount = amounts[key] = Amount()
        amount.chunks += 1
        amount.plain += place.plain_size
        amount.stored += place.stored_size
    return amounts


def measure_as_backy(repository: Repository, operation: Operation) -> list[BackyUsage]:
    """The same as `backy2 du` counts it. Raises: Damaged, ChunkMissing, StorageError, Stopped."""
    references = References(repository, repository.snapshots(), counting=True)
    references.follow(operation)
    real = [0] * len(references.snapshots)
    for who, size in references.referred.items():
        for number, count in references.members(who):
            real[number] += size * count
    sums = [[0, 0, 0, 0] for _ in real]
    space = [0.0] * len(real)
    for (who, is_metadata), amount in by_set(references).items():
        if is_metadata:
            continue
        members = references.members(who)
        total = sum(count for _, count in members)
        for number, count in members:
            space[number] += amount.plain * count / total
            alone = len(members) == 1
            sums[number][0] += amount.plain * (count - 1) if alone else 0
            sums[number][1] += 0 if alone else amount.plain * count
            sums[number][2] += amount.plain if total == 1 else 0
            sums[number][3] += amount.plain if alone else 0
    return [
        BackyUsage(
            snapshot, real[n], max(0, snapshot.size - real[n]), sums[n][0], sums[n][1], sums[n][2], space[n], sums[n][3]
        )
        for n, snapshot in enumerate(references.snapshots)
    ]


def measure_paths(
    repository: Repository, snapshot: Snapshot, path: str | None, operation: Operation
) -> Iterator[PathUsage]:
    """What each entry of a directory occupies, and at last the directory itself.

    Raises: EntryMissing, NotPermitted, Damaged, ChunkMissing, StorageError, Stopped.
    """
    check_names(repository, snapshot)
    top = get_entry(repository.reader(), snapshot.root, path or "")
    references = References(repository, _with(repository.snapshots(), snapshot))
    references.follow(operation)
    alone = 1 << next(n for n, one in enumerate(references.snapshots) if one.id == snapshot.id)
    counter = _Counter(references, alone)
    if top.child is not None:
        for entry in read_directory(repository.reader(), top.child):
            operation.check_stop()
            yield counter.count(entry.name.decode("utf-8", "surrogateescape"), entry)
    whole = counter.count(".", top)
    if path is None:
        whole = PathUsage(whole.path, whole.entry, snapshot.size, whole.stored, whole.own)
    yield whole


def _with(snapshots: Sequence[Snapshot], one: Snapshot) -> list[Snapshot]:
    """A forgotten snapshot may be looked at too."""
    return [*snapshots, *([one] if all(other.id != one.id for other in snapshots) else [])]


class _Counter:
    """Adds up what entries refer to, each chunk once."""

    def __init__(self, references: References, alone: int) -> None:
        self._references = references
        self._alone = alone

    def count(self, path: str, entry: Entry) -> PathUsage:
        if isinstance(entry.content, SlicedContent):
            return self._count_slices(path, entry, entry.content)
        links = _links(entry)
        stored = own = 0
        for ordinal in set(iter_links(self._references, links)):
            size = self._references.ordinals.sizes(ordinal)[0]
            stored += size
            own += size if self._references.set_of(ordinal) == self._alone else 0
        return PathUsage(path, entry, entry.size, stored, own)

    def _count_slices(self, path: str, entry: Entry, content: SlicedContent) -> PathUsage:
        """A small file's share of chunks that it fills together with others."""
        stored = own = 0.0
        for chunk, _, length in content.slices:
            ordinal = self._references.ordinals.find(chunk)
            if ordinal is not None:
                size, plain = self._references.ordinals.sizes(ordinal)
                stored += size * length / plain
                own += size * length / plain if self._references.set_of(ordinal) == self._alone else 0
        return PathUsage(path, entry, entry.size, round(stored), round(own))


def _links(entry: Entry) -> list[Link]:
    if entry.child is not None:
        return [Link(BlobKind.DIRECTORY, entry.child, 0)]
    content = entry.content
    if content is None or isinstance(content, SlicedContent) or content.id is None:
        return []
    kind = BlobKind.CUT_NODE if isinstance(content, CutContent) else fixed_kind(content)
    return [Link(kind, content.id, 0)]
