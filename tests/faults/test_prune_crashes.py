"""A prune that dies at any point, and whatever comes after it."""

from __future__ import annotations

import random
from datetime import timedelta
from functools import cache

import pytest

from lamina.errors import Damaged, StorageUnavailable
from lamina.model.process import Process
from lamina.repository.writer import EncodingOptions
from lamina.testing.repositories import CHUNK, SmallRepository
from lamina.testing.storages import Effect, Fault, FaultyStorage
from tests.unit.engine.test_prune import forget, names, run_prune

A, B, C = (random.Random(seed).randbytes(CHUNK) for seed in (1, 2, 3))
OLD, NEW = A + B + A[::-1], A + C
STEPS = 22  # puts and deletes of the prune below, and then some


@cache
def _used() -> SmallRepository:
    """Two snapshots that share a chunk, the first of them forgotten; and what a session left that was killed."""
    small = SmallRepository()
    small.back_up(OLD)
    small.back_up(NEW)
    forget(small, "latest~1")
    repository = small.open()
    session = repository.begin(Process(), EncodingOptions(None, check=True), small.operation())
    session.writer.put_data(session.writer.data_id(B[::-1]), B[::-1])
    session.writer.flush()
    session.give_up()
    session.close()
    repository.close()
    small.clock.advance(timedelta(days=2))  # long enough to give that session up
    return small


def check_whole(small: SmallRepository) -> None:
    """What is not forgotten restores, what is is gone, and nothing is wrong."""
    (snapshot,) = small.snapshots(removed=True)
    assert small.restore(snapshot.id.hex()) == NEW
    assert small.verify().problems == ()


@pytest.mark.parametrize(("holder", "effect"), [("owner", Effect.REFUSED), ("steward", Effect.UNACKNOWLEDGED)])
@pytest.mark.parametrize("step", range(1, STEPS))
def test_a_prune_that_dies_anywhere_is_finished_by_the_next(step: int, holder: str, effect: Effect):
    small = _used().copy()
    dying = FaultyStorage(small.storage, [Fault("put", step, effect, lasting=True), Fault("delete", step, effect)])
    try:
        run_prune(small, holder=holder, storage=dying)
    except StorageUnavailable:
        assert dying.met
    assert small.restore("latest") == NEW
    assert small.back_up(NEW + B).statistics.new <= CHUNK * 2
    forget(small, "latest")
    report = run_prune(small, holder=holder)
    assert report.finished
    run_prune(small, holder=holder)
    check_whole(small)


def test_the_prune_above_has_no_more_steps():
    small = _used().copy()
    watched = FaultyStorage(small.storage)
    run_prune(small, storage=watched)
    assert sum(call in {"put", "delete"} for call, _ in watched.calls) <= STEPS
    check_whole(small)


def test_a_segment_that_does_not_hold_what_was_put_into_it_is_not_published():
    """Faulty memory: what was written is read again and compared before anything rests on it."""
    small = _used().copy()
    faulty = FaultyStorage(small.storage, [Fault("get", 1, Effect.FLIPPED, "index/segment/")])
    with pytest.raises(Damaged):
        run_prune(small, storage=faulty)
    assert names(small.storage, "index/manifest/") == []
    assert run_prune(small).finished
    check_whole(small)
