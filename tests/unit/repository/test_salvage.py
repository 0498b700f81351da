"""Blobs and key tables found in the bytes of damaged packs."""

from __future__ import annotations

import os

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamina.model.ids import ChunkId
from lamina.repository.format import PACK_HEADER_SIZE, BlobHeader, BlobKind
from lamina.repository.records import KeyEntry, Recipient
from lamina.repository.salvage import find_blobs, find_key_table


def blob(size: int) -> bytes:
    header = BlobHeader(BlobKind.DATA, 0, ChunkId(os.urandom(32)), os.urandom(16), 0, size)
    return header.encode() + bytes(size)


HEAD = bytes(PACK_HEADER_SIZE)


def test_blobs_lie_one_after_the_other():
    blobs = [blob(10), blob(0), blob(300)]
    data = HEAD + b"".join(blobs) + b"what follows"
    offsets = [offset for offset, _ in find_blobs(data, name="pack")]
    assert offsets == [88, 88 + len(blobs[0]), 88 + len(blobs[0]) + len(blobs[1])]


@pytest.mark.parametrize("damage", ["header", "inserted", "cut out"])
def test_behind_a_damaged_blob_the_next_is_found(damage: str):
    first, second = blob(100), blob(50)
    if damage == "header":
        first = first[:20] + b"?" + first[21:]
    elif damage == "inserted":
        first += b"more"
    else:
        first = first[:-30]
    data = HEAD + first + second
    assert len(HEAD) + len(first) in [offset for offset, _ in find_blobs(data, name="pack")]


def test_a_blob_that_reaches_beyond_the_end_is_none():
    assert list(find_blobs(HEAD + blob(100)[:-1], name="pack")) == []


@given(st.binary(max_size=300))
def test_any_bytes_may_be_searched(data: bytes):
    for offset, header in find_blobs(HEAD + data, name="pack"):
        assert offset + header.stored_size <= len(HEAD) + len(data)
    find_key_table(data, 0)


@given(st.integers(0, 40), st.binary(max_size=20))
def test_a_key_table_is_found_whatever_follows_it(count: int, rest: bytes):
    entries = tuple(
        KeyEntry(os.urandom(16), 1, [Recipient(bytes(8), 70_000, 1, os.urandom(1168)), Recipient(bytes(8), 0, 1, b"")])
        for _ in range(count)
    )
    data = b"before" + msgspec.msgpack.encode(entries) + rest
    assert find_key_table(data, 6) == entries
    assert find_key_table(data[: 6 + 100], 6) == (entries if not count else ())
