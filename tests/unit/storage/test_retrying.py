"""Retrying over a storage that fails as planned."""

from __future__ import annotations

import pytest

from lamina.errors import (
    ObjectExists,
    ObjectMissing,
    ObjectTruncated,
    Stopped,
    StorageDenied,
    StorageFull,
    StorageUnavailable,
)
from lamina.model.operation import Operation, Silence
from lamina.storage.retrying import Patience, Retrying
from lamina.testing.clocks import FrozenClock
from lamina.testing.storages import Effect, Fault, FaultyStorage, MemoryStorage


class Messages(Silence):
    """Progress that keeps what it was told."""

    def __init__(self):
        self.texts = []

    def message(self, text):
        self.texts.append(text)


@pytest.fixture
def memory():
    memory = MemoryStorage()
    memory.put("object", [b"0123456789"])
    return memory


def build(memory, *plan, patience=None, clock=None, draw=lambda: 1.0):
    operation = Operation(clock=clock or FrozenClock(), progress=Messages())
    faulty = FaultyStorage(memory, plan)
    return Retrying(faulty, operation, patience=patience, draw=draw), faulty, operation


_CALLS = [
    ("put", lambda storage: storage.put("new", [b"x"])),
    ("get", lambda storage: storage.get("object")),
    ("get_range", lambda storage: storage.get_range("object", 2, 3)),
    ("stat", lambda storage: storage.stat("object").size),
    ("objects", lambda storage: [stored.name for stored in storage.objects()]),
    ("delete", lambda storage: storage.delete("object")),
]


@pytest.mark.parametrize("effect", [Effect.REFUSED, Effect.UNACKNOWLEDGED])
@pytest.mark.parametrize(("name", "call"), _CALLS)
def test_a_passing_fault_is_not_seen(memory, name, call, effect):
    retrying, faulty, operation = build(memory, Fault(name, 1, effect), Fault(name, 2, effect))
    healthy = MemoryStorage()
    healthy.put("object", [b"0123456789"])
    assert call(retrying) == call(healthy)
    assert [made for made, _ in faulty.calls] == [name] * 3
    assert len(operation.progress.texts) == 2


@pytest.mark.parametrize(("name", "call"), _CALLS)
def test_patience_ends(memory, name, call):
    fault = Fault(name, 1, lasting=True)
    retrying, faulty, _ = build(memory, fault, patience=Patience(tries=4))
    with pytest.raises(StorageUnavailable):
        call(retrying)
    assert len(faulty.calls) == 4


@pytest.mark.parametrize("error", [StorageDenied, StorageFull, ObjectMissing, ObjectExists])
def test_what_does_not_pass_is_not_tried_again(memory, error):
    retrying, faulty, _ = build(memory, Fault("get", 1, error=error))
    with pytest.raises(error):
        retrying.get("object")
    assert len(faulty.calls) == 1


def test_a_truncated_read_gets_few_more_chances(memory):
    retrying, faulty, _ = build(memory, Fault("get", 1, error=ObjectTruncated, lasting=True))
    with pytest.raises(ObjectTruncated):
        retrying.get("object")
    assert len(faulty.calls) == Patience().tries_if_truncated


def test_what_stayed_truncated_is_damaged_and_has_one_try_from_then_on(memory):
    retrying, faulty, operation = build(memory)
    memory.put("other", [b"01"])
    for _ in range(5):
        with pytest.raises(ObjectTruncated):
            retrying.get_range("object", 5, 100)
    assert len(faulty.calls) == Patience().tries_if_truncated + 4
    assert len(operation.progress.texts) == Patience().tries_if_truncated - 1
    with pytest.raises(ObjectTruncated):
        retrying.get_range("other", 0, 100)
    assert len(faulty.calls) == 2 * Patience().tries_if_truncated + 4


def test_a_put_whose_reply_was_lost_is_done_only_if_the_bytes_are_ours(memory):
    retrying, _, _ = build(memory, Fault("put", 1, Effect.UNACKNOWLEDGED), Fault("put", 3))
    retrying.put("new", [b"ours"])
    assert memory.get("new") == b"ours"
    with pytest.raises(ObjectExists):
        retrying.put("object", [b"ours"])
    assert memory.get("object") == b"0123456789"


def test_waits_double_and_are_drawn_at_random(memory):
    clock = FrozenClock()
    patience = Patience(tries=6, first_wait_s=1, longest_wait_s=4)
    retrying, _, _ = build(memory, Fault("get", lasting=True), patience=patience, clock=clock, draw=lambda: 0.5)
    with pytest.raises(StorageUnavailable):
        retrying.get("object")
    assert clock.monotonic() == pytest.approx(0.5 + 1 + 2 + 2 + 2)


def test_the_stop_button_ends_the_waiting(memory):
    clock = FrozenClock()
    retrying, faulty, operation = build(memory, Fault("get", lasting=True), clock=clock)
    operation.stop.set()
    with pytest.raises(Stopped):
        retrying.get("object")
    assert len(faulty.calls) == 1
    assert clock.monotonic() == 0


def test_each_retry_says_what_failed_and_what_comes(memory):
    retrying, _, operation = build(memory, Fault("get"))
    retrying.get("object")
    assert "get object" in operation.progress.texts[0]
    assert "try 2 of 12" in operation.progress.texts[0]


def test_after_giving_up_each_call_has_one_try_until_one_succeeds(memory):
    """A run that fails still publishes and cleans up: not with all the patience once more for each call."""
    plan = [Fault("get", number) for number in (1, 2, 3, 5)]
    retrying, _, _ = build(memory, *plan, Fault("stat", 1), patience=Patience(tries=3))
    for call in (lambda: retrying.get("object"), lambda: retrying.stat("object")):
        with pytest.raises(StorageUnavailable):
            call()
    assert retrying.get("object") == b"0123456789"
    assert retrying.get("object") == b"0123456789"  # is tried again, as before


def test_a_server_that_takes_minutes_to_time_out_is_not_tried_for_hours(memory):
    clock = FrozenClock()
    patience = Patience(tries=100, first_wait_s=600, longest_wait_s=600, in_all_s=1800)
    retrying, faulty, _ = build(memory, Fault("get", 1, lasting=True), clock=clock, patience=patience)
    with pytest.raises(StorageUnavailable):
        retrying.get("object")
    assert len(faulty.calls) == 4
