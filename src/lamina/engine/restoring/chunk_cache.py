"""Chunks that several files need: small files lie together in bundles."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence

from lamina.model.ids import ChunkId
from lamina.repository.chunks import ChunkReader

CACHED_BYTES = 32 << 20  # of chunks that hold several files


class ChunkCache:
    """Remembers the chunks that hold several files, for whichever thread needs them next."""

    def __init__(self, reader: ChunkReader) -> None:
        self._reader = reader
        self._known: OrderedDict[ChunkId, bytes] = OrderedDict()
        self._size = 0
        self._lock = threading.Lock()

    def get(self, shared: Sequence[ChunkId], whole: Sequence[ChunkId]) -> dict[ChunkId, bytes]:
        """Raises: Damaged, ChunkMissing, StorageError."""
        found: dict[ChunkId, bytes] = {}
        with self._lock:
            for chunk in shared:
                known = self._known.get(chunk)
                if known is not None:
                    self._known.move_to_end(chunk)
                    found[chunk] = known
        missing = [chunk for chunk in (*shared, *whole) if chunk not in found]
        if missing:
            found |= self._reader.get_many(missing)
            with self._lock:
                for chunk in shared:
                    self._remember(chunk, found[chunk])
        return found

    def _remember(self, chunk: ChunkId, content: bytes) -> None:
        if chunk in self._known:
            return
        self._known[chunk] = content
        self._size += len(content)
        while self._size > CACHED_BYTES:
            self._size -= len(self._known.popitem(last=False)[1])
