"""Which snapshots refer to which chunks; links are enough for that, so every role may ask."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from lamina.engine.threads import batched, each
from lamina.model.ids import ChunkId
from lamina.model.operation import Operation
from lamina.model.snapshots import Snapshot
from lamina.repository.directories import LINK
from lamina.repository.format import BlobKind
from lamina.repository.ordinals import Ordinals
from lamina.repository.repository import Repository
from lamina.repository.trees import children

LANE_BITS = 40  # of one snapshot's count of references to one chunk
_LANE = (1 << LANE_BITS) - 1
_BATCH = 32  # nodes asked for together
_THREADS = 4  # remote storages answer slowly

Frontier = dict[ChunkId, tuple[BlobKind, int]]  # nodes to look into, and who refers to them from the level above


class Link(NamedTuple):
    """One reference of a node."""

    kind: BlobKind
    chunk: ChunkId
    used: int  # bytes of it at most, 0: all


class References:
    """For every chunk, the snapshots that refer to it: 4 bytes a chunk, and each different set of snapshots once.

    The trees are followed level by level, for all snapshots at once, so a node that many share is read once on its level.
    With *counting*, a set says how often, too: a lane of bits for each snapshot instead of a bit.
    """

    def __init__(self, repository: Repository, snapshots: Sequence[Snapshot], *, counting: bool = False) -> None:
        self._reader = repository.reader()
        self.ordinals = Ordinals(repository.index)
        self.snapshots = snapshots
        self.counting = counting
        self.missing: set[ChunkId] = set()  # that the index does not know
        self.referred: dict[int, int] = {}  # with *counting*: set → bytes of content referred to, repeats included
        self._sets = [0]  # each different one, by number
        self._numbers = {0: 0}
        self._of = array("I", bytes(4 * len(self.ordinals)))  # number of its set for each chunk

    def follow(self, operation: Operation) -> None:
        """Follow every snapshot's tree. Raises: Damaged, ChunkMissing, StorageError, Stopped."""
        operation.progress.start("look at references", None)
        level: Frontier = {}
        for number, snapshot in enumerate(self.snapshots):
            self._refer(Link(BlobKind.DIRECTORY, snapshot.root, 0), self._bit(number), level)
        with ThreadPoolExecutor(_THREADS, thread_name_prefix="links") as executor:
            while level:
                below: Frontier = {}
                for batch in each(executor, self._read, batched(level.items(), _BATCH), operation):
                    for (_, (_, who)), links in batch:
                        for link in links:
                            self._refer(link, who, below)
                level = below

    def set_of(self, ordinal: int) -> int:
        """The snapshots that refer to one place of a chunk, as bits or lanes."""
        return self._sets[self._of[ordinal]]

    def members(self, who: int) -> list[tuple[int, int]]:
        """The snapshots of a set, by number, and how often each refers (1 unless *counting*)."""
        if self.counting:
            lanes = ((number, who >> number * LANE_BITS & _LANE) for number in range(len(self.snapshots)))
            return [(number, count) for number, count in lanes if count]
        found = []
        while who:
            lowest = who & -who
            found.append((lowest.bit_length() - 1, 1))
            who ^= lowest
        return found

    def links_of(self, kind: BlobKind, chunk: ChunkId) -> list[Link]:
        """What a metadata chunk refers to. Raises: Damaged, ChunkMissing."""
        links = self._reader.get_links(kind, chunk)
        name = f"metadata chunk {chunk.hex()}"
        if kind is BlobKind.DIRECTORY:
            used = [used for _, used, _ in LINK.iter_unpack(links)] if not len(links) % LINK.size else []
            return [Link(*child, size) for child, size in zip(children(kind, links, name=name), used, strict=True)]
        return [Link(*child, 0) for child in children(kind, links, name=name)]

    def _bit(self, number: int) -> int:
        return 1 << number * (LANE_BITS if self.counting else 1)

    def _read(
        self, nodes: Sequence[tuple[ChunkId, tuple[BlobKind, int]]]
    ) -> Sequence[tuple[tuple[ChunkId, tuple[BlobKind, int]], list[Link]]]:
        return [(node, self.links_of(node[1][0], node[0])) for node in nodes]

    def _refer(self, link: Link, who: int, below: Frontier) -> None:
        ordinal = self.ordinals.find(link.chunk)
        if ordinal is None:
            self.missing.add(link.chunk)
            return
        before = self._sets[self._of[ordinal]]
        after = before + who if self.counting else before | who
        if after != before:
            self._of[ordinal] = self._number(after)
        if link.kind is BlobKind.DATA:
            if self.counting:
                size = link.used or self.ordinals.sizes(ordinal)[1]
                self.referred[who] = self.referred.get(who, 0) + size
        elif after != before:
            waiting = below.get(link.chunk, (link.kind, 0))[1]
            below[link.chunk] = link.kind, waiting + who if self.counting else waiting | who

    def _number(self, who: int) -> int:
        number = self._numbers.setdefault(who, len(self._sets))
        if number == len(self._sets):
            self._sets.append(who)
        return number


def iter_links(references: References, links: Sequence[Link]) -> Iterator[int]:
    """The ordinals of all chunks under *links*, each as often as it is referred to; nodes once.

    Raises: Damaged, ChunkMissing.
    """
    seen: set[ChunkId] = set()
    todo = list(links)
    while todo:
        link = todo.pop()
        ordinal = references.ordinals.find(link.chunk)
        if ordinal is not None:
            yield ordinal
        if link.kind is not BlobKind.DATA and link.chunk not in seen:
            seen.add(link.chunk)
            todo += references.links_of(link.kind, link.chunk)
