"""Compressing and sealing one part."""

from __future__ import annotations

import os
import struct

import pytest

from lamina.crypto import aead
from lamina.errors import Damaged, FormatUnknown, UsageError
from lamina.filters import zstd
from lamina.filters.pipeline import LEVELS, OVERHEAD, compression_level, seal_part, unseal_part

KEY, AAD = bytes(range(32)), b"part"


def unseal(sealed: bytes) -> bytes:
    return unseal_part(sealed, key=KEY, aad=AAD, what="the part")


def crafted(plain: bytes) -> bytes:
    """What somebody with the key but without our program may seal."""
    return aead.seal(KEY, plain, AAD)


@pytest.mark.parametrize("name", LEVELS)
@pytest.mark.parametrize("content", [b"", b"x", b"abc" * 30000, os.urandom(70000)], ids=["empty", "x", "text", "noise"])
def test_content_comes_back_at_every_level(name: str, content: bytes):
    sealed = seal_part(memoryview(content), level=compression_level(name), key=KEY, aad=AAD)
    assert unseal(sealed) == content
    assert len(sealed) <= len(content) + OVERHEAD


def test_what_compresses_gets_smaller_and_what_does_not_is_stored_as_it_is():
    noise = os.urandom(5000)
    assert len(seal_part(bytes(5000), level=3, key=KEY, aad=AAD)) < 100
    assert len(seal_part(noise, level=3, key=KEY, aad=AAD)) == len(noise) + OVERHEAD


def test_an_unknown_compression_is_a_usage_error():
    with pytest.raises(UsageError, match="fastest"):
        compression_level("fastest")


def test_padding_behind_the_payload_is_ignored():
    assert unseal(crafted(struct.pack("<BII", 0, 3, 3) + b"abc" + bytes(50))) == b"abc"


@pytest.mark.parametrize(
    "plain",
    [
        b"",
        b"12345678",
        struct.pack("<BII", 0, 4, 3) + b"abc",
        struct.pack("<BII", 0, 4, 4) + b"abc",
        struct.pack("<BII", 1, 3, 3) + b"abc",
        struct.pack("<BII", 1, 10, 200) + zstd.compress(bytes(9), 3),
        struct.pack("<BII", 1, 8, 200) + zstd.compress(bytes(9), 3),
    ],
    ids=["empty", "no-fields", "sizes-differ", "cut", "no-frame", "frame-too-short", "frame-too-long"],
)
def test_a_part_that_contradicts_itself_is_damage(plain: bytes):
    with pytest.raises(Damaged):
        unseal(crafted(plain))


def test_an_unknown_codec_needs_a_newer_program():
    with pytest.raises(FormatUnknown, match="codec 9"):
        unseal(crafted(struct.pack("<BII", 9, 0, 0)))


@pytest.mark.parametrize("cut", [1, 10])
def test_a_cut_or_prolonged_frame_is_damage(cut: int):
    frame = zstd.compress(os.urandom(100) * 3, 3)
    for spoilt in (frame[:-cut], frame + bytes(cut), frame + frame):
        with pytest.raises(Damaged):
            zstd.decompress(spoilt, 300)
