"""Which chunks of an image hold data."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lamina.model.entries import Extent, ExtentKind, data_positions

lengths = st.lists(st.integers(1, 20), max_size=12)


@given(lengths, st.booleans(), st.integers(1, 9))
def test_a_position_holds_data_if_any_of_its_bytes_does(lengths: list[int], first: bool, chunk: int):
    extents, data, offset = [], set(), 0
    for number, length in enumerate(lengths):
        kind = ExtentKind.DATA if (number % 2 == 0) is first else ExtentKind.HOLE
        extents.append(Extent(offset, length, kind))
        if kind is ExtentKind.DATA:
            data |= {byte // chunk for byte in range(offset, offset + length)}
        offset += length
    assert list(data_positions(extents, chunk)) == sorted(data)
