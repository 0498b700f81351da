"""Threads that may be given up: a call into a file system that does not answer cannot be cancelled, only left behind."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Generic, TypeVar

from lamina.errors import LaminaError
from lamina.model.operation import Clock, Operation

WAIT_S = 0.5  # how often a wait looks at the deadline and the stop button

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")


class NotAnswering(LaminaError):
    """One step of a watched task took longer than its deadline; its thread was left behind."""


class Watch:
    """What a task tells about itself: which step it is at, since when."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.step = 0  # how many steps were begun
        self.is_left_behind = False
        self._since: float | None = None

    def begin_step(self) -> None:
        """A step begins now that may hang."""
        self.step += 1
        self.go_on()

    def go_on(self) -> None:
        """The step asks something again, and has as long for it as a new one."""
        self._since = self._clock.monotonic()

    def end_steps(self) -> None:
        """What follows is our own work; it takes as long as it takes."""
        self._since = None

    @contextmanager
    def asking(self) -> Iterator[None]:
        """One of many questions of a step; what follows the answer is our own work."""
        self.go_on()
        yield
        self.end_steps()

    def age(self) -> float:
        """Seconds since the current step began."""
        since = self._since
        return 0.0 if since is None else self._clock.monotonic() - since


class Watched(Generic[Outcome]):
    """One task under way."""

    def __init__(self, task: Callable[[Watch], Outcome], watch: Watch) -> None:
        self.task = task
        self.watch = watch
        self.future: Future[Outcome] = Future()
        self.thread: threading.Thread | None = None


class WatchedThreads:
    """A few threads that carry out tasks; one that hangs is replaced, and nothing here waits for it.

    The process ends as soon as the kernel lets go of it, which for a call into a dead file system may be never.
    """

    def __init__(self, count: int, operation: Operation, deadline_s: float) -> None:
        self._operation = operation
        self._deadline_s = deadline_s
        self._tasks: queue.SimpleQueue[Watched[object] | None] = queue.SimpleQueue()
        self._threads: set[threading.Thread] = set()
        for _ in range(count):
            self._start()

    def submit(self, task: Callable[[Watch], Outcome]) -> Watched[Outcome]:
        """Have *task* carried out; it gets the watch to tell about its steps."""
        watched = Watched(task, Watch(self._operation.clock))
        self._tasks.put(watched)  # type: ignore[arg-type]  # a queue of any outcomes
        return watched

    def result(self, watched: Watched[Outcome], meanwhile: Callable[[], None] = lambda: None) -> Outcome:
        """Wait for a task. *meanwhile* is called now and then. Raises: what it raised; NotAnswering, Stopped."""
        while True:
            try:
                return watched.future.result(timeout=WAIT_S)
            except TimeoutError:
                if watched.future.done():  # the task itself raised it
                    raise
            self._operation.check_stop()
            meanwhile()
            if watched.watch.age() > self._deadline_s:
                self._leave_behind(watched)
                raise NotAnswering(f"no answer within {self._deadline_s:g} seconds")

    def close(self) -> None:
        """Let the threads end when they have nothing to do; wait for none that hangs."""
        for _ in self._threads:
            self._tasks.put(None)
        for thread in self._threads:
            thread.join(timeout=WAIT_S)

    def _leave_behind(self, watched: Watched[Outcome]) -> None:
        watched.watch.is_left_behind = True
        if watched.thread in self._threads:
            self._threads.discard(watched.thread)
            self._start()

    def _start(self) -> None:
        thread = threading.Thread(target=self._run, name="read", daemon=True)
        self._threads.add(thread)
        thread.start()

    def _run(self) -> None:
        current = threading.current_thread()
        while current in self._threads:
            watched = self._tasks.get()
            if watched is None:
                return
            watched.thread = current
            try:
                watched.future.set_result(watched.task(watched.watch))
            except BaseException as error:  # noqa: BLE001 - it belongs to whoever waits
                watched.future.set_exception(error)
            finally:
                watched.watch.end_steps()
