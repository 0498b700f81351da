"""Restoring: only what differs, resuming, checking, several images."""

from __future__ import annotations

import random

import pytest

from lamina.engine.backup import VerifyMode
from lamina.engine.restore import plan_restore, restore
from lamina.errors import Damaged, EntryMissing, NotPermitted, TargetUnwritable, UsageError
from lamina.testing.images import MemoryImage, MemoryTarget
from lamina.testing.repositories import CHUNK, SmallRepository

IMAGE = random.Random(5).randbytes(6 * CHUNK) + bytes(2 * CHUNK) + b"end"


def run(small: SmallRepository, target: MemoryTarget, *, verify: bool = False, path: str | None = None):
    repository = small.open()
    try:
        plan = plan_restore(repository, repository.find_snapshot("latest"), path, "t")
        return restore(repository, plan, lambda _: target, verify=verify, operation=small.operation())
    finally:
        repository.close()


def test_a_fresh_target_is_given_data_and_no_zeros(small: SmallRepository):
    small.back_up(IMAGE)
    target = MemoryTarget(len(IMAGE))
    report = run(small, target, verify=True)
    assert bytes(target.content) == IMAGE
    assert target.finished
    assert report.verified
    assert report.written == 6 * CHUNK + 3
    assert not any(6 * CHUNK <= start < 8 * CHUNK for start, _ in target.written)


def test_over_an_image_only_what_differs_is_written(small: SmallRepository):
    small.back_up(IMAGE)
    there = bytearray(IMAGE)
    there[2 * CHUNK] ^= 1
    there[7 * CHUNK] = 1
    target = MemoryTarget(len(IMAGE), bytes(there))
    report = run(small, target)
    assert bytes(target.content) == IMAGE
    assert sorted(target.written) == [(2 * CHUNK, 3 * CHUNK), (7 * CHUNK, 8 * CHUNK)]
    assert (report.written, report.kept) == (2 * CHUNK, len(IMAGE) - 2 * CHUNK)


def test_an_interrupted_restore_is_continued(small: SmallRepository):
    small.back_up(IMAGE)
    target = MemoryTarget(len(IMAGE), IMAGE[: 4 * CHUNK])
    report = run(small, target)
    assert bytes(target.content) == IMAGE
    assert report.written == 2 * CHUNK + 3


def test_a_target_that_does_not_keep_what_it_was_given_is_found(small: SmallRepository):
    class Forgetful(MemoryTarget):
        def write(self, offset, data):
            super().write(offset, data)
            if offset == CHUNK:
                self.content[offset + 5] ^= 1

    small.back_up(IMAGE)
    with pytest.raises(TargetUnwritable, match="65536"):
        run(small, Forgetful(len(IMAGE)), verify=True)


def test_what_the_backup_could_not_read_is_told(small: SmallRepository):
    image = MemoryImage(IMAGE)
    image.unreadable = [(0, 1)]
    small.back_up(image)
    report = run(small, MemoryTarget(len(IMAGE)))
    assert [(one.path, one.offset, one.length) for one in report.unread] == [("image", 0, CHUNK)]


def test_damage_stops_a_restore_and_names_the_chunk():
    small = SmallRepository()
    small.back_up(IMAGE, verify=VerifyMode.NONE)
    for found in list(small.storage.objects("data/")):
        small.storage.delete(found.name)
    with pytest.raises(Damaged, match="chunk"):
        run(small, MemoryTarget(len(IMAGE)))


def test_a_target_that_a_failed_restore_left_behind_is_called_incomplete():
    small = SmallRepository()
    small.back_up(IMAGE)
    for found in list(small.storage.objects("data/")):
        small.storage.delete(found.name)
    with pytest.raises(Damaged, match="target is incomplete and must not be used"):
        run(small, MemoryTarget(len(IMAGE)))


@pytest.mark.parametrize("holder", ["writer", "steward"])
def test_only_an_owner_restores(small: SmallRepository, holder: str):
    small.back_up(IMAGE, holder="writer")
    repository = small.open(holder)
    snapshot = repository.find_snapshot("latest")
    with pytest.raises(NotPermitted):
        plan = plan_restore(repository, snapshot, None, "t")
        restore(repository, plan, lambda _: MemoryTarget(9), verify=False, operation=small.operation())
    repository.close()


def test_one_content_goes_to_one_target(small: SmallRepository):
    from lamina.engine.backup import BackupOptions, Input, backup

    inputs = [Input(path, MemoryImage(b"x")) for path in ("a.img", "dev/vg/b", "dev/vg/c", "srv/d")]
    repository = small.open()
    backup(repository, inputs, BackupOptions("n"), small.operation())
    snapshot = repository.find_snapshot("latest")
    for path, found in (("a.img", "a.img"), ("/dev/vg/b", "dev/vg/b"), ("srv", "srv/d")):
        item = plan_restore(repository, snapshot, path, "/t").item
        assert (item.path, item.target) == (found, "/t")
    for path, count in ((None, 4), ("dev", 2)):
        with pytest.raises(UsageError, match=f"/t takes one file or image, and this would be {count}"):
            plan_restore(repository, snapshot, path, "/t")
    for missing in ("b.img", "a.img/x", "dev/vg/b/c"):
        with pytest.raises(EntryMissing, match=missing):
            plan_restore(repository, snapshot, missing, "/t")
    repository.close()
