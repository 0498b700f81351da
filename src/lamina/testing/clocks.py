"""A clock that moves only when told to."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta


class FrozenClock:
    """A clock that stands still; `sleep` moves it on at once and is remembered in `slept`."""

    def __init__(self, start: datetime | None = None) -> None:
        self._now = start or datetime(2026, 1, 1, tzinfo=UTC)
        self._monotonic = 0.0
        self._lock = threading.Lock()
        self.slept: list[float] = []  # seconds, in order

    def now(self) -> datetime:
        return self._now

    def monotonic(self) -> float:
        return self._monotonic

    def sleep(self, seconds: float) -> None:
        """Return at once, that much later."""
        with self._lock:
            self.slept.append(seconds)
        self.advance(timedelta(seconds=seconds))

    def advance(self, duration: timedelta) -> None:
        """Move on by *duration*."""
        with self._lock:
            self._now += duration
            self._monotonic += duration.total_seconds()
