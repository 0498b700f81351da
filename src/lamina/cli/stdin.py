"""Standard input, if there is one, and such that it can be stopped while it waits for data."""

from __future__ import annotations

import io
import os
import select
import sys
from threading import Event
from typing import TYPE_CHECKING, TextIO

from lamina.errors import Stopped, UsageError

if TYPE_CHECKING:
    from collections.abc import Buffer  # type: ignore[attr-defined]

LOOK_EVERY_S = 0.2


def standard_input() -> TextIO:
    """What standard input is. Raises: UsageError if whoever started us closed it."""
    if sys.stdin is None:
        raise UsageError(
            "standard input is closed", hint="give it the data: some-command | lamina …, or lamina … < FILE"
        )
    return sys.stdin


class StoppableInput(io.RawIOBase):
    """The bytes of *descriptor*; waiting for more ends in `Stopped` once *stop* is set.

    Without it, a stop button pressed while the program in front of the pipe is slow would wait for that program.
    """

    def __init__(self, descriptor: int, stop: Event) -> None:
        self._descriptor = descriptor
        self._stop = stop

    def readable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def readinto(self, buffer: Buffer) -> int:
        while not select.select([self._descriptor], [], [], LOOK_EVERY_S)[0]:
            if self._stop.is_set():
                raise Stopped("stopped while waiting for standard input", hint="run the same command again")
        return os.readv(self._descriptor, [buffer])
