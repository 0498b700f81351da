"""Move blobs as they lie into new packs: ciphertext and key entry, which needs no key to what is in them."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from lamina.crypto.hashing import public_hash
from lamina.errors import Damaged, ObjectMissing, ObjectTruncated
from lamina.model.ids import ChunkId, PackId, SessionId
from lamina.repository.access import Access
from lamina.repository.blobs import Node
from lamina.repository.chunks import ChunkReader
from lamina.repository.format import (
    BLOB_HEADER_SIZE,
    PACK_HEADER_SIZE,
    BlobHeader,
    BlobKind,
    BlobRow,
    PackHeader,
    decode_blob_header,
    decode_pack_header,
)
from lamina.repository.object_names import pack_name
from lamina.repository.packs import TAIL_SIZE, PackTail, PackWriter, check_pack, decode_tail, tail_length
from lamina.repository.records import KeyEntry
from lamina.repository.session_keys import Purpose, entry_hash, reader_slot
from lamina.repository.tables import ROW, ChunkPlace, Pack, Table, write_table

ROWS_KEPT = 100_000  # of packs that were written, before they become a table


@dataclass(frozen=True, slots=True)
class StoredBlob:
    """One blob as it lies in a pack that fits its name."""

    header: BlobHeader
    data: memoryview  # header included
    plain_size: int
    entry: KeyEntry

    @property
    def fingerprint(self) -> bytes:
        """The same for two blobs if one is a verbatim copy of the other, with the same key."""
        return public_hash([replace(self.header, key=0).encode(), self.data[BLOB_HEADER_SIZE:], entry_hash(self.entry)])


def read_pack(access: Access, pack: PackId, *, meta: bool) -> tuple[bytes, PackTail]:
    """A whole pack that fits its name. Raises: Damaged, ObjectMissing, FormatUnknown, StorageError."""
    name = pack_name(pack, meta=meta)
    data = access.storage.get(name)
    _, tail = check_pack(data, pack, access.structure_key, name=name)
    return data, tail


def stored_blobs(data: bytes, tail: PackTail, wanted: Callable[[ChunkId], bool]) -> Iterator[StoredBlob]:
    """The blobs of a pack that are *wanted*."""
    view = memoryview(data)
    for row in tail.rows:
        if wanted(row.id):
            blob = view[row.offset : row.offset + row.stored_size]
            header = decode_blob_header(blob[:BLOB_HEADER_SIZE], name="a blob")
            yield StoredBlob(header, blob, row.plain_size, tail.keys[row.key])


def read_header(access: Access, pack: PackId, *, meta: bool) -> PackHeader:
    """Who wrote a pack, by its own word. Raises: Damaged, ObjectMissing, FormatUnknown, StorageError."""
    name = pack_name(pack, meta=meta)
    try:
        return decode_pack_header(access.storage.get_range(name, 0, PACK_HEADER_SIZE), name=name)
    except ObjectTruncated as error:
        raise Damaged(f"{name} is damaged: it is too short for a pack") from error


def read_rows(access: Access, pack: PackId, size: int, *, meta: bool) -> tuple[BlobRow, ...]:
    """What the footer of a pack lists, without reading all of it. Raises: as `read_header`."""
    name = pack_name(pack, meta=meta)
    header = read_header(access, pack, meta=meta)
    length = min(TAIL_SIZE, size)
    end = access.storage.get_range(name, size - length, length)
    needed = tail_length(end, name=name)
    if needed > size:
        raise Damaged(f"{name} is shorter than its trailer says")
    if needed > length:
        end = access.storage.get_range(name, size - needed, needed)
    return decode_tail(end, header, access.structure_key, name=name).rows


class CopyJudge:
    """Says which copies of a chunk one may rely on.

    A blob of the same id alone is not enough: anybody with a writer's key can seal anything under any id.
    """

    def __init__(self, access: Access, reader: ChunkReader) -> None:
        self._access = access
        self._reader = reader
        self._namer = access.namer() if access.id_key is not None else None

    def equals(self, place: ChunkPlace, blob: StoredBlob) -> bool:
        """Whether *place* holds the same sealed bytes, with the key to them. Raises: StorageError."""
        copy = self._read(place, blob.header.id)
        return copy is not None and copy.fingerprint == blob.fingerprint

    def true_blob(self, place: ChunkPlace, chunk: ChunkId) -> StoredBlob | None:
        """What lies at *place*, if it is what the id says; None for a steward, who cannot know. Raises: StorageError."""
        if self._namer is None:
            return None
        copy = self._read(place, chunk)
        return copy if copy is not None and self.is_true(copy) else None

    def is_true(self, blob: StoredBlob) -> bool:
        """Whether a blob holds what its id says; a steward cannot know."""
        if self._namer is None:
            return False
        data = blob.header.kind is BlobKind.DATA
        sealer, view = self._access.sealer, blob.data
        try:
            links = sealer.unseal_links(blob.header, view) if blob.header.links_size else b""
            key = self._access.opener.find_key(blob.entry, Purpose.CONTENT if data else Purpose.METADATA)
            if key is None:
                return False
            body = sealer.unseal_body(blob.header, view, session_key=key)
        except Damaged:
            return False
        if data:
            return self._namer.data_id(body) == blob.header.id
        return self._namer.node_id(blob.header.kind, Node(links, body), reader_slot(blob.entry)) == blob.header.id

    def read(self, place: ChunkPlace, chunk: ChunkId) -> StoredBlob:
        """What lies at *place* under the id of *chunk*. Raises: Damaged, ObjectMissing, ObjectTruncated, StorageError."""
        header, found, entry = self._reader.get_blob(place)
        if header.id != chunk:
            raise Damaged(f"pack {place.pack.hex()} does not hold chunk {chunk.hex()} where the index says it lies")
        return StoredBlob(header, memoryview(found), place.plain_size, entry)

    def _read(self, place: ChunkPlace, chunk: ChunkId) -> StoredBlob | None:
        try:
            return self.read(place, chunk)
        except (Damaged, ObjectMissing, ObjectTruncated):
            return None


class PackMover:
    """Writes moved blobs into packs of *session*, one pack of each kind at a time, storing in the calling thread."""

    def __init__(self, access: Access, session: SessionId, stored: Callable[[int], None]) -> None:
        """*stored* is told the bytes of every pack that was stored."""
        self._access = access
        self._session = session
        self._tell = stored
        self._open: dict[bool, PackWriter] = {}
        self._packs: list[Pack] = []
        self._rows: list[bytes] = []
        self._tables: list[Table] = []
        self._folder = tempfile.TemporaryDirectory(prefix="lamina-moved-")  # closed by `close`
        self.moved = 0  # bytes of blobs

    def add(self, blob: StoredBlob) -> None:
        """Put a blob into a pack. Raises: StorageError."""
        meta = blob.header.kind is not BlobKind.DATA
        target = self._access.format.meta_pack if meta else self._access.format.data_pack
        pack = self._open.get(meta)
        if pack is not None and len(pack) and pack.size + blob.header.stored_size > target:
            self._store(meta)
            pack = None
        pack = pack or self._new(meta)
        number = pack.find_key(blob.entry)
        if number is None:  # its key table is full
            self._store(meta)
            pack = self._new(meta)
            number = pack.find_key(blob.entry) or 0
        cut = BLOB_HEADER_SIZE + blob.header.links_size
        links, body = bytes(blob.data[BLOB_HEADER_SIZE:cut]), bytes(blob.data[cut:])
        pack.add(replace(blob.header, key=number), links, body, plain_size=blob.plain_size)
        self.moved += blob.header.stored_size

    def finish(self) -> list[Table]:
        """Store what is left; where everything lies now. Raises: StorageError."""
        for meta in list(self._open):
            self._store(meta)
        self._spill()
        return self._tables

    def close(self) -> None:
        """Forget the tables."""
        self._folder.cleanup()

    def _new(self, meta: bool) -> PackWriter:
        access = self._access
        self._open[meta] = PackWriter(access.repository, self._session, access.structure_key, meta=meta)
        return self._open[meta]

    def _store(self, meta: bool) -> None:
        pack = self._open.pop(meta).finish()
        self._access.storage.put(pack.name, pack.parts)
        self._tell(pack.size)
        number = len(self._packs)
        self._packs.append(Pack(pack.id, pack.size, pack.meta))
        self._rows += [ROW.pack(r.id, number, r.offset, r.stored_size, r.plain_size) for r in pack.rows]
        if len(self._rows) > ROWS_KEPT:
            self._spill()

    def _spill(self) -> None:
        if self._rows:
            name = f"{len(self._tables)}.table"
            rows = sorted(self._rows)
            self._tables.append(write_table(Path(self._folder.name), name, [], self._packs, rows, len(rows)))
            self._packs, self._rows = [], []
