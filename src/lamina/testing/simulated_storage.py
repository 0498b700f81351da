"""A storage whose every call is a step that somebody else schedules, and spoils within what storages may do.

A `Disk` holds the objects. Each client sees it through a `SimulatedStorage`, which asks a `Turn` before each step: what is to
become of it? So one thread can run many clients, in any order, with any mishap between any two of their calls.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import Protocol, TypeVar

from lamina.errors import ObjectExists, ObjectMissing, ObjectTruncated, StorageUnavailable
from lamina.storage.names import check_name, check_prefix, spread_name
from lamina.storage.storage import Parts, StoredObject

T = TypeVar("T")

WRITE_BACK = timedelta(seconds=60)  # Linux writes names that nobody asked it to write after half of that


class Fate(Enum):
    """What becomes of one step."""

    DONE = "done"
    REFUSED = "refused"  # nothing happens, and an error says so
    UNACKNOWLEDGED = "unacknowledged"  # it happens, but an error is all that comes back
    LATE = "late"  # an error comes back, and the put happens some time later, or never


class Listing(Enum):
    """How a listing comes about; all of them keep the promise that what was stored before is shown."""

    AT_ONCE = "at once"
    OLD = "old"  # as it was when it was asked for; by the time it arrives more has happened
    IN_PARTS = "in parts"  # the second half of the names is looked at later than the first
    STALE = "stale"  # against the promise: without what was put last


class Turn(Protocol):
    """The scheduler, as one client's storage sees it."""

    def step(self, call: str, name: str) -> Fate:
        """Wait for our turn; what is to become of this call. May raise what kills the client."""
        ...

    def after(self, call: str, name: str) -> None:
        """The call has had its effect, the client does not know yet. May raise what kills the client."""
        ...

    def listing(self) -> Listing:
        """How the next listing comes about."""
        ...

    def share(self) -> float:
        """Where a listing in parts is cut, 0.0-1.0."""
        ...


@dataclass(slots=True)
class _Held:
    """One object on the disk."""

    stored: StoredObject
    data: bytes
    durable: bool
    touched: datetime  # when it was put or deleted


class Disk:
    """What all clients share.

    With *lazy* an object is seen when it has its name, and survives a power cut only after a second step: as a directory
    of a file system does. Without, both happen at once, as in an object store.
    """

    def __init__(self, now: Callable[[], datetime], *, lazy: bool) -> None:
        self.lazy = lazy
        self._now = now
        self._objects: dict[str, _Held] = {}
        self._names: list[str] = []  # sorted
        self._late: list[tuple[str, bytes]] = []  # puts that are still on their way
        self._deleted: dict[str, _Held] = {}  # what a power cut may bring back
        self._newest: list[str] = []  # put last; for listings that are stale

    def put(self, name: str, data: bytes) -> None:
        """Give *data* its name, unless it holds other bytes. Raises: ObjectExists."""
        held = self._objects.get(check_name(name))
        if held is None:
            now = self._now()
            self._objects[name] = _Held(StoredObject(name, len(data), now), data, not self.lazy, now)
            insort(self._names, name)
            self._newest = [*self._newest[-2:], name]
        elif held.data != data:
            raise ObjectExists(f"{name} already holds other bytes; they were not touched")

    def make_durable(self, name: str) -> None:
        """The name is on the disk; and so is every change of its directory before."""
        folder = name.rpartition("/")[0]
        for found in self.objects(f"{folder}/" if folder else ""):
            if found.name.rpartition("/")[0] == folder:
                self._objects[found.name].durable = True
        self._deleted = {other: held for other, held in self._deleted.items() if other.rpartition("/")[0] != folder}

    def get(self, name: str) -> bytes:
        return self._find(name).data

    def stat(self, name: str) -> StoredObject:
        return self._find(name).stored

    def objects(self, prefix: str, *, without: frozenset[str] = frozenset()) -> list[StoredObject]:
        """What there is now, by name."""
        start = bisect_left(self._names, prefix)
        found = []
        for name in self._names[start:]:
            if not name.startswith(prefix):
                break
            if name not in without:
                found.append(self._objects[name].stored)
        return found

    def newest(self) -> frozenset[str]:
        """The names of what was put last."""
        return frozenset(self._newest)

    def delete(self, name: str) -> None:
        held = self._objects.pop(check_name(name), None)
        if held is not None:
            del self._names[bisect_left(self._names, name)]
            if self.lazy and spread_name(name) != name:  # other names are gone for good
                held.touched = self._now()
                self._deleted[name] = held

    def send(self, name: str, data: bytes) -> None:
        """A put that will arrive later."""
        self._late.append((name, data))

    def deliver(self, choose: Callable[[int], int]) -> str | None:
        """One of the puts that are on their way arrives; its name."""
        if not self._late:
            return None
        name, data = self._late.pop(choose(len(self._late)))
        if name not in self._objects:
            self.put(name, data)
            self.make_durable(name)
        return name

    def cut_power(self, is_lost: Callable[[], bool]) -> list[str]:
        """Lose what is not durable, each or not; undo deletions that are not. What it did, for a trace."""
        self._late.clear()
        told = []
        written = self._now() - WRITE_BACK  # until then the kernel wrote everything, asked or not
        self._deleted = {name: held for name, held in self._deleted.items() if held.touched > written}
        for held in self._objects.values():
            held.durable = held.durable or held.touched <= written
        for name in [name for name in self._names if not self._objects[name].durable]:
            if is_lost():
                self.delete(name)
                self._deleted.pop(name, None)
                told.append(f"lost {name}")
            else:
                self._objects[name].durable = True
        for name, held in self._deleted.items():
            if is_lost() and name not in self._objects:
                self._objects[name] = held
                insort(self._names, name)
                told.append(f"back {name}")
        self._deleted.clear()
        return told

    def _find(self, name: str) -> _Held:
        held = self._objects.get(check_name(name))
        if held is None:
            raise ObjectMissing(f"{name} is not there")
        return held


class SimulatedStorage:
    """*disk* as one client sees it; each call is one step of *turn*, or two."""

    def __init__(self, disk: Disk, turn: Turn) -> None:
        self._disk = disk
        self._turn = turn

    @property
    def address(self) -> str:
        return "simulation:"

    def put(self, name: str, parts: Parts) -> None:
        data = b"".join(parts)
        fate = self._turn.step("put", name)
        if fate is Fate.LATE:
            self._disk.send(name, data)
            raise _no_answer("put", name)
        self._act("put", name, fate, lambda: self._disk.put(name, data))
        if self._disk.lazy:
            self._act("sync", name, self._turn.step("sync", name), lambda: self._disk.make_durable(name))

    def get(self, name: str) -> bytes:
        return self._read("get", name, lambda: self._disk.get(name))

    def get_range(self, name: str, offset: int, length: int) -> bytes:
        data = self._read("get", name, lambda: self._disk.get(name))
        if offset + length > len(data):
            raise ObjectTruncated(f"{name} has {len(data)} bytes, not the {offset + length} it must have")
        return data[offset : offset + length]

    def stat(self, name: str) -> StoredObject:
        return self._read("stat", name, lambda: self._disk.stat(name))

    def objects(self, prefix: str = "") -> Iterator[StoredObject]:
        check_prefix(prefix)
        return iter(self._read("list", prefix, lambda: self._list(prefix)))

    def delete(self, name: str) -> None:
        self._act("delete", name, self._turn.step("delete", name), lambda: self._disk.delete(name))

    def close(self) -> None:
        """Nothing is to be given back."""

    def _list(self, prefix: str) -> list[StoredObject]:
        kind = self._turn.listing()
        if kind is Listing.STALE:
            return self._disk.objects(prefix, without=self._disk.newest())
        found = self._disk.objects(prefix)
        if kind is Listing.AT_ONCE or not found:
            return found
        if kind is Listing.OLD:
            self._turn.step("listed", prefix)
            return found
        cut = found[int(self._turn.share() * len(found))].name
        self._turn.step("list on", prefix)
        return [one for one in found if one.name < cut] + [one for one in self._disk.objects(prefix) if one.name >= cut]

    def _read(self, call: str, name: str, read: Callable[[], T]) -> T:
        if self._turn.step(call, name) is not Fate.DONE:
            raise _no_answer(call, name)
        return read()

    def _act(self, call: str, name: str, fate: Fate, act: Callable[[], None]) -> None:
        if fate is Fate.REFUSED:
            raise _no_answer(call, name)
        act()
        self._turn.after(call, name)
        if fate is not Fate.DONE:
            raise _no_answer(call, name)


def _no_answer(call: str, name: str) -> StorageUnavailable:
    return StorageUnavailable(f"planned: no answer to {call} {name}")
