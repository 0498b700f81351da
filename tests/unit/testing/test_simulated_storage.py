"""The simulated storage: what it promises, and what each fate does to it."""

from __future__ import annotations

from collections import deque
from datetime import UTC, datetime, timedelta

import pytest

from lamina.errors import ObjectExists, ObjectMissing, ObjectTruncated, StorageUnavailable
from lamina.testing.simulated_storage import WRITE_BACK, Disk, Fate, Listing, SimulatedStorage


class Script:
    """A turn that is told every fate before; `calls` is what was asked for."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)
        self.fates: deque[Fate] = deque()
        self.kind = Listing.AT_ONCE
        self.calls: list[tuple[str, str]] = []
        self.meanwhile = lambda: None

    def step(self, call: str, name: str) -> Fate:
        self.calls.append((call, name))
        if call in {"listed", "list on"}:
            self.meanwhile()
        return self.fates.popleft() if self.fates else Fate.DONE

    def after(self, call: str, name: str) -> None:
        pass

    def listing(self) -> Listing:
        return self.kind

    def share(self) -> float:
        return 0.5


@pytest.fixture
def script() -> Script:
    return Script()


def stored(script: Script, *, lazy: bool = False) -> tuple[Disk, SimulatedStorage]:
    disk = Disk(lambda: script.now, lazy=lazy)
    return disk, SimulatedStorage(disk, script)


def names(storage: SimulatedStorage, prefix: str = "") -> list[str]:
    return [found.name for found in storage.objects(prefix)]


def test_it_keeps_the_promises_of_a_storage(script: Script):
    _, storage = stored(script)
    storage.put("a/1", [b"one", b"two"])
    storage.put("a/1", [b"onetwo"])
    with pytest.raises(ObjectExists):
        storage.put("a/1", [b"other"])
    assert (storage.get("a/1"), storage.get_range("a/1", 2, 3)) == (b"onetwo", b"etw")
    with pytest.raises(ObjectTruncated):
        storage.get_range("a/1", 2, 5)
    assert storage.stat("a/1").size == 6
    storage.delete("a/1")
    with pytest.raises(ObjectMissing):
        storage.get("a/1")


@pytest.mark.parametrize(("fate", "is_there"), [(Fate.REFUSED, False), (Fate.UNACKNOWLEDGED, True), (Fate.LATE, False)])
def test_a_put_without_an_answer_may_have_happened(script: Script, fate: Fate, is_there: bool):
    disk, storage = stored(script)
    script.fates.append(fate)
    with pytest.raises(StorageUnavailable):
        storage.put("a/1", [b"x"])
    assert (names(storage) == ["a/1"]) is is_there
    assert disk.deliver(lambda _: 0) == ("a/1" if fate is Fate.LATE else None)
    assert (names(storage) == ["a/1"]) is (fate is not Fate.REFUSED)


def test_a_late_put_replaces_nothing(script: Script):
    disk, storage = stored(script)
    script.fates.append(Fate.LATE)
    with pytest.raises(StorageUnavailable):
        storage.put("a/1", [b"late"])
    storage.put("a/1", [b"first"])
    disk.deliver(lambda _: 0)
    assert storage.get("a/1") == b"first"


@pytest.mark.parametrize(
    ("kind", "seen"),
    [
        (Listing.AT_ONCE, ["a/1", "a/3", "a/5"]),
        (Listing.OLD, ["a/1", "a/3", "a/5"]),
        (Listing.IN_PARTS, ["a/1", "a/3", "a/4", "a/5"]),
        (Listing.STALE, []),
    ],
)
def test_a_listing_shows_what_was_there_before_unless_it_is_stale(script: Script, kind: Listing, seen: list[str]):
    _, storage = stored(script)
    for number in (1, 3, 5):
        storage.put(f"a/{number}", [b"x"])
    script.kind = kind
    other = SimulatedStorage(storage._disk, Script())
    script.meanwhile = lambda: (other.put("a/2", [b"x"]), other.put("a/4", [b"x"]))
    assert names(storage, "a/") == seen


def test_a_power_cut_takes_what_is_not_durable(script: Script):
    disk, storage = stored(script, lazy=True)
    storage.put("a/1", [b"x"])
    script.fates.extend([Fate.DONE, Fate.REFUSED])
    with pytest.raises(StorageUnavailable):
        storage.put("a/2", [b"x"])
    assert disk.cut_power(lambda: True) == ["lost a/2"]
    assert names(storage) == ["a/1"]


def test_a_power_cut_undoes_a_deletion_of_a_pack_unless_its_directory_was_made_durable(script: Script):
    disk, storage = stored(script, lazy=True)
    pack = 64 * "1"
    for name in (f"a/{pack}", f"b/{pack}", "c/1"):  # what is no hash is gone for good
        storage.put(name, [b"x"])
        storage.delete(name)
    storage.put("b/2", [b"x"])
    assert disk.cut_power(lambda: True) == [f"back a/{pack}"]
    assert names(storage) == [f"a/{pack}", "b/2"]


def test_what_is_older_than_a_minute_survives_a_power_cut(script: Script):
    disk, storage = stored(script, lazy=True)
    script.fates.extend([Fate.DONE, Fate.REFUSED])
    with pytest.raises(StorageUnavailable):
        storage.put("a/1", [b"x"])
    script.now += WRITE_BACK + timedelta(seconds=1)
    assert disk.cut_power(lambda: True) == []
    assert names(storage) == ["a/1"]
