"""Moments in the past as people write them. Pure."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo

from lamina.errors import UsageError
from lamina.model.quantities import parse_duration

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def parse_moment(text: str, now: datetime, zone: tzinfo) -> datetime:
    """Read a moment: a duration back from *now* (`12h`, `7d`), or an ISO date or time (in *zone* where it names no offset).

    >>> parse_moment("2d", datetime(2026, 1, 3, tzinfo=UTC), UTC) == parse_moment("2026-01-01", _EPOCH, UTC)
    True
    """
    try:
        return now - parse_duration(text)
    except (UsageError, OverflowError):
        pass
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError as error:
        hint = "write a duration (12h, 7d, 2w, 1y) or a date (2026-12-31, 2026-12-31T18:00+01:00)"
        raise UsageError(f"{text!r} is neither a duration nor a date", hint=hint) from error
    return moment.replace(tzinfo=zone) if moment.tzinfo is None else moment


def to_ns(moment: datetime) -> int:
    """Nanoseconds since 1970, exactly.

    >>> to_ns(datetime(1970, 1, 1, 0, 0, 1, 5, tzinfo=UTC))
    1000005000
    """
    return (moment - _EPOCH) // timedelta(microseconds=1) * 1000


def from_ns(nanoseconds: int) -> datetime | None:
    """The moment, to the microsecond; None for what no calendar of ours has (file systems do).

    >>> from_ns(10**30) is None
    True
    """
    try:
        return _EPOCH + timedelta(microseconds=nanoseconds // 1000)
    except OverflowError:
        return None
