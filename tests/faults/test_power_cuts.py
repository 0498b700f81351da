"""The power fails after any system call: the repository opens, and whatever somebody was told is stored is there."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from lamina.engine.prune import PruneOptions, prune
from lamina.errors import LaminaError
from lamina.model.process import Process
from lamina.storage.backends.local import LocalStorage
from lamina.testing.repositories import CHUNK, SmallRepository
from tests.faults.recorded_disk import RecordedDisk

SOAK = bool(os.environ.get("LAMINA_SOAK"))
RANDOM_STATES = 20 if SOAK else 1  # of each moment, besides "nothing else survived" and "all of it did"
PRUNE = PruneOptions(undo_window=timedelta(0), wait=timedelta(0), threshold=0.99)


class History:
    """What is done to a repository in a directory, and what was acknowledged when."""

    def __init__(self, disk: RecordedDisk, *, anonymous: bool) -> None:
        self.disk = disk
        self.promised: dict[str, bytes] = {}
        self.storage = LocalStorage(disk.root, create=True, anonymous=anonymous)
        for item in SmallRepository().storage.objects():
            self.storage.put(item.name, [SmallRepository().storage.get(item.name)])
        self.small = SmallRepository(self.storage)  # type: ignore[arg-type]
        disk.mark({})

    def back_up(self, seed: int) -> None:
        content = bytes(CHUNK) + random.Random(seed % 2).randbytes(CHUNK) + random.Random(seed).randbytes(CHUNK)
        done = self.small.back_up(content)
        self.promised[done.snapshot.hex()] = content
        self.disk.mark(dict(self.promised))

    def forget_oldest(self) -> None:
        oldest = next(iter(self.promised))
        del self.promised[oldest]
        self.disk.mark(dict(self.promised))  # from the moment on when somebody wants it gone
        opened = self.small.open()
        opened.forget(opened.find_snapshot(oldest))
        opened.index.close()

    def prune(self) -> None:
        opened = self.small.open("steward")
        assert prune(opened, Process(), PRUNE, self.small.operation()).finished
        opened.index.close()


@pytest.fixture(params=[True, False], ids=["anonymous", "hidden"], scope="module")
def disk(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> RecordedDisk:
    """A disk on which backups, forgets and prunes took turns; every step was recorded."""
    recorded = RecordedDisk(tmp_path_factory.mktemp("disk") / "above" / "repository")
    with pytest.MonkeyPatch.context() as patches:
        recorded.install(patches)
        patches.setattr(SmallRepository, "open", keep_storage_open(SmallRepository.open))
        history = History(recorded, anonymous=request.param)
        for number in (1, 2, 3):
            history.back_up(number)
        for number in (4, 5):
            history.forget_oldest()
            history.prune()
            history.back_up(number)
        history.prune()
        recorded.mark(dict(history.promised))
    return recorded


def keep_storage_open(opener: Callable[..., object]) -> Callable[..., object]:
    """`SmallRepository.open`, but whoever closes the repository leaves the directory open for the next."""

    def opened(*arguments: object, **options: object) -> object:
        repository = opener(*arguments, **options)
        repository.storage.close = lambda: None  # type: ignore[attr-defined]
        return repository

    return opened


def moments(disk: RecordedDisk) -> list[int]:
    """Where a power cut leaves something else than a moment before: behind every change that has a name, or was waited for."""
    return [place + 1 for place, event in enumerate(disk.events) if event.what in {"entry", "unlink", "sync"}]


def check(disk: RecordedDisk, end: int, keep: Callable[[int], bool]) -> None:
    marks = [event.data for event in disk.events[:end] if event.what == "mark"]
    storage = disk.after_power_cut(end, keep)
    if storage is None or not marks:
        assert not marks, "the directory itself is gone"
        return
    left = SmallRepository(storage)
    problems = left.verify().problems
    assert not problems, f"after {end} events: {problems}"
    for snapshot, content in marks[-1].items():
        assert left.restore(snapshot) == content, f"after {end} events"


@pytest.mark.slow
def test_whatever_was_acknowledged_survives_a_power_cut(
    disk: RecordedDisk, record_property: Callable[[str, object], None]
):
    rng = random.Random(1)
    ends = moments(disk)
    cuts = 0
    for end in ends:
        if not SOAK and rng.random() < 0.6:
            continue
        check(disk, end, lambda _: False)
        check(disk, end, lambda _: True)
        for _ in range(RANDOM_STATES):
            seed, share = rng.random(), rng.choice([0.1, 0.5, 0.9])
            check(disk, end, lambda place, seed=seed, share=share: random.Random(seed * place).random() < share)
        cuts += 2 + RANDOM_STATES
    record_property("power cuts", cuts)


@pytest.mark.parametrize(("name", "stays_away"), [("index/delta/x", True), (f"data/{64 * 'a'}", False)])
def test_a_record_that_was_deleted_stays_away(tmp_path: Path, name: str, stays_away: bool):
    """What it said would count again; of packs nothing is promised."""
    recorded = RecordedDisk(tmp_path / "above" / "repository")
    with pytest.MonkeyPatch.context() as patches:
        recorded.install(patches)
        storage = LocalStorage(recorded.root, create=True)
        storage.put(name, [b"said"])
        storage.delete(name)
    left = recorded.after_power_cut(len(recorded.events), lambda _: False)
    assert left is not None
    assert [item.name for item in left.objects()] == ([] if stays_away else [name])


@pytest.mark.parametrize("left_out", ["directories", "files"])
def test_without_its_syncs_it_would_lose_what_it_promised(disk: RecordedDisk, left_out: str):
    """The test above can fail: it does if nobody waits for directories, or for files."""
    forgotten = [
        event for event in disk.events if event.what != "sync" or event.where.isdecimal() != (left_out == "files")
    ]
    lossy = RecordedDisk(disk.root, forgotten)
    names_only = [event.what != "write" for event in forgotten]
    with pytest.raises((AssertionError, LaminaError)):
        check(lossy, len(forgotten), names_only.__getitem__ if left_out == "files" else lambda _: False)
