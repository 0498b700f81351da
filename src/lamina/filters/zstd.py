"""Zstandard, one independent frame a chunk."""

from __future__ import annotations

import sys
import threading

from lamina.errors import Damaged
from lamina.model.entries import Buffer

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

_contexts = threading.local()  # a context costs more to make than to use; one a thread and level


def compress(data: Buffer, level: int) -> bytes:
    """Return *data* as one frame that states its content size."""
    context: zstd.ZstdCompressor | None = getattr(_contexts, f"level_{level}", None)
    if context is None:
        context = zstd.ZstdCompressor(level=level)
        setattr(_contexts, f"level_{level}", context)
    context.set_pledged_input_size(len(data))
    return context.compress(data, context.FLUSH_FRAME)


def decompress(frame: Buffer, size: int) -> bytes:
    """Return the *size* bytes of one frame; never makes more. Raises: Damaged."""
    decompressor = zstd.ZstdDecompressor()
    try:
        data = decompressor.decompress(frame, max_length=size)
    except zstd.ZstdError as error:
        raise Damaged(f"compressed data cannot be read: {error}") from error
    if len(data) != size or not decompressor.eof or decompressor.unused_data:
        raise Damaged(f"compressed data has another length than the {size} bytes recorded for it")
    return data
