from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from lamina.model.auto_tags import automatic_tags
from lamina.model.retention import Calendar
from lamina.model.snapshots import Snapshot, Trust
from tests.unit.model.test_retention import snapshot

ALL = {"daily", "weekly", "monthly"}


def due(now: str, *of_name: Snapshot, zone: str = "UTC") -> set[str]:
    moment = datetime.fromisoformat(now).replace(tzinfo=UTC)
    return set(automatic_tags(of_name, Calendar(moment, ZoneInfo(zone))))


def tagged(started: str, *tags: str, **facts: object) -> Snapshot:
    return snapshot(started, tags=frozenset(tags), **facts)


def test_the_first_backup_gets_every_tag():
    assert due("2026-01-31T12:00") == ALL


def test_each_tag_comes_again_when_it_is_due():
    first = tagged("2026-01-31T12:00", *ALL)
    assert due("2026-01-31T23:59", first) == set()
    assert due("2026-02-01T00:00", first) == {"daily"}
    assert due("2026-02-06T23:00", first) == {"daily"}
    assert due("2026-02-07T00:00", first) == {"daily", "weekly"}
    assert due("2026-02-27T12:00", first) == {"daily", "weekly"}
    assert due("2026-02-28T00:00", first) == ALL


def test_the_day_begins_where_the_zone_says():
    evening = tagged("2026-06-01T21:30", *ALL)
    assert due("2026-06-01T22:30", evening) == set()
    assert due("2026-06-01T22:30", evening, zone="Europe/Berlin") == {"daily"}


def test_what_is_doubtful_or_from_the_future_takes_no_tag():
    doubtful = tagged("2026-01-01", *ALL, trust=Trust.DISTRUSTED)
    future = tagged("2027-01-01", *ALL)
    assert due("2026-01-01T12:00", doubtful, future) == ALL
