"""A few bytes that claim to be very many are refused before memory is taken for them."""

from __future__ import annotations

import struct
import tracemalloc
import zlib
from collections.abc import Callable

import pytest

from lamina.crypto import aead
from lamina.errors import Damaged, LaminaError
from lamina.filters import zstd
from lamina.filters.pipeline import MAX_PLAIN, unseal_part
from lamina.model.ids import ChunkId, RepositoryId, SessionId
from lamina.repository.blobs import Node
from lamina.repository.cut_streams import decode_cut_node
from lamina.repository.directories import decode_directory
from lamina.repository.format import PackHeader, decode_record
from lamina.repository.packs import decode_tail
from lamina.repository.records import IndexRecord, KeyEntry, ManifestRecord, SnapshotBody
from lamina.repository.streams import decode_fixed_node
from lamina.sources.hints import parse_rbd_diff

KEY, ID = bytes(32), ChunkId(bytes(32))
ENDLESS = [bytes([first]) + b"\xff" * 4 for first in (0xDD, 0xDF, 0xDB, 0xC6, 0xC9)]
MIB = 1 << 20


def peak(act: Callable[[], object]) -> int:
    """Bytes that *act* took at most; it is refused."""
    tracemalloc.start()
    try:
        with pytest.raises(LaminaError):
            act()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def part(plain_size: int, payload: bytes) -> bytes:
    return aead.seal(KEY, struct.pack("<BII", 1, plain_size, len(payload)) + payload, b"")


@pytest.mark.parametrize("claim", ENDLESS, ids=["array", "map", "string", "binary", "extension"])
@pytest.mark.parametrize(
    "kind", [IndexRecord, ManifestRecord, KeyEntry, SnapshotBody, list[bytes], tuple[KeyEntry, ...]]
)
def test_endless_messages(kind: type, claim: bytes):
    for place in (claim, b"\x92" + claim, b"\x95\xc4\x00" + claim, b"\x9a\xa1a\xa1a" + claim):
        assert peak(lambda place=place: decode_record(place, kind, name="it")) < MIB


@pytest.mark.parametrize("depth", [10, 1000, 100_000])
def test_deep_messages(depth: int):
    assert peak(lambda: decode_record(b"\x92\xc4\x00" * depth, KeyEntry, name="it")) < MIB
    nested = b"\x98\x90\xc4\x00\x01\x01" + b"\x91" * depth  # in a field that was appended later
    assert peak(lambda: decode_record(nested, IndexRecord, name="it")) < MIB


def test_directories_of_endless_length():
    for claim in ENDLESS:
        assert peak(lambda claim=claim: decode_directory(Node(b"", claim), ID)) < MIB


def test_a_part_is_never_larger_than_a_chunk_may_be():
    bomb = zstd.compress(bytes(4 * MAX_PLAIN), 3)
    assert len(bomb) < MIB
    honest = part(4 * MAX_PLAIN, bomb)
    assert peak(lambda: unseal_part(honest, key=KEY, aad=b"", what="it")) < MIB
    liar = part(MAX_PLAIN, bomb)
    assert peak(lambda: unseal_part(liar, key=KEY, aad=b"", what="it")) < 2 * MAX_PLAIN + MIB
    modest = part(100, bomb)
    assert peak(lambda: unseal_part(modest, key=KEY, aad=b"", what="it")) < MIB


def test_nodes_and_packs_that_claim_more_than_they_hold():
    assert peak(lambda: decode_fixed_node(b"\1\xff\xff" + bytes(10), name="it")) < MIB
    assert peak(lambda: decode_cut_node(b"\1\xff\xff" + bytes(10), name="it")) < MIB
    head = struct.pack("<III", 0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF)
    trailer = head + struct.pack("<I", zlib.crc32(head))
    header = PackHeader(RepositoryId(bytes(16)), SessionId(bytes(16)), bytes(32))
    assert peak(lambda: decode_tail(bytes(1000) + trailer, header, KEY, name="it")) < MIB


def test_hints_that_claim_exabytes():
    for entry in ('"offset":0,"length":9999999999999999999', '"offset":9999999999999999999,"length":1'):
        data = f'[{{{entry},"exists":"true"}}]'.encode()
        assert peak(lambda data=data: parse_rbd_diff(data, size=100)) < MIB
    with pytest.raises(LaminaError):
        parse_rbd_diff(b"[" * 100_000, size=100)


def test_the_limit_of_parts_is_what_the_format_says():
    with pytest.raises(Damaged, match="more than any chunk has"):
        unseal_part(part(MAX_PLAIN + 1, b""), key=KEY, aad=b"", what="it")
