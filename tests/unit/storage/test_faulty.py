"""The double that fails must itself be trusted."""

from __future__ import annotations

import pytest

from lamina.errors import StorageFull, StorageUnavailable
from lamina.testing.storages import Effect, Fault, FaultyStorage, MemoryStorage


def test_the_nth_fitting_call_fails_and_no_other():
    storage = FaultyStorage(MemoryStorage(), [Fault("put", 2, prefix="data/")])
    storage.put("data/1", [b"x"])
    storage.put("keys/1", [b"x"])
    with pytest.raises(StorageUnavailable):
        storage.put("data/2", [b"x"])
    storage.put("data/2", [b"x"])
    assert storage.calls == [("put", name) for name in ("data/1", "keys/1", "data/2", "data/2")]


def test_a_lasting_fault_stays_until_healed():
    storage = FaultyStorage(MemoryStorage(), [Fault("any", 2, lasting=True, error=StorageFull)])
    storage.put("a", [b"x"])
    for _ in range(2):
        with pytest.raises(StorageFull):
            storage.get("a")
    storage.heal()
    assert storage.get("a") == b"x"


def test_an_unacknowledged_put_has_happened():
    memory = MemoryStorage()
    with pytest.raises(StorageUnavailable):
        FaultyStorage(memory, [Fault("put", effect=Effect.UNACKNOWLEDGED)]).put("a", [b"x"])
    assert memory.get("a") == b"x"


def test_reads_can_be_shortened_and_flipped_without_a_word():
    memory = MemoryStorage()
    memory.put("a", [b"abcd"])
    storage = FaultyStorage(memory, [Fault("get", 1, Effect.SHORTENED), Fault("get", 2, Effect.FLIPPED)])
    assert [storage.get("a"), storage.get("a"), storage.get("a")] == [b"ab", b"abbd", b"abcd"]
    assert storage.met == 2


def test_a_fault_that_makes_no_difference_is_not_met():
    storage = FaultyStorage(MemoryStorage(), [Fault("put", 2), Fault("any", 1, Effect.FLIPPED)])
    storage.put("a", [b"x"])
    assert storage.met == 0
    with pytest.raises(StorageUnavailable):
        storage.put("b", [b"x"])
    assert storage.met == 1
