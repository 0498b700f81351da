"""What is left of contents and directories whose nodes are missing or damaged: as the strict readers, but they go on."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from lamina.errors import Damaged
from lamina.model.entries import Content, CutContent, Entry, FixedContent, Position
from lamina.model.ids import ChunkId
from lamina.repository.chunks import ChunkReader
from lamina.repository.contents import ContentPart, iter_parts
from lamina.repository.cut_streams import Child, read_cut_node
from lamina.repository.streams import FANOUT, FixedMap
from lamina.repository.trees import get_directory_node

_UNREAD = (Position.UNREAD, Position.UNREAD_KEPT)

PIECE = 8 << 20  # bytes of what is lost, said at a time

TellLost = Callable[[Damaged], None]


def iter_remaining_parts(reader: ChunkReader, content: Content) -> Iterator[ContentPart]:
    """The parts of a content in order and without gaps; what nobody can say any more is a part that is lost."""
    if isinstance(content, FixedContent):
        yield from _fixed_parts(reader, content)
    elif isinstance(content, CutContent):
        yield from _cut_parts(reader, Child(content.size, content.id), None, 0)
    else:
        yield from iter_parts(reader, content)


def iter_remaining_entries(reader: ChunkReader, directory: ChunkId, tell: TellLost) -> Iterator[Entry]:
    """The entries of a directory; *tell* is told of each node and entry that is lost."""
    todo = [directory]
    while todo:
        chunk = todo.pop()
        try:
            node = get_directory_node(reader, chunk)
            if node.has_parts:
                todo += [node.part(at) for at in reversed(range(len(node.records)))]
                continue
        except Damaged as error:
            tell(error)
            continue
        for number in range(len(node.records)):
            try:
                entry = node.entry(number)
            except Damaged as error:
                tell(error)
                continue
            yield entry


def _fixed_parts(reader: ChunkReader, content: FixedContent) -> Iterator[ContentPart]:
    stored = FixedMap(reader, content)
    for leaf in range(stored.leaves):
        offset = leaf * FANOUT * content.chunk_size
        try:
            slots = stored.leaf(leaf)
        except Damaged as error:
            yield from _lost(offset, min(FANOUT * content.chunk_size, content.size - offset), error)
            continue
        for number, (kind, chunk) in enumerate(slots):
            length = stored.chunker.length(leaf * FANOUT + number, content.size)
            at = offset + number * content.chunk_size
            yield ContentPart(at, length, chunk, 0, whole=True, unread=kind in _UNREAD)


def _cut_parts(reader: ChunkReader, node: Child, level: int | None, offset: int) -> Iterator[ContentPart]:
    """What is under one node; there are eight levels at most."""
    try:
        found, below = read_cut_node(reader, node)
    except Damaged as error:
        yield from _lost(offset, node.size, error)
        return
    if level is not None and found != level:
        name = f"metadata chunk {node.id.hex()}"
        yield from _lost(offset, node.size, Damaged(f"{name} is of level {found} where {level} is needed"))
        return
    for child in below:
        if found == 1:
            yield ContentPart(offset, child.size, child.id, 0, whole=True)
        else:
            yield from _cut_parts(reader, child, found - 1, offset)
        offset += child.size


def _lost(offset: int, length: int, error: Damaged) -> Iterator[ContentPart]:
    """A range of which nobody knows any more what is there, in pieces that fit into memory."""
    for start in range(0, length, PIECE):
        yield ContentPart(offset + start, min(PIECE, length - start), None, 0, whole=True, lost=error.message)
