"""Rows of a table, found by prefixes that are kept in memory."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from lamina.model.ids import ChunkId, PackId
from lamina.repository.ordinals import MANY_ROWS, RowFinder
from lamina.repository.tables import ROW, Pack, write_table

PACK = Pack(PackId(b"p" * 32), 1000, False)


def finder_of(folder: Path, ids: list[bytes]) -> RowFinder:
    rows = [ROW.pack(chunk, 0, 0, 1, 1) for chunk in sorted(ids)]
    return RowFinder(write_table(folder, "one.table", [], [PACK], rows, len(rows)))


@pytest.mark.parametrize("count", [0, 1, 2, 15, 16, 17, 1000, 5000])
def test_each_row_is_found_and_nothing_else(tmp_path: Path, count: int):
    rng = random.Random(count)
    ids = sorted(rng.randbytes(32) for _ in range(count))
    finder = finder_of(tmp_path, ids)
    assert [finder.find(ChunkId(one)) for one in ids] == list(range(count))
    assert [finder.find(ChunkId(rng.randbytes(32))) for _ in range(100)] == [None] * 100
    assert finder.find(ChunkId(bytes(32))) is None
    assert finder.find(ChunkId(b"\xff" * 32)) is None


def test_the_first_row_of_a_chunk_with_several_places(tmp_path: Path):
    ids = [b"a" * 32, b"b" * 32, b"b" * 32, b"b" * 32, b"c" * 32]
    assert [finder_of(tmp_path, ids).find(ChunkId(bytes([letter]) * 32)) for letter in b"abc"] == [0, 1, 4]


def test_ids_that_somebody_chose(tmp_path: Path):
    """All begin alike, and one is what stands astride two rows."""
    ids = [bytes(28) + number.to_bytes(4, "big") for number in range(MANY_ROWS + 10)]
    finder = finder_of(tmp_path, ids)
    assert [finder.find(ChunkId(one)) for one in ids[:: MANY_ROWS // 4]] == list(range(0, len(ids), MANY_ROWS // 4))
    astride = ROW.pack(ids[0], 0, 0, 1, 1)[16:] + ids[1][:0]
    assert finder_of(tmp_path, ids[:3]).find(ChunkId(astride)) is None
