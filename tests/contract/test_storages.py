"""The storage contract over every implementation and wrapper that needs no server."""

from __future__ import annotations

from contextlib import closing

import pytest

from lamina.model.operation import Operation
from lamina.storage.backends.local import LocalStorage
from lamina.storage.backends.memory import MemoryStorage
from lamina.storage.interruptible import Interruptible
from lamina.storage.retrying import Retrying
from lamina.storage.throttled import Throttled
from lamina.testing.clocks import FrozenClock
from lamina.testing.contracts.storage import StorageContract
from lamina.testing.storages import FaultyStorage


class TestMemory(StorageContract):
    @pytest.fixture
    def storage(self):
        return MemoryStorage()


class TestLocal(StorageContract):
    @pytest.fixture
    def storage(self, tmp_path):
        with closing(LocalStorage(tmp_path / "repository", create=True)) as storage:
            yield storage


class TestLocalWithNamedTemporaries(StorageContract):
    @pytest.fixture
    def storage(self, tmp_path):
        with closing(LocalStorage(tmp_path / "repository", create=True, anonymous=False)) as storage:
            yield storage


class TestRetrying(StorageContract):
    @pytest.fixture
    def storage(self):
        return Retrying(MemoryStorage(), Operation(clock=FrozenClock()))


class TestInterruptible(StorageContract):
    @pytest.fixture
    def storage(self):
        return Interruptible(MemoryStorage(), Operation(clock=FrozenClock()))


class TestThrottled(StorageContract):
    @pytest.fixture
    def storage(self):
        clock = FrozenClock()
        return Throttled(MemoryStorage(clock), clock, upload_bytes_per_s=1000, download_bytes_per_s=1000)


class TestFaultyWithoutFaults(StorageContract):
    @pytest.fixture
    def storage(self):
        return FaultyStorage(MemoryStorage())
