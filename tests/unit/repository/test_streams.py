"""Trees of nodes under one stream."""

from __future__ import annotations

import pytest

from lamina.crypto.hashing import public_hash
from lamina.errors import Damaged
from lamina.model.entries import Buffer, FixedContent, Position
from lamina.model.ids import ChunkId
from lamina.repository.blobs import Node
from lamina.repository.format import BlobKind
from lamina.repository.streams import (
    FANOUT,
    FixedMap,
    FixedMapWriter,
    FixedNode,
    Slot,
    decode_fixed_node,
    tree_depth,
)

CHUNK = 64 << 10
HOLE, ZERO = (Position.HOLE, None), (Position.ZERO, None)


class NodeStore:
    """Takes nodes as a session does, and gives their links back as a reader does."""

    def __init__(self) -> None:
        self.nodes: dict[ChunkId, Node] = {}

    def data_id(self, content: Buffer) -> ChunkId:
        return ChunkId(public_hash([content]))

    def put_data(self, chunk: ChunkId, content: Buffer) -> bool:
        return True

    def put_node(self, kind: BlobKind, node: Node) -> ChunkId:
        chunk = ChunkId(public_hash([node.links, node.body]))
        self.nodes[chunk] = node
        return chunk

    def get_links(self, kind: BlobKind, chunk: ChunkId) -> bytes:
        return self.nodes[chunk].links


def data(number: int) -> Slot:
    return (Position.DATA, ChunkId(number.to_bytes(32, "big")))


def build(store: NodeStore, slots: list[Slot], size: int | None = None) -> FixedContent:
    writer = FixedMapWriter(store, CHUNK)
    for start in range(0, len(slots), FANOUT):
        writer.add_leaf(slots[start : start + FANOUT])
    return writer.finish(size if size is not None else len(slots) * CHUNK)


def read(store: NodeStore, content: FixedContent) -> list[Slot]:
    return [slot for _, slot in FixedMap(store, content).slots()]  # type: ignore[arg-type]  # a reader only of links


@pytest.mark.parametrize("count", [0, 1, 2, 1023, 1024, 1025, 2048, 2049, 5000])
def test_every_position_comes_back(count: int):
    kinds = [lambda _: HOLE, lambda _: ZERO, data, data, lambda _: (Position.UNREAD, None)]
    slots = [kinds[number % 5](number) for number in range(count)]
    store = NodeStore()
    content = build(store, slots)
    assert read(store, content) == slots
    assert tree_depth(count) <= 2


def test_one_chunk_needs_no_node():
    store = NodeStore()
    assert build(store, [data(7)], size=5) == FixedContent(5, CHUNK, *data(7))
    assert store.nodes == {}


@pytest.mark.parametrize("slot", [HOLE, ZERO], ids=["hole", "zero"])
@pytest.mark.parametrize("count", [1, 1024, 1025, 3000])
def test_what_is_all_alike_needs_no_node(slot: Slot, count: int):
    store = NodeStore()
    content = build(store, [slot] * count)
    assert store.nodes == {}
    assert content.position is slot[0]
    assert read(store, content) == [slot] * count


def test_a_tree_of_three_levels_comes_back():
    """One position more than two levels can hold; most leaves are holes, given as whole leaves."""
    store, leaves = NodeStore(), FANOUT + 1
    writer = FixedMapWriter(store, CHUNK)
    first, last = [data(1), *[HOLE] * (FANOUT - 1)], [data(2)]
    writer.add_leaf(first)
    for _ in range(leaves - 2):
        writer.add_slot(HOLE)
    writer.add_leaf(last)
    count = (leaves - 1) * FANOUT + 1
    content = writer.finish(count * CHUNK)
    stored = FixedMap(store, content)  # type: ignore[arg-type]  # a reader only of links
    assert (stored.depth, stored.leaves) == (3, leaves)
    assert list(stored.leaf(0)) == first
    assert list(stored.leaf(leaves // 2)) == [HOLE] * FANOUT
    assert list(stored.leaf(leaves - 1)) == last


def test_a_leaf_taken_from_another_map_makes_the_same_tree():
    store = NodeStore()
    slots = [data(number) for number in range(3000)]
    parent = build(store, slots)
    known = FixedMap(store, parent)  # type: ignore[arg-type]  # a reader only of links
    writer = FixedMapWriter(store, CHUNK)
    writer.add_slot(known.leaf_slot(0))
    writer.add_leaf(slots[FANOUT : 2 * FANOUT])
    writer.add_slot(known.leaf_slot(2))
    assert writer.finish(3000 * CHUNK) == parent


def test_a_node_comes_back():
    kept = (Position.UNREAD_KEPT, ChunkId(b"k" * 32))
    node = FixedNode(1, (data(1), HOLE, ZERO, (Position.UNREAD, None), kept))
    assert decode_fixed_node(node.encode().links, name="it") == node


@pytest.mark.parametrize("size", [0, 2, 3, 5, 20, -1])
def test_a_cut_node_is_damage_never_zeros(size: int):
    links = FixedNode(1, (data(1), HOLE, data(2))).encode().links
    with pytest.raises(Damaged, match="the node"):
        decode_fixed_node(links[:size], name="the node")


@pytest.mark.parametrize(
    "links",
    [b"\1\0\0", b"\0\1\0\1", b"\1\1\0\5", b"\1\1\0\1x", b"\1\1\x04" + bytes(1025)],
    ids=["empty", "level-0", "unknown-kind", "too-long", "too-many"],
)
def test_a_node_that_makes_no_sense_is_damage(links: bytes):
    with pytest.raises(Damaged):
        decode_fixed_node(links, name="it")


@pytest.mark.parametrize("size", [2999 * CHUNK, 3001 * CHUNK, 1024 * CHUNK, 1025 * CHUNK, 2000 * FANOUT * CHUNK])
def test_a_tree_that_does_not_fit_its_size_is_damage(size: int):
    store = NodeStore()
    content = build(store, [data(number) for number in range(3000)])
    with pytest.raises(Damaged, match="positions"):
        read(store, FixedContent(size, CHUNK, content.position, content.id))
