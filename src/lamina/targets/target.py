"""The seams through which data goes back."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from lamina.model.entries import Buffer


@runtime_checkable
class ImageTarget(Protocol):
    """A place that takes one image of a known size, range by range in any order, from any number of threads.

    Every implementation promises:

    - `fresh` says that the target is known to read as zeros wherever nothing was written by us (so zeros need no writing);
    - `write` stores the bytes at *offset*; `write_zeros` makes the range read as zeros, without using space where it can;
    - `read_into` returns what is there now (for resuming and for writing only what differs);
    - `finish` makes everything durable and gives the target exactly the image's size (where it has a size of its own);
    - faults raise `TargetUnwritable` and name the target; what was written stays, so that a restore can be resumed.
    """

    name: str
    fresh: bool

    def write(self, offset: int, data: Buffer) -> None: ...

    def write_zeros(self, offset: int, length: int) -> None: ...

    def read_into(self, offset: int, buffer: memoryview) -> int: ...

    def finish(self) -> None: ...

    def close(self) -> None: ...


class StreamTarget(Protocol):
    """A place that takes one byte stream, front to back."""

    name: str

    def write(self, data: Buffer) -> None: ...

    def close(self) -> None: ...
