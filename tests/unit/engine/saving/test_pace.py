"""How many threads read at a time."""

from __future__ import annotations

import threading

import pytest

from lamina.engine.saving.pace import Pace
from lamina.engine.saving.watched import Watch
from lamina.model.operation import SystemClock


class Reading:
    """Threads that want to read; each stays inside until it is let out."""

    def __init__(self, pace: Pace) -> None:
        self.pace = pace
        self.inside: list[Watch] = []
        self.let_out = threading.Event()
        self.entered = threading.Semaphore(0)
        self.threads: list[threading.Thread] = []

    def begin(self, *, is_small: bool) -> None:
        thread = threading.Thread(target=self._read, args=(is_small,))
        self.threads.append(thread)
        thread.start()

    def _read(self, is_small: bool) -> None:
        watch = Watch(SystemClock())
        with self.pace.reading(watch, 1, is_small=is_small):
            self.inside.append(watch)
            self.entered.release()
            self.let_out.wait(60)

    def end(self) -> None:
        self.let_out.set()
        for thread in self.threads:
            thread.join(60)


@pytest.fixture
def warm() -> Pace:
    """One that has seen a read without a disk."""
    pace = Pace(most=4, busy=2)
    with pace.reading(Watch(SystemClock()), 1, is_small=True):
        pass
    return pace


@pytest.mark.parametrize(("is_small", "expected"), [(True, 1), (False, 2)])
def test_from_memory_few_read_at_a_time(warm: Pace, is_small: bool, expected: int):
    reading = Reading(warm)
    for _ in range(expected):
        reading.begin(is_small=is_small)
        assert reading.entered.acquire(timeout=60)
    assert not warm._has_room(is_small=is_small)
    reading.end()
    assert warm._has_room(is_small=is_small)


def test_as_long_as_nothing_is_known_all_may_read():
    reading = Reading(Pace(most=4, busy=2))
    for _ in range(4):
        reading.begin(is_small=True)
        assert reading.entered.acquire(timeout=60)
    assert not reading.pace._has_room(is_small=True)
    reading.end()


def test_one_that_was_left_behind_takes_no_place(warm: Pace):
    reading = Reading(warm)
    reading.begin(is_small=True)
    assert reading.entered.acquire(timeout=60)
    reading.inside[0].is_left_behind = True
    reading.begin(is_small=True)
    assert reading.entered.acquire(timeout=60)
    reading.end()
