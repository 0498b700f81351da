"""Names of chunks in a temporary table that grows."""

from __future__ import annotations

import random

from lamina.engine.copying.names import KnownNames
from lamina.model.ids import ChunkId


def ids(count: int, seed: int) -> list[ChunkId]:
    draw = random.Random(seed)
    return [ChunkId(draw.randbytes(32)) for _ in range(count)]


def test_what_was_put_is_found_and_nothing_else():
    names = KnownNames()
    known, others = ids(20_000, 1), ids(1000, 2)
    for one, other in zip(known, reversed(known), strict=True):
        names.put(one, other)
    assert len(names) == len(known)
    assert [names.get(one) for one in known] == known[::-1]
    assert {names.get(one) for one in others} == {None}
    names.close()


def test_ids_that_begin_alike_are_told_apart():
    names = KnownNames()
    known = [ChunkId(bytes(8) + bytes([number]) * 24) for number in range(100)]
    for one in known:
        names.put(one, ChunkId(b"\1" * 32))
        names.put(one, one if one[-1] else ChunkId(b"\2" * 32))
    assert len(names) == 100
    assert [names.get(one) for one in known[1:]] == known[1:]
    assert names.get(known[0]) == b"\2" * 32
    names.close()
