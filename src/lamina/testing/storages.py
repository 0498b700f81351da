"""Storages for tests: `MemoryStorage`, and one that fails exactly as planned."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Literal, TypeVar

from lamina.errors import StorageError, StorageUnavailable
from lamina.storage.backends.memory import MemoryStorage
from lamina.storage.storage import Parts, Storage, StoredObject

__all__ = ["Effect", "Fault", "FaultyStorage", "MemoryStorage"]

T = TypeVar("T")
Call = Literal["put", "get", "get_range", "stat", "objects", "delete", "any"]


class Effect(Enum):
    """What goes wrong."""

    REFUSED = "refused"  # nothing happens; the error is raised
    UNACKNOWLEDGED = "unacknowledged"  # it happens, and then the error is raised: a lost reply
    SHORTENED = "shortened"  # a read returns the first half of the bytes, without a word
    FLIPPED = "flipped"  # a read returns the bytes with one bit turned over, without a word


@dataclass(frozen=True, slots=True)
class Fault:
    """One planned mishap: the *nth* of the calls that fit (1 is the first), or from there on all of them if *lasting*.

    >>> Fault("put", nth=3, effect=Effect.UNACKNOWLEDGED, prefix="data/")  # the third pack arrives, its reply does not
    Fault(call='put', nth=3, effect=<Effect.UNACKNOWLEDGED: 'unacknowledged'>, prefix='data/', lasting=False, \
error=<class 'lamina.errors.StorageUnavailable'>)
    """

    call: Call = "any"
    nth: int = 1
    effect: Effect = Effect.REFUSED
    prefix: str = ""  # of the object's name
    lasting: bool = False
    error: type[StorageError] = StorageUnavailable


class FaultyStorage:
    """*storage* with the faults of *plan*; the same calls always meet the same faults.

    `calls` is what was asked for so far, as (call, name); the first fault that fits a call is the one it meets. `met`
    counts the calls that a fault made any difference to: a test whose plan was never met has tested nothing.
    """

    def __init__(self, storage: Storage, plan: Sequence[Fault] = ()) -> None:
        self._storage = storage
        self._plan = list(plan)
        self._seen = [0] * len(self._plan)
        self._lock = threading.Lock()
        self.calls: list[tuple[str, str]] = []
        self.met = 0

    @property
    def address(self) -> str:
        return self._storage.address

    def put(self, name: str, parts: Parts) -> None:
        self._meet("put", name, lambda: self._storage.put(name, parts))

    def get(self, name: str) -> bytes:
        return self._meet("get", name, lambda: self._storage.get(name))

    def get_range(self, name: str, offset: int, length: int) -> bytes:
        return self._meet("get_range", name, lambda: self._storage.get_range(name, offset, length))

    def stat(self, name: str) -> StoredObject:
        return self._meet("stat", name, lambda: self._storage.stat(name))

    def objects(self, prefix: str = "") -> Iterator[StoredObject]:
        return self._meet("objects", prefix, lambda: self._storage.objects(prefix))

    def delete(self, name: str) -> None:
        self._meet("delete", name, lambda: self._storage.delete(name))

    def close(self) -> None:
        self._storage.close()

    def heal(self) -> None:
        """Drop the plan: from now on all goes well."""
        with self._lock:
            self._plan, self._seen = [], []

    def _meet(self, call: str, name: str, act: Callable[[], T]) -> T:
        fault = self._next_fault(call, name)
        if fault is None:
            return act()
        if fault.effect is Effect.REFUSED:
            self._count()
            raise fault.error(f"planned: {call} {name} was refused")
        result = act()
        if fault.effect is Effect.UNACKNOWLEDGED:
            self._count()
            raise fault.error(f"planned: the reply to {call} {name} was lost")
        if not isinstance(result, bytes) or not result:
            return result  # there is nothing to spoil
        self._count()
        return _spoil(result, fault.effect)  # type: ignore[return-value]  # T is bytes here

    def _count(self) -> None:
        with self._lock:
            self.met += 1

    def _next_fault(self, call: str, name: str) -> Fault | None:
        """Count the call for every fault that it fits; the first one whose turn has come is met."""
        met = None
        with self._lock:
            self.calls.append((call, name))
            for place, fault in enumerate(self._plan):
                if fault.call not in {"any", call} or not name.startswith(fault.prefix):
                    continue
                self._seen[place] += 1
                due = self._seen[place] >= fault.nth if fault.lasting else self._seen[place] == fault.nth
                if due and met is None:
                    met = fault
        return met


def _spoil(result: bytes, effect: Effect) -> bytes:
    """Spoil what a read returned."""
    middle = len(result) // 2
    if effect is Effect.SHORTENED:
        return result[:middle]
    return result[:middle] + bytes([result[middle] ^ 1]) + result[middle + 1 :]
