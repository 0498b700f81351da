"""The world of one long call: its clock, its progress and its stop button."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol

from lamina.errors import Stopped


class Clock(Protocol):
    """Where time comes from.

    - `now` is aware UTC; it may jump, so nothing that keeps data safe depends on it.
    - `monotonic` never goes back; for durations and speeds.
    """

    def now(self) -> datetime: ...

    def monotonic(self) -> float: ...

    def sleep(self, seconds: float) -> None: ...


class SystemClock:
    """The machine's own clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


class Progress(Protocol):
    """Told what an operation does while it does it; called from any thread, cheap, never raises.

    - `start(phase, total)`: a new phase begins; *total* is bytes, or None where nobody can know;
    - `advance(read=, skipped=, new=, stored=)`: bytes since the last call that were looked at, that needed no look (holes, what
      hints leave out, what was right already), that were new, that were put into the storage;
    - `message(text)`: one line a person should see now.
    """

    def start(self, phase: str, total: int | None) -> None: ...

    def advance(self, *, read: int = 0, skipped: int = 0, new: int = 0, stored: int = 0) -> None: ...

    def message(self, text: str) -> None: ...


class Silence:
    """Progress nobody looks at."""

    def start(self, phase: str, total: int | None) -> None:
        """Ignore it."""

    def advance(self, *, read: int = 0, skipped: int = 0, new: int = 0, stored: int = 0) -> None:
        """Ignore it."""

    def message(self, text: str) -> None:
        """Ignore it."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One engine call: its clock, its progress, its stop button."""

    clock: Clock = field(default_factory=SystemClock)
    progress: Progress = field(default_factory=Silence)
    stop: threading.Event = field(default_factory=threading.Event)

    def check_stop(self) -> None:
        """Raise `Stopped` once the stop button was pressed."""
        if self.stop.is_set():
            raise Stopped("stopped on request", hint="run the same command again: what was stored is used again")
