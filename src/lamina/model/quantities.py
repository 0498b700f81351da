"""Sizes, rates, durations and dates as people write and read them. Pure."""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import UTC, datetime, timedelta, tzinfo
from decimal import Decimal

from lamina.errors import UsageError

KIB = 1 << 10
MIB = 1 << 20
GIB = 1 << 30

_BINARY = {"": 1, "k": KIB, "m": MIB, "g": GIB, "t": 1 << 40, "p": 1 << 50}
_DECIMAL = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "p": 10**15}
_SIZE = re.compile(r"([0-9]{1,18}(?:\.[0-9]{1,9})?) ?([kmgtp]?)(i?b?)", re.IGNORECASE)

_DAYS = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1), "y": timedelta(days=365)}
_LONGEST = timedelta(days=365_000)  # from any date that people write, that leads to another
_DURATION = re.compile(r"(?:[0-9]{1,6}[hdwy])+", re.IGNORECASE)
_TIMEOUT = re.compile(r"([0-9]{1,9}(?:\.[0-9]+)?)([smh]?)")
_DURATION_PART = re.compile(r"([0-9]+)([hdwy])", re.IGNORECASE)


def parse_size(text: str) -> int:
    """Read a number of bytes: `4MiB`, `4M` and `4m` are the same; `4MB` is four million.

    >>> parse_size("4MiB"), parse_size("4M"), parse_size("4MB"), parse_size("512"), parse_size("1.5k")
    (4194304, 4194304, 4000000, 512, 1536)
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None or (match[3].lower() == "i" or (match[3].lower() == "ib" and not match[2])):
        raise UsageError(f"{text!r} is not a size", hint="write for example 4MiB, 512k or 1048576")
    units = _DECIMAL if match[3].lower() == "b" else _BINARY
    return int(Decimal(match[1]) * units[match[2].lower()])


def parse_rate(text: str) -> int:
    """Read bytes a second: a size, with or without `/s`.

    >>> parse_rate("10MiB/s") == parse_rate("10M")
    True
    """
    try:
        rate = parse_size(text.strip().removesuffix("/s"))
    except UsageError as error:
        raise UsageError(
            f"{text!r} is not a rate", hint="write bytes a second, for example 10MiB or 10MiB/s"
        ) from error
    if rate == 0:
        raise UsageError("a rate of 0 would never finish", hint="leave the limit out to go at full speed")
    return rate


def parse_duration(text: str) -> timedelta:
    """Read hours, days, weeks and years (of 365 days): `12h`, `30d`, `2w`, `1y`, `1w3d`.

    >>> parse_duration("1w3d")
    datetime.timedelta(days=10)
    """
    if _DURATION.fullmatch(text.strip()) is None:
        raise UsageError(f"{text!r} is not a duration", hint="write for example 12h, 30d, 2w or 1y")
    with suppress(OverflowError):
        found = sum((int(number) * _DAYS[unit.lower()] for number, unit in _DURATION_PART.findall(text)), timedelta())
        if found <= _LONGEST:
            return found
    raise UsageError(f"{text!r} is too long a time", hint="a thousand years are the most")


def parse_timeout(text: str) -> float:
    """Read how long something may take, in seconds: `90`, `90s`, `5m`, `1h`.

    >>> parse_timeout("5m"), parse_timeout("0.5")
    (300.0, 0.5)
    """
    match = _TIMEOUT.fullmatch(text.strip())
    if match is None or not float(match[1]):
        raise UsageError(f"{text!r} is not a time to wait", hint="write for example 90s, 5m or 1h")
    return float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[match[2]]


def parse_expiry(text: str, now: datetime, zone: tzinfo = UTC) -> datetime:
    """Read when something expires: a duration from *now*, or an ISO date or time (in *zone* where it names no offset).

    Raises: UsageError if it is neither, or does not lie in the future.
    """
    if _DURATION.fullmatch(text.strip()):
        try:
            moment = now + parse_duration(text)
        except OverflowError as error:
            raise UsageError(f"{text!r} is too long a time") from error
        if moment <= now:
            raise UsageError(f"{text!r} is no time at all: the snapshot would expire at once")
        return moment
    try:
        moment = datetime.fromisoformat(text.strip())
        moment = (moment.replace(tzinfo=zone) if moment.tzinfo is None else moment).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        hint = "write a duration (30d, 12h, 2w, 1y) or a date (2027-12-31, 2027-12-31T18:00+01:00)"
        raise UsageError(f"{text!r} is neither a duration nor a date", hint=hint) from error
    if moment <= now:
        raise UsageError(f"{text!r} lies in the past: the snapshot would expire at once")
    return moment


def format_count(count: int, one: str, many: str = "") -> str:
    """Write a number of things for people; *many*: if it is not *one* with an s.

    >>> format_count(1, "file"), format_count(20_000, "file"), format_count(0, "entry", "entries")
    ('1 file', '20,000 files', '0 entries')
    """
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def format_size(size: float) -> str:
    """Write a number of bytes for people, in binary units.

    >>> format_size(0), format_size(1023), format_size(1536), format_size(4 << 30)
    ('0 B', '1023 B', '1.5 KiB', '4.0 GiB')
    """
    if size < KIB:
        return f"{int(size)} B"
    value, unit = float(size), "B"
    for unit in ("KiB", "MiB", "GiB", "TiB", "PiB"):  # noqa: B007 - the last unit is used after the loop
        value /= KIB
        if value < 1023.95:
            break
    return f"{value:.1f} {unit}"


def format_duration(seconds: float) -> str:
    """Write a duration for people.

    >>> format_duration(0.04), format_duration(12.34), format_duration(75), format_duration(7325)
    ('0.0 s', '12.3 s', '1 min 15 s', '2 h 2 min')
    """
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
