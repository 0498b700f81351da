"""The probe finds each broken promise, and cleans up."""

from __future__ import annotations

from datetime import timedelta

import pytest

from lamina.errors import ObjectExists, Stopped, StorageDenied, StorageFull, StorageUnavailable
from lamina.model.operation import Operation
from lamina.storage.probe import probe
from lamina.storage.storage import StoredObject
from lamina.testing.clocks import FrozenClock
from lamina.testing.storages import Effect, Fault, FaultyStorage, MemoryStorage


class Overwriting(MemoryStorage):
    """Ignores If-None-Match, as some gateways do."""

    def put(self, name, parts):
        self.delete(name)
        super().put(name, parts)


class Forgetful(MemoryStorage):
    """Lists new objects too late."""

    def objects(self, prefix=""):
        return iter(list(super().objects(prefix))[:-1])


class Padding(MemoryStorage):
    """Answers a range beyond the end with zeros."""

    def get_range(self, name, offset, length):
        return self.get(name)[offset : offset + length].ljust(length, b"\0")


class Inventive(MemoryStorage):
    """Has every object."""

    def stat(self, name):
        return StoredObject(name, 0, self._clock.now())


def failed(storage, operation=None):
    report = probe(storage, operation or Operation())
    return report.suitable, [check.name for check in report.checks if not check.ok]


def test_a_good_storage_is_suitable_and_left_empty():
    storage = MemoryStorage()
    report = probe(storage, Operation())
    assert report.suitable
    assert all(check.ok and check.detail for check in report.checks)
    assert report.upload_bytes_per_s > 0
    assert report.download_bytes_per_s > 0
    assert report.address == storage.address
    assert list(storage.objects()) == []


@pytest.mark.parametrize(
    ("storage", "broken"),
    [
        (Overwriting(), "create-if-absent"),
        (Overwriting(), "create-if-absent, raced for"),
        (Forgetful(), "listing"),
        (Padding(), "range reads"),
        (Inventive(), "missing objects"),
        (FaultyStorage(MemoryStorage(), [Fault("get", 3, Effect.FLIPPED)]), "read after write"),
        (FaultyStorage(MemoryStorage(), [Fault("get_range", 1, Effect.SHORTENED)]), "range reads"),
    ],
)
def test_a_broken_promise_makes_a_storage_unsuitable(storage, broken):
    suitable, names = failed(storage)
    assert not suitable
    assert broken in names


def test_a_wrong_clock_is_told_and_forgiven():
    clock = FrozenClock()
    storage = MemoryStorage(clock)
    clock.advance(timedelta(hours=2))
    ours = FrozenClock()
    suitable, names = failed(storage, Operation(clock=ours))
    assert suitable
    assert names == ["clock"]
    assert probe(storage, Operation(clock=ours)).skew == timedelta(hours=2)


def test_missing_rights_to_delete_are_told_and_forgiven():
    storage = FaultyStorage(MemoryStorage(), [Fault("delete", lasting=True, error=StorageDenied)])
    suitable, names = failed(storage)
    assert suitable
    assert names == ["deletion", "cleaning up"]


@pytest.mark.parametrize("error", [StorageDenied, StorageFull, StorageUnavailable])
@pytest.mark.parametrize("nth", [1, 4, 15])
def test_what_says_nothing_of_the_promises_is_raised_and_all_removed(error, nth):
    memory = MemoryStorage()
    with pytest.raises(error):
        probe(FaultyStorage(memory, [Fault("put", nth, error=error)]), Operation())
    assert list(memory.objects()) == []


def test_the_stop_button_ends_a_probe():
    operation = Operation()
    operation.stop.set()
    with pytest.raises(Stopped):
        probe(MemoryStorage(), operation)


def test_other_objects_are_left_alone():
    storage = MemoryStorage()
    storage.put("lamina.json", [b"x"])
    probe(storage, Operation())
    assert [stored.name for stored in storage.objects()] == ["lamina.json"]
    with pytest.raises(ObjectExists):
        storage.put("lamina.json", [b"y"])
