"""Numbers for stored chunks: what is known of each fits into arrays instead of dicts of ids."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate
from typing import NamedTuple

from lamina.model.ids import ChunkId
from lamina.repository.index import Index
from lamina.repository.tables import Pack


class StoredChunk(NamedTuple):
    """One place of one chunk."""

    ordinal: int
    pack: Pack
    stored_size: int  # bytes of the blob
    plain_size: int  # bytes of the content


class Ordinals:
    """Numbers the places of all chunks from 0 on, as the index says them now; it may be loaded again meanwhile."""

    def __init__(self, index: Index) -> None:
        self._tables = index.tables()
        self._starts = [0, *accumulate(len(table) for table in self._tables)]

    def __len__(self) -> int:
        return self._starts[-1]

    def find(self, chunk: ChunkId) -> int | None:
        """The number of a chunk: of the first of its places, if it has several."""
        for table, start in zip(self._tables, self._starts, strict=False):
            row = table.row_of(chunk)
            if row is not None:
                return start + row
        return None

    def sizes(self, ordinal: int) -> tuple[int, int]:
        """Stored and plain size of one place."""
        number = next(n for n, end in enumerate(self._starts[1:]) if ordinal < end)
        return self._tables[number].sizes(ordinal - self._starts[number])

    def places(self) -> Iterator[StoredChunk]:
        """Every place, in the order of the numbers."""
        for table, start in zip(self._tables, self._starts, strict=False):
            for row, (_, pack, _, stored, plain) in enumerate(table.rows()):
                yield StoredChunk(start + row, table.packs[pack], stored, plain)
