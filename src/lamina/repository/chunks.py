"""Get chunks by id."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from lamina.crypto.hashing import public_hash
from lamina.crypto.keys import OWNER_SLOT
from lamina.errors import ChunkMissing, Damaged, NotPermitted, ObjectMissing, ObjectTruncated
from lamina.model.entries import Buffer
from lamina.model.ids import ChunkId, PackId
from lamina.model.snapshots import Role
from lamina.repository.access import Access
from lamina.repository.blobs import Node, split_blob
from lamina.repository.format import (
    BLOB_HEADER_SIZE,
    TRAILER_SIZE,
    BlobHeader,
    BlobKind,
    decode_blob_header,
    decode_record,
    decode_trailer,
)
from lamina.repository.index import Index
from lamina.repository.index_records import has_newer_manifest
from lamina.repository.object_names import pack_name
from lamina.repository.packs import TAIL_SIZE, tail_length
from lamina.repository.records import KeyEntry
from lamina.repository.session_keys import Purpose, reader_slot
from lamina.repository.tables import ChunkPlace

Result = TypeVar("Result")

GAP = 128 << 10  # bytes between two blobs that are read through rather than asked for separately
KEY_TABLES = 4096  # packs whose key tables are remembered
WINDOW = 256 << 10  # bytes of a metadata pack that are read at a time: nodes of one tree lie close together
WINDOWS = 64  # that are remembered
_FAULTS = (Damaged, ObjectMissing, ObjectTruncated)  # of one pack: another may hold the chunk too


class ChunkReader:
    """Reads chunks of one repository with one key, from any number of threads."""

    def __init__(self, access: Access, index: Index) -> None:
        self._access = access
        self._index = index
        self._namer = access.namer() if access.id_key is not None else None
        self._key_tables: OrderedDict[PackId, tuple[KeyEntry, ...]] = OrderedDict()
        self._given_tables: dict[PackId, tuple[KeyEntry, ...]] = {}
        self._checked: dict[PackId, Damaged | None] = {}  # packs whose bytes were compared with their name
        self._windows: OrderedDict[tuple[PackId, int], bytes] = OrderedDict()
        self._reloads = 0  # of the index, because something was not where it said
        self._lock = threading.Lock()

    def get_data(self, chunk: ChunkId) -> bytes:
        """The content of one data chunk. Raises: as `get_many`."""
        return self.get_many([chunk])[chunk]

    def get_many(self, chunks: Sequence[ChunkId]) -> dict[ChunkId, bytes]:
        """The content of data chunks, read in as few requests as their places allow.

        Raises: ChunkMissing, Damaged, NotPermitted (the content is not sealed to this key), StorageError.
        """
        wanted = {chunk: self._place(chunk) for chunk in chunks}
        contents: dict[ChunkId, bytes] = {}
        for run in _runs(wanted):
            first = run[0][1]
            end = run[-1][1].offset + run[-1][1].stored_size
            name = first.pack_name
            try:
                data = memoryview(self._access.storage.get_range(name, first.offset, end - first.offset))
                for chunk, place in run:
                    start = place.offset - first.offset
                    contents[chunk] = self._open_data(chunk, place, data[start : start + place.stored_size])
            except _FAULTS:
                for chunk, _ in run:
                    contents[chunk] = self._salvage(chunk)
        return contents

    def get_node(self, kind: BlobKind, chunk: ChunkId) -> Node:
        """A metadata chunk, links and body. Raises: as `get_many`."""
        return self._anywhere(chunk, lambda place, blob: self._open_node(kind, chunk, place, blob))

    def get_links(self, kind: BlobKind, chunk: ChunkId) -> bytes:
        """The links of a metadata chunk; any role may.

        Those of a directory may be a lie, as its id cannot be checked without its body. Raises: ChunkMissing, Damaged,
        StorageError.
        """

        def unseal(place: ChunkPlace, blob: bytes) -> bytes:
            header = split_blob(blob, chunk, kind, name=place.pack_name)
            links = self._access.sealer.unseal_links(header, blob)
            if kind is not BlobKind.DIRECTORY:  # there is no body
                self._check_node(kind, Node(links, b""), OWNER_SLOT, chunk)
            return links

        return self._anywhere(chunk, unseal)

    def get_blob(self, place: ChunkPlace) -> tuple[BlobHeader, bytes, KeyEntry]:
        """One blob as it lies there, with the key entry that goes with it; nothing is opened."""
        name = place.pack_name
        blob = self._access.storage.get_range(name, place.offset, place.stored_size)
        header = decode_blob_header(blob[:BLOB_HEADER_SIZE], name=name)
        return header, blob, self._key_entry(place, header)

    def check_stored(self, chunk: ChunkId) -> None:
        """Check that a data chunk is whole: by its content, or where this key may not, by the hash of its pack.

        Raises: ChunkMissing, Damaged, StorageError.
        """
        if self._access.role is Role.OWNER:
            self.get_data(chunk)
            return
        failure: Damaged | None = None
        self._place(chunk)
        for place in self._index.places(chunk):
            if place.pack not in self._checked:
                self._checked[place.pack] = self._pack_fault(place)
            failure = self._checked[place.pack]
            if failure is None:
                return
        assert failure is not None  # noqa: S101 - _place found at least one place
        raise failure

    def know_keys(self, pack: PackId, table: tuple[KeyEntry, ...]) -> None:
        """Use *table* for a pack whose own key table cannot be read."""
        self._given_tables[pack] = table

    def session_key(self, entry: KeyEntry, purpose: Purpose, what: str) -> bytes:
        """Open a key entry. Raises: NotPermitted if it is not sealed to this key."""
        key = self._access.opener.find_key(entry, purpose)
        if key is None:
            raise NotPermitted(
                f"{what} cannot be read with this {self._access.role.value} key: it is not sealed to it",
                hint="use an owner's passphrase or the recovery key",
            )
        return key

    def _pack_fault(self, place: ChunkPlace) -> Damaged | None:
        name = place.pack_name
        try:
            intact = public_hash([self._access.storage.get(name)]) == place.pack
        except ObjectMissing as error:
            return Damaged(error.message, hint=error.hint)
        return None if intact else Damaged(f"{name} is damaged: its bytes do not fit its name")

    def _place(self, chunk: ChunkId) -> ChunkPlace:
        return self._places(chunk)[0]

    def _places(self, chunk: ChunkId) -> list[ChunkPlace]:
        """Every place of a chunk, one at least. Raises: ChunkMissing."""
        seen = self._reloads
        places = list(self._index.places(chunk))
        if not places and self._look_again(seen):
            places = list(self._index.places(chunk))
        if not places:
            raise ChunkMissing(
                f"chunk {chunk.hex()} is in no pack that the index knows",
                hint="run `lamina verify` for the whole picture",
            )
        return places

    def _look_again(self, seen: int) -> bool:
        """Load the index once more, from the storage alone: a prune may have moved chunks, a cache may be wrong.

        The first time in any case, later only if a prune published what it did since: those who read for days meet many.
        *seen*: how often that had happened before the caller looked. Says whether there may be more to see now.
        """
        storage, control = self._access.storage, self._access.control
        with self._lock:
            if self._reloads > seen:
                return True  # another thread was faster
            if self._reloads and not has_newer_manifest(storage, control, self._index.manifest):
                return False
            self._index.ignore_cache()
            self._index.load(storage, control)
            self._reloads += 1
            return True

    def _salvage(self, chunk: ChunkId) -> bytes:
        return self._anywhere(chunk, lambda place, blob: self._open_data(chunk, place, blob))

    def _anywhere(self, chunk: ChunkId, unseal: Callable[[ChunkPlace, bytes], Result]) -> Result:
        """Try every place of a chunk; after a miss also those of a newer index. Raises: ChunkMissing, StorageError."""
        while True:
            seen = self._reloads
            failures: list[Damaged | ObjectMissing | ObjectTruncated] = []
            for place in self._places(chunk):
                try:
                    return unseal(place, self._fetch(place))
                except _FAULTS as error:
                    failures.append(error)
            if any(isinstance(one, ObjectMissing) for one in failures) and self._look_again(seen):
                continue
            raise ChunkMissing(
                f"chunk {chunk.hex()} cannot be read: {failures[-1].message}",
                hint="run `lamina verify` for the whole picture",
            ) from failures[-1]

    def _fetch(self, place: ChunkPlace) -> bytes:
        """The bytes of one blob; of a metadata pack, what lies around it is remembered."""
        end = place.offset + place.stored_size
        name = place.pack_name
        if place.meta:
            try:
                first, last = place.offset // WINDOW, (end - 1) // WINDOW
                around = b"".join(self._window(place, number) for number in range(first, last + 1))
                return around[place.offset - first * WINDOW : end - first * WINDOW]
            except ObjectTruncated:
                pass  # somewhere else, perhaps
        return self._access.storage.get_range(name, place.offset, place.stored_size)

    def _window(self, place: ChunkPlace, number: int) -> bytes:
        key = (place.pack, number)
        with self._lock:
            found = self._windows.get(key)
            if found is not None:
                self._windows.move_to_end(key)
                return found
        length = min(WINDOW, place.pack_size - number * WINDOW)
        found = self._access.storage.get_range(pack_name(place.pack, meta=True), number * WINDOW, length)
        with self._lock:
            self._windows[key] = found
            if len(self._windows) > WINDOWS:
                self._windows.popitem(last=False)
        return found

    def _open_data(self, chunk: ChunkId, place: ChunkPlace, blob: Buffer) -> bytes:
        header = split_blob(blob, chunk, BlobKind.DATA, name=place.pack_name)
        key = self.session_key(self._key_entry(place, header), Purpose.CONTENT, f"the content of chunk {chunk.hex()}")
        content = self._access.sealer.unseal_body(header, blob, session_key=key)
        if self._namer is not None and self._namer.data_id(content) != chunk:
            raise Damaged(f"chunk {chunk.hex()} holds other content than its id says; whoever wrote it lied")
        return content

    def _open_node(self, kind: BlobKind, chunk: ChunkId, place: ChunkPlace, blob: bytes) -> Node:
        header = split_blob(blob, chunk, kind, name=place.pack_name)
        links = self._access.sealer.unseal_links(header, blob)
        body, slot = b"", OWNER_SLOT
        if header.body_size:
            entry = self._key_entry(place, header)
            slot = reader_slot(entry)
            body = self._access.sealer.unseal_body(
                header, blob, session_key=self.session_key(entry, Purpose.METADATA, "the directory")
            )
        node = Node(links, body)
        self._check_node(kind, node, slot, chunk)
        return node

    def _check_node(self, kind: BlobKind, node: Node, slot: bytes, chunk: ChunkId) -> None:
        """Whoever has a writer's key can seal anything under any id; a steward's key cannot tell."""
        if self._namer is not None and self._namer.node_id(kind, node, slot) != chunk:
            raise Damaged(f"metadata chunk {chunk.hex()} holds other content than its id says; whoever wrote it lied")

    def _key_entry(self, place: ChunkPlace, header: BlobHeader) -> KeyEntry:
        with self._lock:
            table = self._given_tables.get(place.pack) or self._key_tables.get(place.pack)
        if table is None:
            table = read_key_table(self._access, place)
            with self._lock:
                self._key_tables[place.pack] = table
                if len(self._key_tables) > KEY_TABLES:
                    self._key_tables.popitem(last=False)
        if header.key >= len(table):
            raise Damaged(f"a blob of pack {place.pack.hex()} names key {header.key} of {len(table)}")
        return table[header.key]


def read_key_table(access: Access, place: ChunkPlace) -> tuple[KeyEntry, ...]:
    """The key table of a pack, from its end. Raises: Damaged, ObjectMissing, StorageError."""
    name = place.pack_name
    length = min(TAIL_SIZE, place.pack_size)
    end = access.storage.get_range(name, place.pack_size - length, length)
    needed = tail_length(end, name=name)
    if needed > place.pack_size:
        raise Damaged(f"{name} is shorter than its trailer says")
    if needed > length:
        end = access.storage.get_range(name, place.pack_size - needed, needed)
    keys_size, footer_size, _ = decode_trailer(end[-TRAILER_SIZE:], name=name)
    start = len(end) - TRAILER_SIZE - footer_size - keys_size
    return decode_record(end[start : start + keys_size], tuple[KeyEntry, ...], name=name)


def _runs(wanted: dict[ChunkId, ChunkPlace]) -> Iterator[list[tuple[ChunkId, ChunkPlace]]]:
    """Group chunks that lie close together in one pack, in the order they lie there."""
    run: list[tuple[ChunkId, ChunkPlace]] = []
    for item in sorted(wanted.items(), key=lambda item: (item[1].pack, item[1].offset)):
        if run:
            last = run[-1][1]
            if item[1].pack != last.pack or item[1].offset - (last.offset + last.stored_size) > GAP:
                yield run
                run = []
        run.append(item)
    if run:
        yield run
