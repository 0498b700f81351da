"""Objects in this process's memory: for tests, and as the shortest example of a back-end."""

from __future__ import annotations

import threading
from collections.abc import Iterator

from lamina.errors import ObjectExists, ObjectMissing, ObjectTruncated
from lamina.model.operation import Clock, SystemClock
from lamina.storage.names import check_name, check_prefix
from lamina.storage.storage import Parts, StoredObject


class MemoryStorage:
    """A storage that lasts as long as the process; *address* only names it in messages."""

    def __init__(self, clock: Clock | None = None, *, address: str = "memory:") -> None:
        self._address = address
        self._clock = clock or SystemClock()
        self._objects: dict[str, tuple[StoredObject, bytes]] = {}
        self._lock = threading.Lock()

    @property
    def address(self) -> str:
        return self._address

    def put(self, name: str, parts: Parts) -> None:
        data = b"".join(parts)
        stored = StoredObject(check_name(name), len(data), self._clock.now())
        with self._lock:
            _, present = self._objects.setdefault(name, (stored, data))
        if present != data:
            raise ObjectExists(f"{name} in {self.address} already holds other bytes; they were not touched")

    def get(self, name: str) -> bytes:
        return self._find(name)[1]

    def get_range(self, name: str, offset: int, length: int) -> bytes:
        data = self._find(name)[1]
        if offset + length > len(data):
            raise ObjectTruncated(
                f"{name} in {self.address} has {len(data)} bytes, not the {offset + length} it must have"
            )
        return data[offset : offset + length]

    def stat(self, name: str) -> StoredObject:
        return self._find(name)[0]

    def objects(self, prefix: str = "") -> Iterator[StoredObject]:
        check_prefix(prefix)
        with self._lock:
            present = [stored for name, (stored, _) in self._objects.items() if name.startswith(prefix)]
        return iter(present)

    def delete(self, name: str) -> None:
        with self._lock:
            self._objects.pop(check_name(name), None)

    def close(self) -> None:
        """Keep everything: memory needs no connection."""

    def _find(self, name: str) -> tuple[StoredObject, bytes]:
        with self._lock:
            found = self._objects.get(check_name(name))
        if found is None:
            raise ObjectMissing(f"{name} is not in {self.address}")
        return found
