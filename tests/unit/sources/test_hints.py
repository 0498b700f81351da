"""Lists of changed ranges."""

from __future__ import annotations

import contextlib
import json
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lamina.errors import HintsInvalid
from lamina.sources.hints import ChangedRanges, Claim, Range, parse_rbd_diff

SIZE = 40  # small, so that ranges meet the edges of chunks often


def ranges():
    return st.integers(0, SIZE).flatmap(lambda offset: st.tuples(st.just(offset), st.integers(0, SIZE - offset)))


def entries():
    exists = st.sampled_from([True, False, "true", "false"])
    return st.lists(
        st.tuples(ranges(), exists).map(lambda e: {"offset": e[0][0], "length": e[0][1], "exists": e[1]}), max_size=12
    )


def is_changed(entry):
    return entry["exists"] in (True, "true")


def bytes_of(found):
    return {byte for offset, length in found for byte in range(offset, offset + length)}


def test_what_ceph_prints_is_read():
    data = b'[{"offset":0,"length":4194304,"exists":"true"},{"offset":8388608,"length":100,"exists":"false"}]\n'
    hints = parse_rbd_diff(data, size=1 << 30)
    assert hints == ChangedRanges(changed=(Range(0, 4194304),), zeroed=(Range(8388608, 100),))


def test_an_empty_list_says_that_nothing_changed():
    assert parse_rbd_diff(b"[]", size=100) == ChangedRanges()


@given(entries())
def test_exactly_the_bytes_of_the_entries_are_named(listed):
    hints = parse_rbd_diff(json.dumps(listed).encode(), size=SIZE)
    for found, wanted in ((hints.changed, True), (hints.zeroed, False)):
        named = [(entry["offset"], entry["length"]) for entry in listed if is_changed(entry) is wanted]
        assert bytes_of(found) == bytes_of(named)


@given(entries())
def test_ranges_are_sorted_and_do_not_touch(listed):
    hints = parse_rbd_diff(json.dumps(listed).encode(), size=SIZE)
    for found in (hints.changed, hints.zeroed):
        assert all(one.end < other.offset for one, other in pairwise(found))
        assert all(one.length > 0 for one in found)


@example([{"offset": 0, "length": 9, "exists": False}], 10, SIZE)  # all but the last byte of a chunk
@example([{"offset": 1, "length": 9, "exists": False}], 10, SIZE)  # all but the first
@given(entries(), st.integers(1, 12), st.integers(1, SIZE + 5))
def test_positions_say_of_each_chunk_what_its_bytes_say(listed, chunk_size, size):
    hints = parse_rbd_diff(json.dumps(listed).encode(), size=SIZE)
    changed, zeroed = bytes_of(hints.changed), bytes_of(hints.zeroed)
    expected = []
    for start in range(0, size, chunk_size):
        chunk = set(range(start, min(start + chunk_size, size)))
        if chunk <= zeroed - changed:
            expected.append((start // chunk_size, Claim.ZEROED))
        elif chunk & (changed | zeroed):
            expected.append((start // chunk_size, Claim.READ))
    assert list(hints.positions(size, chunk_size)) == expected


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "truncated"),
        (b"{}", "Expected `array`"),
        (b"\xff\xfe", "malformed"),
        (b"[1]", "entry 1"),
        (b"[{" + b'"x":[' + b"[" * 100_000, "recursion"),
        (b'[{"offset":0,"length":1,"exists":"true"},{"offset":-1,"length":1,"exists":"true"}]', "entry 2, offset"),
        (b'[{"offset":0,"length":-1,"exists":"true"}]', "entry 1, length"),
        (b'[{"offset":0.5,"length":1,"exists":"true"}]', "entry 1, offset"),
        (b'[{"offset":true,"length":1,"exists":"true"}]', "entry 1, offset"),
        (b'[{"offset":"0","length":1,"exists":"true"}]', "entry 1, offset"),
        (b'[{"offset":99999999999999999999,"length":1,"exists":"true"}]', "entry 1, offset"),
        (b'[{"offset":0,"length":1,"exists":"maybe"}]', "entry 1, exists"),
        (b'[{"offset":0,"length":1}]', "entry 1.*exists"),
        (b"[] []", "malformed"),
    ],
)
def test_malformed_hints_are_refused_with_the_place(data, message):
    with pytest.raises(HintsInvalid, match=message) as raised:
        parse_rbd_diff(data, size=SIZE)
    assert "rbd diff" in raised.value.hint


def test_a_range_beyond_the_image_names_both_sizes():
    data = b'[{"offset":0,"length":1,"exists":"true"},{"offset":90,"length":20,"exists":"true"}]'
    with pytest.raises(HintsInvalid, match=r"entry 2 .* 110, the image has 100 bytes"):
        parse_rbd_diff(data, size=100)


@given(st.binary(max_size=200))
def test_any_bytes_are_parsed_or_refused(data):
    with contextlib.suppress(HintsInvalid):
        assert isinstance(parse_rbd_diff(data, size=SIZE), ChangedRanges)


def test_hundreds_of_thousands_of_entries_are_joined():
    data = json.dumps([{"offset": i * 10, "length": 10, "exists": "true"} for i in range(300_000)]).encode()
    assert parse_rbd_diff(data, size=3_000_000).changed == (Range(0, 3_000_000),)
