"""Backing up: sizes, holes, faults of the source, hints, verification."""

from __future__ import annotations

import io
import random
from collections.abc import Callable

import pytest

from lamina.engine.backup import BackupReport, VerifyMode
from lamina.errors import SourceUnreadable, Stopped, UsageError
from lamina.model.entries import Position
from lamina.model.operation import Operation
from lamina.model.snapshots import Trust
from lamina.repository.streams import FixedMap
from lamina.repository.trees import get_entry
from lamina.sources.hints import ChangedRanges, Range
from lamina.sources.stream import StdinSource
from lamina.testing.images import MemoryImage
from lamina.testing.repositories import CHUNK, SmallRepository, back_up

RNG = random.Random(4)
IMAGE = RNG.randbytes(8 * CHUNK + 33)
NO_VERIFY = {"verify": VerifyMode.NONE}


def slots(small: SmallRepository, snapshot: str = "latest", path: str = "image") -> list[Position]:
    """What every position of a stored image holds."""
    repository = small.open()
    entry = get_entry(repository.reader(), repository.find_snapshot(snapshot).root, path)
    assert entry.content is not None
    found = [slot[0] for _, slot in FixedMap(repository.reader(), entry.content).slots()]
    repository.close()
    return found


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK])
@pytest.mark.parametrize("fill", [bytes, RNG.randbytes], ids=["zeros", "noise"])
def test_images_of_every_size_come_back(small: SmallRepository, size: int, fill: Callable[[int], bytes]):
    content = fill(size)
    report = small.back_up(content)
    assert small.restore("latest") == content
    assert (report.statistics.size, report.coverage.mode, report.coverage.share) == (size, VerifyMode.FULL, 1.0)
    assert small.snapshots()[0].trust is Trust.VERIFIED


def test_an_image_of_many_leaves_comes_back(small: SmallRepository):
    """65 MiB of mostly nothing: two leaves, of which holes are never read."""
    size = 1030 * CHUNK + 5
    image = MemoryImage(bytes(size), holes=[(CHUNK, 1025 * CHUNK)])
    image.content[1025 * CHUNK : 1026 * CHUNK] = IMAGE[:CHUNK]
    small.back_up(image)
    assert small.restore("latest") == bytes(image.content)
    assert slots(small)[1:1025] == [Position.HOLE] * 1024
    assert sum(end - start for start, end in image.read) < 20 * CHUNK


@pytest.mark.parametrize("grow", [True, False])
def test_an_image_that_grew_or_shrank(small: SmallRepository, grow: bool):
    long, short = IMAGE, IMAGE[: 5 * CHUNK + 7]
    first, second = (short, long) if grow else (long, short)
    small.back_up(first)
    report = small.back_up(second)
    assert small.restore("latest") == second
    assert small.restore("latest~1") == first
    assert report.statistics.new < len(second) - 4 * CHUNK


def test_an_unchanged_image_stores_nothing_but_the_snapshot(small: SmallRepository):
    small.back_up(IMAGE)
    before = {found.name for found in small.storage.objects()}
    report = small.back_up(IMAGE)
    after = {found.name for found in small.storage.objects()} - before
    assert report.statistics.new == 0
    assert {name.partition("/")[0] for name in after} == {"sessions", "snapshots", "attributes"}


def test_several_images_in_one_snapshot(small: SmallRepository):
    contents = [IMAGE, b"", IMAGE[::-1]]
    small.back_up(*contents)
    for path, content in zip(("image", "image-1", "image-2"), contents, strict=True):
        assert small.restore("latest", path) == content


@pytest.mark.parametrize("size", [0, 1, CHUNK, 3 * CHUNK + 1])
def test_a_stream_comes_back(small: SmallRepository, size: int):
    content = (IMAGE * 2)[:size]
    report = small.back_up(StdinSource(io.BytesIO(content)))
    assert small.restore("latest") == content
    assert (report.statistics.size, report.coverage.mode) == (size, VerifyMode.NONE)


def test_a_stream_of_exactly_one_leaf_and_a_bit_more(small: SmallRepository):
    for size in (1024 * CHUNK, 1024 * CHUNK + 1):
        content = IMAGE[:CHUNK] + bytes(size - CHUNK)
        small.back_up(StdinSource(io.BytesIO(content)))
        assert small.restore("latest") == content


def test_a_dry_run_says_what_would_be_stored_and_stores_nothing(small: SmallRepository):
    small.back_up(IMAGE)
    before = {found.name for found in small.storage.objects()}
    changed = bytes(CHUNK) + IMAGE[::-1][:CHUNK] + IMAGE[2 * CHUNK :]
    report = small.back_up(changed, dry_run=True)
    assert report.snapshot is None
    assert {found.name for found in small.storage.objects()} == before
    real = small.back_up(changed)
    assert CHUNK <= report.statistics.new <= real.statistics.new < 2 * CHUNK


def test_an_impossible_chunk_size_or_compression_is_a_usage_error(small: SmallRepository):
    for wrong in ({"chunk_size": 1000}, {"compression": "magic"}):
        with pytest.raises(UsageError):
            small.back_up(IMAGE, **wrong)


def test_another_chunk_size_than_the_parents_reads_and_stores_all(small: SmallRepository):
    small.back_up(IMAGE)
    small.back_up(IMAGE, chunk_size=2 * CHUNK)
    assert small.restore("latest") == IMAGE
    small.back_up(IMAGE)
    assert len(slots(small)) == 5, "the parent's chunk size is kept"


# What cannot be read.


def test_a_range_that_cannot_be_read_is_marked_and_healed_by_the_next_backup(small: SmallRepository):
    image = MemoryImage(IMAGE)
    image.unreadable = [(2 * CHUNK + 5, 2 * CHUNK + 6), (4 * CHUNK, 5 * CHUNK)]
    report = small.back_up(image)
    assert [(one.offset, one.length) for one in report.unread] == [(2 * CHUNK, CHUNK), (4 * CHUNK, CHUNK)]
    assert small.snapshots()[0].partial
    expected = bytearray(IMAGE)
    for start in (2, 4):
        expected[start * CHUNK : (start + 1) * CHUNK] = bytes(CHUNK)
    assert small.restore("latest") == bytes(expected)
    assert slots(small)[2] is Position.UNREAD
    image.unreadable = []
    assert not small.back_up(image).unread
    assert not small.snapshots()[-1].partial
    assert small.restore("latest") == IMAGE


def test_what_was_readable_before_is_kept_visibly(small: SmallRepository):
    small.back_up(IMAGE)
    image = MemoryImage(IMAGE[::-1])
    image.unreadable = [(3 * CHUNK, 4 * CHUNK)]
    for _ in range(2):  # the second time it is the parent's kept content that is kept
        small.back_up(image)
        assert slots(small)[3] is Position.UNREAD_KEPT
        restored = small.restore("latest")
        assert restored[3 * CHUNK : 4 * CHUNK] == IMAGE[3 * CHUNK : 4 * CHUNK]
        assert restored[: 3 * CHUNK] == IMAGE[::-1][: 3 * CHUNK]
    image.unreadable = []
    small.back_up(image)
    assert small.restore("latest") == IMAGE[::-1]


def test_with_hints_what_was_unread_is_read_all_the_same(small: SmallRepository):
    image = MemoryImage(IMAGE)
    image.unreadable = [(3 * CHUNK, 4 * CHUNK)]
    small.back_up(image)
    image.unreadable = []
    small.back_up(image, hints=ChangedRanges())
    assert small.restore("latest") == IMAGE
    assert not small.snapshots()[-1].partial


def test_an_image_that_shrinks_while_it_is_read(small: SmallRepository):
    image = MemoryImage(IMAGE)
    del image.content[5 * CHUNK + 9 :]
    report = small.back_up(image)
    assert [one.offset // CHUNK for one in report.unread] == [5, 6, 7, 8]
    assert "shrank" in report.unread[0].reason
    assert small.restore("latest") == IMAGE[: 5 * CHUNK].ljust(len(IMAGE), b"\0")


def test_a_stream_that_fails_commits_nothing(small: SmallRepository):
    class Failing(io.BytesIO):
        def readinto(self, buffer):
            if self.tell() >= 2 * CHUNK:
                raise OSError(5, "broken")
            return super().readinto(buffer)

    with pytest.raises(SourceUnreadable):
        small.back_up(StdinSource(Failing(IMAGE)))
    assert small.snapshots() == []


def test_a_stopped_backup_commits_nothing_and_what_it_stored_is_used(small: SmallRepository):
    operation = small.operation()

    class Stopping(MemoryImage):
        def read_into(self, offset, buffer):
            if offset >= 6 * CHUNK:
                operation.stop.set()
            return super().read_into(offset, buffer)

    repository = small.open()
    with pytest.raises(Stopped):
        back_up(repository, [Stopping(IMAGE)], Operation(operation.clock, operation.progress, operation.stop))
    repository.close()
    assert small.snapshots() == []
    small.back_up(IMAGE)
    assert small.restore("latest") == IMAGE


# Hints.


def hints(*changed: int, zeroed: tuple[int, ...] = ()) -> ChangedRanges:
    """Chunks by number."""
    return ChangedRanges(
        tuple(Range(number * CHUNK, CHUNK) for number in changed),
        tuple(Range(number * CHUNK, CHUNK) for number in zeroed),
    )


def changed_image(*numbers: int, zeroed: int | None = None) -> bytes:
    content = bytearray(IMAGE)
    for number in numbers:
        content[number * CHUNK : (number + 1) * CHUNK] = IMAGE[::-1][number * CHUNK : (number + 1) * CHUNK]
    if zeroed is not None:
        content[zeroed * CHUNK : (zeroed + 1) * CHUNK] = bytes(CHUNK)
    return bytes(content)


def test_true_hints_are_believed(small: SmallRepository):
    small.back_up(IMAGE)
    content = changed_image(2, zeroed=5)
    report = small.back_up(content, hints=hints(2, zeroed=(5,)))
    assert (report.hints_untrusted, report.notes) == ((), ())
    assert small.restore("latest") == content
    assert report.coverage.mode is VerifyMode.SAMPLE
    assert slots(small)[5] is Position.HOLE


@pytest.mark.parametrize("claim", [hints(3), hints(2, zeroed=(4,)), ChangedRanges()], ids=["other", "zeroed", "empty"])
def test_lying_hints_are_found_out_and_all_is_read(small: SmallRepository, claim: ChangedRanges):
    """So small an image is sampled as a whole."""
    small.back_up(IMAGE)
    content = changed_image(2)
    report = small.back_up(content, hints=claim)
    assert report.hints_untrusted == ("image",)
    assert small.restore("latest") == content


def test_no_hints_and_empty_hints_differ(small: SmallRepository):
    """In an image too large to be sampled as a whole, by what is read."""
    size = 1024 * 3
    content = IMAGE[:CHUNK] + bytes((size - 1) * CHUNK)

    def read(claim: ChangedRanges | None) -> int:
        return small.back_up(MemoryImage(content), hints=claim, **NO_VERIFY).statistics.read

    read(None)
    assert read(None) == size * CHUNK
    assert read(ChangedRanges()) < 200 * CHUNK
    assert small.restore("latest") == content


def test_hints_without_a_parent_are_not_used(small: SmallRepository):
    report = small.back_up(IMAGE, hints=ChangedRanges())
    assert "not used" in report.notes[0]
    assert small.restore("latest") == IMAGE


@pytest.mark.parametrize("size", [5 * CHUNK + 3, 8 * CHUNK, 9 * CHUNK, 12 * CHUNK + 1])
def test_hints_say_nothing_about_what_grew(small: SmallRepository, size: int):
    """Empty hints, an image that was cut or prolonged: its new end is read."""
    small.back_up(IMAGE)
    content = (IMAGE + IMAGE[::-1])[:size]
    report = small.back_up(content, hints=ChangedRanges())
    assert report.hints_untrusted == ()
    assert small.restore("latest") == content


# Adaptive verification.


class Changing(MemoryImage):
    """Another content each time a range is read again."""

    def read_into(self, offset: int, buffer: memoryview) -> int:
        again = any(start <= offset < end for start, end in self.read)
        got = super().read_into(offset, buffer)
        if again and offset == 3 * CHUNK:
            buffer[0] ^= 1
        return got


@pytest.mark.parametrize("holder", ["owner", "writer"])
def test_a_difference_distrusts_the_snapshot_and_the_next_backup_believes_no_hints(small: SmallRepository, holder: str):
    report: BackupReport = small.back_up(Changing(IMAGE), holder=holder)
    assert [one.offset for one in report.coverage.differences] == [3 * CHUNK]
    snapshot = small.snapshots()[0]
    assert snapshot.trust is Trust.DISTRUSTED
    assert "image at 196608" in snapshot.note
    image = MemoryImage(IMAGE)
    report = small.back_up(image, holder=holder, hints=ChangedRanges())
    assert "distrusted" in report.notes[0]
    assert {start for start, _ in image.read} == {number * CHUNK for number in range(9)}
    assert small.snapshots()[-1].trust is Trust.VERIFIED


def test_a_device_is_sampled_and_not_called_verified(small: SmallRepository):
    report = small.back_up(MemoryImage(IMAGE, stable=False))
    assert report.coverage.mode is VerifyMode.SAMPLE
    assert small.snapshots()[0].trust is Trust.FRESH


def test_a_source_that_changed_is_named(small: SmallRepository):
    image = MemoryImage(IMAGE)
    image.has_changed = True
    assert small.back_up(image).changed_while_read == ("image",)


@pytest.mark.parametrize("wanted", [VerifyMode.NONE, VerifyMode.SAMPLE, VerifyMode.FULL])
def test_what_is_wished_is_done(small: SmallRepository, wanted: VerifyMode):
    assert small.back_up(MemoryImage(IMAGE, stable=False), verify=wanted).coverage.mode is wanted
