"""The index against a dict, a stream's map against a list."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from lamina.model.ids import ChunkId, PackId
from lamina.repository.tables import ROW, Pack, Table, merge_tables, write_table
from tests.unit.repository.test_streams import CHUNK, FANOUT, HOLE, ZERO, FixedContent, NodeStore, build, data, read

PACKS = [Pack(PackId(bytes([number]) * 32), 10**6, False) for number in range(4)]
ids = st.one_of(
    st.binary(min_size=32, max_size=32),
    st.integers(0, 40).map(lambda number: number.to_bytes(32, "big")),
    st.integers(0, 255).map(lambda number: bytes([number]) * 32),
)
tables = st.lists(st.lists(st.tuples(ids, st.integers(0, 3)), max_size=60), min_size=1, max_size=5)


@given(tables, st.lists(ids, max_size=20))
def test_tables_find_what_a_dict_finds(contents, others: list[bytes]):
    expected = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        made: list[Table] = []
        for number, places in enumerate(contents):
            rows = sorted(ROW.pack(chunk, pack, 1, 2, 3) for chunk, pack in places)
            made.append(write_table(Path(folder), f"{number}", [], PACKS, rows, len(rows)))
            for chunk, pack in places:
                expected[chunk].append(PACKS[pack].id)
        merged = merge_tables(Path(folder), "merged", made)
        for chunk in (*expected, *others):
            packs = sorted(expected.get(chunk, []))
            assert sorted(place.pack for place in merged.find(ChunkId(chunk))) == packs
            assert sorted(place.pack for table in made for place in table.find(ChunkId(chunk))) == packs


runs = st.lists(
    st.tuples(st.sampled_from([HOLE, ZERO, data(1), data(2)]), st.sampled_from([1, 2, 100, FANOUT - 1, FANOUT])),
    max_size=8,
)


@settings(max_examples=40)
@given(runs, st.integers(0, CHUNK - 1))
def test_a_map_reads_what_a_list_holds(lengths, cut: int):
    slots = [slot for slot, count in lengths for _ in range(count)]
    size = max(0, len(slots) * CHUNK - cut)
    store = NodeStore()
    content = build(store, slots, size)
    assert isinstance(content, FixedContent)
    assert read(store, content) == slots
    again = NodeStore()
    assert build(again, slots, size) == content
