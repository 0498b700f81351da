"""Many sealed chunks in one object (spec: packs)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from lamina.crypto import aead
from lamina.crypto.hashing import derive, public_hash
from lamina.errors import Damaged
from lamina.model.entries import Buffer
from lamina.model.ids import PackId, RepositoryId, SessionId
from lamina.repository.format import (
    BLOB_HEADER_SIZE,
    MAX_KEYS,
    PACK_HEADER_SIZE,
    TRAILER_SIZE,
    BlobHeader,
    BlobRow,
    PackHeader,
    decode_blob_header,
    decode_footer,
    decode_pack_header,
    decode_record,
    decode_trailer,
    encode_footer,
    encode_trailer,
)
from lamina.repository.object_names import pack_name
from lamina.repository.records import KeyEntry

TAIL_SIZE = 64 << 10  # bytes a reader asks for first; holds the end of nearly every pack
_SALT_SIZE = 32


@dataclass(frozen=True, slots=True)
class FinishedPack:
    """A pack ready to be stored."""

    id: PackId
    meta: bool
    size: int
    parts: Sequence[Buffer]
    rows: Sequence[BlobRow]

    @property
    def name(self) -> str:
        return pack_name(self.id, meta=self.meta)


@dataclass(frozen=True, slots=True)
class PackTail:
    """What the end of a pack says: which keys, which blobs."""

    keys: tuple[KeyEntry, ...]
    rows: tuple[BlobRow, ...]


class PackWriter:
    """Collects blobs of one kind of pack until it is large enough. Not for several threads."""

    def __init__(self, repository: RepositoryId, session: SessionId, structure_key: bytes, *, meta: bool) -> None:
        self._header = PackHeader(repository, session, os.urandom(32))
        self._structure_key = structure_key
        self._meta = meta
        self._parts: list[Buffer] = [self._header.encode()]
        self._rows: list[BlobRow] = []
        self._keys: list[KeyEntry] = []
        self.size = PACK_HEADER_SIZE  # bytes so far, without the end

    def __len__(self) -> int:
        return len(self._rows)

    def find_key(self, entry: KeyEntry) -> int | None:
        """The number of *entry* in the key table, added if need be; None if the table is full."""
        if entry in self._keys:
            return self._keys.index(entry)
        if len(self._keys) == MAX_KEYS:
            return None
        self._keys.append(entry)
        return len(self._keys) - 1

    def add(self, header: BlobHeader, links: Buffer, body: Buffer, *, plain_size: int) -> None:
        """Append one blob."""
        self._rows.append(BlobRow(header.id, header.kind, header.key, self.size, header.stored_size, plain_size))
        self._parts += [header.encode(), links, body] if links else [header.encode(), body]
        self.size += header.stored_size

    def finish(self) -> FinishedPack:
        """Close the pack and name it by its hash."""
        keys = msgspec.msgpack.encode(self._keys)
        salt = os.urandom(_SALT_SIZE)
        footer = salt + aead.seal(
            _footer_key(self._structure_key, salt), encode_footer(self._rows), _footer_aad(self._header)
        )
        trailer = encode_trailer(keys_size=len(keys), footer_size=len(footer), blobs=len(self._rows))
        parts = [*self._parts, keys, footer, trailer]
        size = self.size + len(keys) + len(footer) + len(trailer)
        return FinishedPack(PackId(public_hash(parts)), self._meta, size, parts, self._rows)


def tail_length(end: Buffer, *, name: str) -> int:
    """How many bytes key table, footer and trailer take, given the last bytes of a pack. Raises: Damaged."""
    keys_size, footer_size, _ = decode_trailer(end[-TRAILER_SIZE:], name=name)
    return keys_size + footer_size + TRAILER_SIZE


def decode_tail(end: Buffer, header: PackHeader, structure_key: bytes, *, name: str) -> PackTail:
    """Key table and footer from (at least) the last `tail_length` bytes of a pack. Raises: Damaged."""
    keys_size, footer_size, blobs = decode_trailer(end[-TRAILER_SIZE:], name=name)
    tail = memoryview(end)[-(keys_size + footer_size + TRAILER_SIZE) :]
    if len(tail) != keys_size + footer_size + TRAILER_SIZE or footer_size < _SALT_SIZE:
        raise Damaged(f"{name} is shorter than its trailer says")
    keys = decode_record(tail[:keys_size], tuple[KeyEntry, ...], name=name)
    footer = bytes(tail[keys_size : keys_size + footer_size])
    plain = aead.unseal(
        _footer_key(structure_key, footer[:_SALT_SIZE]),
        footer[_SALT_SIZE:],
        _footer_aad(header),
        what=f"the footer of {name}",
    )
    rows = decode_footer(plain, name=name)
    if len(rows) != blobs:
        raise Damaged(f"{name} lists {len(rows)} blobs where its trailer counts {blobs}")
    return PackTail(keys, tuple(rows))


def check_pack(data: bytes, pack: PackId, structure_key: bytes, *, name: str) -> tuple[PackHeader, PackTail]:
    """Check a whole pack as far as the structure key goes: hash, header, end, and that the blobs are those listed.

    Raises: Damaged, FormatUnknown.
    """
    if public_hash([data]) != pack:
        raise Damaged(f"{name} is damaged: its bytes do not fit its name", hint="restore it from a copy of the storage")
    header = decode_pack_header(data, name=name)
    tail = decode_tail(data, header, structure_key, name=name)
    view, offset = memoryview(data), PACK_HEADER_SIZE
    for row in tail.rows:
        blob = decode_blob_header(view[offset : offset + BLOB_HEADER_SIZE], name=name)
        listed = (row.id, row.kind, row.key, row.offset, row.stored_size)
        if listed != (blob.id, blob.kind, blob.key, offset, blob.stored_size) or row.key >= len(tail.keys):
            raise Damaged(f"{name}: the footer and the blob at {offset} disagree")
        offset += row.stored_size
    if offset != len(data) - tail_length(data, name=name):
        raise Damaged(f"{name}: {len(data)} bytes hold something that the footer does not list")
    return header, tail


def _footer_key(structure_key: bytes, salt: bytes) -> bytes:
    return derive(structure_key, "lamina/1 pack footer", salt)


def _footer_aad(header: PackHeader) -> bytes:
    return header.repository + header.session + header.salt
