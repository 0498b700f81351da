"""Sorted tables: look-ups, merging, damage."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import pytest

from lamina.model.ids import ChunkId, PackId
from lamina.repository.tables import ROW, Pack, Table, merge_tables, write_table

PACKS = [Pack(PackId(bytes([number]) * 32), 10**6 + number, number == 1) for number in range(3)]
Places = list[tuple[bytes, int]]


def table(directory: Path, name: str, places: Iterable[tuple[bytes, int]], covers: Iterable[str] = ()) -> Table:
    rows = sorted(ROW.pack(chunk, pack, 100, 50, 70) for chunk, pack in places)
    return write_table(directory, name, covers, PACKS, rows, len(rows))


def uniform(count: int) -> Places:
    rng = random.Random(1)
    return [(rng.randbytes(32), rng.randrange(3)) for _ in range(count)]


def skewed(count: int) -> Places:
    """Ids that interpolation gets wrong: nearly all begin alike, a few lie far away."""
    rng = random.Random(2)
    near = [(bytes(8) + rng.randbytes(24), 0) for _ in range(count)]
    return [*near, (b"\xff" * 32, 1), (b"\x80" + bytes(31), 2), (bytes(32), 1)]


def exponential(count: int) -> Places:
    return [((1 << (256 * number // count)).to_bytes(33, "big")[1:], 0) for number in range(count)]


def duplicates(count: int) -> Places:
    return [(chunk, pack) for chunk, _ in uniform(count // 3) for pack in range(3)]


@pytest.mark.parametrize("make", [uniform, skewed, exponential, duplicates])
@pytest.mark.parametrize("count", [0, 1, 2, 31, 32, 33, 1000])
def test_every_row_is_found_and_nothing_else(tmp_path: Path, make, count: int):
    places = make(count) if count else []
    found = table(tmp_path, "t", places)
    expected = defaultdict(list)
    for chunk, pack in places:
        expected[chunk].append(PACKS[pack].id)
    assert len(found) == len(places)
    for chunk, packs in expected.items():
        assert sorted(place.pack for place in found.find(ChunkId(chunk))) == sorted(packs)
        for near in (-1, 1):
            number = (int.from_bytes(chunk, "big") + near) % (1 << 256)
            neighbour = number.to_bytes(32, "big")
            assert [p.pack for p in found.find(ChunkId(neighbour))] == expected.get(neighbour, [])
    for chunk in (bytes(32), b"\xff" * 32, b"\x80" * 32, bytes(7) + b"\1" + bytes(24)):
        assert len(list(found.find(ChunkId(chunk)))) == len(expected.get(chunk, []))


def test_a_place_says_all_about_a_chunk(tmp_path: Path):
    (place,) = table(tmp_path, "t", [(b"c" * 32, 1)]).find(ChunkId(b"c" * 32))
    assert (place.pack, place.meta, place.pack_size) == (PACKS[1].id, True, 10**6 + 1)
    assert (place.offset, place.stored_size, place.plain_size) == (100, 50, 70)


def test_merging_keeps_every_place(tmp_path: Path):
    parts = [uniform(50), skewed(20), [], duplicates(30), uniform(10)]
    tables = [table(tmp_path, f"{number}", part, [f"delta-{number}"]) for number, part in enumerate(parts)]
    merged = merge_tables(tmp_path, "merged", tables)
    assert merged.covers == {f"delta-{number}" for number in range(5)}
    expected = sorted((chunk, PACKS[pack].id) for part in parts for chunk, pack in part)
    assert sorted((chunk, merged.packs[pack].id) for chunk, pack, *_ in merged.rows()) == expected
    for chunk, _ in expected:
        assert len(list(merged.find(ChunkId(chunk)))) == sum(1 for one, _ in expected if one == chunk)


@pytest.mark.parametrize("place", [0, 10, 30, 100, 200, -40, -1])
def test_a_damaged_table_is_not_opened(tmp_path: Path, place: int):
    path = table(tmp_path, "t", uniform(20), ["delta"]).path
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)
    with pytest.raises(ValueError, match="intact"):
        Table(path)


@pytest.mark.parametrize("size", [0, 1, 50, -1])
def test_a_cut_table_is_not_opened(tmp_path: Path, size: int):
    path = table(tmp_path, "t", uniform(20)).path
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(ValueError):
        Table(path)


def test_a_table_that_cannot_be_finished_leaves_nothing(tmp_path: Path):
    def rows() -> Iterable[bytes]:
        yield ROW.pack(bytes(32), 0, 0, 0, 0)
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_table(tmp_path, "t", [], PACKS, rows(), 2)
    assert list(tmp_path.iterdir()) == []
