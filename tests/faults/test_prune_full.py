"""A prune on a full storage: what costs no room is deleted all the same, and the next prune may choose less."""

from __future__ import annotations

import random
from datetime import timedelta

import pytest

from lamina.engine.prune import PruneOptions, PruneReport, prune
from lamina.errors import StorageFull
from lamina.model.process import Process
from lamina.testing.repositories import CHUNK, SmallRepository
from lamina.testing.storages import Fault, FaultyStorage
from tests.unit.engine.test_prune import forget

KEPT, LOST, JUNK = (random.Random(seed).randbytes(6 * CHUNK) for seed in (1, 2, 3))
EAGER = PruneOptions(undo_window=timedelta(0), wait=timedelta(0), threshold=1.0)


def run_full(small: SmallRepository) -> PruneReport:
    """Prune where no data pack can be stored."""
    full = FaultyStorage(small.storage, [Fault("put", lasting=True, error=StorageFull, prefix="data/")])
    repository = small.open(storage=full)
    try:
        return prune(repository, Process(), EAGER, small.operation())
    finally:
        repository.close()


@pytest.fixture
def mixed() -> SmallRepository:
    """A snapshot, and one that was forgotten and lies in the same packs."""
    small = SmallRepository()
    small.back_up(KEPT + JUNK, name="junk")
    small.back_up(KEPT, name="kept")
    forget(small, "junk@latest")
    return small


def test_what_nobody_needs_is_deleted_although_there_is_no_room_to_copy(mixed: SmallRepository):
    mixed.back_up(LOST, name="lost")
    forget(mixed, "lost@latest")
    before = sum(item.size for item in mixed.storage.objects("data/"))
    report = run_full(mixed)
    assert report.finished
    assert len(report.buried) == 2
    assert report.deleted > 0
    assert report.left > 0
    assert sum(item.size for item in mixed.storage.objects("data/")) <= before - len(LOST)
    assert mixed.restore("kept@latest") == KEPT
    assert mixed.verify().problems == ()


def test_where_only_copying_would_help_the_next_prune_may_copy_less(mixed: SmallRepository):
    run_full(mixed)
    with pytest.raises(StorageFull) as caught:
        run_full(mixed)
    assert "--max-repack" in caught.value.hint
    assert mixed.restore("kept@latest") == KEPT
    repository = mixed.open()
    assert prune(repository, Process(), PruneOptions(max_repack=0), mixed.operation()).problems == ()
    assert prune(repository, Process(), EAGER, mixed.operation()).copied > 0
    repository.close()
    assert mixed.restore("kept@latest") == KEPT
    assert mixed.verify().problems == ()
