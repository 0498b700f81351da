"""Do not wait for an answer that nobody wants any more."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import TypeVar

from lamina.errors import Stopped
from lamina.model.operation import Operation
from lamina.storage.storage import Parts, Storage, StoredObject

T = TypeVar("T")

_LOOK_EVERY_S = 0.2
GRACE_S = 5.0  # what is under way when the button is pressed may still be worth having


class Interruptible:
    """A storage whose calls end soon after the stop button is pressed, even if the place never answers.

    A server that went silent in the middle of an upload can hold a call for a quarter of an hour, and no signal reaches
    code that waits for a socket. So each call runs in a thread of its own, which is left behind if the button is pressed
    and a time of grace (one for all calls together) is over: what came of that call is then unknown, as after a power cut.
    """

    def __init__(self, storage: Storage, operation: Operation, *, grace_s: float = GRACE_S) -> None:
        self._storage = storage
        self._operation = operation
        self._grace_s = grace_s
        self._deadline: float | None = None  # by the monotonic clock, once the button was seen pressed

    @property
    def address(self) -> str:
        return self._storage.address

    def put(self, name: str, parts: Parts) -> None:
        self._call(f"put {name}", lambda: self._storage.put(name, parts))

    def get(self, name: str) -> bytes:
        return self._call(f"get {name}", lambda: self._storage.get(name))

    def get_range(self, name: str, offset: int, length: int) -> bytes:
        return self._call(f"get {name}", lambda: self._storage.get_range(name, offset, length))

    def stat(self, name: str) -> StoredObject:
        return self._call(f"stat {name}", lambda: self._storage.stat(name))

    def objects(self, prefix: str = "") -> Iterator[StoredObject]:
        return iter(self._call(f"list {prefix or 'everything'}", lambda: list(self._storage.objects(prefix))))

    def delete(self, name: str) -> None:
        self._call(f"delete {name}", lambda: self._storage.delete(name))

    def close(self) -> None:
        self._storage.close()

    def _call(self, what: str, call: Callable[[], T]) -> T:
        future: Future[T] = Future()
        # a daemon: the end of the program does not wait for it either
        threading.Thread(target=_settle, args=(future, call), name="storage call", daemon=True).start()
        while True:
            try:
                return future.result(_LOOK_EVERY_S)
            except TimeoutError:
                if future.done():
                    continue
                if self._is_grace_over():
                    raise Stopped(
                        f"stopped on request, without waiting for {self._storage.address} to {what}",
                        hint="run the same command again: what was stored is used again",
                    ) from None

    def _is_grace_over(self) -> bool:
        if not self._operation.stop.is_set():
            return False
        now = self._operation.clock.monotonic()
        if self._deadline is None:
            self._deadline = now + self._grace_s
        return now >= self._deadline


def _settle(future: Future[T], call: Callable[[], T]) -> None:
    try:
        result = call()
    except BaseException as error:  # noqa: BLE001 - raised again where the answer is waited for
        future.set_exception(error)
    else:
        future.set_result(result)
