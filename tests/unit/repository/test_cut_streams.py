"""Long streams as trees of nodes that their content cuts."""

from __future__ import annotations

import random
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamina.errors import Damaged
from lamina.model.entries import CutContent
from lamina.model.ids import ChunkId
from lamina.repository.blobs import Node
from lamina.repository.cut_streams import (
    MAX_CHILDREN,
    MAX_LEVEL,
    MIN_CHILDREN,
    Child,
    CutStreamWriter,
    decode_cut_node,
    encode_cut_node,
    iter_cut_chunks,
)
from lamina.repository.format import BlobKind
from lamina.repository.trees import children
from tests.chunk_store import ChunkStore


@pytest.fixture(scope="module")
def store():
    made = ChunkStore()
    yield made
    made.close()


def chunks_of(seed: int, count: int) -> list[Child]:
    rng = random.Random(seed)
    return [Child(rng.randrange(1, 1 << 20), ChunkId(rng.randbytes(32))) for _ in range(count)]


def stored(store: ChunkStore, chunks: list[Child]) -> CutContent:
    writer = CutStreamWriter(store)
    for size, chunk in chunks:
        writer.add(chunk, size)
    return writer.finish()


@given(
    seed=st.integers(0, 1000),
    count=st.one_of(st.integers(1, 300), st.sampled_from([MIN_CHILDREN, MAX_CHILDREN, MAX_CHILDREN + 1, 5000])),
    same=st.booleans(),
)
def test_any_chunks_come_back_in_order(store: ChunkStore, seed: int, count: int, same: bool):
    """*same*: the same chunk again and again, as in a file of zeros: nothing but the limit cuts there."""
    chunks = chunks_of(seed, 1) * count if same else chunks_of(seed, count)
    content = stored(store, chunks)
    assert content.size == sum(chunk.size for chunk in chunks)
    assert list(iter_cut_chunks(store.reader(), content)) == chunks


@pytest.mark.parametrize("where", [0, 1, 10_000, 19_999, 20_000])
def test_an_insertion_makes_few_nodes_new(store: ChunkStore, where: int):
    chunks = chunks_of(7, 20_000)
    stored(store, chunks)
    store.new.clear()
    stored(store, [*chunks[:where], *chunks_of(8 + where, 1), *chunks[where:]])
    assert 2 <= len(store.new) <= 6


def test_the_same_stream_makes_no_node_new(store: ChunkStore):
    chunks = chunks_of(9, 3000)
    first = stored(store, chunks)
    store.new.clear()
    assert stored(store, chunks) == first
    assert store.new == []


@pytest.mark.parametrize("count", [1, MAX_CHILDREN])
def test_a_node_lists_its_children_as_links_only(count: int):
    chunks = chunks_of(1, count)
    node = encode_cut_node(1, chunks)
    assert node.body == b""
    assert list(children(BlobKind.CUT_NODE, node.links, name="it")) == [(BlobKind.DATA, one.id) for one in chunks]
    above = encode_cut_node(2, chunks).links
    assert {kind for kind, _ in children(BlobKind.CUT_NODE, above, name="it")} == {BlobKind.CUT_NODE}


def hostile(level: int, children: list[Child], count: int | None = None) -> bytes:
    head = struct.pack("<BH", level, len(children) if count is None else count)
    return head + b"".join(struct.pack("<Q32s", *child) for child in children)


ONE = Child(1, ChunkId(b"a" * 32))


@pytest.mark.parametrize(
    "links",
    [
        b"",
        b"\x01\x01",
        hostile(1, []),
        hostile(0, [ONE]),
        hostile(MAX_LEVEL + 1, [ONE]),
        hostile(1, [ONE], count=2),
        hostile(1, [ONE, ONE], count=1),
        hostile(1, [ONE])[:-1],
        hostile(1, [ONE] * (MAX_CHILDREN + 1)),
        hostile(1, [ONE, Child(0, ONE.id)]),
    ],
    ids=[
        "nothing",
        "half-a-head",
        "no-child",
        "level-0",
        "level-9",
        "one-short",
        "one-over",
        "cut",
        "too-many",
        "empty",
    ],
)
def test_a_node_that_makes_no_sense_is_damage(links: bytes):
    with pytest.raises(Damaged, match="the node"):
        decode_cut_node(links, name="the node")


def put(store: ChunkStore, level: int, chunks: list[Child]) -> Child:
    chunk = store.put_node(BlobKind.CUT_NODE, Node(hostile(level, chunks), b""))
    return Child(sum(one.size for one in chunks), chunk)


def test_a_node_of_the_wrong_level_is_damage(store: ChunkStore):
    """A node that contains a node of its own level could contain itself."""
    leaf = put(store, 1, [ONE])
    root = put(store, 3, [leaf])
    with pytest.raises(Damaged, match="level 1 where 2"):
        list(iter_cut_chunks(store.reader(), CutContent(*root)))


@pytest.mark.parametrize("said", [0, 2, 1 << 63])
def test_a_stream_of_another_size_than_its_chunks_is_damage(store: ChunkStore, said: int):
    root = put(store, 1, [ONE])
    with pytest.raises(Damaged, match="stands for 1 bytes"):
        list(iter_cut_chunks(store.reader(), CutContent(said, root.id)))
    above = put(store, 2, [Child(said, root.id)]) if said else None
    if above is not None:
        with pytest.raises(Damaged, match="stands for 1 bytes"):
            list(iter_cut_chunks(store.reader(), CutContent(*above)))
