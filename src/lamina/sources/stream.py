"""Standard input, or anything else that is read once from front to back."""

from __future__ import annotations

import select
from typing import BinaryIO

from lamina.errors import SourceUnreadable
from lamina.model.entries import Metadata

PRIVATE = Metadata(mode=0o600)  # a stream has no owner or mode; what is restored from it is nobody else's business


class StdinSource:
    """An open binary file as a `StreamSource`; `close` leaves it open, as it belongs to the caller."""

    def __init__(self, file: BinaryIO, *, name: str = "stdin", metadata: Metadata = PRIVATE) -> None:
        self.name = name
        self.metadata = metadata
        self._file = file

    def read_into(self, buffer: memoryview) -> int:
        done = 0
        try:
            while done < len(buffer):
                count = self._file.readinto(buffer[done:])  # type: ignore[attr-defined]  # BinaryIO lacks it, every file has it
                if count is None:  # somebody made the pipe non-blocking
                    select.select([self._file], [], [])
                elif count == 0:
                    break
                else:
                    done += count
        except (OSError, ValueError) as error:
            raise SourceUnreadable(
                f"cannot read {self.name}: {error}", hint="check the command that feeds it"
            ) from error
        return done

    def close(self) -> None:
        """Leave the file to its owner."""
