from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamina.errors import UsageError
from lamina.model.quantities import format_duration, format_size, parse_duration, parse_expiry, parse_rate, parse_size

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "size"),
    [("0", 0), ("1048576", 1 << 20), ("4MiB", 4 << 20), ("4M", 4 << 20), ("4m", 4 << 20), ("4 MiB", 4 << 20),
     ("4MB", 4_000_000), ("1.5k", 1536), ("2T", 2 << 40), ("7B", 7)],
)  # fmt: skip
def test_sizes_are_read(text: str, size: int):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "M", "-1", "4Q", "4 i", "5iB", "0x10", "4MiBs", "٤", "1e3"])
def test_what_is_no_size_is_refused(text: str):
    with pytest.raises(UsageError):
        parse_size(text)


@given(st.integers(0, 10**18 - 1))
def test_a_plain_number_is_that_many_bytes(number: int):
    assert parse_size(str(number)) == number


@given(st.integers(0, 1 << 62))
def test_a_formatted_size_reads_back_within_its_last_digit(number: int):
    unit = max(1 << 10 * (max(number.bit_length() - 1, 0) // 10), 1)
    assert abs(parse_size(format_size(number)) - number) <= max(unit, 1024 if number > 1023 else 0) * 0.06


def test_a_rate_may_say_that_it_is_one():
    assert parse_rate("10MiB/s") == parse_rate("10M") == 10 << 20


@pytest.mark.parametrize("text", ["0", "fast", "10/s/s", ""])
def test_what_is_no_rate_is_refused(text: str):
    with pytest.raises(UsageError):
        parse_rate(text)


@pytest.mark.parametrize(
    ("text", "days"), [("30d", 30), ("2w", 14), ("1y", 365), ("24h", 1), ("1w3d", 10), ("1Y", 365)]
)
def test_durations_are_read(text: str, days: int):
    assert parse_duration(text) == timedelta(days=days)


@pytest.mark.parametrize("text", ["", "d", "30", "5m", "3 d", "-1d", "1d,2h"])
def test_what_is_no_duration_is_refused(text: str):
    with pytest.raises(UsageError):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("30d", NOW + timedelta(days=30)),
        ("2027-01-01", datetime(2027, 1, 1, tzinfo=UTC)),
        ("2027-01-01T10:00+02:00", datetime(2027, 1, 1, 8, tzinfo=UTC)),
        ("2027-01-01T10:00Z", datetime(2027, 1, 1, 10, tzinfo=UTC)),
    ],
)
def test_an_expiry_is_a_duration_or_a_date(text: str, moment: datetime):
    assert parse_expiry(text, NOW) == moment


@pytest.mark.parametrize(
    "text", ["2020-01-01", "2026-11-21T12:00", "0d", "0h", "tomorrow", "", "9999y", "0001-01-01T00:00+23:00"]
)
def test_an_expiry_that_is_past_or_nonsense_is_refused(text: str):
    with pytest.raises(UsageError):
        parse_expiry(text, NOW)


@given(st.text(max_size=20))
def test_any_text_is_read_or_refused_with_a_usage_error(text: str):
    for parse in (parse_size, parse_rate, parse_duration, lambda one: parse_expiry(one, NOW)):
        with suppress(UsageError):
            parse(text)


@pytest.mark.parametrize(
    ("size", "text"), [(1023, "1023 B"), (1 << 10, "1.0 KiB"), ((1 << 20) - 1, "1.0 MiB"), (1 << 60, "1024.0 PiB")]
)
def test_sizes_change_their_unit_in_the_right_place(size: int, text: str):
    assert format_size(size) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0.0 s"), (59.97, "1 min 0 s"), (3599.6, "1 h 0 min"), (90000, "25 h 0 min")]
)
def test_durations_change_their_unit_in_the_right_place(seconds: float, text: str):
    assert format_duration(seconds) == text
