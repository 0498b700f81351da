"""Bytes that come slowly, such that waiting for them can be stopped."""

from __future__ import annotations

import io
import os
import select
from threading import Event
from typing import TYPE_CHECKING

from lamina.errors import Stopped

if TYPE_CHECKING:
    from collections.abc import Buffer  # type: ignore[attr-defined]

LOOK_EVERY_S = 0.2


class StoppableInput(io.RawIOBase):
    """The bytes of *descriptor*, which stays its owner's; reading ends in `Stopped` once *stop* is set.

    Without it, a stop button pressed while the program in front of the pipe is slow would wait for that program.
    """

    def __init__(self, descriptor: int, stop: Event, name: str = "standard input") -> None:
        self._descriptor = descriptor
        self._stop = stop
        self._name = name
        self._ready = select.poll()  # knows descriptors of any number, as select does not
        self._ready.register(descriptor, select.POLLIN)

    def readable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def readinto(self, buffer: Buffer) -> int:
        while not self._stop.is_set():
            if self._ready.poll(LOOK_EVERY_S * 1000):
                return os.readv(self._descriptor, [buffer])
        raise Stopped(f"stopped while reading {self._name}", hint="run the same command again")
