"""What is left of contents and directories of which something is lost: their parts in order, lost ones among them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from lamina.errors import Damaged, FormatUnknown
from lamina.model.entries import Content, CutContent, FixedContent, Position
from lamina.model.ids import ChunkId
from lamina.repository.chunks import ChunkReader
from lamina.repository.cut_streams import Child, read_cut_node
from lamina.repository.directories import DirectoryNode
from lamina.repository.streams import FANOUT, FixedMap
from lamina.repository.trees import get_directory_node

IsThere = Callable[[ChunkId], bool]


class Part(NamedTuple):
    """One range of a content."""

    offset: int  # in the content
    length: int
    chunk: ChunkId | None  # None: zeros; of a lost part: the chunks are not even known by name
    start: int = 0  # in the chunk
    whole: bool = True  # the range is all of the chunk
    position: Position = Position.DATA  # what a fixed stream says of it
    lost: bool = False


def parts_left(reader: ChunkReader, content: Content, is_there: IsThere) -> Iterator[Part]:
    """The parts of *content* in order and without gaps; a node that is lost makes one part of all below it.

    Raises: StorageError.
    """
    if isinstance(content, FixedContent):
        yield from _fixed(reader, content, is_there)
    elif isinstance(content, CutContent):
        yield from _cut(reader, content, is_there)
    else:
        offset = 0
        for chunk, start, length in content.slices:
            yield Part(offset, length, chunk, start, whole=False, lost=not is_there(chunk))
            offset += length


def _fixed(reader: ChunkReader, content: FixedContent, is_there: IsThere) -> Iterator[Part]:
    stored = FixedMap(reader, content)
    span = FANOUT * content.chunk_size
    for leaf in range(stored.leaves):
        offset = leaf * span
        try:
            slots = stored.leaf(leaf)
        except (Damaged, FormatUnknown):
            yield Part(offset, min(span, content.size - offset), None, lost=True)
            continue
        for number, (kind, chunk) in enumerate(slots):
            position = leaf * FANOUT + number
            length = stored.chunker.length(position, content.size)
            is_lost = chunk is not None and not is_there(chunk)
            yield Part(position * content.chunk_size, length, chunk, position=kind, lost=is_lost)


def _cut(reader: ChunkReader, content: CutContent, is_there: IsThere) -> Iterator[Part]:
    todo: list[tuple[Child, int | None, int]] = [(Child(content.size, content.id), None, 0)]  # node, level, offset
    while todo:
        node, level, offset = todo.pop()
        if level == 0:
            yield Part(offset, node.size, node.id, lost=not is_there(node.id))
            continue
        try:
            found, below = read_cut_node(reader, node)
        except (Damaged, FormatUnknown):
            found, below = 0, []
        if not below or found != (level or found):
            yield Part(offset, node.size, None, lost=True)
            continue
        children: list[tuple[Child, int | None, int]] = []
        for child in below:
            children.append((child, found - 1, offset))
            offset += child.size
        todo += reversed(children)


def nodes_left(reader: ChunkReader, directory: ChunkId) -> Iterator[DirectoryNode | None]:
    """The nodes that hold the entries of a directory, in order; None for a part that is lost. Raises: StorageError."""
    todo, last = [directory], b""
    while todo:
        try:
            node = get_directory_node(reader, todo.pop())
            parts = [node.part(at) for at in range(len(node.records))] if node.has_parts else []
        except (Damaged, FormatUnknown):
            yield None
            continue
        if node.has_parts:
            todo += reversed(parts)
        elif node.records and node.records[0].name <= last:
            yield None  # it belongs somewhere else
        else:
            last = node.records[-1].name if node.records else last
            yield node
