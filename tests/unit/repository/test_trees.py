"""Directories."""

from __future__ import annotations

import pytest

from lamina.errors import Damaged, FormatUnknown
from lamina.model.entries import Entry, EntryType, FixedContent, Metadata, Position
from lamina.model.ids import ChunkId
from lamina.repository.blobs import Node
from lamina.repository.directories import decode_directory, encode_directory
from lamina.repository.format import BlobKind
from lamina.repository.trees import children

NODE = ChunkId(b"n" * 32)
ENTRIES = [
    Entry(b"big", EntryType.FILE, content=FixedContent(65537, 65536, Position.DATA, ChunkId(b"b" * 32))),
    Entry(b"dir", EntryType.DIRECTORY, child=ChunkId(b"d" * 32)),
    Entry(b"small", EntryType.FILE, content=FixedContent(65536, 65536, Position.DATA, ChunkId(b"s" * 32))),
    Entry(b"zero", EntryType.FILE, content=FixedContent(9, 65536, Position.ZERO, None)),
    Entry(b"\xff not utf-8", EntryType.FILE, Metadata(0o600, 1, 2, -5), FixedContent(0, 65536, Position.HOLE, None)),
]


def test_entries_come_back():
    assert list(decode_directory(encode_directory(ENTRIES), NODE).entries()) == ENTRIES


def test_links_alone_say_what_is_referred_to():
    links = encode_directory(ENTRIES).links
    assert list(children(BlobKind.DIRECTORY, links, name="it")) == [
        (BlobKind.FIXED_NODE, b"b" * 32),
        (BlobKind.DIRECTORY, b"d" * 32),
        (BlobKind.DATA, b"s" * 32),
    ]


@pytest.mark.parametrize(
    "node",
    [
        Node(b"", encode_directory(ENTRIES).body),
        Node(encode_directory(ENTRIES).links[:-1], encode_directory(ENTRIES).body),
        Node(encode_directory(ENTRIES).links, b""),
        Node(encode_directory(ENTRIES).links, encode_directory(ENTRIES).body[:-1]),
    ],
    ids=["links-gone", "links-cut", "body-gone", "body-cut"],
)
def test_a_directory_that_makes_no_sense_is_damage(node: Node):
    with pytest.raises(Damaged, match=NODE.hex()):
        list(decode_directory(node, NODE).entries())


@pytest.mark.parametrize(
    "node",
    [
        Node(b"\x63" + bytes(36), b"\x90"),
        Node(b"", b"\x91\x9b\xc4\x01a\x09\x00\x00\x00\x00\xff\x00\x00\x00\x00"),
        Node(b"", b"\x91\x9b\xc4\x01a\x02\x00\x00\x00\x00\xff\x05\x00\x00\x00"),
    ],
    ids=["unknown-link", "unknown-type", "unknown-form"],
)
def test_what_a_later_release_stores_asks_for_an_upgrade(node: Node):
    with pytest.raises(FormatUnknown):
        list(decode_directory(node, NODE).entries())
