"""Copies of snapshots in a second repository, which has keys of its own."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from lamina.engine.copy import CopyCheck, CopyOptions, CopyReport, copy, plan_copy
from lamina.engine.copying import trees
from lamina.errors import NotPermitted, Stopped, UsageError
from lamina.model.entries import Entry, EntryType, FixedContent, Position
from lamina.model.operation import Operation
from lamina.model.snapshots import Origin, Trust
from lamina.repository.format import Kind
from lamina.repository.generations import generation_name
from lamina.repository.records import GenerationOpenRecord
from lamina.repository.trees import walk_tree
from lamina.testing.damage import flip_bit
from lamina.testing.repositories import CHUNK, SmallRepository
from tests.stored_trees import plain, store_entries
from tests.unit.engine.tree_backups import CONTENTS, NOISE, later, save, stored


@pytest.fixture
def other() -> Iterator[SmallRepository]:
    """A second repository; `verify` finds nothing wrong in it at the end."""
    repository = SmallRepository(number=1)
    yield repository
    assert repository.verify().problems == ()


def copy_all(
    small: SmallRepository, other: SmallRepository, *names: str, holder: str = "owner", **options: Any
) -> CopyReport:
    """Copy the snapshots *names*, or all."""
    source, target = small.open(), other.open(holder)
    try:
        chosen = [source.find_snapshot(name) for name in names] if names else source.snapshots()
        plan = plan_copy(source, target, chosen)
        return copy(source, target, plan, CopyOptions(**options), other.operation())
    finally:
        source.close()
        target.close()


def noise(seed: int, chunks: int) -> bytes:
    return random.Random(seed).randbytes(chunks * CHUNK)


def make_tree(directory: Path) -> Path:
    for name, content in CONTENTS.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (directory / "link").symlink_to("a")
    with (directory / "sparse").open("wb") as file:
        file.write(b"begin")
        file.truncate(5 << 20)
    return directory


def test_images_come_back_byte_for_byte(small, other):
    image = noise(1, 3) + bytes(CHUNK) + noise(2, 2)[:-100]
    small.back_up(image, noise(3, 1), tags=frozenset({"daily"}), host="here")
    report = copy_all(small, other)
    assert len(report.copied) == 1
    assert other.restore("latest", "image") == image
    assert other.restore("latest", "image-1") == noise(3, 1)


def test_a_copy_says_all_that_its_original_says(small, other):
    small.back_up(noise(1, 2), tags=frozenset({"daily"}), host="here")
    opened = small.open()
    original = opened.edit(opened.snapshots()[0], add_tags=["kept"], note="look")
    opened.close()
    copy_all(small, other)
    (found,) = other.snapshots()
    said = ("name", "host", "paths", "tags", "note", "started", "finished", "size", "partial", "expires", "users")
    assert [getattr(found, name) for name in said] == [getattr(original, name) for name in said]
    assert found.copied_from == Origin(opened.id, original.id)
    assert found.id != original.id
    assert found.root != original.root


def test_a_tree_comes_back_with_all_that_is_in_it(small, other, tmp_path):
    save(later(small), make_tree(tmp_path))
    before = stored(small)
    report = copy_all(small, other, check=CopyCheck.FULL)
    assert report.copied[0].differences == ()
    assert stored(other) == before


def test_what_was_copied_is_not_copied_again(small, other):
    small.back_up(noise(1, 2))
    copy_all(small, other)
    objects = {found.name for found in other.storage.objects()}
    report = copy_all(small, other)
    assert (report.copied, report.there) == ((), 1)
    assert {found.name for found in other.storage.objects()} == objects


def test_a_copy_of_a_copy_is_a_copy_of_the_original(small, other):
    small.back_up(noise(1, 2))
    third = SmallRepository(number=2)
    copy_all(small, other)
    copy_all(other, third)
    assert copy_all(small, third).there == 1
    assert copy_all(third, small).there == 1


def test_a_copy_that_was_forgotten_there_is_not_made_again(small, other):
    small.back_up(noise(1, 2))
    copy_all(small, other)
    opened = other.open()
    opened.forget(opened.snapshots()[0])
    opened.close()
    assert copy_all(small, other).there == 1


def test_the_next_copy_reads_only_what_changed(small, other):
    image = bytearray(noise(1, 40))
    small.back_up(bytes(image))
    copy_all(small, other)
    image[5 * CHUNK : 6 * CHUNK] = noise(9, 1)
    small.back_up(bytes(image))
    (copied,) = copy_all(small, other).copied
    assert copied.read == CHUNK
    assert copied.new < 2 * CHUNK
    assert other.restore("latest") == bytes(image)
    assert other.snapshots()[1].parent == other.snapshots()[0].id


def test_an_image_that_grew_and_shrank_is_copied_whole(small, other):
    images = [noise(1, 3), noise(1, 5)[:-7], noise(1, 1), noise(1, 1030), noise(1, 2), b""]
    for image in images:
        small.back_up(image)
    copy_all(small, other, check=CopyCheck.FULL)
    for number, image in enumerate(reversed(images)):
        assert other.restore(f"latest~{number}") == image


def test_unchanged_directories_are_not_read_again(small, other, tmp_path):
    save(later(small), make_tree(tmp_path))
    copy_all(small, other)
    (tmp_path / "d" / "one").write_bytes(b"changed")
    save(small, tmp_path)
    (copied,) = copy_all(small, other).copied
    assert copied.read < 10_000  # the bundle of one directory
    assert stored(other) == stored(small)


def test_the_rest_of_a_long_file_that_changed_is_not_read_again(small, other, tmp_path):
    content = random.Random(8).randbytes(40 << 20)
    (tmp_path / "long").write_bytes(content)
    save(later(small), tmp_path)
    copy_all(small, other)
    (tmp_path / "long").write_bytes(b"in front" + content)
    save(small, tmp_path)
    (copied,) = copy_all(small, other).copied
    assert copied.read < len(content) / 4
    assert stored(other)["long"].content == b"in front" + content


def test_a_writer_key_is_enough_there(small, other, tmp_path):
    save(later(small), make_tree(tmp_path))
    copy_all(small, other, holder="writer")
    (tmp_path / "d" / "one").write_bytes(b"changed")
    save(small, tmp_path)
    report = copy_all(small, other, holder="writer", check=CopyCheck.FULL)
    assert (report.there, report.copied[0].differences) == (1, ())
    assert report.copied[0].read < 10_000
    assert stored(other) == stored(small)


@pytest.mark.parametrize("holder", ["writer", "steward"])
def test_content_has_to_be_read_here(small, other, holder):
    small.back_up(noise(1, 1), holder="writer")
    with pytest.raises(NotPermitted):
        plan_copy(small.open(holder), other.open(), small.snapshots())


def test_a_steward_cannot_write_there(small, other):
    small.back_up(noise(1, 1))
    with pytest.raises(NotPermitted):
        plan_copy(small.open(), other.open("steward"), small.snapshots())


def test_a_copy_of_the_storage_is_refused(small):
    with pytest.raises(UsageError):
        plan_copy(small.open(), small.copy().open(), small.snapshots())


def test_another_writer_cannot_keep_a_snapshot_from_being_copied(small, other):
    """A stolen key may say that its snapshot is a copy; only an owner and the key at hand are believed."""
    small.back_up(noise(1, 2))
    copy_all(small, other, holder="other")
    assert len(copy_all(small, other, holder="writer").copied) == 1
    assert len(copy_all(small, other).copied) == 1


def test_what_is_damaged_here_is_named_and_the_rest_is_copied(small, other):
    small.back_up(noise(1, 2))
    small.back_up(noise(2, 2), name="second")
    pack = max((one for one in small.storage.objects("data/")), key=lambda one: one.size)
    damaged = small.copy()
    for one in damaged.storage.objects("data/"):
        if one.name == pack.name:
            flip_bit(damaged.storage, one.name, one.size // 3)
    report = copy_all(damaged, other)
    assert len(report.failed) == 1
    assert len(report.copied) == 1
    assert "cannot be read" in report.failed[0].reason


def test_ranges_that_could_not_be_read_stay_unread(small, other):
    content = FixedContent(CHUNK, CHUNK, Position.UNREAD, None)
    store_entries(small, [Entry(b"image", EntryType.FILE, plain(), content)])
    copy_all(small, other)
    opened = other.open()
    assert [entry.content for _, entry in walk_tree(opened.reader(), opened.snapshots()[0].root)] == [content]
    opened.close()


def distrust(repository: SmallRepository) -> None:
    opened = repository.open()
    opened.edit(opened.snapshots()[0], trust=Trust.DISTRUSTED)
    opened.close()


def test_a_distrusted_snapshot_stays_distrusted_and_costs_later_copies_nothing(small, other):
    small.back_up(noise(1, 20))
    distrust(small)
    copy_all(small, other)
    assert other.snapshots()[0].trust is Trust.DISTRUSTED
    small.back_up(noise(1, 19) + noise(2, 1))
    small.back_up(noise(1, 19) + noise(3, 1))
    copied = copy_all(small, other).copied
    assert len(copied) == 2
    assert copied[1].read == CHUNK


def test_a_distrusted_copy_is_made_again_and_healed(small, other):
    small.back_up(noise(1, 2))
    copy_all(small, other)
    distrust(other)
    damaged = other.copy()
    for one in list(damaged.storage.objects("data/")):
        flip_bit(damaged.storage, one.name, one.size // 3)
    assert len(copy_all(small, damaged).copied) == 1
    assert damaged.restore("latest") == noise(1, 2)
    assert copy_all(small, damaged).copied == ()


def test_a_verified_snapshot_is_verified_there_if_all_of_the_copy_was_compared(small, other):
    small.back_up(noise(1, 2))
    assert small.snapshots()[0].trust is Trust.VERIFIED
    copy_all(small, other, check=CopyCheck.FULL)
    assert other.snapshots()[0].trust is Trust.VERIFIED


def test_a_prune_that_begins_meanwhile_is_caught_up_with(small, other, monkeypatch):
    """Between two rounds the session looks; its own condemned chunks would be copied by it."""
    monkeypatch.setattr(trees, "ROUND", 1)
    small.back_up(noise(1, 80))
    opened = other.open("steward")
    opened.access.control.write(
        Kind.GENERATION_OPEN, generation_name(1, "open"), GenerationOpenRecord([], [], [], [], "")
    )
    opened.close()
    copy_all(small, other)
    assert other.restore("latest") == noise(1, 80)


def test_a_stopped_copy_goes_on_where_it_was(small, other, monkeypatch):
    monkeypatch.setattr(trees, "BATCH_BYTES", CHUNK)
    small.back_up(noise(1, 30))
    source, target = small.open(), other.open()
    target.access = replace(target.access, format=msgspec.structs.replace(target.access.format, data_pack=2 * CHUNK))
    operation = other.operation()
    stopped = Operation(operation.clock, _StopAfter(operation.stop, 10 * CHUNK), operation.stop)
    with pytest.raises(Stopped):
        copy(source, target, plan_copy(source, target, source.snapshots()), CopyOptions(), stopped)
    target.close()
    (copied,) = copy_all(small, other).copied
    assert copied.new < 30 * CHUNK
    assert other.restore("latest") == noise(1, 30)


class _StopAfter:
    """Progress that presses the stop button."""

    def __init__(self, stop, limit: int) -> None:
        self.stop, self.left = stop, limit

    def start(self, phase: str, total: int | None) -> None:
        """Ignore it."""

    def message(self, text: str) -> None:
        """Ignore it."""

    def advance(self, *, read: int = 0, skipped: int = 0, new: int = 0, stored: int = 0) -> None:
        self.left -= read
        if self.left <= 0:
            self.stop.set()


def test_noise_is_what_it_was(small, other, tmp_path):
    """A deep tree, with empty directories and one name twice."""
    deep = tmp_path
    for _ in range(60):
        deep = deep / "d"
    deep.mkdir(parents=True)
    (deep / "file").write_bytes(NOISE)
    (tmp_path / "empty").mkdir()
    save(later(small), tmp_path)
    copy_all(small, other, check=CopyCheck.FULL)
    assert stored(other) == stored(small)
