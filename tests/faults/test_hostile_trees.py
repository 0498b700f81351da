"""Snapshots that a stolen writer's key commits: `verify` says what of them cannot be restored, soon, and checks all others."""

from __future__ import annotations

import random
from collections.abc import Callable

import msgspec
import pytest

from lamina.model.entries import CutContent, Entry, EntryType, FixedContent, Position, Totals
from lamina.model.ids import ChunkId
from lamina.model.process import Process
from lamina.repository.blobs import Node
from lamina.repository.cut_streams import Child, encode_cut_node
from lamina.repository.directories import LINK, PartOf, encode_directory, encode_parts
from lamina.repository.format import BlobKind
from lamina.repository.sessions import SnapshotFacts
from lamina.repository.writer import ChunkWriter, EncodingOptions
from lamina.testing.repositories import CHUNK, SmallRepository

CONTENT = random.Random(3).randbytes(3 * CHUNK + 5)
Make = Callable[[ChunkWriter], ChunkId]  # gives the root of a tree


def commit(make: Make) -> SmallRepository:
    """A repository with an owner's snapshot, and one that holds what somebody made."""
    small = SmallRepository()
    small.back_up(CONTENT)
    repository = small.open("writer")
    session = repository.begin(Process(), EncodingOptions(level=3, check=True), small.operation())
    root = make(session.writer)
    session.commit(SnapshotFacts(root, 0, 0, False, "evil", "", "", ("x",), frozenset(), None))
    session.close()
    repository.close()
    return small


def put(writer: ChunkWriter, *entries: Entry) -> ChunkId:
    return writer.put_node(BlobKind.DIRECTORY, encode_directory(entries))


def byte(writer: ChunkWriter) -> ChunkId:
    chunk = writer.data_id(b"z")
    writer.put_data(chunk, b"z")
    return chunk


def unknown(writer: ChunkWriter) -> ChunkId:
    node = encode_directory([Entry(b"x", EntryType.FIFO)])
    fields = msgspec.msgpack.decode(node.body)
    fields[0][1] = 77
    return writer.put_node(BlobKind.DIRECTORY, Node(node.links, msgspec.msgpack.encode(fields)))


def cut(writer: ChunkWriter, claimed: int) -> ChunkId:
    node = writer.put_node(BlobKind.CUT_NODE, encode_cut_node(1, [Child(claimed, byte(writer))]))
    return put(writer, Entry(b"x", EntryType.FILE, content=CutContent(claimed, node)))


def fixed(writer: ChunkWriter) -> ChunkId:
    return put(writer, Entry(b"x", EntryType.FILE, content=FixedContent(5, 1 << 16, Position.DATA, byte(writer))))


def same_part_twice(writer: ChunkWriter) -> ChunkId:
    part = put(writer, Entry(b"a", EntryType.FIFO))
    parts = [PartOf(name, part, Totals(1)) for name in (b"a", b"b")]
    return writer.put_node(BlobKind.DIRECTORY, encode_parts(parts))


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (unknown, "of a kind that this Lamina does not know"),
        (lambda writer: cut(writer, 5), "fewer bytes than a file needs"),
        (fixed, "fewer bytes than a file needs"),
        (same_part_twice, "in the wrong place"),
    ],
    ids=["unknown-type", "short-cut-chunk", "short-fixed-chunk", "part-twice"],
)
def test_what_a_restore_would_refuse_verify_finds(make: Make, what: str):
    small = commit(make)
    (problem,) = small.verify().problems
    assert what in problem.what
    assert problem.object.startswith("snapshot ")
    assert small.verify("steward").problems == ()


def test_a_stream_of_more_chunks_than_there_is_time_for_is_followed_soon():
    """Each of six levels has one node a thousand times: each is looked at once."""

    def bomb(writer: ChunkWriter) -> ChunkId:
        child = Child(1, byte(writer))
        for level in range(1, 7):
            node = writer.put_node(BlobKind.CUT_NODE, encode_cut_node(level, [child] * 1024))
            child = Child(child.size * 1024, node)
        return put(writer, Entry(b"x", EntryType.FILE, content=CutContent(*child)))

    assert commit(bomb).verify().problems == ()


@pytest.mark.parametrize("holder", ["owner", "writer", "steward", "other"])
def test_links_that_lead_back_are_followed_once(holder: str):
    def circle(writer: ChunkWriter) -> ChunkId:
        first, second = ChunkId(b"1" * 32), ChunkId(b"2" * 32)
        for chunk, below in ((first, second), (second, first)):
            node = Node(LINK.pack(BlobKind.DIRECTORY, 0, below), msgspec.msgpack.encode([]))
            sealed = writer._access.sealer.seal_node(BlobKind.DIRECTORY, chunk, node, session_key=writer.keys.metadata)
            writer._claimed.add(chunk)
            writer._add(sealed, writer.keys.metadata_entry)
        return first

    problems = [one for one in commit(circle).verify(holder).problems if one.object.startswith("snapshot ")]
    assert len(problems) == 1
