"""A storage that fails at every n-th call of a backup: nothing is lost, and the next run succeeds."""

from __future__ import annotations

import random

import pytest

from lamina.errors import Damaged, StorageDenied, StorageError, StorageFull
from lamina.testing.repositories import CHUNK, SmallRepository, back_up, restore_bytes
from lamina.testing.storages import Effect, Fault, FaultyStorage

# As many as this small backup makes for certain; `run_with` fails if a planned fault was never met.
CALLS = 40
READS = {"get": 8, "get_range": 8}  # at least as many are made, wherever the chunks happen to lie
OLD = random.Random(1).randbytes(5 * CHUNK + 17)
NEW = OLD[:CHUNK] + random.Random(2).randbytes(2 * CHUNK) + OLD[3 * CHUNK :]


@pytest.fixture(scope="module")
def saved() -> SmallRepository:
    """A repository with one snapshot, to be copied."""
    repository = SmallRepository()
    repository.back_up(OLD)
    return repository


def run_with(saved: SmallRepository, *faults: Fault) -> tuple[SmallRepository, bool]:
    """A copy of *saved* after a backup of NEW through a storage that fails so, and whether that backup succeeded."""
    copied = saved.copy()
    faulty = FaultyStorage(copied.storage, faults)
    succeeded = False
    try:
        repository = copied.open(storage=faulty)
        try:
            back_up(repository, [NEW], copied.operation())
        finally:
            repository.close()
        succeeded = True
    except (StorageError, Damaged):  # damage is what a spoilt answer looks like
        pass
    assert faulty.met, f"nothing failed: the backup made only {len(faulty.calls)} calls"
    return copied, succeeded


def check_nothing_lost(repository: SmallRepository) -> None:
    """Old snapshots restore, the next backup succeeds, and nothing is wrong."""
    assert repository.verify().problems == ()
    oldest = repository.snapshots()[0].id.hex()
    assert repository.restore(oldest) == OLD
    repository.back_up(NEW)
    assert repository.restore("latest") == NEW
    assert repository.restore(oldest) == OLD
    assert repository.verify().problems == ()


@pytest.mark.parametrize("effect", [Effect.REFUSED, Effect.UNACKNOWLEDGED])
@pytest.mark.parametrize("nth", range(1, CALLS, 2))
def test_one_call_that_fails(saved: SmallRepository, nth: int, effect: Effect):
    repository, _ = run_with(saved, Fault("any", nth, effect), Fault("any", nth + 1, effect))
    check_nothing_lost(repository)


@pytest.mark.parametrize("effect", [Effect.SHORTENED, Effect.FLIPPED])
@pytest.mark.parametrize(("call", "nth"), [(call, nth) for call, count in READS.items() for nth in range(1, count + 1)])
def test_one_answer_that_is_spoilt_and_spoilt_again(saved: SmallRepository, call: str, nth: int, effect: Effect):
    repository, _ = run_with(saved, Fault(call, nth, effect), Fault(call, nth + 1, effect))
    check_nothing_lost(repository)


@pytest.mark.parametrize("nth", range(1, 7))
@pytest.mark.parametrize("effect", [Effect.REFUSED, Effect.UNACKNOWLEDGED])
def test_every_put_from_one_on_fails(saved: SmallRepository, nth: int, effect: Effect):
    """One or two data packs, by chance: the commit is the fifth or sixth put, and what comes after it only a remark."""
    repository, succeeded = run_with(saved, Fault("put", nth, effect, lasting=True))
    assert not succeeded or nth > 5
    check_nothing_lost(repository)


@pytest.mark.parametrize("nth", range(1, 6))
def test_a_full_storage_says_so_and_loses_nothing(saved: SmallRepository, nth: int):
    copied = saved.copy()
    full = FaultyStorage(copied.storage, [Fault("put", nth, lasting=True, error=StorageFull)])
    with pytest.raises(StorageFull):
        back_up(copied.open(storage=full), [NEW], copied.operation())
    full.heal()
    check_nothing_lost(copied)


def test_a_read_only_storage_can_be_read_in_every_way(saved: SmallRepository):
    copied = saved.copy()
    faults = [Fault("put", lasting=True, error=StorageDenied), Fault("delete", lasting=True, error=StorageDenied)]
    read_only = FaultyStorage(copied.storage, faults)
    repository = copied.open(storage=read_only)
    snapshot = repository.find_snapshot("latest")
    assert restore_bytes(repository, snapshot, None, copied.operation()) == OLD
    with pytest.raises(StorageDenied):
        back_up(repository, [NEW], copied.operation())
    repository.close()
    assert [call for call, _ in read_only.calls if call in ("put", "delete")] == ["put"], "it only tried to begin"


def test_a_lost_reply_to_the_commit_is_a_commit(saved: SmallRepository):
    repository, succeeded = run_with(saved, Fault("put", 1, Effect.UNACKNOWLEDGED, prefix="snapshots/"))
    assert not succeeded, "only a storage that retries may say that it was done"
    assert len(repository.snapshots()) == 2
    assert repository.restore("latest") == NEW


@pytest.mark.parametrize("prefix", ["generations/", "index/manifest/", "index/delta/", "snapshots/"])
def test_a_listing_that_fails_is_never_an_empty_one(saved: SmallRepository, prefix: str):
    _, succeeded = run_with(saved, Fault("objects", lasting=True, prefix=prefix))
    assert not succeeded


@pytest.mark.parametrize("effect", [Effect.SHORTENED, Effect.FLIPPED])
def test_a_passing_read_fault_is_healed_by_reading_again(saved: SmallRepository, effect: Effect):
    copied = saved.copy()
    faulty = FaultyStorage(copied.storage, [Fault("get_range", 1, effect, prefix="data/")])
    repository = copied.open(storage=faulty)
    assert restore_bytes(repository, repository.find_snapshot("latest"), None, copied.operation()) == OLD
    assert faulty.met == 1
    repository.close()


def test_reading_writes_nothing(saved: SmallRepository):
    copied = saved.copy()
    before = {found.name for found in copied.storage.objects()}
    copied.restore("latest")
    copied.verify()
    copied.snapshots()
    assert {found.name for found in copied.storage.objects()} == before
