"""A real disk that is full at any step, and one that is read-only: nothing is lost, all can be read, and then it goes on."""

from __future__ import annotations

import os
import random
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from lamina.engine.prune import PruneOptions, prune
from lamina.engine.verify import verify
from lamina.errors import StorageDenied, StorageFull
from lamina.model.process import Process
from lamina.storage.backends.local import LocalStorage
from lamina.testing.damage import copy_storage
from lamina.testing.repositories import CHUNK, SmallRepository, back_up, restore_bytes
from lamina.testing.storages import MemoryStorage

pytestmark = [pytest.mark.root, pytest.mark.integration, pytest.mark.slow]

SOAK = bool(os.environ.get("LAMINA_SOAK"))
STEP = 4096 if SOAK else 16 << 10  # bytes by which the disk is smaller each time: the smallest tmpfs can tell apart
OLD, NEW = (random.Random(seed).randbytes(3 * CHUNK) for seed in (1, 2))
PRUNE = PruneOptions(undo_window=timedelta(0), wait=timedelta(0), threshold=0.99)


@contextmanager
def mounted(path: Path, size: int) -> Iterator[Path]:
    """A file system of *size* bytes in memory."""
    path.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=0700", "lamina-test", path], check=True)
    try:
        yield path
    finally:
        subprocess.run(["umount", path], check=True)


def resize(path: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", path], check=True)


@pytest.fixture(scope="module")
def saved() -> SmallRepository:
    """Two snapshots that share a part; the older one is forgotten, so that a prune has work."""
    small = SmallRepository()
    small.back_up(OLD)
    small.back_up(OLD[:CHUNK] + NEW[CHUNK:])
    opened = small.open()
    opened.forget(opened.find_snapshot("latest~1"))
    opened.close()
    return small


def put_into(saved: SmallRepository, path: Path) -> int:
    """Store a copy of *saved* in a directory; returns how many bytes it takes there."""
    storage = LocalStorage(path)
    for item in saved.storage.objects():
        storage.put(item.name, [saved.storage.get(item.name)])
    storage.close()
    return int(subprocess.run(["du", "-sB1", path], check=True, capture_output=True).stdout.split()[0])


def run_backup(small: SmallRepository, path: Path) -> bool:
    repository = small.open(storage=LocalStorage(path))
    try:
        back_up(repository, [NEW], small.operation())
        return True
    finally:
        repository.close()


def run_prune(small: SmallRepository, path: Path) -> bool:
    """Whether all was done."""
    repository = small.open("steward", storage=LocalStorage(path))
    try:
        return prune(repository, Process(), PRUNE, small.operation()).left == 0
    finally:
        repository.close()


ACTS: dict[str, Callable[[SmallRepository, Path], bool]] = {"backup": run_backup, "prune": run_prune}


def content(path: Path) -> MemoryStorage:
    storage = LocalStorage(path)
    try:
        return copy_storage(storage)
    finally:
        storage.close()


@pytest.mark.parametrize("act", ACTS.values(), ids=ACTS)
def test_a_disk_that_is_full_at_every_step(
    saved: SmallRepository,
    tmp_path: Path,
    act: Callable[[SmallRepository, Path], bool],
    record_property: Callable[[str, object], None],
):
    """The room that is left grows until it suffices: every write is the last one in turn."""
    full, free = 0, 0
    while True:
        with mounted(tmp_path / "disk", 64 << 20) as disk:
            used = put_into(saved, disk)
            resize(disk, f"size={used + free}")
            try:
                failed = not act(saved.copy(), disk)
            except StorageFull:
                failed = True
            left = SmallRepository(content(disk))
            assert left.verify().problems == ()
            assert left.restore("latest~0" if failed or act is run_prune else "latest~1") == OLD[:CHUNK] + NEW[CHUNK:]
            resize(disk, f"size={64 << 20}")
            act(saved.copy(), disk)
            again = SmallRepository(content(disk))
            assert again.verify().problems == ()
            if act is run_backup:
                assert again.restore("latest") == NEW
        if not failed:
            break
        full, free = full + 1, free + STEP
    assert full > (3 if act is run_backup else 0), "the disk was never full"  # by chance a prune has nothing to copy
    record_property("full disks", full)


def test_a_disk_that_is_read_only_can_be_read_in_every_way(saved: SmallRepository, tmp_path: Path):
    with mounted(tmp_path / "disk", 64 << 20) as disk:
        put_into(saved, disk)
        resize(disk, "ro")
        small = saved.copy()
        for act in ACTS.values():
            with pytest.raises(StorageDenied, match="Read-only"):
                act(small, disk)
        opened = small.open(storage=LocalStorage(disk))
        assert verify(opened, small.operation()).problems == ()
        snapshot = opened.find_snapshot("latest")
        assert restore_bytes(opened, snapshot, None, small.operation()) == OLD[:CHUNK] + NEW[CHUNK:]
        with pytest.raises(StorageDenied):
            opened.forget(snapshot)
        opened.close()
        assert {item.name for item in content(disk).objects()} == {item.name for item in saved.storage.objects()}
