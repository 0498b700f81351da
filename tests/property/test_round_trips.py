"""Chains of backups of an image that is edited, grown and cut: each restores to what it was."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from lamina.engine.backup import VerifyMode
from lamina.sources.hints import ChangedRanges, Range
from lamina.testing.images import MemoryImage, MemoryTarget
from lamina.testing.repositories import CHUNK, SmallRepository

sizes = st.one_of(
    st.integers(0, 9 * CHUNK),
    st.builds(lambda count, more: max(0, count * CHUNK + more), st.integers(0, 9), st.sampled_from([-1, 0, 1])),
)
edits = st.tuples(st.sampled_from(["noise", "zero", "repeat"]), st.integers(0, 9 * CHUNK), st.integers(1, 3 * CHUNK))
steps = st.lists(st.tuples(sizes, st.lists(edits, max_size=3), st.booleans()), min_size=1, max_size=4)


def edit(content: bytearray, kind: str, offset: int, length: int, rng: random.Random) -> Range | None:
    """Change a range; says which, or None if it lies outside."""
    length = min(length, len(content) - offset)
    if length <= 0:
        return None
    if kind == "noise":
        content[offset : offset + length] = rng.randbytes(length)
    elif kind == "zero":
        content[offset : offset + length] = bytes(length)
    else:
        content[offset : offset + length] = (bytes(content[:CHUNK]) * (length // CHUNK + 2))[:length]
    return Range(offset, length)


@settings(max_examples=30)
@given(steps, st.integers(0, 2**32))
def test_every_snapshot_of_a_chain_restores(chain, seed: int):
    rng = random.Random(seed)
    small, content, expected = SmallRepository(), bytearray(), []
    for size, changes, hinted in chain:
        content = content[:size] + rng.randbytes(max(0, size - len(content)))
        ranges = [found for change in changes if (found := edit(content, *change, rng))]
        changed = tuple(sorted(set(ranges)))
        hints = ChangedRanges(merge(changed)) if hinted and expected else None
        holder = rng.choice(["owner", "writer"])
        report = small.back_up(bytes(content), hints=hints, holder=holder, name=holder)
        assert report.coverage.differences == ()
        expected.append((report.snapshot.hex(), bytes(content)))
    for snapshot, image in expected:
        assert small.restore(snapshot) == image
    assert small.verify().problems == ()


def merge(ranges: tuple[Range, ...]) -> tuple[Range, ...]:
    """As `ChangedRanges` wants them: neither overlapping nor touching."""
    merged: list[Range] = []
    for one in ranges:
        if merged and one.offset <= merged[-1].end:
            last = merged.pop()
            one = Range(last.offset, max(last.end, one.end) - last.offset)
        merged.append(one)
    return tuple(merged)


@settings(max_examples=30)
@given(sizes, st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=4), st.integers(0, 2**32))
def test_holes_come_back_as_zeros_and_are_not_written(size: int, holes, seed: int):
    content = bytearray(random.Random(seed).randbytes(size))
    ranges: list[tuple[int, int]] = []
    for first, count in sorted(holes):
        start, end = first * CHUNK, min((first + count) * CHUNK, size)
        if start < end and (not ranges or start > ranges[-1][1]):
            content[start:end] = bytes(end - start)
            ranges.append((start, end))
    small = SmallRepository()
    image = MemoryImage(bytes(content), holes=ranges)
    small.back_up(image, verify=VerifyMode.FULL)
    assert small.restore("latest") == bytes(content)
    assert all(not (start <= at and end <= stop) for at, end in image.read for start, stop in ranges)
    from tests.unit.engine.test_restore import run

    target = MemoryTarget(size)
    run(small, target)
    assert bytes(target.content) == bytes(content)


@settings(max_examples=20)
@given(st.binary(max_size=300), st.sampled_from(["off", "fast", "default", "better"]), st.integers(0, 4 * CHUNK))
def test_content_comes_back_at_every_compression(pattern: bytes, compression: str, size: int):
    content = ((pattern or b"\0") * (size // max(1, len(pattern)) + 1))[:size]
    small = SmallRepository()
    small.back_up(content, compression=compression)
    assert small.restore("latest") == content
