"""Standard output as a target."""

from __future__ import annotations

import io
import os
import threading

import pytest

from lamina.errors import TargetUnwritable
from lamina.targets.stream import StdoutTarget


def test_everything_arrives_in_order():
    file = io.BytesIO()
    target = StdoutTarget(file)
    for piece in (b"one", bytearray(b"two"), memoryview(b"three"), b""):
        target.write(piece)
    target.close()
    assert file.getvalue() == b"onetwothree"


@pytest.mark.parametrize("blocking", [True, False])
@pytest.mark.parametrize("buffering", [0, -1])
def test_a_slow_reader_gets_everything(blocking, buffering):
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, blocking)
    content = os.urandom(1 << 20)
    received = []

    def read():
        with open(read_end, "rb") as file:
            received.append(file.read())

    reader = threading.Thread(target=read)
    with open(write_end, "wb", buffering=buffering) as file:
        reader.start()
        target = StdoutTarget(file)
        target.write(content)
        target.close()
    reader.join()
    assert received == [content]


@pytest.mark.parametrize("size", [10, 1 << 20])
def test_a_reader_that_went_away_is_named(size):
    read_end, write_end = os.pipe()
    os.close(read_end)
    file = open(write_end, "wb", buffering=0)  # noqa: SIM115
    target = StdoutTarget(file)
    with pytest.raises(TargetUnwritable, match="standard output was closed"):
        target.write(bytes(size))
    file.close()


def test_a_full_disk_is_no_reader_that_went_away():
    with open("/dev/full", "wb", buffering=0) as file, pytest.raises(TargetUnwritable, match="is full") as raised:
        StdoutTarget(file).write(b"x")
    assert "--resume" not in raised.value.hint
