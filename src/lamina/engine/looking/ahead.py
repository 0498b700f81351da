"""Read contents in order while those that come next are on their way."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from lamina.engine.saving.images import ZEROS
from lamina.engine.threads import each
from lamina.model.ids import ChunkId
from lamina.model.operation import Operation
from lamina.repository.contents import ContentPart, cut_part
from lamina.repository.repository import Repository

BATCH_BYTES = 8 << 20  # of chunks, fetched together; `each` has six such batches under way
BATCH_ITEMS = 2048
THREADS = 2  # fetching overlaps with what is done with the bytes

Tag = TypeVar("Tag")


@dataclass(slots=True)
class _Batch(Generic[Tag]):
    items: list[tuple[Tag, ContentPart | None]] = field(default_factory=list)
    chunks: dict[ChunkId, None] = field(default_factory=dict)  # that they need, each once


def read_ahead(
    repository: Repository, items: Iterable[tuple[Tag, ContentPart | None]], operation: Operation
) -> Iterator[tuple[Tag, memoryview | None]]:
    """Each of *items* in order, its part of a content replaced by the bytes; a chunk that neighbours share is read once.

    Raises: Damaged, ChunkMissing, NotPermitted, StorageError, Stopped.
    """
    reader = repository.reader()

    def fetch(batch: _Batch[Tag]) -> tuple[_Batch[Tag], dict[ChunkId, bytes]]:
        return batch, reader.get_many(list(batch.chunks))

    with ThreadPoolExecutor(THREADS, thread_name_prefix="read") as executor:
        for batch, contents in each(executor, fetch, _batches(repository, items), operation):
            for tag, part in batch.items:
                yield tag, None if part is None else _bytes(part, contents)


def _batches(repository: Repository, items: Iterable[tuple[Tag, ContentPart | None]]) -> Iterator[_Batch[Tag]]:
    batch, size = _Batch[Tag](), 0
    for tag, part in items:
        if part is not None and part.chunk is not None and part.chunk not in batch.chunks:
            needed = _size(repository, part.chunk, part)
            if size and size + needed > BATCH_BYTES:
                yield batch
                batch, size = _Batch(), 0
            batch.chunks[part.chunk] = None
            size += needed
        batch.items.append((tag, part))
        if len(batch.items) == BATCH_ITEMS:
            yield batch
            batch, size = _Batch(), 0
    if batch.items:
        yield batch


def _size(repository: Repository, chunk: ChunkId, part: ContentPart) -> int:
    """Bytes of a whole chunk."""
    if part.whole:
        return part.length
    place = next(repository.index.places(chunk), None)
    return place.plain_size if place is not None else 0


def _bytes(part: ContentPart, contents: dict[ChunkId, bytes]) -> memoryview:
    return memoryview(ZEROS)[: part.length] if part.chunk is None else cut_part(part, contents[part.chunk])
