"""Put chunks, each once: name, look up, seal, check, pack, store."""

from __future__ import annotations

import os
import secrets
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace

from lamina.errors import Damaged
from lamina.model.entries import Buffer
from lamina.model.ids import ChunkId, SessionId
from lamina.model.operation import Operation
from lamina.repository.access import Access
from lamina.repository.blobs import Node, SealedBlob
from lamina.repository.chunks import ChunkReader
from lamina.repository.format import BLOB_HEADER_SIZE, BlobKind, BlobRow
from lamina.repository.index import Index
from lamina.repository.packs import FinishedPack, PackWriter
from lamina.repository.records import KeyEntry, PackRow
from lamina.repository.session_keys import SessionKeys
from lamina.repository.tables import ChunkPlace

OPEN_PACKS = 2  # data packs filled at a time: order and sizes of chunks do not fingerprint a file (eprint 2025/532)
UPLOADS = 2  # packs stored at a time, unless a caller says otherwise


@dataclass(frozen=True, slots=True)
class EncodingOptions:
    """How chunks are encoded."""

    level: int | None  # zstd level; None: stored as they are
    check: bool  # decode data chunks and compare them before they are stored (metadata always is)
    heal: bool = False  # refer only to chunks that were just seen to be whole; store what is not once more
    uploads: int = UPLOADS  # packs stored at a time; who fills one more waits. 0: the calling thread stores


@dataclass(slots=True)
class Counts:
    """What a writer did so far."""

    new: int = 0  # plain bytes that were in no pack
    stored: int = 0  # bytes put into the storage


StoredPack = tuple[PackRow, list[BlobRow]]


class ChunkWriter:
    """Writes the chunks of one session, from any number of threads."""

    def __init__(
        self, access: Access, index: Index, keys: SessionKeys, options: EncodingOptions, operation: Operation
    ) -> None:
        self.counts = Counts()
        self._access = access
        self._index = index
        self.keys = keys
        self._options = options
        self._operation = operation
        self._namer = access.namer()
        self._reader = ChunkReader(access, index)
        self.session = SessionId(keys.content_entry.session)
        self._lock = threading.Lock()
        self._claimed: set[ChunkId] = set()  # sealed or being sealed by us, and not yet in the index
        self._data: list[PackWriter] = [self._new_pack(meta=False) for _ in range(OPEN_PACKS)]
        self._meta = self._new_pack(meta=True)
        self._stored: list[StoredPack] = []  # in no delta yet
        self._executor = ThreadPoolExecutor(options.uploads, thread_name_prefix="store") if options.uploads else None
        self._slots = threading.BoundedSemaphore(max(options.uploads, 1))
        self._uploads: list[Future[None]] = []
        self._used = tempfile.TemporaryFile(prefix="lamina-used-")  # noqa: SIM115 - ids we refer to and did not write

    @property
    def checks(self) -> bool:
        """Whether every data chunk is decoded and compared before it is stored."""
        return self._options.check

    def data_id(self, content: Buffer) -> ChunkId:
        """The id that *content* has or would have."""
        return self._namer.data_id(content)

    def put_data(self, chunk: ChunkId, content: Buffer) -> bool:
        """Store *content*, whose id is *chunk*, unless the repository has it; says whether it was new."""
        check = self._reader.check_stored if self._options.heal else None
        if not self._claim(chunk, check):
            return False
        sealed = self._access.sealer.seal_data(chunk, content, session_key=self.keys.content, level=self._options.level)
        if self._options.check:
            self._check_data(sealed, content)
        self._add(sealed, self.keys.content_entry)
        self._count_new(sealed)
        return True

    def put_node(self, kind: BlobKind, node: Node) -> ChunkId:
        """Store a metadata chunk unless the repository has it, and has it whole: a thousand chunks hang on it."""
        chunk = self._namer.node_id(kind, node, self._access.reader_slot)
        if self._claim(chunk, lambda known: self._reader.get_node(kind, known)):
            sealed = self._access.sealer.seal_node(kind, chunk, node, session_key=self.keys.metadata)
            self._check_node(sealed, node)
            self._add(sealed, self.keys.metadata_entry)
            self._count_new(sealed)
        return chunk

    def copy(self, reader: ChunkReader, place: ChunkPlace) -> None:
        """Copy one blob verbatim, with its key entry, into a pack of ours."""
        header, blob, entry = reader.get_blob(place)
        links = blob[BLOB_HEADER_SIZE : BLOB_HEADER_SIZE + header.links_size]
        self.add_sealed(
            SealedBlob(header, links, blob[BLOB_HEADER_SIZE + header.links_size :], place.plain_size), entry
        )

    def add_sealed(self, sealed: SealedBlob, entry: KeyEntry | None) -> None:
        """Take a blob that was sealed by another session, with its key entry; None for one that needs no key."""
        self._add(sealed, entry if entry is not None else self.keys.metadata_entry)

    def used(self) -> Iterator[ChunkId]:
        """Every id that this session refers to and found in the index (some more than once)."""
        with self._lock:
            self._used.flush()
        offset = 0
        while block := os.pread(self._used.fileno(), 32 << 10, offset):
            offset += len(block)
            for start in range(0, len(block), 32):
                yield ChunkId(block[start : start + 32])

    def use(self, chunk: ChunkId) -> None:
        """Remember that this session refers to a chunk that another one wrote."""
        with self._lock:
            self._used.write(chunk)

    def flush(self) -> None:
        """Store every open pack and wait until all are stored. Raises: whatever storing raised."""
        with self._lock:
            packs = [*self._data, self._meta]
            self._data = [self._new_pack(meta=False) for _ in range(OPEN_PACKS)]
            self._meta = self._new_pack(meta=True)
        for pack in packs:
            if len(pack):
                self._upload(pack)
        uploads, self._uploads = self._uploads, []
        for upload in uploads:
            upload.result()

    def finish_uploads(self) -> None:
        """Wait until nothing is being stored any more; what failed is known to whoever stored it."""
        wait(self._uploads)

    def take_stored(self) -> list[StoredPack]:
        """The packs stored since the last call, for an index delta."""
        with self._lock:
            packs, self._stored = self._stored, []
        return packs

    def give_back(self, packs: list[StoredPack]) -> None:
        """Take back what could not be put into a delta."""
        with self._lock:
            self._stored = [*packs, *self._stored]

    def close(self) -> None:
        """Let go of threads and files; packs that are not stored are given up."""
        if self._executor is not None:
            self._executor.shutdown(wait=True, cancel_futures=True)
        self._used.close()

    def _claim(self, chunk: ChunkId, check: Callable[[ChunkId], object] | None) -> bool:
        """Whether this caller is the one to write *chunk*: nobody has, or what they wrote fails the *check*."""
        with self._lock:
            if chunk in self._claimed:
                return False
            self._claimed.add(chunk)
        if self._index.find(chunk) is None or (check is not None and _is_damaged(chunk, check)):
            return True
        with self._lock:
            self._claimed.discard(chunk)
            self._used.write(chunk)
        return False

    def _add(self, sealed: SealedBlob, entry: KeyEntry) -> None:
        """Put a blob into an open pack; a pack that it would make too large (or that has no room for its key) is stored first.

        First, not after: a pack never grows by a whole large chunk beyond its target, and memory stays bounded.
        """
        meta = sealed.header.kind is not BlobKind.DATA
        target = self._access.format.meta_pack if meta else self._access.format.data_pack
        full: PackWriter | None = None
        with self._lock:
            slot = secrets.randbelow(OPEN_PACKS)
            pack = self._meta if meta else self._data[slot]
            number = pack.find_key(entry)
            if number is None or (len(pack) and pack.size + sealed.header.stored_size > target):
                full, pack = pack, self._replace(slot, meta=meta)
                number = pack.find_key(entry) or 0
            pack.add(replace(sealed.header, key=number), sealed.links, sealed.body, plain_size=sealed.plain_size)
        if full is not None:
            self._upload(full)

    def _count_new(self, sealed: SealedBlob) -> None:
        with self._lock:
            self.counts.new += sealed.plain_size

    def _replace(self, slot: int, *, meta: bool) -> PackWriter:
        pack = self._new_pack(meta=meta)
        if meta:
            self._meta = pack
        else:
            self._data[slot] = pack
        return pack

    def _new_pack(self, *, meta: bool) -> PackWriter:
        return PackWriter(self._access.repository, self.session, self._access.structure_key, meta=meta)

    def _upload(self, pack: PackWriter) -> None:
        """Hand a pack to the storing threads; waits while too many are under way. Raises: what an earlier one raised."""
        with self._lock:
            done: list[Future[None]] = []
            under_way: list[Future[None]] = []
            for upload in self._uploads:  # each is asked once: one that fails between two questions would be forgotten
                (done if upload.done() else under_way).append(upload)
            self._uploads = under_way
        for upload in done:
            upload.result()
        self._slots.acquire()
        if self._executor is None:
            self._store(pack)
            return
        future = self._executor.submit(self._store, pack)
        with self._lock:
            self._uploads.append(future)

    def _store(self, writer: PackWriter) -> None:
        try:
            pack = writer.finish()
            self._access.storage.put(pack.name, pack.parts)
            self._remember(pack)
            self._operation.progress.advance(stored=pack.size)
        finally:
            self._slots.release()

    def _remember(self, pack: FinishedPack) -> None:
        with self._lock:
            self._index.add(pack)
            self._claimed.difference_update(row.id for row in pack.rows)
            self._stored.append((PackRow(pack.id, pack.size, pack.meta, 0), list(pack.rows)))
            self.counts.stored += pack.size

    def _check_data(self, sealed: SealedBlob, content: Buffer) -> None:
        blob = b"".join((sealed.header.encode(), sealed.body))
        try:
            opened = self._access.sealer.unseal_body(sealed.header, blob, session_key=self.keys.content)
        except Damaged as error:
            raise _encoding_error(sealed) from error
        if len(opened) != len(content) or not opened.startswith(content):  # 60 times as fast as == with a view
            raise _encoding_error(sealed)

    def _check_node(self, sealed: SealedBlob, node: Node) -> None:
        blob = b"".join((sealed.header.encode(), sealed.links, sealed.body))
        try:
            links = self._access.sealer.unseal_links(sealed.header, blob)
            body = self._access.sealer.unseal_body(sealed.header, blob, session_key=self.keys.metadata)
        except Damaged as error:
            raise _encoding_error(sealed) from error
        if (links, body) != (node.links, node.body):
            raise _encoding_error(sealed)


def _encoding_error(sealed: SealedBlob) -> Damaged:
    return Damaged(
        f"chunk {sealed.header.id.hex()} did not decode to what was encoded; nothing wrong was stored",
        hint="memory, processor or the compression library is faulty: test the memory of this machine",
    )


def _is_damaged(chunk: ChunkId, check: Callable[[ChunkId], object]) -> bool:
    try:
        check(chunk)
    except Damaged:
        return True
    return False
