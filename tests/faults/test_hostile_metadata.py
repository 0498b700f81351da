"""What a stolen writer key can put into metadata, and why it does no harm."""

from __future__ import annotations

import msgspec
import pytest

from lamina.errors import Damaged, FormatUnknown
from lamina.filters.pipeline import MAX_PLAIN, seal_part, unseal_part
from lamina.model.entries import Entry, EntryType, FixedContent, Metadata, Position
from lamina.model.ids import ChunkId
from lamina.repository.blobs import Node
from lamina.repository.control import record_number
from lamina.repository.directories import decode_directory, encode_directory
from lamina.repository.streams import FixedNode, decode_fixed_node

CHUNK = ChunkId(b"\x11" * 32)


def image(name: bytes, content: FixedContent) -> Entry:
    return Entry(name, EntryType.FILE, Metadata(), content)


def whole(size: int = 100, chunk_size: int = 1 << 16) -> FixedContent:
    return FixedContent(size, chunk_size, Position.DATA, CHUNK)


@pytest.mark.parametrize("name", [b"", b".", b"..", b"../../etc/cron.d/x", b"/etc/passwd", b"a/b", b"a\0b"])
def test_a_name_that_leads_out_of_the_target_is_refused(name: bytes):
    with pytest.raises(Damaged, match="cannot be a name"):
        list(decode_directory(encode_directory([image(name, whole())]), CHUNK).entries())


def test_two_entries_of_one_name_are_refused():
    with pytest.raises(Damaged, match="one name"):
        list(decode_directory(encode_directory([image(b"a", whole()), image(b"a", whole(50))]), CHUNK).entries())


@pytest.mark.parametrize("chunk_size", [0, 1, 1000, 1 << 15, 1 << 25])
def test_a_chunk_size_that_no_writer_uses_is_refused(chunk_size: int):
    sane = encode_directory([image(b"a", whole())])
    fields = msgspec.msgpack.decode(sane.body)
    fields[0][9] = chunk_size
    with pytest.raises(Damaged):
        list(decode_directory(Node(sane.links, msgspec.msgpack.encode(fields)), CHUNK).entries())


@pytest.mark.parametrize(
    "content",
    [
        FixedContent(100, 1 << 16, Position.DATA, None),
        FixedContent(100, 1 << 16, Position.HOLE, CHUNK),
        FixedContent(1 << 20, 1 << 16, Position.UNREAD_KEPT, CHUNK),
        FixedContent(1 << 20, 1 << 16, Position.UNREAD, None),
    ],
)
def test_a_root_that_does_not_fit_its_position_is_refused(content: FixedContent):
    with pytest.raises(Damaged):
        list(decode_directory(encode_directory([image(b"a", content)]), CHUNK).entries())


def test_a_link_of_another_kind_than_the_entry_needs_is_refused():
    """A steward follows links without seeing entries: both must say the same."""
    sane = encode_directory([image(b"a", whole(1 << 20))])
    for kind in (1, 3):
        with pytest.raises(Damaged):
            list(decode_directory(Node(bytes([kind]) + sane.links[1:], sane.body), CHUNK).entries())


def test_a_directory_without_a_child_is_refused():
    with pytest.raises(Damaged):
        list(decode_directory(encode_directory([Entry(b"d", EntryType.DIRECTORY)]), CHUNK).entries())


@pytest.mark.parametrize("kind", [Position.UNREAD, Position.UNREAD_KEPT])
def test_no_subtree_is_unread_as_a_whole(kind: Position):
    chunk = CHUNK if kind is Position.UNREAD_KEPT else None
    node = FixedNode(2, ((kind, chunk),)).encode()
    with pytest.raises(Damaged):
        decode_fixed_node(node.links, name="node")


def test_a_part_that_claims_more_than_a_chunk_can_have_is_refused_before_memory_is_taken():
    key = bytes(32)
    sealed = seal_part(bytes(MAX_PLAIN + 1), level=1, key=key, aad=b"")
    with pytest.raises((Damaged, FormatUnknown), match="claims"):
        unseal_part(sealed, key=key, aad=b"", what="chunk")


@pytest.mark.parametrize(
    "name", ["attributes/aa/1", "attributes/aa/000000001", "attributes/aa/0000000x", "attributes/aa/"]
)
def test_only_eight_digits_number_a_record(name: str):
    """Otherwise `1` sorts after `00000002` and a writer has the last word."""
    assert record_number(name) is None
