"""Try again what may well succeed the next time."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from lamina.errors import ObjectTruncated, StorageError, StorageUnavailable
from lamina.model.operation import Operation
from lamina.model.quantities import format_duration
from lamina.storage.storage import Parts, Storage, StoredObject
from lamina.storage.waiting import wait

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Patience:
    """How often and how long to try.

    Waits are drawn at random between zero and a bound that doubles each time ("full jitter"), so that many clients do
    not come back to a recovering server all at once. The defaults give up after about two minutes of waiting.
    """

    tries: int = 12  # in all, for an answer that did not come
    tries_if_truncated: int = (
        3  # in all: a broken connection gives other bytes the next time, a damaged object does not
    )
    first_wait_s: float = 0.5
    longest_wait_s: float = 30.0
    in_all_s: float = 1800.0  # after this no further try, however few there were: a server may take minutes to time out

    def bound_s(self, failures: int) -> float:
        """The longest wait after that many failures.

        >>> [Patience().bound_s(n) for n in (1, 2, 3, 20)]
        [0.5, 1.0, 2.0, 30.0]
        """
        return min(self.longest_wait_s, self.first_wait_s * 2.0 ** min(failures - 1, 30))


class Retrying:
    """A storage that repeats a call which met `StorageUnavailable` or `ObjectTruncated`.

    A `put` whose answer was lost is put again: the storage's own promise ("once") then settles it by reading, and equal
    bytes mean that it is done. A listing is collected first, so that nothing is shown twice. The last error is raised as
    it is; `Stopped` comes instead of another try once the operation's stop button is pressed. Once it gave up on a storage
    that does not answer, every call has one try only, until one succeeds: a run that fails has more to say to the storage
    on its way out, and must not wait as long again for each of these calls. An object that stayed too short has one try
    from then on: it is damaged, and somebody who looks for what is left of it asks a thousand times.
    """

    def __init__(
        self,
        storage: Storage,
        operation: Operation,
        *,
        patience: Patience | None = None,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._storage = storage
        self._operation = operation
        self._patience = patience or Patience()
        self._draw = draw  # 0.0-1.0
        self._is_away = False  # the storage, as far as we know
        self._short: set[str] = set()  # names of objects that are damaged, as far as we know

    @property
    def address(self) -> str:
        return self._storage.address

    def put(self, name: str, parts: Parts) -> None:
        self._persist("put", name, lambda: self._storage.put(name, parts))

    def get(self, name: str) -> bytes:
        return self._persist("get", name, lambda: self._storage.get(name))

    def get_range(self, name: str, offset: int, length: int) -> bytes:
        return self._persist("get", name, lambda: self._storage.get_range(name, offset, length))

    def stat(self, name: str) -> StoredObject:
        return self._persist("stat", name, lambda: self._storage.stat(name))

    def objects(self, prefix: str = "") -> Iterator[StoredObject]:
        return iter(self._persist("list", prefix or "everything", lambda: list(self._storage.objects(prefix))))

    def delete(self, name: str) -> None:
        self._persist("delete", name, lambda: self._storage.delete(name))

    def close(self) -> None:
        self._storage.close()

    def _persist(self, verb: str, name: str, call: Callable[[], T]) -> T:
        failures = 0
        begun = self._operation.clock.monotonic()
        while True:
            try:
                result = call()
            except (StorageUnavailable, ObjectTruncated) as error:
                failures += 1
                is_too_long = self._operation.clock.monotonic() - begun >= self._patience.in_all_s
                if is_too_long or failures >= self._tries(name, error):
                    self._is_away = isinstance(error, StorageUnavailable)
                    if isinstance(error, ObjectTruncated):
                        self._short.add(name)
                    raise
                wait_s = self._draw() * self._patience.bound_s(failures)
                self._operation.progress.message(
                    f"{error.message}; try {failures + 1} of {self._tries(name, error)} to {verb} {name} "
                    f"in {format_duration(wait_s)}"
                )
                wait(self._operation.clock, wait_s, self._operation.stop)
                self._operation.check_stop()
            else:
                self._is_away = False
                return result

    def _tries(self, name: str, error: StorageError) -> int:
        if isinstance(error, ObjectTruncated):
            return 1 if name in self._short else self._patience.tries_if_truncated
        return 1 if self._is_away else self._patience.tries
