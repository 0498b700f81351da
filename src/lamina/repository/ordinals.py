"""Numbers for stored chunks: what is known of each fits into arrays instead of dicts of ids."""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterator
from itertools import accumulate
from typing import NamedTuple

from lamina.model.ids import ChunkId
from lamina.repository.index import Index
from lamina.repository.tables import ROW, Pack, Table

ROWS_BITS = 4  # rows that share a prefix: 16 or so
MANY_ROWS = 1024  # so many are not searched one after the other
_KEY = struct.Struct(">Q40x")  # the beginning of a row's id


class StoredChunk(NamedTuple):
    """One place of one chunk."""

    ordinal: int
    pack: Pack
    stored_size: int  # bytes of the blob
    plain_size: int  # bytes of the content


class RowFinder:
    """Finds rows of one table several times as fast as the table itself; takes half a byte of memory a row, and a look at all."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._rows = table.encoded
        bits = max(len(table).bit_length() - ROWS_BITS, 0)
        self._shift = 64 - bits
        counts = array("I", bytes(4 * ((1 << bits) + 1)))
        for (key,) in _KEY.iter_unpack(self._rows):
            counts[(key >> self._shift) + 1] += 1
        self._starts = array("I", accumulate(counts))

    def find(self, chunk: ChunkId) -> int | None:
        """The first row of *chunk*, or None."""
        prefix = int.from_bytes(chunk[:8], "big") >> self._shift
        first, end = self._starts[prefix], self._starts[prefix + 1]
        if end - first > MANY_ROWS:
            return self._table.row_of(chunk)  # ids are uniform, unless somebody lies
        rows = bytes(self._rows[first * ROW.size : end * ROW.size])
        at = rows.find(chunk)
        while at % ROW.size and at > 0:
            at = rows.find(chunk, at + 1)
        return None if at < 0 else first + at // ROW.size


class Ordinals:
    """Numbers the places of all chunks from 0 on, as the index says them now; it may be loaded again meanwhile."""

    def __init__(self, index: Index) -> None:
        self._tables = index.tables()
        self._starts = [0, *accumulate(len(table) for table in self._tables)]
        self._finders: list[RowFinder] = []

    def __len__(self) -> int:
        return self._starts[-1]

    def find(self, chunk: ChunkId) -> int | None:
        """The number of a chunk: of the first of its places, if it has several."""
        if not self._finders:
            self._finders = [RowFinder(table) for table in self._tables]
        for finder, start in zip(self._finders, self._starts, strict=False):
            row = finder.find(chunk)
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
