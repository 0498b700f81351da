"""Cut images at fixed places, and everything else where its content says so."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from lamina.errors import UsageError
from lamina.model.entries import Buffer

MIN_SIZE = 64 << 10  # smaller chunks cost more metadata than they save
MAX_SIZE = 16 << 20  # a chunk and its copies must fit into memory many times over


@dataclass(frozen=True, slots=True)
class FixedChunker:
    """Cuts a stream every *size* bytes; only the last chunk may be shorter.

    >>> list(FixedChunker(65536).ranges(100000))
    [(0, 65536), (65536, 34464)]
    """

    size: int

    def __post_init__(self) -> None:
        if not MIN_SIZE <= self.size <= MAX_SIZE or self.size & (self.size - 1):
            raise UsageError(
                f"a chunk size of {self.size} bytes is not possible", hint="a power of two from 64KiB to 16MiB"
            )

    def count(self, total: int) -> int:
        """How many chunks a stream of *total* bytes has."""
        return -(-total // self.size)

    def length(self, position: int, total: int) -> int:
        """How long the chunk at *position* of a stream of *total* bytes is."""
        return min(self.size, total - position * self.size)

    def ranges(self, total: int) -> Iterator[tuple[int, int]]:
        """Offset and length of every chunk."""
        for position in range(self.count(total)):
            yield position * self.size, self.length(position, total)


class Chunker(Protocol):
    """Cuts content at places that the content decides, so that an insertion moves no cut far behind it.

    Every implementation promises:

    - `cuts` gives the ends of the chunks found in *buffer*, which begins where a chunk begins, in ascending order; no
      chunk is longer than `max_size`, and none but the last of a stream is shorter than `min_size`;
    - what lies behind the last end is unfinished and shorter than `max_size`: put more of the stream behind it and ask
      again; with *final*, the stream ends with the buffer, and so does the last chunk; an empty buffer has no chunks;
    - a stream that comes in pieces of any lengths has the same cuts as if it had come at once; pieces much smaller than
      `max_size` only look at the same bytes many times;
    - any number of threads may call at once.
    """

    @property
    def min_size(self) -> int: ...

    @property
    def max_size(self) -> int: ...

    def cuts(self, buffer: Buffer, *, final: bool) -> list[int]: ...
