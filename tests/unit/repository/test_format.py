"""Bytes on disk: what is not ours, not whole or too new."""

from __future__ import annotations

import struct

import pytest

from lamina.errors import Damaged, FormatUnknown
from lamina.model.ids import ChunkId, RepositoryId, SessionId
from lamina.repository.format import (
    BLOB_HEADER_SIZE,
    HEADER_SIZE,
    PACK_HEADER_SIZE,
    BlobHeader,
    BlobKind,
    BlobRow,
    Kind,
    PackHeader,
    decode_blob_header,
    decode_footer,
    decode_header,
    decode_object,
    decode_pack_header,
    decode_record,
    decode_trailer,
    encode_footer,
    encode_header,
    encode_object,
    encode_record,
    encode_trailer,
)
from lamina.repository.records import CaughtUpRecord, RemovalRecord

PACK = PackHeader(RepositoryId(b"r" * 16), SessionId(b"s" * 16), b"t" * 32)
BLOB = BlobHeader(BlobKind.DATA, 3, ChunkId(b"c" * 32), b"s" * 16, 0, 1000)
ROW = BlobRow(ChunkId(b"c" * 32), BlobKind.DIRECTORY, 1, 88, 500, 900)


@pytest.mark.parametrize("kind", Kind)
def test_an_object_says_what_it_is(kind: Kind):
    assert decode_object(encode_object(kind, b"payload"), kind, name="it") == (kind, b"payload")


def test_an_object_of_another_kind_does_not_belong_there():
    with pytest.raises(Damaged, match=r"the place.*removal"):
        decode_object(encode_object(Kind.REMOVAL, b""), Kind.START, name="the place")


@pytest.mark.parametrize("size", [0, 1, HEADER_SIZE, 47, 48, 54])
def test_a_cut_object_is_damaged(size: int):
    with pytest.raises(Damaged, match="the object"):
        decode_object(encode_object(Kind.START, b"payload")[:size], Kind.START, name="the object")


@pytest.mark.parametrize("place", range(HEADER_SIZE + 7 + 32))
def test_every_flipped_bit_of_an_object_is_noticed(place: int):
    data = bytearray(encode_object(Kind.START, b"payload"))
    data[place] ^= 1
    with pytest.raises(Damaged):
        decode_object(bytes(data), Kind.START, name="it")


@pytest.mark.parametrize(
    "header",
    [
        struct.pack("<6sBBII", b"LAMINA", 5, 2, 0, 0),
        struct.pack("<6sBBII", b"LAMINA", 5, 1, 1, 0),
        struct.pack("<6sBBII", b"LAMINA", 5, 1, 0, 1),
        struct.pack("<6sBBII", b"LAMINA", 99, 1, 0, 0),
    ],
    ids=["version", "feature", "reserved", "kind"],
)
def test_what_a_newer_program_wrote_is_refused_as_such(header: bytes):
    with pytest.raises(FormatUnknown, match="the object") as caught:
        decode_header(header, name="the object")
    assert caught.value.hint == "upgrade Lamina"


@pytest.mark.parametrize("header", [b"", b"LAMINA", b"NOTOURS" + bytes(9)])
def test_what_is_not_ours_is_damage(header: bytes):
    with pytest.raises(Damaged):
        decode_header(header, name="it")


def test_headers_come_back():
    assert decode_pack_header(PACK.encode(), name="p") == PACK
    assert decode_blob_header(BLOB.encode(), name="b") == BLOB
    assert (len(PACK.encode()), len(BLOB.encode())) == (PACK_HEADER_SIZE, BLOB_HEADER_SIZE)


@pytest.mark.parametrize("size", [0, HEADER_SIZE, PACK_HEADER_SIZE - 1])
def test_a_cut_pack_header_is_damage(size: int):
    with pytest.raises(Damaged):
        decode_pack_header(PACK.encode()[:size], name="it")


def test_an_object_of_another_kind_is_no_pack():
    with pytest.raises(Damaged, match="not a pack"):
        decode_pack_header(encode_header(Kind.START) + bytes(72), name="it")


def test_an_unknown_retention_class_is_refused():
    data = bytearray(PACK.encode())
    data[HEADER_SIZE + 32] = 7
    with pytest.raises(FormatUnknown, match="retention class 7"):
        decode_pack_header(bytes(data), name="it")


@pytest.mark.parametrize("place", range(BLOB_HEADER_SIZE))
def test_every_flipped_bit_of_a_blob_header_is_noticed(place: int):
    data = bytearray(BLOB.encode())
    data[place] ^= 0x80
    with pytest.raises(Damaged):
        decode_blob_header(bytes(data), name="it")


def test_a_cut_blob_header_is_damage():
    with pytest.raises(Damaged):
        decode_blob_header(BLOB.encode()[:-1], name="it")


def test_a_footer_comes_back_and_must_be_whole():
    assert decode_footer(encode_footer([ROW, ROW]), name="it") == [ROW, ROW]
    assert decode_footer(b"", name="it") == []
    with pytest.raises(Damaged):
        decode_footer(encode_footer([ROW])[:-1], name="it")


def test_a_blob_of_an_unknown_kind_is_refused():
    data = bytearray(encode_footer([ROW]))
    data[32] = 77
    with pytest.raises(FormatUnknown, match="kind 77"):
        decode_footer(bytes(data), name="it")


def test_a_trailer_comes_back_and_every_flip_is_noticed():
    data = encode_trailer(keys_size=1, footer_size=2, blobs=3)
    assert decode_trailer(data, name="it") == (1, 2, 3)
    for place in range(len(data)):
        spoilt = bytearray(data)
        spoilt[place] ^= 4
        with pytest.raises(Damaged):
            decode_trailer(bytes(spoilt), name="it")
    with pytest.raises(Damaged):
        decode_trailer(data[1:], name="it")


@pytest.mark.parametrize(
    "data",
    [b"", b"\xff", encode_record(CaughtUpRecord(1)), encode_record(RemovalRecord(True, 1))[:-1], b"\x92\xc3\xa1x"],
)
def test_a_record_of_another_shape_is_damage(data: bytes):
    with pytest.raises(Damaged, match="the record"):
        decode_record(data, RemovalRecord, name="the record")


def test_a_field_that_a_later_version_added_is_ignored():
    assert decode_record(b"\x93\xc3\x01\xa5later", RemovalRecord, name="it") == RemovalRecord(True, 1)
