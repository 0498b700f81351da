"""What can be saved of packs whose bytes are not what they were: blobs found by their headers (spec: packs)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from lamina.errors import Damaged, FormatUnknown
from lamina.model.ids import PackId, SessionId
from lamina.repository.access import Access
from lamina.repository.blobs import Node, SealedBlob
from lamina.repository.format import (
    BLOB_HEADER_SIZE,
    PACK_HEADER_SIZE,
    BlobHeader,
    BlobKind,
    decode_blob_header,
    decode_pack_header,
    decode_record,
)
from lamina.repository.packs import decode_tail
from lamina.repository.records import KeyEntry
from lamina.repository.session_keys import Purpose, entry_hash, reader_slot

_MAGIC = b"BLOB"
_DEPTH = 4  # of arrays in a key table: entries, fields, recipients, fields


@dataclass(frozen=True, slots=True)
class SavedBlob:
    """One blob of a damaged pack that opens, and holds what its id says."""

    name: str  # of the pack
    pack: PackId
    pack_size: int  # bytes of the object, whatever it should have
    offset: int
    header: BlobHeader
    entry: KeyEntry | None  # None: it has no body, and needs none
    plain_size: int


@dataclass(slots=True)
class KnownKeys:
    """Every key entry that was met in intact packs, by session: a pack that lost its key table may need one of them."""

    _by_session: defaultdict[bytes, dict[bytes, KeyEntry]] = field(default_factory=lambda: defaultdict(dict))

    def add(self, entries: Iterable[KeyEntry]) -> None:
        """Take note of the key table of one pack."""
        for entry in entries:
            self._by_session[entry.session][entry_hash(entry)] = entry

    def candidates(self, session: SessionId | None, purpose: Purpose) -> Iterator[KeyEntry]:
        """Entries that may have been in a pack of *session*: its own first, for most packs hold no other."""
        own = self._by_session.get(session, {}) if session is not None else {}
        others = (entry for one, found in self._by_session.items() if one != session for entry in found.values())
        yield from (entry for entry in (*own.values(), *others) if entry.purpose == purpose)


class PackSalvage:
    """Looks into damaged packs of one repository; an owner's key opens what is in them."""

    def __init__(self, access: Access, keys: KnownKeys) -> None:
        self._access = access
        self._namer = access.namer()
        self._keys = keys

    def blobs(self, data: bytes, pack: PackId, *, name: str) -> Iterator[SavedBlob]:
        """Every blob in the bytes of a damaged pack that is whole."""
        found_blobs = list(find_blobs(data, name=name))
        session, table = self._what_it_says(data, name)
        if not table and found_blobs:
            offset, last = found_blobs[-1]
            table = find_key_table(data, offset + last.stored_size)
        guessed: dict[tuple[int, Purpose], KeyEntry] = {}  # key numbers of this pack that were found out
        for offset, header in found_blobs:
            blob = memoryview(data)[offset : offset + header.stored_size]
            found = self._open(blob, header, table, guessed, session)
            if found is not None:
                entry, plain_size = found
                yield SavedBlob(name, pack, len(data), offset, header, entry, plain_size)

    def sealed(self, blob: bytes, saved: SavedBlob) -> SealedBlob:
        """The same blob, ready to lie in another pack."""
        header = saved.header
        links = blob[BLOB_HEADER_SIZE : BLOB_HEADER_SIZE + header.links_size]
        return SealedBlob(header, links, blob[BLOB_HEADER_SIZE + header.links_size :], saved.plain_size)

    def _what_it_says(self, data: bytes, name: str) -> tuple[SessionId | None, Sequence[KeyEntry]]:
        """Who wrote a damaged pack, and its key table, as far as they can be read."""
        try:
            header = decode_pack_header(data, name=name)
        except (Damaged, FormatUnknown):
            return None, ()
        try:
            return header.session, decode_tail(data, header, self._access.structure_key, name=name).keys
        except (Damaged, FormatUnknown):
            return header.session, ()

    def _open(
        self,
        blob: memoryview,
        header: BlobHeader,
        table: Sequence[KeyEntry],
        guessed: dict[tuple[int, Purpose], KeyEntry],
        session: SessionId | None,
    ) -> tuple[KeyEntry | None, int] | None:
        """The key entry with which a blob opens, and its size; None if nothing opens it."""
        if not header.body_size:
            return self._check(blob, header, None)
        purpose = Purpose.CONTENT if header.kind is BlobKind.DATA else Purpose.METADATA
        known = guessed.get((header.key, purpose))
        likely = [known] if known is not None else [table[header.key]] if header.key < len(table) else []
        for entry in (*likely, *(() if likely else self._keys.candidates(session, purpose))):
            found = self._check(blob, header, entry)
            if found is not None:
                guessed[header.key, purpose] = entry
                return found
        return None

    def _check(
        self, blob: memoryview, header: BlobHeader, entry: KeyEntry | None
    ) -> tuple[KeyEntry | None, int] | None:
        """Whether a blob opens with *entry*, and holds what its id says."""
        sealer, purpose = self._access.sealer, Purpose.CONTENT if header.kind is BlobKind.DATA else Purpose.METADATA
        try:
            links = sealer.unseal_links(header, blob) if header.links_size else b""
            body = b""
            if entry is not None:
                key = self._access.opener.find_key(entry, purpose)
                if key is None:
                    return None
                body = sealer.unseal_body(header, blob, session_key=key)
        except (Damaged, FormatUnknown):
            return None
        if header.kind is BlobKind.DATA:
            name = self._namer.data_id(body)
        else:
            name = self._namer.node_id(header.kind, Node(links, body), reader_slot(entry) if entry else b"")
        return (entry, len(links) + len(body)) if name == header.id else None


def find_key_table(data: bytes, start: int) -> tuple[KeyEntry, ...]:
    """The key table that begins at *start*, if there is one: its encoding says where it ends, whatever became of the rest."""
    try:
        return decode_record(data[start : _end_of(data, start, _DEPTH)], tuple[KeyEntry, ...], name="a key table")
    except (Damaged, ValueError, IndexError):
        return ()


def _end_of(data: bytes, at: int, depth: int) -> int:
    """Where the MessagePack value at *at* ends; key tables hold arrays, binaries and integers. Raises: ValueError, IndexError."""
    tag, size = data[at], 0
    if tag <= 0x7F:
        return at + 1
    if 0xCC <= tag <= 0xCF:
        return at + 1 + (1 << (tag - 0xCC))
    if tag in (0xC4, 0xC5):
        size = tag - 0xC3
        return at + 1 + size + int.from_bytes(data[at + 1 : at + 1 + size], "big")
    if ((tag & 0xF0) != 0x90 and tag != 0xDC) or not depth:
        raise ValueError("no key table")
    count = int.from_bytes(data[at + 1 : at + 3], "big") if tag == 0xDC else tag & 0x0F
    end = at + (3 if tag == 0xDC else 1)
    for _ in range(count):
        end = _end_of(data, end, depth - 1)
    return end


def find_blobs(data: bytes, *, name: str) -> Iterator[tuple[int, BlobHeader]]:
    """Where blobs with an intact header lie in the bytes of a pack, one after the other; what is between is skipped.

    A header says how long its blob is. Behind a damaged one the next is found by its first four bytes and its checksum.
    """
    offset = data.find(_MAGIC, min(PACK_HEADER_SIZE, len(data)))
    while offset >= 0:
        step = len(_MAGIC)
        try:
            header = decode_blob_header(data[offset : offset + BLOB_HEADER_SIZE], name=name)
        except (Damaged, FormatUnknown):
            pass
        else:
            if offset + header.stored_size <= len(data):
                yield offset, header
                end = offset + header.stored_size
                if data[end : end + len(_MAGIC)] == _MAGIC:  # else bytes may have gone missing within it
                    step = header.stored_size
        offset = data.find(_MAGIC, offset + step)
