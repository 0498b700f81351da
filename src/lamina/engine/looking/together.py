"""Walk several trees at once, path by path, so that what they share is read once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from heapq import heappop, heappush
from typing import NamedTuple

from lamina.errors import Damaged
from lamina.model.entries import Entry, EntryType
from lamina.model.ids import ChunkId
from lamina.repository.chunks import ChunkReader
from lamina.repository.directories import DirectoryNode, EntryRecord
from lamina.repository.trees import get_directory_node

REMEMBERED = 64  # nodes: of a long directory, the trees ask for the same ones soon after each other


class Version(NamedTuple):
    """One entry as some of the trees have it."""

    trees: int  # bit n: tree n
    node: DirectoryNode
    number: int

    @property
    def record(self) -> EntryRecord:
        return self.node.records[self.number]

    def entry(self) -> Entry:
        """The whole entry. Raises: Damaged, FormatUnknown."""
        return self.node.entry(self.number)


class Met(NamedTuple):
    """One path that some of the trees have."""

    folder: bytes  # what is above it, with a slash at the end; empty at the top
    name: bytes
    versions: list[Version]  # no tree is in two of them

    @property
    def path(self) -> str:
        return (self.folder + self.name).decode("utf-8", "surrogateescape")


def walk_together(
    reader: ChunkReader,
    roots: Mapping[ChunkId, int],
    *,
    skip: int = 0,
    enter: Callable[[Met], bool] = lambda _: True,
) -> Iterator[Met]:
    """Every path below the directories *roots* (each with the bits of the trees it belongs to), as `walk_tree` orders them.

    Nodes that just the trees *skip* share are left out unread; *enter* says whether to go into a directory.
    A node that many trees share at one path costs as much as in one. Raises: Damaged, ChunkMissing, NotPermitted.
    """
    nodes = lru_cache(REMEMBERED)(lambda chunk: get_directory_node(reader, chunk))
    todo = [(b"", _Directory(nodes, roots, skip).versions())]  # a stack: trees may be deeper than Python's
    while todo:
        folder, rest = todo[-1]
        versions = next(rest, None)
        if versions is None:
            todo.pop()
            continue
        met = Met(folder, versions[0].record.name, versions)
        yield met
        below = _children(versions, skip)
        if below and enter(met):
            todo.append((folder + met.name + b"/", _Directory(nodes, below, skip).versions()))


def _children(versions: list[Version], skip: int) -> dict[ChunkId, int]:
    below: dict[ChunkId, int] = {}
    for version in versions:
        if version.record.type == EntryType.DIRECTORY:
            child = version.entry().child
            if child is not None:
                below[child] = below.get(child, 0) | version.trees
    return {child: trees for child, trees in below.items() if trees != skip}


class _Tree:
    """One version of a directory, and how far it was read."""

    __slots__ = ("bits", "last", "todo")

    def __init__(self, bits: int, root: ChunkId) -> None:
        self.bits = bits
        self.todo = [root]  # nodes still to come, the next one last
        self.last: bytes | None = None  # name of the last entry before these


class _Leaf:
    """One node of entries, and the versions of the directory that are in it now."""

    __slots__ = ("bits", "node", "position", "trees")

    def __init__(self, node: DirectoryNode, tree: _Tree) -> None:
        self.node = node
        self.position = 0
        self.bits = tree.bits
        self.trees = [tree]

    @property
    def name(self) -> bytes:
        return self.node.records[self.position].name


class _Directory:
    """Merges the versions of one directory by name."""

    def __init__(self, nodes: Callable[[ChunkId], DirectoryNode], roots: Mapping[ChunkId, int], skip: int) -> None:
        self._nodes = nodes
        self._skip = skip
        self._leaves: dict[ChunkId, _Leaf] = {}
        self._heap: list[tuple[bytes, ChunkId, _Leaf]] = []
        self._roots = roots

    def versions(self) -> Iterator[list[Version]]:
        """The versions of each name, in order."""
        for root, bits in self._roots.items():
            self._go_on(_Tree(bits, root))
        while self._heap:
            if len(self._heap) == 1:
                yield from self._alone(heappop(self._heap)[2])
            else:
                yield from self._next_name()

    def _alone(self, leaf: _Leaf) -> Iterator[list[Version]]:
        """All that is left of a node while every version of the directory is in it, or has ended."""
        if leaf.position or leaf.bits != self._skip:
            first, leaf.position = leaf.position, len(leaf.node.records)
            for number in range(first, leaf.position):
                yield [Version(leaf.bits, leaf.node, number)]
        self._leave(leaf)

    def _next_name(self) -> Iterator[list[Version]]:
        name = self._heap[0][0]
        found: list[Version] = []
        ready: list[_Leaf] = []
        while self._heap and self._heap[0][0] == name:
            leaf = heappop(self._heap)[2]
            if not leaf.position and leaf.bits == self._skip:
                leaf.position = len(leaf.node.records)
            else:
                found.append(Version(leaf.bits, leaf.node, leaf.position))
                leaf.position += 1
            ready.append(leaf)
        if found:
            yield found
        for leaf in ready:
            if leaf.position < len(leaf.node.records):
                heappush(self._heap, (leaf.name, leaf.node.id, leaf))
            else:
                self._leave(leaf)

    def _leave(self, leaf: _Leaf) -> None:
        del self._leaves[leaf.node.id]
        for tree in leaf.trees:
            tree.last = leaf.node.records[-1].name
            self._go_on(tree)

    def _go_on(self, tree: _Tree) -> None:
        """Let a version of the directory join its next node; nobody has begun that one, as names come in order."""
        while tree.todo:
            chunk = tree.todo.pop()
            leaf = self._leaves.get(chunk)
            node = leaf.node if leaf is not None else self._nodes(chunk)
            if node.has_parts:
                tree.todo += [node.part(number) for number in reversed(range(len(node.records)))]
                continue
            if not node.records:
                continue
            if tree.last is not None and tree.last >= node.records[0].name:
                raise Damaged(f"metadata chunk {chunk.hex()} is a part of a directory in the wrong place")
            if leaf is not None:
                leaf.bits |= tree.bits
                leaf.trees.append(tree)
            else:
                self._leaves[chunk] = leaf = _Leaf(node, tree)
                heappush(self._heap, (leaf.name, chunk, leaf))
            return
