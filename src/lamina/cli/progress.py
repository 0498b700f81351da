"""Progress of a running operation: a line that moves on a terminal, quiet lines elsewhere, events for machines."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO

from lamina.cli.text import printable
from lamina.errors import LaminaError
from lamina.model.operation import Clock, Progress
from lamina.model.quantities import format_size

EVENT_EVERY_S = 1.0
PLAIN_EVERY_S = 60.0  # a line a minute: enough to see life in a journal, not enough to fill it
REFRESHES_PER_S = 5
SETTLE_S = 2.0  # before this, a guess at the time left only jumps about


class Counters:
    """What a phase has done so far; the base of every kind of progress. Any thread may call."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self.phase = ""
        self.total: int | None = None
        self.read = self.skipped = self.new = self.stored = 0
        self._began = self._shown = clock.monotonic()

    def start(self, phase: str, total: int | None) -> None:
        with self._lock:
            self.phase, self.total = phase, total
            self.read = self.skipped = self.new = self.stored = 0
            self._began = self._shown = self._clock.monotonic()
        self.began()

    def advance(self, *, read: int = 0, skipped: int = 0, new: int = 0, stored: int = 0) -> None:
        with self._lock:
            self.read += read
            self.skipped += skipped
            self.new += new
            self.stored += stored
            now = self._clock.monotonic()
            due = now - self._shown >= self.every_s
            if due:
                self._shown = now
        if due:
            self.show()

    @property
    def every_s(self) -> float:
        """Seconds between two calls of `show`."""
        return float("inf")

    def began(self) -> None:
        """A phase began."""

    def show(self) -> None:
        """Time to say something."""

    def message(self, text: str) -> None:
        """One line a person should see now."""

    @property
    def elapsed_s(self) -> float:
        return max(self._clock.monotonic() - self._began, 1e-9)

    def left_s(self) -> float | None:
        """Seconds this phase will still take at the speed it had so far; None while nobody can know."""
        if not self.total or not self.read or self.elapsed_s < SETTLE_S:
            return None
        return max(self.total - self.read - self.skipped, 0) * self.elapsed_s / self.read

    def line(self) -> str:
        """Phase, share, bytes, speed and time left, within 80 columns."""
        words = [self.phase]
        if self.total:
            words.append(f"{min((self.read + self.skipped) / self.total, 1.0):4.0%}")
        words += [
            f"{name} {_short_size(size)}"
            for name, size in (("read", self.read), ("new", self.new), ("stored", self.stored))
            if size
        ]
        if self.read:
            words.append(f"{_short_size(self.read / self.elapsed_s)}/s")
        left = self.left_s()
        if left is not None:
            words.append(f"{_short_time(left)} left")
        return "  ".join(words)


def _short_size(size: float) -> str:
    """A size in three digits.

    >>> _short_size(192 << 20), _short_size(1536)
    ('192 MiB', '1.5 KiB')
    """
    number, unit = format_size(size).split(" ")
    return f"{number.partition('.')[0] if len(number) > 4 else number} {unit}"


def _short_time(seconds: float) -> str:
    """Minutes and seconds, or hours, minutes and seconds.

    >>> _short_time(75), _short_time(7325)
    ('1:15', '2:02:05')
    """
    whole = round(seconds)
    hours = f"{whole // 3600}:" if whole >= 3600 else ""
    minutes = whole % 3600 // 60
    return f"{hours}{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"


class PlainProgress(Counters):
    """Now and then a line: for a journal, a file, a pipe."""

    def __init__(self, say: Callable[[str], None], clock: Clock) -> None:
        super().__init__(clock)
        self._say = say

    @property
    def every_s(self) -> float:
        return PLAIN_EVERY_S

    def show(self) -> None:
        self._say(self.line())

    def message(self, text: str) -> None:
        self._say(text)


class EventProgress(Counters):
    """JSON events: one when a phase begins, then one a second."""

    def __init__(self, emit: Callable[..., None], clock: Clock) -> None:
        super().__init__(clock)
        self._emit_event = emit
        self._emitting = threading.RLock()  # threads must not mix their lines; a signal may come in between

    @property
    def every_s(self) -> float:
        return EVENT_EVERY_S

    def began(self) -> None:
        self.show()

    def show(self) -> None:
        self._emit(
            "progress",
            phase=self.phase,
            total_bytes=self.total,
            read_bytes=self.read,
            new_bytes=self.new,
            stored_bytes=self.stored,
            elapsed_s=round(self.elapsed_s, 3),
        )

    def message(self, text: str) -> None:
        self._emit("message", level="info", text=text)

    def _emit(self, name: str, /, **fields: Any) -> None:
        with self._emitting, suppress(OSError, LaminaError):  # who no longer listens must not break a backup
            self._emit_event(name, **fields)


@contextmanager
def terminal_progress(stream: TextIO, clock: Clock) -> Iterator[Progress]:
    """One line at the bottom of the terminal, drawn by its own thread; gone at the end."""
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    console = Console(file=stream, highlight=False)

    class Shown(Counters):
        def message(self, text: str) -> None:
            console.print(Text(printable(text)))

    shown = Shown(clock)

    def rendered() -> Text:
        return Text(shown.line(), no_wrap=True, overflow="ellipsis")

    with Live(
        get_renderable=rendered, console=console, refresh_per_second=REFRESHES_PER_S, transient=True,
        redirect_stdout=False, redirect_stderr=False,
    ):  # fmt: skip
        yield shown
