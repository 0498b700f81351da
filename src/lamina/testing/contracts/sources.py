"""The contract of image sources, as tests.

Subclass `ImageSourceContract` in a test module under a name that begins with `Test`, and give it the fixture `make_source`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import pytest

from lamina.model.entries import ExtentKind
from lamina.sources.source import ImageSource

MakeSource = Callable[[bytes], ImageSource]

KIB = 1024
_SIZE = 3 * 1024 * KIB


def image_bytes(size: int = _SIZE, *, seed: int = 1) -> bytes:
    """Content worth a test: noise, then zeros, then noise, and zeros at the end."""
    noise = random.Random(seed).randbytes(size)  # noqa: S311  # the same in every run, and no secret
    quarter = size // 4
    return noise[:quarter] + bytes(quarter) + noise[2 * quarter : 3 * quarter] + bytes(size - 3 * quarter)


def read_exactly(source: ImageSource, offset: int, length: int) -> bytes:
    """What the source gives for one range; shorter where it ends."""
    buffer = bytearray(length)
    count = source.read_into(offset, memoryview(buffer))
    return bytes(buffer[:count])


class ImageSourceContract:
    """What every `ImageSource` promises."""

    any_size = True  # false for what only comes in whole blocks of 4 KiB

    @pytest.fixture
    def make_source(self) -> Iterator[MakeSource]:
        """Give a function that makes an image of these bytes and opens it; clean up afterwards."""
        raise NotImplementedError

    def test_size_and_content_are_what_was_put_there(self, make_source: MakeSource) -> None:
        content = image_bytes()
        source = make_source(content)
        assert source.size == len(content)
        assert read_exactly(source, 0, len(content)) == content

    def test_any_range_can_be_read(self, make_source: MakeSource) -> None:
        content = image_bytes()
        source = make_source(content)
        for offset, length in ((1, 1), (511, 2), (4095, 4098), (777, 1024 * KIB), (len(content) - 1, 1), (5, 0)):
            assert read_exactly(source, offset, length) == content[offset : offset + length]

    def test_a_read_over_the_end_gives_what_there_is(self, make_source: MakeSource) -> None:
        content = image_bytes()
        source = make_source(content)
        assert read_exactly(source, source.size - 10, 8 * KIB) == content[-10:]
        assert read_exactly(source, source.size, 8 * KIB) == b""

    def test_many_threads_may_read_at_once(self, make_source: MakeSource) -> None:
        content = image_bytes()
        source = make_source(content)
        starts = range(0, len(content), 64 * KIB)
        with ThreadPoolExecutor(8) as pool:
            pieces = list(pool.map(lambda start: read_exactly(source, start, 64 * KIB), starts))
        assert b"".join(pieces) == content

    def test_extents_cover_the_image_exactly(self, make_source: MakeSource) -> None:
        source = make_source(image_bytes())
        extents = list(source.extents())
        assert [extent.offset for extent in extents] == [0] + [extent.end for extent in extents[:-1]]
        assert extents[-1].end == source.size
        assert all(extent.length > 0 for extent in extents)
        assert all(one.kind != next_one.kind for one, next_one in pairwise(extents))

    def test_holes_read_as_zeros(self, make_source: MakeSource) -> None:
        source = make_source(image_bytes())
        for extent in source.extents():
            if extent.kind is ExtentKind.HOLE:
                assert read_exactly(source, extent.offset, extent.length) == bytes(extent.length)

    def test_two_walks_over_the_extents_agree_while_data_is_read(self, make_source: MakeSource) -> None:
        source = make_source(image_bytes())
        first, second = source.extents(), source.extents()
        for one, other in zip(first, second, strict=True):
            read_exactly(source, 100, 100)
            assert one == other

    def test_an_untouched_image_has_not_changed(self, make_source: MakeSource) -> None:
        source = make_source(image_bytes())
        read_exactly(source, 0, source.size)
        assert not source.changed()

    def test_an_image_may_be_of_any_size(self, make_source: MakeSource) -> None:
        if not self.any_size:
            pytest.skip("comes in whole blocks only")
        for size in (0, 1, 4097, 1024 * KIB + 1):
            content = image_bytes(size)
            source = make_source(content)
            assert source.size == size
            assert sum(extent.length for extent in source.extents()) == size
            assert read_exactly(source, 0, size + 1) == content

    def test_closing_twice_is_harmless(self, make_source: MakeSource) -> None:
        source = make_source(image_bytes())
        source.close()
        source.close()
