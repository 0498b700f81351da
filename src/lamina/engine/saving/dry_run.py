"""Find out what a backup would store."""

from __future__ import annotations

import threading

from lamina.model.entries import Buffer
from lamina.model.ids import ChunkId
from lamina.repository.blobs import Node
from lamina.repository.format import BlobKind
from lamina.repository.generations import read_generations
from lamina.repository.repository import Repository


class CountingPutter:
    """Takes chunks like a session's writer and stores nothing."""

    def __init__(self, repository: Repository) -> None:
        repository.reader()  # loads the index
        self._index = repository.index
        self._index.condemned = read_generations(repository.storage, repository.access.control).condemned
        self._namer = repository.access.namer()
        self._slot = repository.access.reader_slot
        self._seen: set[ChunkId] = set()
        self._lock = threading.Lock()
        self.new = 0  # bytes

    def data_id(self, content: Buffer) -> ChunkId:
        """The id that *content* would have."""
        return self._namer.data_id(content)

    def put_data(self, chunk: ChunkId, content: Buffer) -> bool:
        """Whether *content* would be stored."""
        return self._count(chunk, len(content))

    def put_node(self, kind: BlobKind, node: Node) -> ChunkId:
        """The id that a metadata chunk would have."""
        chunk = self._namer.node_id(kind, node, self._slot)
        self._count(chunk, len(node.links) + len(node.body))
        return chunk

    def _count(self, chunk: ChunkId, size: int) -> bool:
        with self._lock:
            if chunk in self._seen:
                return False
            self._seen.add(chunk)
        if self._index.find(chunk) is not None:
            return False
        with self._lock:
            self.new += size
        return True
