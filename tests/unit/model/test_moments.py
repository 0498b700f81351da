from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from lamina.errors import UsageError
from lamina.model.moments import from_ns, parse_moment, to_ns

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("12h", datetime(2026, 3, 1, tzinfo=UTC)),
        ("1w", datetime(2026, 2, 22, 12, tzinfo=UTC)),
        ("2026-01-02", datetime(2026, 1, 2, tzinfo=UTC)),
        ("2026-01-02T03:04", datetime(2026, 1, 2, 3, 4, tzinfo=UTC)),
        ("2026-01-02T03:04+01:00", datetime(2026, 1, 2, 2, 4, tzinfo=UTC)),
    ],
)
def test_moments_in_the_past(text: str, moment: datetime):
    assert parse_moment(text, NOW, UTC) == moment


def test_a_date_without_an_offset_is_in_the_named_zone():
    berlin = ZoneInfo("Europe/Berlin")
    assert parse_moment("2026-01-02", NOW, berlin) == datetime(2026, 1, 1, 23, tzinfo=UTC)
    assert parse_moment("2026-01-02T00:00Z", NOW, berlin) == datetime(2026, 1, 2, tzinfo=UTC)


@pytest.mark.parametrize("text", ["", "yesterday", "3000y", "2026-13-01"])
def test_what_is_no_moment(text: str):
    with pytest.raises(UsageError, match="neither a duration nor a date"):
        parse_moment(text, NOW, UTC)


@pytest.mark.parametrize("nanoseconds", [0, -1, -(10**9), 1_700_000_000_123_456_789, 2**62])
def test_nanoseconds_come_back_to_the_microsecond(nanoseconds: int):
    moment = from_ns(nanoseconds)
    assert moment is not None
    assert 0 <= nanoseconds - to_ns(moment) < 1000


@pytest.mark.parametrize("nanoseconds", [-(2**63) * 10, 2**64 * 100])
def test_there_are_times_that_no_calendar_has(nanoseconds: int):
    assert from_ns(nanoseconds) is None
