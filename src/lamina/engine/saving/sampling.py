"""Choose a few positions of an image that speak for all."""

from __future__ import annotations

import math
import random
from typing import Generic, TypeVar

from lamina.chunking.chunker import FixedChunker
from lamina.model.entries import ExtentKind
from lamina.sources.source import ImageSource

Item = TypeVar("Item")

SAMPLE_SHARE = 0.001  # of all positions
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


class Reservoir(Generic[Item]):
    """A random sample of things that come one after the other, however many (Li 1994, algorithm L).

    The n-th thing is to be taken if n is `next`; all others need no look.
    """

    def __init__(self, size: int) -> None:
        self.items: list[Item] = []
        self.next = 1
        self._size = size
        self._random = random.Random(random.SystemRandom().getrandbits(64))  # noqa: S311 - it keeps nothing secret
        self._weight = 1.0

    def take(self, item: Item) -> None:
        """Keep *item*, in place of a random one if there is no room."""
        if len(self.items) < self._size:
            self.items.append(item)
        else:
            self.items[self._random.randrange(self._size)] = item
        if len(self.items) < self._size:
            self.next += 1
            return
        self._weight *= math.exp(math.log(1 - self._random.random()) / self._size)
        self.next += 1 + int(math.log(1 - self._random.random()) / math.log1p(-self._weight))


def _draw(population: range, wanted: int) -> list[int]:
    return random.SystemRandom().sample(population, min(wanted, len(population)))
