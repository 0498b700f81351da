"""Choose a few positions of an image that speak for all."""

from __future__ import annotations

import random

from lamina.chunking.chunker import FixedChunker
from lamina.model.entries import ExtentKind
from lamina.sources.source import ImageSource

SAMPLE_SHARE = 0.001  # of all positions: design, "Images"
SAMPLE_MIN = 64  # positions: finds a source of which 5 % is wrong with 96 % certainty


def sample_positions(source: ImageSource, chunker: FixedChunker) -> list[int]:
    """Random positions in order, half of them among those that hold data."""
    count = chunker.count(source.size)
    wanted = max(SAMPLE_MIN, round(count * SAMPLE_SHARE))
    chosen = set(_draw(range(count), wanted - wanted // 2))
    data = [
        (p.offset // chunker.size, (p.end - 1) // chunker.size) for p in source.extents() if p.kind is ExtentKind.DATA
    ]
    total = sum(last - first + 1 for first, last in data)
    picks = sorted(_draw(range(total), wanted // 2))
    start = 0
    for first, last in data:
        length = last - first + 1
        while picks and picks[0] < start + length:
            chosen.add(first + picks.pop(0) - start)
        start += length
    return sorted(chosen)


def _draw(population: range, wanted: int) -> list[int]:
    return random.SystemRandom().sample(population, min(wanted, len(population)))
