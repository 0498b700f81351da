"""A long stream cut at fixed places ↔ a tree of nodes (spec: fixed streams).

Every node has exactly 1,024 positions, the last of its level as many as remain. A missing or short node is an error, never zeros.
"""

from __future__ import annotations

import struct
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from lamina.chunking.chunker import FixedChunker
from lamina.errors import Damaged
from lamina.model.entries import Buffer, FixedContent, Position
from lamina.model.ids import ChunkId
from lamina.repository.blobs import Node
from lamina.repository.chunks import ChunkReader
from lamina.repository.format import BlobKind

FANOUT = 1024  # positions a node
_HEAD = struct.Struct("<BH")  # level, number of positions
_WITH_ID = frozenset({Position.DATA, Position.UNREAD_KEPT})
_CACHED_NODES = 64

Slot = tuple[Position, ChunkId | None]  # what one position holds


@dataclass(frozen=True, slots=True)
class FixedNode:
    """One node: level 1 speaks of chunks, level n of nodes of level n-1 (or of whole subtrees of holes or zeros)."""

    level: int
    slots: tuple[Slot, ...]

    def encode(self) -> Node:
        """The node as a metadata chunk: all of it is links, for it names nothing."""
        kinds = bytes(kind for kind, _ in self.slots)
        ids = b"".join(chunk for kind, chunk in self.slots if chunk is not None)
        return Node(_HEAD.pack(self.level, len(self.slots)) + kinds + ids, b"")


def decode_fixed_node(links: bytes, *, name: str) -> FixedNode:
    """The node that *links* say. Raises: Damaged."""
    if len(links) < _HEAD.size:
        raise Damaged(f"{name} is too short to be a node")
    level, count = _HEAD.unpack_from(links)
    kinds = links[_HEAD.size : _HEAD.size + count]
    slots: list[Slot] = []
    offset = _HEAD.size + count
    for number in kinds:
        if number > Position.UNREAD_KEPT:
            raise Damaged(f"{name} has a position of the unknown kind {number}")
        kind = Position(number)
        if kind in _WITH_ID:
            slots.append((kind, ChunkId(links[offset : offset + 32])))
            offset += 32
        else:
            slots.append((kind, None))
        if level > 1 and kind in (Position.UNREAD, Position.UNREAD_KEPT):
            raise Damaged(f"{name} calls a whole subtree unread")
    if len(kinds) != count or offset != len(links) or not 0 < count <= FANOUT or level < 1:
        raise Damaged(f"{name} has another length than its {count} positions need")
    return FixedNode(level, tuple(slots))


def check_content(content: FixedContent) -> None:
    """Refuse a stream that cannot be as its entry says. Raises: ValueError, UsageError (for the chunk size)."""
    depth = tree_depth(FixedChunker(content.chunk_size).count(content.size))
    if (content.id is not None) != (content.position in _WITH_ID):
        raise ValueError("a stream has a root where it needs none, or none where it needs one")
    if depth and content.position in (Position.UNREAD, Position.UNREAD_KEPT):
        raise ValueError("a whole stream of several chunks is called unread")


def tree_depth(count: int) -> int:
    """How many levels of nodes a stream of *count* chunks has; one chunk or none needs no node.

    >>> [tree_depth(n) for n in (0, 1, 2, 1024, 1025, 1024 * 1024, 1024 * 1024 + 1)]
    [0, 0, 1, 1, 2, 2, 3]
    """
    depth = 0
    while count > 1:
        count = -(-count // FANOUT)
        depth += 1
    return depth


def _span(levels: int) -> int:
    """How many chunks (or leaves) lie under one position, *levels* of nodes above them."""
    return 1 << (10 * levels)


class FixedMap:
    """Reads the map of one stored stream; nodes are fetched when they are needed. Not for several threads."""

    def __init__(self, reader: ChunkReader, content: FixedContent) -> None:
        self.content = content
        self.chunker = FixedChunker(content.chunk_size)
        self.count = self.chunker.count(content.size)
        self.depth = tree_depth(self.count)
        self._reader = reader
        self._nodes: OrderedDict[ChunkId, FixedNode] = OrderedDict()

    @property
    def leaves(self) -> int:
        """How many leaf nodes the stream has (one if its root is a chunk)."""
        return -(-self.count // FANOUT)

    def leaf_slot(self, leaf: int) -> Slot:
        """What the tree says of the *leaf*-th node of level 1. Raises: Damaged, ChunkMissing."""
        slot: Slot = (self.content.position, self.content.id)
        for level in range(self.depth, 1, -1):
            if slot[0] is not Position.DATA:
                return slot
            below = _span(level - 2)  # leaves under one position of this level
            first = leaf // (below * FANOUT) * (below * FANOUT)
            node = self._node(slot[1], level, self._expected(level, first))
            slot = node.slots[(leaf - first) // below]
        return slot

    def leaf(self, leaf: int) -> tuple[Slot, ...]:
        """What every position of one leaf holds. Raises: Damaged, ChunkMissing."""
        count = min(FANOUT, self.count - leaf * FANOUT)
        slot = self.leaf_slot(leaf)
        if self.depth == 0:
            return (slot,) * count
        if slot[0] is Position.DATA:
            return self._node(slot[1], 1, count).slots
        return (slot,) * count

    def slots(self) -> Iterator[tuple[int, Slot]]:
        """Every position in order."""
        for leaf in range(self.leaves):
            for number, slot in enumerate(self.leaf(leaf)):
                yield leaf * FANOUT + number, slot

    def _expected(self, level: int, first_leaf: int) -> int:
        """How many positions the node of *level* that begins at *first_leaf* must have."""
        under = _span(level - 1)  # chunks under one position
        return min(FANOUT, -(-(self.count - first_leaf * FANOUT) // under))

    def _node(self, chunk: ChunkId | None, level: int, expected: int) -> FixedNode:
        assert chunk is not None  # noqa: S101 - a DATA slot has an id
        node = self._nodes.get(chunk)
        if node is None:
            node = decode_fixed_node(
                self._reader.get_links(BlobKind.FIXED_NODE, chunk), name=f"metadata chunk {chunk.hex()}"
            )
            self._nodes[chunk] = node
            if len(self._nodes) > _CACHED_NODES:
                self._nodes.popitem(last=False)
        if node.level != level or len(node.slots) != expected:
            raise Damaged(
                f"metadata chunk {chunk.hex()} has {len(node.slots)} positions of level {node.level}"
                f" where the size of the stream needs {expected} of level {level}"
            )
        return node


class ChunkPutter(Protocol):
    """What chunks are put into: a session's writer, or a dry run that only counts.

    - `data_id` names content; `put_data` stores it under that name and says whether it was new;
    - `put_node` stores a metadata chunk and returns its id; all may be called from any thread.
    """

    def data_id(self, content: Buffer) -> ChunkId: ...

    def put_data(self, chunk: ChunkId, content: Buffer) -> bool: ...

    def put_node(self, kind: BlobKind, node: Node) -> ChunkId: ...


class FixedMapWriter:
    """Builds the tree of one stream bottom-up, leaf by leaf."""

    def __init__(self, writer: ChunkPutter, chunk_size: int) -> None:
        self._writer = writer
        self._chunk_size = chunk_size
        self._levels: list[list[Slot]] = []  # slots of level 2, 3, … that are not yet in a node
        self._leaves = 0

    def add_leaf(self, slots: Sequence[Slot]) -> Slot:
        """Store the next leaf and return the slot that stands for it."""
        slot = slots[0] if len(slots) == 1 and not self._leaves else self._put(1, slots)
        self.add_slot(slot)
        return slot

    def add_slot(self, slot: Slot) -> None:
        """Take the next leaf as it is known from another map; its chunks are certain to stay."""
        self._leaves += 1
        self._push(0, slot)

    def finish(self, size: int) -> FixedContent:
        """Store what is left and describe the whole stream of *size* bytes."""
        if not self._levels:
            return FixedContent(size, self._chunk_size, Position.HOLE, None)
        level = 0
        while level < len(self._levels) - 1 or len(self._levels[level]) > 1:
            pending, self._levels[level] = self._levels[level], []
            if pending:
                self._push(level + 1, self._put(level + 2, pending))
            level += 1
        position, chunk = self._levels[level][0]
        return FixedContent(size, self._chunk_size, position, chunk)

    def _push(self, level: int, slot: Slot) -> None:
        if level == len(self._levels):
            self._levels.append([])
        pending = self._levels[level]
        if len(pending) == FANOUT:
            self._levels[level] = []
            self._push(level + 1, self._put(level + 2, pending))
            pending = self._levels[level]
        pending.append(slot)

    def _put(self, level: int, slots: Sequence[Slot]) -> Slot:
        """Store one node, unless all below it is a hole or all is zero."""
        kinds = {kind for kind, _ in slots}
        if len(kinds) == 1 and kinds <= {Position.HOLE, Position.ZERO}:
            return slots[0]
        return (Position.DATA, self._writer.put_node(BlobKind.FIXED_NODE, FixedNode(level, tuple(slots)).encode()))
