"""Values of the fields of records: tame ones, and wild ones that fit the type and nothing else."""

from __future__ import annotations

import random
from collections.abc import Callable
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

import msgspec

_INTEGERS = [0, 1, -1, 2, 255, 256, 2**31, 2**32 - 1, 2**32, 2**62, 2**63 - 1, 2**64 - 1, -(2**31), -(2**63)]
_SIZES = [0, 1, 7, 8, 15, 16, 17, 32, 33, 137, 1168, 1216, 5000]
_TEXTS = ["", "text", "a/b", "\0", "é" * 300, "\u202e", "../..", "fresh", "distrusted", "x" * 70000]

Pick = Callable[[type], Any]  # a value of a plain type


def tame(plain: type) -> Any:
    """What such a field may well hold."""
    return {int: 1, bytes: bytes(16), str: "text", bool: True}[plain]


def wild(rng: random.Random) -> Pick:
    """What only somebody with a key and a grudge writes."""

    def pick(plain: type) -> Any:
        if plain is bytes:
            return rng.randbytes(rng.choice(_SIZES))
        return rng.choice({int: _INTEGERS, str: _TEXTS, bool: [False, True]}[plain])

    return pick


def make_record(kind: Any, pick: Pick, rng: random.Random | None = None) -> Any:
    """A record with a value in every field; with *rng*, of any number in lists."""
    hints = get_type_hints(kind)
    return kind(**{name: _value(hints[name], pick, rng) for name in kind.__struct_fields__})


def _value(hint: Any, pick: Pick, rng: random.Random | None) -> Any:
    origin, inner = get_origin(hint), get_args(hint)
    if origin is UnionType:
        return _value(inner[0], pick, rng) if rng is None or rng.random() < 0.8 else None
    if origin is list or (origin is tuple and inner[-1] is Ellipsis):
        count = 1 if rng is None else rng.choice([0, 1, 2, 5])
        return origin(_value(inner[0], pick, rng) for _ in range(count))
    if origin is tuple:
        return tuple(_value(one, pick, rng) for one in inner)
    if issubclass(hint, msgspec.Struct):
        return make_record(hint, pick, rng)
    return pick(hint)
