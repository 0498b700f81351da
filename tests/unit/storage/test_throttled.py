"""Speed limits, by a clock that moves only when slept on."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest

from lamina.storage.throttled import Throttled
from lamina.testing.clocks import FrozenClock
from lamina.testing.storages import MemoryStorage


def build(**limits):
    clock = FrozenClock()
    return Throttled(MemoryStorage(clock), clock, **limits), clock


def test_uploads_take_their_time():
    storage, clock = build(upload_bytes_per_s=100)
    storage.put("a", [b"x" * 150, b"y" * 50])
    storage.put("b", [b"x" * 100])
    assert clock.monotonic() == pytest.approx(3)


def test_downloads_take_their_time():
    storage, clock = build(download_bytes_per_s=100)
    storage.put("a", [b"x" * 1000])
    assert clock.monotonic() == 0
    storage.get("a")
    storage.get_range("a", 0, 500)
    assert clock.monotonic() == pytest.approx(15)


def test_threads_share_one_line():
    storage, clock = build(upload_bytes_per_s=100)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda number: storage.put(f"object-{number}", [b"x" * 100]), range(8)))
    # the clock is moved by all threads that sleep, so it may run ahead of the line, never behind it
    assert clock.monotonic() >= 8 - 1e-6


def test_time_not_used_is_not_saved_up():
    storage, clock = build(upload_bytes_per_s=100)
    clock.sleep(60)
    storage.put("a", [b"x" * 100])
    assert clock.monotonic() == pytest.approx(61)


def test_stopping_ends_the_waiting_and_not_the_call():
    stop = Event()
    clock = FrozenClock()
    storage = Throttled(MemoryStorage(clock), clock, upload_bytes_per_s=1, stop=stop)
    stop.set()
    storage.put("a", [b"x" * 1000])
    assert storage.get("a") == b"x" * 1000
    assert clock.monotonic() == 0
