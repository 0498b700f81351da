"""Cut content with FastCDC (Xia et al. 2020): a rolling hash over a table, cheaper bits before the average size."""

from __future__ import annotations

import threading
from collections.abc import Callable

from pyfastcdc import FastCDC

from lamina.errors import UsageError
from lamina.model.entries import Buffer

KIB, MIB = 1 << 10, 1 << 20
# What the library can do. Its masks know powers of two only, and an odd smallest size would be rounded down.
MIN_SIZES, AVERAGES, MAX_SIZES = (64, MIB), (256, 4 * MIB), (KIB, 16 * MIB)
_SEED = (1 << 63) - 1  # the library overflows beyond, and the top bit of the hash decides nothing


class FastCdc:
    """A `Chunker`: FastCDC with normalisation 1 and a table that the first eight bytes of *key* change.

    While it looks for a cut it holds no GIL: threads cut at the same time. The buffer must not change meanwhile.

    The seed is no strong key. It is XORed into a public table, 48 bits of it decide cuts, and who knows some files and
    the sizes of their chunks can compute it. It only keeps cuts from being the same in every repository.
    """

    def __init__(self, min_size: int, average: int, max_size: int, key: bytes) -> None:
        """Sizes in bytes; chunks have `min_size` + `average` on average. Raises: UsageError for impossible sizes."""
        _check_sizes(min_size, average, max_size)
        if len(key) < 8:
            raise ValueError("a chunker key has at least 8 bytes")
        self.min_size = min_size
        self.max_size = max_size
        seed = int.from_bytes(key[:8], "little") & _SEED
        self._cutters = _Cutters(lambda: FastCDC(average, min_size=min_size, max_size=max_size, seed=seed))

    def cuts(self, buffer: Buffer, *, final: bool) -> list[int]:
        """Ends of the chunks in *buffer*; with *final* also of the last, however short.

        A cut found before the end of the buffer stays where it is whatever follows: the hash of a place depends on at
        most the 64 bytes before it, and the sizes are counted from the cut before. Only a chunk that reaches the end of
        the buffer could have become longer; so it counts only if it is as long as a chunk can be.
        """
        ends: list[int] = []
        unfinished = 0
        for chunk in self._cutters.native.cut_buf(memoryview(buffer).cast("B")):  # a view with gaps fails here
            unfinished = chunk.length
            ends.append(chunk.offset + unfinished)
        if ends and not final and unfinished < self.max_size:
            ends.pop()
        return ends


class _Cutters(threading.local):
    """The library's object, one for each thread: it does not promise more."""

    def __init__(self, make: Callable[[], FastCDC]) -> None:
        self.native = make()


def _check_sizes(min_size: int, average: int, max_size: int) -> None:
    limits = ((min_size, MIN_SIZES), (average, AVERAGES), (max_size, MAX_SIZES))
    inside = all(low <= size <= high for size, (low, high) in limits)
    if not inside or not min_size <= average <= max_size or min_size % 2 or average & (average - 1):
        raise UsageError(
            f"content cannot be cut into chunks of {min_size} to {max_size} bytes, {average} on average",
            hint="the smallest: an even size from 64 bytes to 1MiB; the average: a power of two from 256 bytes to "
            "4MiB; the largest: from 1KiB to 16MiB",
        )
