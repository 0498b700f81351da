"""Use no more of the line than allowed."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from threading import Event

from lamina.model.operation import Clock
from lamina.storage.storage import Parts, Storage, StoredObject
from lamina.storage.waiting import wait


class Throttled:
    """A storage whose calls together move at most so many bytes a second, over all threads; None is no limit.

    An upload waits before it begins, a download before its bytes are handed on. Pressing *stop* ends the waiting, not the
    call: what is still to be put to stop cleanly goes at full speed.
    """

    def __init__(
        self,
        storage: Storage,
        clock: Clock,
        *,
        upload_bytes_per_s: int | None = None,
        download_bytes_per_s: int | None = None,
        stop: Event | None = None,
    ) -> None:
        self._storage = storage
        self._up = _Pace(clock, upload_bytes_per_s, stop)
        self._down = _Pace(clock, download_bytes_per_s, stop)

    @property
    def address(self) -> str:
        return self._storage.address

    def put(self, name: str, parts: Parts) -> None:
        self._up.spend(sum(memoryview(part).nbytes for part in parts))
        self._storage.put(name, parts)

    def get(self, name: str) -> bytes:
        data = self._storage.get(name)
        self._down.spend(len(data))
        return data

    def get_range(self, name: str, offset: int, length: int) -> bytes:
        self._down.spend(length)
        return self._storage.get_range(name, offset, length)

    def stat(self, name: str) -> StoredObject:
        return self._storage.stat(name)

    def objects(self, prefix: str = "") -> Iterator[StoredObject]:
        return self._storage.objects(prefix)

    def delete(self, name: str) -> None:
        self._storage.delete(name)

    def close(self) -> None:
        self._storage.close()


class _Pace:
    """Bytes in one direction: each call is given the time slot behind the one before it."""

    def __init__(self, clock: Clock, bytes_per_s: int | None, stop: Event | None) -> None:
        self._clock = clock
        self._bytes_per_s = bytes_per_s
        self._stop = stop
        self._free_at = clock.monotonic()  # seconds; when the line is free again
        self._lock = threading.Lock()

    def spend(self, count: int) -> None:
        """Wait until *count* bytes have had their time."""
        if self._bytes_per_s is None or (self._stop is not None and self._stop.is_set()):
            return
        with self._lock:
            now = self._clock.monotonic()
            self._free_at = max(now, self._free_at) + count / self._bytes_per_s
            wait_s = self._free_at - now
        wait(self._clock, wait_s, self._stop)
