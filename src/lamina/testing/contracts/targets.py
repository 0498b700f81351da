"""The contract of image targets, as tests.

Subclass `ImageTargetContract` in a test module under a name that begins with `Test`, and give it the fixture `place`.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import pytest

from lamina.targets.target import ImageTarget
from lamina.testing.contracts.sources import KIB, image_bytes


class TargetPlace(Protocol):
    """One place that the target under test writes to, seen from outside.

    - `fill` puts bytes there before the target is opened, as an earlier owner or restore would have;
    - `open` opens the target for an image of *size* bytes, whatever is there;
    - `content` is what is there now, the first *size* bytes of it.
    """

    def fill(self, content: bytes) -> None: ...

    def open(self, size: int) -> ImageTarget: ...

    def content(self, size: int) -> bytes: ...


class ImageTargetContract:
    """What every `ImageTarget` promises."""

    any_size = True  # false for what only comes in whole blocks of 4 KiB

    @pytest.fixture
    def place(self) -> Iterator[TargetPlace]:
        """Give a place that holds nothing of worth; clean up afterwards."""
        raise NotImplementedError

    def test_what_is_written_in_any_order_by_many_threads_is_there(self, place: TargetPlace) -> None:
        content = image_bytes()
        target = place.open(len(content))
        starts = sorted(range(0, len(content), 60 * KIB + 1), key=lambda start: start % 7)
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda start: target.write(start, content[start : start + 60 * KIB + 1]), starts))
        target.finish()
        target.close()
        assert place.content(len(content)) == content

    def test_every_kind_of_buffer_can_be_written(self, place: TargetPlace) -> None:
        content = image_bytes(64 * KIB)
        target = place.open(len(content))
        for buffer in (content, bytearray(content), memoryview(content)):
            target.write(0, buffer)
            assert _read_back(target, 0, len(content)) == content
        target.close()

    def test_zeros_replace_what_was_written(self, place: TargetPlace) -> None:
        content = bytearray(image_bytes())
        target = place.open(len(content))
        target.write(0, content)
        for offset, length in (
            (0, 64 * KIB),
            (100 * KIB, 1),
            (200 * KIB + 512, 512),
            (300 * KIB + 7, 100 * KIB),
            (9, 0),
        ):
            target.write_zeros(offset, length)
            content[offset : offset + length] = bytes(length)
        target.finish()
        target.close()
        assert place.content(len(content)) == content

    def test_zeros_replace_what_was_there_before(self, place: TargetPlace) -> None:
        size = 256 * KIB
        place.fill(b"\xff" * size)
        target = place.open(size)
        target.write_zeros(0, size)
        target.finish()
        target.close()
        assert place.content(size) == bytes(size)

    def test_a_fresh_target_reads_as_zeros(self, place: TargetPlace) -> None:
        target = place.open(256 * KIB)
        if target.fresh:
            target.finish()
            assert place.content(256 * KIB) == bytes(256 * KIB)
        target.close()

    def test_a_target_that_holds_data_is_not_fresh(self, place: TargetPlace) -> None:
        place.fill(b"\xff" * 64 * KIB)
        target = place.open(64 * KIB)
        assert not target.fresh
        target.close()

    def test_what_is_there_can_be_read_back(self, place: TargetPlace) -> None:
        content = image_bytes(64 * KIB)
        place.fill(content)
        target = place.open(len(content))
        assert _read_back(target, 0, len(content)) == content
        assert _read_back(target, 4095, 10) == content[4095:4105]
        target.close()

    def test_what_was_written_stays_if_it_is_closed_unfinished(self, place: TargetPlace) -> None:
        content = image_bytes(256 * KIB)
        target = place.open(len(content))
        target.write(0, content[: 128 * KIB])
        target.close()
        again = place.open(len(content))
        assert _read_back(again, 0, 128 * KIB) == content[: 128 * KIB]
        again.write(128 * KIB, content[128 * KIB :])
        again.finish()
        again.close()
        assert place.content(len(content)) == content

    def test_an_image_may_be_of_any_size(self, place: TargetPlace) -> None:
        if not self.any_size:
            pytest.skip("comes in whole blocks only")
        for size in (1024 * KIB + 1, 4097, 1, 0):
            content = image_bytes(size, seed=size)
            target = place.open(size)
            target.write(0, content)
            target.write_zeros(size, 0)
            target.finish()
            target.close()
            assert place.content(size + 1) == content

    def test_closing_twice_is_harmless(self, place: TargetPlace) -> None:
        target = place.open(4 * KIB)
        target.close()
        target.close()


def _read_back(target: ImageTarget, offset: int, length: int) -> bytes:
    buffer = bytearray(length)
    count = target.read_into(offset, memoryview(buffer))
    return bytes(buffer[:count])
