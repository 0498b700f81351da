"""Rules that say which snapshots stay: as values, as text (`daily 7, within 2d`), and what each of them keeps. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from enum import Enum

from lamina.errors import UsageError
from lamina.model.paths import check_tag
from lamina.model.quantities import parse_duration
from lamina.model.snapshots import Snapshot

COUNT_MAX = 1_000_000
_SCHEDULE = re.compile(r"(?P<tag>\S+)\s*:\s*every\s+(?P<interval>\S+)\s+keep\s+(?P<keep>\S+)")
_GRAMMAR = "last 3, daily 7, within 2d, within-daily 30d, tag gold, or `daily: every 1d keep 7`"


class Period(Enum):
    """A part of the calendar of which one snapshot is kept."""

    HOURLY = "hourly"
    DAILY = "daily"
    WEEKLY = "weekly"
    MONTHLY = "monthly"
    YEARLY = "yearly"

    def of(self, moment: datetime, zone: tzinfo) -> tuple[int, ...]:
        """The hour, day, week, month or year in which *moment* lies, where clocks show *zone*.

        A week is one of ISO 8601: it begins on Monday, and belongs to the year that has its Thursday. The hour that comes
        twice when summer ends is two hours.
        """
        local = _at(moment, zone)
        match self:
            case Period.HOURLY:
                return local.year, local.month, local.day, local.hour, local.fold
            case Period.DAILY:
                return local.year, local.month, local.day
            case Period.WEEKLY:
                return local.isocalendar()[:2]
            case Period.MONTHLY:
                return local.year, local.month
            case Period.YEARLY:
                return (local.year,)


def _at(moment: datetime, zone: tzinfo) -> datetime:
    try:
        return moment.astimezone(zone)
    except OverflowError:  # no calendar goes on there; whoever signed that meant no real time
        return moment.astimezone(UTC)


@dataclass(frozen=True, slots=True)
class Look:
    """What rules see: snapshots that compete with each other."""

    newest_first: Sequence[Snapshot]
    reference: datetime  # from where durations go back
    zone: tzinfo


@dataclass(frozen=True, slots=True)
class KeepLast:
    """The newest *count* snapshots."""

    count: int

    def __str__(self) -> str:
        return f"last {self.count}"

    def keeps(self, look: Look) -> list[Snapshot]:
        return list(look.newest_first[: self.count])


@dataclass(frozen=True, slots=True)
class KeepWithin:
    """Every snapshot that is not older than *duration*."""

    duration: timedelta

    def __str__(self) -> str:
        return f"within {format_span(self.duration)}"

    def keeps(self, look: Look) -> list[Snapshot]:
        return [one for one in look.newest_first if look.reference - one.started <= self.duration]


@dataclass(frozen=True, slots=True)
class KeepPeriods:
    """The newest snapshot of each of the newest *count* periods that have one."""

    period: Period
    count: int

    def __str__(self) -> str:
        return f"{self.period.value} {self.count}"

    def keeps(self, look: Look) -> list[Snapshot]:
        return list(_newest_of_each(self.period, look).values())[: self.count]


@dataclass(frozen=True, slots=True)
class KeepPeriodsWithin:
    """The newest snapshot of each period that has one not older than *duration*."""

    period: Period
    duration: timedelta

    def __str__(self) -> str:
        return f"within-{self.period.value} {format_span(self.duration)}"

    def keeps(self, look: Look) -> list[Snapshot]:
        # The whole period counts, not its part within the duration: else a longer duration could keep less.
        periods = {self.period.of(one.started, look.zone) for one in KeepWithin(self.duration).keeps(look)}
        return [one for period, one in _newest_of_each(self.period, look).items() if period in periods]


def _newest_of_each(period: Period, look: Look) -> dict[tuple[int, ...], Snapshot]:
    found: dict[tuple[int, ...], Snapshot] = {}
    for one in look.newest_first:
        found.setdefault(period.of(one.started, look.zone), one)
    return found


@dataclass(frozen=True, slots=True)
class KeepTag:
    """Every snapshot with a tag."""

    tag: str

    def __str__(self) -> str:
        return f"tag {self.tag}"

    def keeps(self, look: Look) -> list[Snapshot]:
        return [one for one in look.newest_first if self.tag in one.tags]


@dataclass(frozen=True, slots=True)
class KeepScheduled:
    """Of the snapshots with a tag the newest *count*, and those not older than *count* intervals: a line of backy's."""

    tag: str
    interval: timedelta
    count: int

    def __str__(self) -> str:
        return f"{self.tag}: every {format_span(self.interval)} keep {self.count}"

    def keeps(self, look: Look) -> list[Snapshot]:
        tagged = [one for one in look.newest_first if self.tag in one.tags]
        span = self._span()
        return [one for place, one in enumerate(tagged) if place < self.count or look.reference - one.started <= span]

    def _span(self) -> timedelta:
        try:
            return self.interval * self.count
        except OverflowError:
            return timedelta.max


KeepRule = KeepLast | KeepWithin | KeepPeriods | KeepPeriodsWithin | KeepTag | KeepScheduled
KeepRules = tuple[KeepRule, ...]  # what any of them keeps stays


def format_rules(rules: KeepRules) -> str:
    """The rules as `parse_rules` reads them."""
    return ", ".join(map(str, rules))


def parse_rules(text: str) -> KeepRules:
    """Read rules with commas between them. Raises: UsageError.

    >>> [str(rule) for rule in parse_rules("last 3, within-daily 2w, tag gold, daily: every 1d keep 7")]
    ['last 3', 'within-daily 14d', 'tag gold', 'daily: every 1d keep 7']
    """
    return tuple(parse_rule(part) for part in text.split(","))


def parse_rule(text: str) -> KeepRule:
    """Read one rule. Raises: UsageError.

    >>> parse_rule("weekly 4")
    KeepPeriods(period=<Period.WEEKLY: 'weekly'>, count=4)
    """
    if _SCHEDULE.fullmatch(text.strip()):  # a tag may have a colon, too
        return parse_schedule(text)
    words = text.split()
    if len(words) != 2:
        raise UsageError(f"{text.strip()!r} is no rule of a policy", hint=f"write for example {_GRAMMAR}")
    return keep_rule(words[0].removeprefix("keep-"), words[1])


def keep_rule(kind: str, value: str) -> KeepRule:
    """The rule that is called *kind*, with its *value*. Raises: UsageError."""
    periods = {period.value: period for period in Period}
    if kind == "last":
        return KeepLast(_count(value))
    if kind == "within":
        return KeepWithin(_span(value))
    if kind == "tag":
        return KeepTag(check_tag(value))
    if kind in periods:
        return KeepPeriods(periods[kind], _count(value))
    if kind.startswith("within-") and kind.removeprefix("within-") in periods:
        return KeepPeriodsWithin(periods[kind.removeprefix("within-")], _span(value))
    raise UsageError(f"{kind!r} is no rule of a policy", hint=f"write for example {_GRAMMAR}")


def parse_schedule(text: str) -> KeepScheduled:
    """Read a line of a schedule: `daily: every 1d keep 7`. Raises: UsageError."""
    match = _SCHEDULE.fullmatch(text.strip())
    if match is None:
        raise UsageError(
            f"{text.strip()!r} is no line of a schedule",
            hint="write TAG: every INTERVAL keep N, as in daily: every 1d keep 7",
        )
    rule = KeepScheduled(check_tag(match["tag"]), _span(match["interval"]), _count(match["keep"]))
    if rule.count == 0:
        raise UsageError(
            f"{text.strip()!r} keeps nothing", hint="leave the line out if the tag is not to keep anything"
        )
    return rule


def _count(text: str) -> int:
    if re.fullmatch(r"[0-9]{1,7}", text) is None or int(text) > COUNT_MAX:
        raise UsageError(f"{text!r} is no number of snapshots", hint=f"from 0 to {COUNT_MAX}")
    return int(text)


def _span(text: str) -> timedelta:
    duration = parse_duration(text)
    if not duration:
        raise UsageError(f"{text!r} is no time at all", hint="write for example 12h, 30d, 2w or 1y")
    return duration


def format_span(duration: timedelta) -> str:
    """A duration as `parse_duration` reads it, in whole hours or days.

    >>> format_span(timedelta(weeks=2)), format_span(timedelta(hours=36))
    ('14d', '36h')
    """
    hours = duration // timedelta(hours=1)
    return f"{hours // 24}d" if hours % 24 == 0 else f"{hours}h"


def keeps_nothing(rules: KeepRules) -> bool:
    """Whether there is no snapshot that any of them could keep."""
    return not any(getattr(rule, "count", 1) for rule in rules)
