"""Bytes that are nearly right, and how hard to look: a little in CI, long in `make soak`."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator

from hypothesis import given, settings
from hypothesis import strategies as st

from lamina.errors import LaminaError

SOAK = bool(os.environ.get("LAMINA_SOAK"))
BATCH = 100  # changed encodings an example: drawing each from hypothesis would take most of the time

tried = 0  # by this process

seeds = given(seed=st.integers(0, 2**64 - 1))
MANY = settings(max_examples=10_000 if SOAK else 60)  # of decoders that take microseconds; times BATCH
SOME = settings(max_examples=500 if SOAK else 6)  # of what takes a millisecond; times BATCH
FEW = settings(max_examples=2_000 if SOAK else 30)  # of what takes longer; one at a time

# Sizes and counts that bytes can claim: nothing, just too much, the most that fits.
_CLAIMS = [0, 1, 0x7F, 0x80, 0xFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF]
# MessagePack's own: arrays, maps, strings, binaries and extensions that claim to be endless, and deep nesting.
_TOKENS = [
    *(bytes([first]) + b"\xff" * 4 for first in (0xDD, 0xDF, 0xDB, 0xC6, 0xC9)),
    b"\xc0", b"\xc1", b"\x90", b"\x80", b"\x91" * 2000, b"\xcb\x7f\xf8\0\0\0\0\0\0", b"\xd3\x80" + bytes(7), b"\xa2\xff\xff",
]  # fmt: skip


def near(seed: int, *valid: bytes) -> Iterator[bytes]:
    """A batch of encodings that are *valid* but for up to four changes, and some that are rubbish."""
    rng = random.Random(seed)
    for _ in range(BATCH):
        yield rng.randbytes(rng.randrange(300)) if rng.random() < 0.1 else near_one(rng, *valid)


def near_one(rng: random.Random, *valid: bytes) -> bytes:
    """One of them."""
    data = bytearray(rng.choice(valid))
    for _ in range(rng.randrange(5)):
        _change(rng, data)
    return bytes(data)


def check(decode: Callable[[bytes], object], data: bytes) -> None:
    """*decode* must give a value, or one of our errors."""
    global tried  # noqa: PLW0603 - a count of the process, for a summary
    tried += 1
    try:
        decode(data)
    except LaminaError:
        pass
    except BaseException as error:
        error.add_note(f"data: {data.hex()}")
        raise


def _change(rng: random.Random, data: bytearray) -> None:
    at = rng.randrange(len(data) + 1)
    end = min(len(data), at + rng.randrange(40))
    match rng.randrange(7):
        case 0 if at < len(data):
            data[at] ^= 1 << rng.randrange(8)
        case 1:
            del data[at:end]
        case 2:
            data[at:at] = rng.randbytes(rng.randrange(20))
        case 3:
            data[at:at] = data[at:end]
        case 4:
            size = rng.choice([1, 2, 4, 8])
            claim = rng.choice(_CLAIMS) & ((1 << 8 * size) - 1)
            data[at : at + size] = claim.to_bytes(size, rng.choice(["little", "big"]))
        case 5:
            data[at:end] = rng.choice(_TOKENS)
        case _:
            del data[at:]
