"""Prune on small repositories: what comes back, and what stays."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import timedelta

import pytest

from lamina.engine.prune import PruneOptions, PruneReport, plan_prune, prune
from lamina.errors import NotPermitted, SnapshotMissing, StorageDenied
from lamina.model.process import Process
from lamina.storage.storage import Storage
from lamina.testing.repositories import CHUNK, SmallRepository
from lamina.testing.storages import Fault, FaultyStorage

FIRST = random.Random(1).randbytes(4 * CHUNK)
SECOND = random.Random(2).randbytes(4 * CHUNK)
NOW = PruneOptions(undo_window=timedelta(0))


def run_prune(
    small: SmallRepository, options: PruneOptions = NOW, *, holder: str = "owner", storage: Storage | None = None
) -> PruneReport:
    """One prune with the key of *holder*."""
    repository = small.open(holder, storage=storage)
    try:
        return prune(repository, Process(), options, small.operation())
    finally:
        repository.close()


def forget(small: SmallRepository, snapshot: str) -> None:
    repository = small.open()
    repository.forget(repository.find_snapshot(snapshot))
    repository.close()


def names(storage: Storage, prefix: str) -> list[str]:
    return sorted(found.name for found in storage.objects(prefix))


@pytest.mark.parametrize("holder", ["owner", "steward"])
def test_the_space_of_a_forgotten_snapshot_comes_back(small: SmallRepository, holder: str):
    small.back_up(FIRST)
    small.back_up(SECOND)
    first, second = small.snapshots()
    forget(small, first.id.hex())
    before = sum(found.size for found in small.storage.objects("data/"))
    report = run_prune(small, holder=holder)
    assert report.finished
    assert report.buried == (first.id,)
    assert report.freed >= len(FIRST)
    assert sum(found.size for found in small.storage.objects("data/")) < before - len(FIRST) + CHUNK
    assert [one.id for one in small.snapshots(removed=True)] == [second.id]
    assert small.restore("latest") == SECOND
    assert run_prune(small, holder=holder).generation == 0, "there is nothing left to do"


@pytest.mark.parametrize("words", [["{}"], ["latest", "{}"], ["{}, latest"]])
def test_who_names_a_snapshot_that_is_gone_is_told_what_became_of_it(small: SmallRepository, words: list[str]):
    small.back_up(FIRST)
    small.back_up(SECOND)
    gone = small.snapshots()[0].id.hex()
    repository = small.open()
    texts = [word.format(gone[:8]) for word in words]
    assert repository.select_snapshots(texts)
    forget(small, gone)
    with pytest.raises(SnapshotMissing, match=f"{gone[:8]} is forgotten") as caught:
        repository.select_snapshots(texts)
    assert f"lamina unforget {gone[:8]}" in caught.value.hint
    with pytest.raises(SnapshotMissing, match=r"begins with 'ffff'$"):
        repository.select_snapshots(["ffff", gone[:8]], removed=True)
    run_prune(small)
    with pytest.raises(SnapshotMissing, match=f"{gone[:8]} was forgotten, and a prune has buried it"):
        repository.select_snapshots(texts, removed=True)
    with pytest.raises(SnapshotMissing, match=r"begins with 'ffff'$"):
        repository.select_snapshots(["ffff"])
    repository.close()


def test_when_everything_is_forgotten_no_pack_is_left(small: SmallRepository):
    small.back_up(FIRST)
    small.back_up(SECOND)
    for snapshot in small.snapshots():
        forget(small, snapshot.id.hex())
    assert run_prune(small).finished
    assert names(small.storage, "data/") == []
    assert names(small.storage, "meta/") == []
    assert small.snapshots(removed=True) == []


def test_what_was_removed_of_late_is_kept_and_can_be_brought_back(small: SmallRepository):
    small.back_up(FIRST)
    forget(small, "latest")
    assert run_prune(small, PruneOptions()).buried == ()
    repository = small.open()
    repository.unforget(repository.find_snapshot("latest", removed=True))
    repository.close()
    assert small.restore("latest") == FIRST


def test_a_writer_may_not_prune(small: SmallRepository):
    with pytest.raises(NotPermitted):
        run_prune(small, holder="writer")


def test_a_plan_changes_nothing_and_says_what_would_come(small: SmallRepository):
    small.back_up(FIRST)
    forget(small, "latest")
    before = names(small.storage, "")
    repository = small.open()
    plan = plan_prune(repository, Process(), NOW, small.operation())
    repository.close()
    assert names(small.storage, "") == before
    assert plan.freed >= len(FIRST)
    assert len(plan.buried) == 1
    assert run_prune(small).freed == plan.freed


def test_a_folded_delta_that_a_power_cut_brings_back_names_nothing(small: SmallRepository):
    """Deletes are not flushed. The packs that it names are gone: whoever believed it would store nothing."""
    small.back_up(FIRST)
    deltas = {name: small.storage.get(name) for name in names(small.storage, "index/delta/")}
    for content in (SECOND, FIRST[::-1]):
        forget(small, "latest")
        assert run_prune(small).buried
        small.back_up(content)
    for name, data in deltas.items():
        assert name not in names(small.storage, "index/delta/")
        small.storage.put(name, [data])
    small.back_up(FIRST)
    assert small.restore("latest") == FIRST
    assert not small.verify().problems


def test_what_may_not_be_deleted_yet_is_left_to_later_prunes(small: SmallRepository):
    """An object lock, say. Meanwhile nobody refers to it, and other prunes go on."""
    small.back_up(FIRST)
    forget(small, "latest")
    locked = FaultyStorage(small.storage, [Fault("delete", prefix="data/", lasting=True, error=StorageDenied)])
    report = run_prune(small, storage=locked)
    assert report.finished
    assert any("cannot be deleted yet" in problem for problem in report.problems)
    packs = set(names(small.storage, "data/"))
    small.back_up(FIRST)
    assert set(names(small.storage, "data/")) > packs, "it was stored once more"
    small.back_up(SECOND)
    forget(small, "latest")
    assert run_prune(small, storage=locked).finished
    assert packs < set(names(small.storage, "data/"))
    run_prune(small)
    assert not packs & set(names(small.storage, "data/"))
    assert small.restore("latest") == FIRST


def test_when_the_time_is_up_the_rest_stays_as_it_was(small: SmallRepository):
    small.back_up(FIRST + SECOND)
    small.back_up(FIRST)
    forget(small, "latest~1")
    hasty = replace(NOW, threshold=1.0, max_time=timedelta(seconds=-1))
    report = run_prune(small, hasty)
    assert report.finished
    assert report.left
    assert not report.copied
    assert small.restore("latest") == FIRST
    assert run_prune(small, replace(hasty, max_time=None)).copied
    assert small.restore("latest") == FIRST
