"""Tags that a backup gets by the age of the last one that has them, as backy2 gives them. Pure."""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Iterable
from datetime import date, timedelta

from lamina.model.retention import Calendar
from lamina.model.snapshots import Snapshot

DAILY, WEEKLY, MONTHLY = "daily", "weekly", "monthly"


def automatic_tags(of_name: Iterable[Snapshot], calendar: Calendar) -> frozenset[str]:
    """The tags for a backup that begins now; *of_name* are the snapshots of its name.

    `daily` is due on every day, `weekly` after seven days, `monthly` after a calendar month. What is doubtful does not
    count, so that a good one takes its place; nor does what lies in the future, whose clock was wrong.
    """
    today = calendar.now.astimezone(calendar.zone).date()
    past = [one for one in of_name if not one.is_doubtful and one.started <= calendar.now]

    def is_due(tag: str) -> bool:
        last = max((one.started for one in past if tag in one.tags), default=None)
        return last is None or today >= next_due(tag, last.astimezone(calendar.zone).date())

    return frozenset(tag for tag in (DAILY, WEEKLY, MONTHLY) if is_due(tag))


def next_due(tag: str, last: date) -> date:
    """The first day on which *tag* is due again.

    >>> next_due(MONTHLY, date(2026, 1, 31)), next_due(WEEKLY, date(2026, 12, 28))
    (datetime.date(2026, 2, 28), datetime.date(2027, 1, 4))
    """
    if tag != MONTHLY:
        return last + timedelta(days=1 if tag == DAILY else 7)
    year, month = (last.year, last.month + 1) if last.month < 12 else (last.year + 1, 1)
    return date(year, month, min(last.day, monthrange(year, month)[1]))
