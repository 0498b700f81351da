"""Which ranges of which chunks make up the content of a file, whatever its form."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from lamina.errors import Damaged
from lamina.model.entries import Content, CutContent, FixedContent, Position
from lamina.model.ids import ChunkId
from lamina.repository.chunks import ChunkReader
from lamina.repository.cut_streams import iter_cut_chunks
from lamina.repository.streams import FixedMap


class ContentPart(NamedTuple):
    """One range of a content: bytes of a chunk, or zeros where there is none."""

    offset: int  # in the content
    length: int
    chunk: ChunkId | None
    start: int  # in the chunk
    whole: bool  # the range is all of the chunk: its length can be checked
    unread: bool = False  # it could not be read when it was saved; old content or zeros stand there
    lost: str = ""  # the node that says what is there cannot be read, and why; there is no chunk then


def iter_parts(reader: ChunkReader, content: Content) -> Iterator[ContentPart]:
    """The parts of a content in order and without gaps. Raises: Damaged, ChunkMissing."""
    if isinstance(content, FixedContent):
        stored = FixedMap(reader, content)
        for position, (kind, chunk) in stored.slots():
            length = stored.chunker.length(position, content.size)
            unread = kind in (Position.UNREAD, Position.UNREAD_KEPT)
            yield ContentPart(position * content.chunk_size, length, chunk, 0, whole=True, unread=unread)
        return
    offset = 0
    if isinstance(content, CutContent):
        for size, chunk in iter_cut_chunks(reader, content):
            yield ContentPart(offset, size, chunk, 0, whole=True)
            offset += size
        return
    for chunk, start, length in content.slices:
        yield ContentPart(offset, length, chunk, start, whole=False)
        offset += length


def cut_part(part: ContentPart, data: bytes) -> memoryview:
    """The bytes of *part*, given those of its chunk. Raises: Damaged if the chunk is too short (or too long for all of it)."""
    end = part.start + part.length
    if len(data) < end or (part.whole and len(data) != end):
        raise Damaged(
            f"chunk {part.chunk.hex() if part.chunk else ''} has {len(data)} bytes where {end} are needed",
            hint="run `lamina verify` for the whole picture",
        )
    return memoryview(data)[part.start : end]
