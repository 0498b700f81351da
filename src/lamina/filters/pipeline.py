"""Compress, pad, then seal; which codec was used is recorded inside the seal (spec: sealed part)."""

from __future__ import annotations

import struct

from lamina.crypto import aead
from lamina.errors import Damaged, FormatUnknown, UsageError
from lamina.filters import zstd
from lamina.model.entries import Buffer

RAW = 0
ZSTD = 1

_PREFIX = struct.Struct("<BII")  # codec, plain length, payload length; padding follows the payload
OVERHEAD = _PREFIX.size + aead.TAG_SIZE  # bytes a part grows by when nothing compresses
MAX_PLAIN = 64 << 20  # bytes: four times the largest chunk; a liar may not ask for more memory

LEVELS: dict[str, int | None] = {"off": None, "fast": 1, "default": 3, "better": 7, "best": 15}


def compression_level(name: str) -> int | None:
    """The zstd level a compression's name stands for; None means to store as it is. Raises: UsageError."""
    try:
        return LEVELS[name]
    except KeyError:
        raise UsageError(f"no compression is called {name!r}", hint=f"choose one of {', '.join(LEVELS)}") from None


def seal_part(content: Buffer, *, level: int | None, key: bytes, aad: bytes) -> bytes:
    """Compress *content* where that helps, and seal it under a *key* used only for this."""
    codec: int = RAW
    payload: Buffer = content
    if level is not None:
        compressed = zstd.compress(content, level)
        if len(compressed) < len(content):
            codec, payload = ZSTD, compressed
    return aead.seal(key, b"".join((_PREFIX.pack(codec, len(content), len(payload)), payload)), aad)


def unseal_part(sealed: Buffer, *, key: bytes, aad: bytes, what: str) -> bytes:
    """Return the content of a sealed part. Raises: Damaged or FormatUnknown, naming *what*."""
    plain = memoryview(aead.unseal(key, sealed, aad, what=what))
    if len(plain) < _PREFIX.size:
        raise Damaged(f"{what} ends within its first fields")
    codec, plain_size, payload_size = _PREFIX.unpack_from(plain)
    payload = plain[_PREFIX.size : _PREFIX.size + payload_size]
    if plain_size > MAX_PLAIN:
        raise Damaged(f"{what} claims {plain_size} bytes, more than any chunk has")
    if codec == ZSTD:
        return zstd.decompress(payload, plain_size)
    if codec != RAW:
        raise FormatUnknown(f"{what} uses codec {codec}, which this Lamina does not know", hint="upgrade Lamina")
    if len(payload) != plain_size:
        raise Damaged(f"{what} holds {len(payload)} bytes where {plain_size} are recorded")
    return bytes(payload)
