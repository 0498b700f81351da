"""A repository as large as one likes in a minute: everything is real but the bytes of data packs, which nobody wrote.

Chunks have random ids and plausible sizes. Sessions, metadata packs, nodes, index deltas and snapshot records are written by
the same code that a backup runs; of each data pack only the header exists, in a sparse file of the right length.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from lamina.model.entries import Entry, EntryType, FixedContent, Position
from lamina.model.ids import ChunkId, PackId
from lamina.model.operation import Operation
from lamina.model.process import Process
from lamina.model.secret import Secret
from lamina.repository.format import BLOB_HEADER_SIZE, BlobKind, BlobRow, PackHeader
from lamina.repository.object_names import pack_name
from lamina.repository.packs import FinishedPack
from lamina.repository.repository import Repository
from lamina.repository.sessions import Session, SnapshotFacts
from lamina.repository.streams import FANOUT, FixedMapWriter
from lamina.repository.trees import DirectoryWriter
from lamina.repository.writer import EncodingOptions
from lamina.storage.backends.local import LocalStorage
from lamina.storage.names import spread_name
from lamina.testing.many_snapshots import add_snapshots

CHUNK_SIZE = 1 << 20  # bytes, the default of images
CHUNKS_OF_AN_IMAGE = 200_000  # 195 GiB
_PACK_SIZE = 32 << 20
_FEW = 30  # chunks
_NOBODY = Process("hollow", "boot", 1, 1)


@dataclass(slots=True)
class Hollow:
    """Fills the repository in *place* with images that were never read, and with many snapshots of one of them."""

    place: Path
    passphrase: str
    seed: int = 1
    _random: random.Random = field(init=False)
    _repository: Repository = field(init=False)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self._repository = Repository.open(
            LocalStorage(self.place / "repository"),
            Secret(self.passphrase.encode()),
            Operation(),
            cache=self.place / "builder",
        )

    def fill(self, chunks: int, snapshots: int) -> None:
        """Make images with as many *chunks* in all, and as many more *snapshots* of the last of them."""
        for number in range(-(-chunks // CHUNKS_OF_AN_IMAGE)):
            count = min(CHUNKS_OF_AN_IMAGE, chunks - number * CHUNKS_OF_AN_IMAGE)
            root = self._save(f"image-{number:04d}", count)
        add_snapshots(self._repository, snapshots, root)
        self._repository.close()

    def _save(self, name: str, count: int) -> ChunkId:
        options = EncodingOptions(level=3, check=False, uploads=0)
        session = self._repository.begin(_NOBODY, options, Operation())
        try:
            image = Entry(b"disk.img", EntryType.FILE, content=self._image(session, count))
            directory = DirectoryWriter(session.writer)
            directory.add(image)
            root, totals = directory.finish()
            facts = SnapshotFacts(
                root,
                totals.size,
                read=0,
                partial=False,
                name=name,
                host="hollow",
                program="benchmarks",
                paths=("disk.img",),
                tags=frozenset(),
                expires=None,
            )
            session.commit(facts)
            return root
        finally:
            session.close()

    def _image(self, session: Session, count: int) -> FixedContent:
        chunks = self._chunks(session, count)
        size = count * CHUNK_SIZE
        if count == 1:
            return FixedContent(size, CHUNK_SIZE, Position.DATA, next(chunks))
        writer = FixedMapWriter(session.writer, CHUNK_SIZE)
        for first in range(0, count, FANOUT):
            writer.add_leaf([(Position.DATA, next(chunks)) for _ in range(min(FANOUT, count - first))])
        return writer.finish(size)

    def _chunks(self, session: Session, count: int) -> Iterator[ChunkId]:
        """Ids of chunks that lie in packs, as the index is told."""
        rows: list[BlobRow] = []
        header = PackHeader(self._repository.id, session.id, os.urandom(32)).encode()
        size = len(header)
        for number in range(count):
            stored = BLOB_HEADER_SIZE + self._random.randrange(200 << 10, 900 << 10)
            rows.append(BlobRow(ChunkId(self._random.randbytes(32)), BlobKind.DATA, 0, size, stored, CHUNK_SIZE))
            size += stored
            left = count - number - 1
            if not left or (size > _PACK_SIZE and left >= _FEW):  # no small packs: a prune would want to join them
                self._remember(session, header, size, rows)
                yield from (row.id for row in rows)
                rows, size = [], len(header)

    def _remember(self, session: Session, header: bytes, size: int, rows: list[BlobRow]) -> None:
        pack = FinishedPack(PackId(self._random.randbytes(32)), meta=False, size=size, parts=(), rows=rows)
        path = self.place / "repository" / spread_name(pack_name(pack.id, meta=False))
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("xb") as file:
            file.write(header)
            file.truncate(size)
        session.writer._remember(pack)  # noqa: SLF001 - what storing a real pack ends with


def fill(place: Path, passphrase: str, chunks: int, snapshots: int) -> None:
    """Fill the repository in *place*."""
    Hollow(place, passphrase).fill(chunks, snapshots)
