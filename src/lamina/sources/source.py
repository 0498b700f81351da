"""The seams through which data comes in."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol, runtime_checkable

from lamina.model.entries import Extent, Metadata


@runtime_checkable
class ImageSource(Protocol):
    """One image of a known size that can be read anywhere.

    Every implementation promises:

    - `size` is the size when it was opened and does not change; `name` is what the user called it;
    - `extents` are sorted, disjoint and cover exactly 0 … size; a hole certainly reads as zeros;
    - `read_into` fills the buffer from *offset*, whatever the device's own block size; fewer bytes than asked for mean that the
      source ends there now; any fault raises `SourceUnreadable`; any number of threads may call at once;
    - reading does not flood the page cache: what was brought in by us is let go again, what was there before may stay;
    - `stable` says that nobody is expected to write to it during the run (a regular file), so that a whole comparison makes
      sense; `changed` says whether it was seen to change since it was opened.
    """

    name: str
    size: int
    stable: bool
    metadata: Metadata

    def extents(self) -> Iterator[Extent]: ...

    def read_into(self, offset: int, buffer: memoryview) -> int: ...

    def changed(self) -> bool: ...

    def close(self) -> None: ...


class StreamSource(Protocol):
    """One byte stream of unknown length that can be read once, front to back.

    `read_into` fills the whole buffer unless the stream ends; 0 means the end; a fault raises `SourceUnreadable`.
    """

    name: str
    metadata: Metadata

    def read_into(self, buffer: memoryview) -> int: ...

    def close(self) -> None: ...
