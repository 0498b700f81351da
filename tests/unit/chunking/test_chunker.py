"""Fixed cuts."""

from __future__ import annotations

import pytest

from lamina.chunking.chunker import MAX_SIZE, MIN_SIZE, FixedChunker
from lamina.errors import UsageError


@pytest.mark.parametrize("total", [0, 1, MIN_SIZE - 1, MIN_SIZE, MIN_SIZE + 1, 10 * MIN_SIZE])
def test_ranges_cover_a_stream_without_gaps(total: int):
    chunker = FixedChunker(MIN_SIZE)
    ranges = list(chunker.ranges(total))
    assert len(ranges) == chunker.count(total)
    assert sum(length for _, length in ranges) == total
    assert [offset for offset, _ in ranges] == [number * MIN_SIZE for number in range(len(ranges))]
    assert all(0 < length <= MIN_SIZE for _, length in ranges)


@pytest.mark.parametrize("size", [0, -1, 1, MIN_SIZE // 2, MIN_SIZE + 1, 3 * MIN_SIZE, MAX_SIZE * 2])
def test_other_sizes_are_refused(size: int):
    with pytest.raises(UsageError, match=f"{size} bytes"):
        FixedChunker(size)
