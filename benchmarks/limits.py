"""The physical limit of a first backup: the native calls alone, on the same bytes, with as many threads.

Run as a process of its own: `python -m benchmarks.limits IMAGE --level 3 --chunk-size 1048576 --threads 2`. It reads,
hashes (keyed BLAKE3), leaves out zeros and what came before, compresses (zstd) and encrypts (AES-256-GCM); it writes
nothing and keeps nothing, so no backup program written with these calls can be faster. With `--decode` it also decrypts and
decompresses every chunk again, as Lamina does before it stores one.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from blake3 import blake3
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from benchmarks.images import data_ranges

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

_KEY = bytes(range(32))
_NONCE = bytes(12)


class NativeCalls:
    """Threads that share one list of chunks."""

    def __init__(self, image: Path, *, chunk_size: int, level: int, decode: bool) -> None:
        self._descriptor = os.open(image, os.O_RDONLY)
        self._chunk_size, self._level, self._decode = chunk_size, level, decode
        self._places = _chunk_offsets(image, chunk_size)
        self._lock = threading.Lock()
        self._seen: set[bytes] = set()

    def run(self, threads: int) -> None:
        workers = [threading.Thread(target=self._work) for _ in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()

    def _work(self) -> None:
        buffer, zeros = bytearray(self._chunk_size), bytes(self._chunk_size)
        compressor = zstd.ZstdCompressor(level=self._level)
        cipher = AESGCM(_KEY)
        while (offset := self._next_offset()) is not None:
            length = os.preadv(self._descriptor, [buffer], offset)
            if length == self._chunk_size and buffer == zeros:
                continue
            content = memoryview(buffer)[:length]
            digest = blake3(content, key=_KEY).digest()
            if digest in self._seen:
                continue
            self._seen.add(digest)
            sealed = cipher.encrypt(_NONCE, compressor.compress(content, compressor.FLUSH_FRAME), None)
            if self._decode:
                opened = zstd.ZstdDecompressor().decompress(cipher.decrypt(_NONCE, sealed, None), max_length=length)
                if not opened.startswith(content):
                    raise SystemExit(f"the chunk at {offset} did not decode to what was encoded")

    def _next_offset(self) -> int | None:
        with self._lock:
            return next(self._places, None)


def _chunk_offsets(image: Path, chunk_size: int) -> Iterator[int]:
    """Every chunk that is not all hole, once."""
    last = -1
    for offset, length in data_ranges(image):
        for number in range(max(last + 1, offset // chunk_size), -(-(offset + length) // chunk_size)):
            yield number * chunk_size
            last = number


def _tune_memory() -> None:
    """As Lamina does: keep freed buffers, or the kernel clears the same pages over and over."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(-3, 64 << 20)
        mallopt(-1, 256 << 20)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("image", type=Path)
    parser.add_argument("--level", type=int, default=3)
    parser.add_argument("--chunk-size", type=int, default=1 << 20)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--decode", action="store_true")
    arguments = parser.parse_args()
    _tune_memory()
    calls = NativeCalls(
        arguments.image, chunk_size=arguments.chunk_size, level=arguments.level, decode=arguments.decode
    )
    calls.run(arguments.threads)


if __name__ == "__main__":
    main()
