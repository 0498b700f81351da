"""Standard output, or anything else that is written once from front to back."""

from __future__ import annotations

import select
from typing import BinaryIO

from lamina.errors import TargetError, TargetUnwritable
from lamina.model.entries import Buffer
from lamina.targets.faults import target_fault


class StdoutTarget:
    """An open binary file as a `StreamTarget`; `close` flushes it and leaves it open, as it belongs to the caller."""

    def __init__(self, file: BinaryIO, *, name: str = "standard output") -> None:
        self.name = name
        self._file = file

    def write(self, data: Buffer) -> None:
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[self._write_some(rest) :]
        except (OSError, ValueError) as error:
            raise self._fault(error) from error

    def close(self) -> None:
        try:
            while not self._is_flushed():
                self._wait()
        except (OSError, ValueError) as error:
            raise self._fault(error) from error

    def _write_some(self, data: memoryview) -> int:
        """Write what can be written now; wait if that is nothing, as somebody may have made the pipe non-blocking."""
        try:
            count = self._file.write(data) or 0
        except BlockingIOError as error:
            count = error.characters_written
        if not count:
            self._wait()
        return count

    def _is_flushed(self) -> bool:
        try:
            self._file.flush()
        except BlockingIOError:
            return False
        return True

    def _wait(self) -> None:
        select.select([], [self._file], [])

    def _fault(self, error: OSError | ValueError) -> TargetError:
        if isinstance(error, BrokenPipeError):
            return TargetUnwritable(
                f"{self.name} was closed by the program that reads it",
                hint="see what that program says, then run the same command again",
            )
        if isinstance(error, OSError):
            return target_fault(self.name, error, resumable=False)
        return TargetUnwritable(f"cannot write to {self.name}: {error}", hint="it was closed already")
