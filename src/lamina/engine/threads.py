"""Do many things at once, a bounded number ahead, in order."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

from lamina.model.operation import Operation

AHEAD = 6  # tasks under way at a time

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")


def overlapping() -> int:
    """How many threads fetch and write: two at least, so that one does the one while the other does the other."""
    return max(2, min(len(os.sched_getaffinity(0)), 4))


def each(
    executor: ThreadPoolExecutor,
    task: Callable[[Item], Outcome],
    items: Iterable[Item],
    operation: Operation,
    *,
    ahead: int = AHEAD,
) -> Iterator[Outcome]:
    """The outcome of *task* for each of *items*, in order; *ahead* are begun before the oldest is waited for.

    Raises: what a task raised; Stopped.
    """
    pending: deque[Future[Outcome]] = deque()
    try:
        for item in items:
            operation.check_stop()
            pending.append(executor.submit(task, item))
            if len(pending) >= ahead:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        for future in pending:
            future.cancel()


def batched(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """*items* in lists of *size*; only the last may be shorter (itertools has it from Python 3.12 on).

    >>> list(batched("abcde", 2))
    [['a', 'b'], ['c', 'd'], ['e']]
    """
    rest = iter(items)
    while batch := list(islice(rest, size)):
        yield batch
