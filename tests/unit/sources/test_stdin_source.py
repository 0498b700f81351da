"""Standard input as a source."""

from __future__ import annotations

import io
import os
import threading

import pytest

from lamina.errors import SourceUnreadable
from lamina.sources.stream import StdinSource


def read_all(source, size):
    buffer = bytearray(size)
    pieces = []
    while count := source.read_into(memoryview(buffer)):
        pieces.append(bytes(buffer[:count]))
    return pieces


def test_only_the_last_piece_is_short():
    pieces = read_all(StdinSource(io.BytesIO(b"x" * 10)), 4)
    assert [len(piece) for piece in pieces] == [4, 4, 2]


def test_an_empty_stream_ends_at_once():
    assert StdinSource(io.BytesIO()).read_into(memoryview(bytearray(4))) == 0


@pytest.mark.parametrize("blocking", [True, False])
@pytest.mark.parametrize("buffering", [0, -1])
def test_a_pipe_that_drips_fills_the_buffer(blocking, buffering):
    read_end, write_end = os.pipe()
    os.set_blocking(read_end, blocking)

    def drip():
        with open(write_end, "wb", buffering=0) as file:
            file.writelines(b"0123456789" for _ in range(200))

    writer = threading.Thread(target=drip)
    with open(read_end, "rb", buffering=buffering) as file:
        writer.start()
        pieces = read_all(StdinSource(file), 1500)
        writer.join()
    assert [len(piece) for piece in pieces] == [1500, 500]
    assert b"".join(pieces) == b"0123456789" * 200


def test_a_fault_is_named(tmp_path):
    with (tmp_path / "out").open("wb") as file:
        source = StdinSource(file, name="the feed")
        with pytest.raises(SourceUnreadable, match="the feed"):
            source.read_into(memoryview(bytearray(4)))


def test_closing_leaves_the_file_to_its_owner():
    file = io.BytesIO(b"x")
    StdinSource(file).close()
    assert file.read() == b"x"
