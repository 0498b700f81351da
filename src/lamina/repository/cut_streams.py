"""A long stream cut by its content ↔ a tree of nodes that are cut by content too (spec: cut streams).

So an insertion anywhere in a stream changes the chunks around it, one node of each level, and nothing else.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from lamina.errors import Damaged
from lamina.model.entries import CutContent
from lamina.model.ids import ChunkId
from lamina.repository.blobs import Node
from lamina.repository.chunks import ChunkReader
from lamina.repository.format import BlobKind
from lamina.repository.streams import ChunkPutter

MIN_CHILDREN, MAX_CHILDREN = 128, 1024  # of a node; on average about 375
MAX_LEVEL = 8  # 128 chunks to the power of 8: no stream has more
_HEAD = struct.Struct("<BH")  # level, number of children
_CHILD = struct.Struct("<Q32s")  # bytes of the stream under it, id


class Child(NamedTuple):
    """A chunk, or a node of the level below, and how many bytes of the stream it stands for."""

    size: int
    id: ChunkId


class CutStreamWriter:
    """Builds the tree of one stream bottom-up, chunk by chunk."""

    def __init__(self, putter: ChunkPutter) -> None:
        self._putter = putter
        self._levels: list[list[Child]] = []  # that are not yet in a node; the first: chunks

    def add(self, chunk: ChunkId, size: int) -> None:
        """Take the next chunk."""
        self._push(0, Child(size, chunk))

    def finish(self) -> CutContent:
        """Store what is left and describe the whole stream, which has one chunk at least."""
        level = 0
        while level < len(self._levels) - 1 or level == 0 or len(self._levels[level]) > 1:
            if self._levels[level]:
                self._put(level)
            level += 1
        size, chunk = self._levels[level][0]
        return CutContent(size, chunk)

    def _push(self, level: int, child: Child) -> None:
        if level == len(self._levels):
            self._levels.append([])
        pending = self._levels[level]
        pending.append(child)
        if len(pending) >= MIN_CHILDREN and (child.id[0] == 0 or len(pending) == MAX_CHILDREN):
            self._put(level)

    def _put(self, level: int) -> None:
        children, self._levels[level] = self._levels[level], []
        chunk = self._putter.put_node(BlobKind.CUT_NODE, encode_cut_node(level + 1, children))
        self._push(level + 1, Child(sum(child.size for child in children), chunk))


def encode_cut_node(level: int, children: Sequence[Child]) -> Node:
    """A node as a metadata chunk: all of it is links, for it names nothing."""
    return Node(_HEAD.pack(level, len(children)) + b"".join(_CHILD.pack(*child) for child in children), b"")


def decode_cut_node(links: bytes, *, name: str) -> tuple[int, list[Child]]:
    """The level and the children that *links* say. Raises: Damaged."""
    if len(links) < _HEAD.size:
        raise Damaged(f"{name} is too short to be a node")
    level, count = _HEAD.unpack_from(links)
    if not 1 <= level <= MAX_LEVEL or not 0 < count <= MAX_CHILDREN or len(links) != _HEAD.size + count * _CHILD.size:
        raise Damaged(f"{name} has another length than its {count} children need")
    children = [Child(size, ChunkId(chunk)) for size, chunk in _CHILD.iter_unpack(links[_HEAD.size :])]
    if not all(child.size for child in children):
        raise Damaged(f"{name} has a child of no bytes")
    return level, children


def iter_cut_chunks(reader: ChunkReader, content: CutContent) -> Iterator[Child]:
    """The chunks of a stream in order, as they are needed. Raises: Damaged, ChunkMissing."""
    level, children = read_cut_node(reader, Child(content.size, content.id))
    todo = [(level, iter(children))]
    while todo:
        level, rest = todo[-1]
        child = next(rest, None)
        if child is None:
            todo.pop()
        elif level == 1:
            yield child
        else:
            below, found = read_cut_node(reader, child)
            if below != level - 1:
                raise Damaged(f"metadata chunk {child.id.hex()} is of level {below} where {level - 1} is needed")
            todo.append((below, iter(found)))


def read_cut_node(reader: ChunkReader, node: Child) -> tuple[int, list[Child]]:
    """The level of a node, and the children that make up its size. Raises: Damaged, ChunkMissing."""
    name = f"metadata chunk {node.id.hex()}"
    level, children = decode_cut_node(reader.get_links(BlobKind.CUT_NODE, node.id), name=name)
    size = sum(child.size for child in children)
    if size != node.size:
        raise Damaged(f"{name} stands for {size} bytes where {node.size} are needed")
    return level, children
