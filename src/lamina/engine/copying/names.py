"""What chunks of one repository are called in another: a table in a temporary file, for there may be millions."""

from __future__ import annotations

import mmap
import tempfile
from collections.abc import Iterator

from lamina.model.ids import ChunkId

_ID = 32  # bytes
_SLOT = 2 * _ID  # an id, and the name it goes by; zeros: free
_FREE = bytes(_ID)
_FIRST = 1 << 12  # slots
_FULL = 2 / 3  # of the slots: from here on look-ups would visit too many


class KnownNames:
    """Maps ids to ids; both are hashes, so their first bytes are as good a hash as any. Not for several threads."""

    def __init__(self) -> None:
        self._count = 0
        self._map = _table(_FIRST)
        self._mask = _FIRST - 1

    def __len__(self) -> int:
        return self._count

    def get(self, chunk: ChunkId) -> ChunkId | None:
        """The name of *chunk*, if it is known."""
        at = self._find(chunk)
        name = self._map[at + _ID : at + _SLOT]
        return None if name == _FREE else ChunkId(name)

    def put(self, chunk: ChunkId, name: ChunkId) -> None:
        """Remember the name of *chunk*."""
        at = self._find(chunk)
        self._count += self._map[at + _ID : at + _SLOT] == _FREE
        self._map[at : at + _SLOT] = chunk + name
        if self._count > _FULL * (self._mask + 1):
            self._grow()

    def close(self) -> None:
        """Give the space back."""
        self._map.close()

    def _find(self, chunk: ChunkId) -> int:
        """Where *chunk* stands, or would stand."""
        slot = int.from_bytes(chunk[:8], "little") & self._mask
        while True:
            at = slot * _SLOT
            if self._map[at : at + _ID] == chunk or self._map[at + _ID : at + _SLOT] == _FREE:
                return at
            slot = (slot + 1) & self._mask

    def _grow(self) -> None:
        old, self._mask = self._map, 2 * self._mask + 1
        self._map = _table(self._mask + 1)
        for pair in _pairs(old):
            at = self._find(ChunkId(pair[:_ID]))
            self._map[at : at + _SLOT] = pair
        old.close()


def _table(slots: int) -> mmap.mmap:
    """A map of a file that has no name and goes when the map does."""
    with tempfile.TemporaryFile(prefix="lamina-names-") as file:
        file.truncate(slots * _SLOT)
        return mmap.mmap(file.fileno(), slots * _SLOT)


def _pairs(table: mmap.mmap) -> Iterator[bytes]:
    for at in range(0, len(table), _SLOT):
        pair = table[at : at + _SLOT]
        if pair[_ID:] != _FREE:
            yield pair
