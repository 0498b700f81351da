"""Interruptible over a storage that is silent until told otherwise."""

from __future__ import annotations

import threading

import pytest

from lamina.errors import Stopped, StorageDenied
from lamina.model.operation import Operation
from lamina.storage.interruptible import Interruptible
from lamina.testing.clocks import FrozenClock
from lamina.testing.storages import Fault, FaultyStorage, MemoryStorage


class SilentStorage(MemoryStorage):
    """Answers nothing until `answer` is set."""

    def __init__(self):
        super().__init__()
        self.asked, self.answer = threading.Event(), threading.Event()

    def get(self, name):
        self.asked.set()
        self.answer.wait()
        return super().get(name)


@pytest.fixture
def silent():
    storage = SilentStorage()
    yield storage
    storage.answer.set()


def press_when_asked(silent, operation):
    def press():
        silent.asked.wait()
        operation.stop.set()

    threading.Thread(target=press, daemon=True).start()


def test_a_call_that_is_never_answered_ends_when_the_button_is_pressed(silent):
    operation = Operation(clock=FrozenClock())
    press_when_asked(silent, operation)
    with pytest.raises(Stopped, match="get object") as caught:
        Interruptible(silent, operation, grace_s=0).get("object")
    assert caught.value.hint


def test_a_call_that_is_answered_within_the_grace_is_done(silent):
    silent.put("object", [b"x"])
    operation = Operation(clock=FrozenClock())  # the grace never ends

    def press_and_answer():
        silent.asked.wait()
        operation.stop.set()
        silent.answer.set()

    threading.Thread(target=press_and_answer, daemon=True).start()
    assert Interruptible(silent, operation).get("object") == b"x"


def test_an_error_of_the_storage_arrives_as_it_is():
    faulty = FaultyStorage(MemoryStorage(), [Fault("get", error=StorageDenied)])
    with pytest.raises(StorageDenied):
        Interruptible(faulty, Operation()).get("object")
