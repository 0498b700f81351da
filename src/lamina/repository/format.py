"""Bytes on disk: headers, hashes, packs (pure; mirrors docs/spec/repository-format.md).

All numbers are little-endian. Every object begins with the same 16-byte header and, except packs, whose *name* is the hash of
their bytes, ends in the BLAKE3 hash of everything before it.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import TypeVar

import msgspec

from lamina.crypto.hashing import HASH_SIZE, public_hash
from lamina.errors import Damaged, FormatUnknown
from lamina.model.entries import Buffer
from lamina.model.ids import ChunkId, RepositoryId, SessionId

MAGIC = b"LAMINA"
VERSION = 1
FEATURES = 0  # bits of required features that this program knows


class Kind(IntEnum):
    """What an object is; the number is byte 6 of its header."""

    PACK = 1
    KEY_SLOT = 2
    FORMAT = 3
    EPOCH = 4
    START = 5
    CAUGHT_UP = 6
    DELTA = 7
    SNAPSHOT = 8
    ABORT = 9
    ATTRIBUTES = 10
    REMOVAL = 11
    GENERATION_OPEN = 12
    GENERATION_CLOSED = 13
    SEGMENT = 14
    MANIFEST = 15
    COVERAGE = 16


_HEADER = struct.Struct("<6sBBII")  # magic, kind, version, required features, zero
HEADER_SIZE = _HEADER.size  # 16 bytes


def encode_header(kind: Kind) -> bytes:
    """The 16 bytes every object begins with."""
    return _HEADER.pack(MAGIC, kind, VERSION, FEATURES, 0)


def decode_header(data: Buffer, *, name: str) -> Kind:
    """What the object is. Raises: Damaged if it is none of ours, FormatUnknown if it needs a newer Lamina."""
    if len(data) < HEADER_SIZE:
        raise Damaged(f"{name} is too short to be an object of a repository")
    magic, number, version, features, zero = _HEADER.unpack_from(data)
    if magic != MAGIC:
        raise Damaged(f"{name} does not begin like an object of a repository")
    if version != VERSION or features & ~FEATURES or zero:
        raise FormatUnknown(
            f"{name} needs format {version} with features {features:#x}; this Lamina knows format {VERSION}",
            hint="upgrade Lamina",
        )
    try:
        return Kind(number)
    except ValueError:
        raise FormatUnknown(f"{name} is of the unknown kind {number}", hint="upgrade Lamina") from None


def encode_object(kind: Kind, payload: Buffer) -> bytes:
    """One whole object: header, payload, hash."""
    body = encode_header(kind) + payload
    return body + public_hash([body])


def decode_object(data: bytes, *kinds: Kind, name: str) -> tuple[Kind, memoryview]:
    """Check an object's hash and header; return its kind (one of *kinds*) and payload. Raises: Damaged, FormatUnknown."""
    view = memoryview(data)
    if len(view) < HEADER_SIZE + HASH_SIZE or public_hash([view[:-HASH_SIZE]]) != view[-HASH_SIZE:]:
        raise Damaged(f"{name} is damaged: its bytes do not fit its hash", hint="restore it from a copy of the storage")
    kind = decode_header(view, name=name)
    if kind not in kinds:
        raise Damaged(f"{name} holds an object of the kind {kind.name.lower()}, which does not belong there")
    return kind, view[HEADER_SIZE:-HASH_SIZE]


Record = TypeVar("Record")
_encoder = msgspec.msgpack.Encoder()


def encode_record(record: msgspec.Struct) -> bytes:
    """The one encoding of a record."""
    return _encoder.encode(record)


def decode_record(data: Buffer, kind: type[Record], *, name: str) -> Record:
    """The record in *data*. Raises: Damaged."""
    try:
        return msgspec.msgpack.decode(data, type=kind)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:  # ValueError: text that is no UTF-8
        raise Damaged(f"{name} cannot be decoded: {error}") from error


class BlobKind(IntEnum):
    """What one blob's content is."""

    DATA = 1
    FIXED_NODE = 2
    DIRECTORY = 3
    CUT_NODE = 4


class RetentionClass(IntEnum):
    """How long a pack must be kept whatever happens; only one so far."""

    NONE = 0


_PACK_HEADER = struct.Struct("<16s16sB7x32s")  # repository, writing session, retention class, salt
PACK_HEADER_SIZE = HEADER_SIZE + _PACK_HEADER.size  # 88 bytes
_BLOB = struct.Struct("<4sBBH32s16sIII")  # magic, kind, key number, zero, chunk id, salt, links size, body size, CRC
BLOB_HEADER_SIZE = _BLOB.size  # 68 bytes
_BLOB_MAGIC = b"BLOB"
_FOOTER_ROW = struct.Struct("<32sBBHIII")  # chunk id, kind, key number, zero, offset, stored size, plain size
_TRAILER = struct.Struct("<IIII")  # key table size, footer size, number of blobs, CRC of these twelve bytes
TRAILER_SIZE = _TRAILER.size
MAX_KEYS = 64  # entries in one pack's key table


@dataclass(frozen=True, slots=True)
class PackHeader:
    """Who wrote a pack, and for how long."""

    repository: RepositoryId
    session: SessionId
    salt: bytes  # 32 random bytes, so that no name ever recurs
    retention: RetentionClass = RetentionClass.NONE

    def encode(self) -> bytes:
        return encode_header(Kind.PACK) + _PACK_HEADER.pack(self.repository, self.session, self.retention, self.salt)


def decode_pack_header(data: Buffer, *, name: str) -> PackHeader:
    """Who wrote a pack, from its first 88 bytes. Raises: Damaged, FormatUnknown."""
    if decode_header(data, name=name) is not Kind.PACK or len(data) < PACK_HEADER_SIZE:
        raise Damaged(f"{name} is not a pack")
    repository, session, retention, salt = _PACK_HEADER.unpack_from(data, HEADER_SIZE)
    try:
        return PackHeader(RepositoryId(repository), SessionId(session), salt, RetentionClass(retention))
    except ValueError:
        raise FormatUnknown(f"{name} has the unknown retention class {retention}", hint="upgrade Lamina") from None


@dataclass(frozen=True, slots=True)
class BlobHeader:
    """The clear header in front of one sealed chunk."""

    kind: BlobKind
    key: int  # number of its entry in the pack's key table
    id: ChunkId
    salt: bytes  # 16 random bytes
    links_size: int  # bytes of the sealed links; 0 for data
    body_size: int  # bytes of the sealed body

    @property
    def stored_size(self) -> int:
        """Bytes of the whole blob, this header included."""
        return BLOB_HEADER_SIZE + self.links_size + self.body_size

    def encode(self) -> bytes:
        fields = (_BLOB_MAGIC, self.kind, self.key, 0, self.id, self.salt, self.links_size, self.body_size)
        head = _BLOB.pack(*fields, 0)[:-4]
        return head + zlib.crc32(head).to_bytes(4, "little")


def decode_blob_header(data: Buffer, *, name: str) -> BlobHeader:
    """The clear header of one blob. Raises: Damaged, FormatUnknown."""
    if len(data) < BLOB_HEADER_SIZE:
        raise Damaged(f"{name}: a blob ends within its header")
    magic, kind, key, zero, chunk, salt, links_size, body_size, crc = _BLOB.unpack_from(data)
    if magic != _BLOB_MAGIC or zero or zlib.crc32(data[: BLOB_HEADER_SIZE - 4]) != crc:
        raise Damaged(f"{name}: the header of a blob is damaged")
    return BlobHeader(decode_blob_kind(kind, name=name), key, ChunkId(chunk), salt, links_size, body_size)


def decode_blob_kind(number: int, *, name: str) -> BlobKind:
    """What a blob of kind *number* is. Raises: FormatUnknown."""
    try:
        return BlobKind(number)
    except ValueError:
        raise FormatUnknown(f"{name} holds a blob of the unknown kind {number}", hint="upgrade Lamina") from None


@dataclass(frozen=True, slots=True)
class BlobRow:
    """One blob as a pack's footer lists it."""

    id: ChunkId
    kind: BlobKind
    key: int
    offset: int  # of the blob's header in the pack
    stored_size: int
    plain_size: int  # links and body together


def encode_footer(rows: Sequence[BlobRow]) -> bytes:
    """The footer before it is sealed."""
    return b"".join(_FOOTER_ROW.pack(r.id, r.kind, r.key, 0, r.offset, r.stored_size, r.plain_size) for r in rows)


def decode_footer(data: bytes, *, name: str) -> list[BlobRow]:
    """What a pack's footer lists. Raises: Damaged, FormatUnknown."""
    if len(data) % _FOOTER_ROW.size:
        raise Damaged(f"{name}: the footer is no whole number of rows")
    return [
        BlobRow(ChunkId(chunk), decode_blob_kind(kind, name=name), key, offset, stored, plain)
        for chunk, kind, key, _, offset, stored, plain in _FOOTER_ROW.iter_unpack(data)
    ]


def encode_trailer(*, keys_size: int, footer_size: int, blobs: int) -> bytes:
    """The last 16 bytes of a pack: where the rest of its end lies."""
    head = _TRAILER.pack(keys_size, footer_size, blobs, 0)[:-4]
    return head + zlib.crc32(head).to_bytes(4, "little")


def decode_trailer(data: Buffer, *, name: str) -> tuple[int, int, int]:
    """Sizes of key table and footer, and the number of blobs. Raises: Damaged."""
    if len(data) != TRAILER_SIZE:
        raise Damaged(f"{name} ends within its trailer")
    keys_size, footer_size, blobs, crc = _TRAILER.unpack(data)
    if zlib.crc32(data[:-4]) != crc:
        raise Damaged(f"{name}: the trailer is damaged")
    return keys_size, footer_size, blobs
