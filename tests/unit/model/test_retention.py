"""Worked examples of retention: calendars, schedules like backy's, doubts, dates to expire at."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from lamina.errors import NotPermitted, UsageError
from lamina.model.ids import ChunkId, SessionId
from lamina.model.keep_rules import Period, parse_rule, parse_rules
from lamina.model.retention import Calendar, Decision, GroupBy, Policy, decide, parse_group_by
from lamina.model.snapshots import Snapshot, Trust

BERLIN = ZoneInfo("Europe/Berlin")


def snapshot(started: str | datetime, **facts: Any) -> Snapshot:
    """A good one of the name `vm`, whose id is made from its time."""
    moment = datetime.fromisoformat(started) if isinstance(started, str) else started
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    given = {"name": "vm", "trust": Trust.VERIFIED, "partial": False, **facts}
    identity = given.pop("id", SessionId(int(moment.timestamp()).to_bytes(16, "big")))
    return Snapshot(identity, moment, moment, ChunkId(bytes(32)), 0, **given)


def daily(first: str, count: int, **facts: Any) -> list[Snapshot]:
    start = datetime.fromisoformat(first).replace(tzinfo=UTC)
    return [snapshot(start + timedelta(days=number), **facts) for number in range(count)]


def judged(snapshots: Iterable[Snapshot], rules: str, now: str, **terms: Any) -> list[Decision]:
    zone, expired = terms.pop("zone", UTC), terms.pop("expired", False)
    moment = datetime.fromisoformat(now).replace(tzinfo=UTC)
    return decide(snapshots, Policy(parse_rules(rules), **terms), Calendar(moment, zone), expired=expired)


def kept(snapshots: Iterable[Snapshot], rules: str, now: str, **terms: Any) -> list[str]:
    """The starts of those that stay, in UTC."""
    decisions = judged(snapshots, rules, now, **terms)
    return [f"{one.snapshot.started.astimezone(UTC):%Y-%m-%d %H:%M}" for one in decisions if one.keep]


def test_the_last_of_each_day_stays_and_each_has_its_reasons():
    two_a_day = [snapshot(f"2026-01-{day:02d}T{hour:02d}:00") for day in (1, 2, 3) for hour in (3, 15)]
    decisions = judged(two_a_day, "last 1, daily 2", "2026-01-04")
    assert [(one.keep, one.reasons) for one in decisions] == [
        (False, ("no rule keeps it",)),
        (False, ("no rule keeps it",)),
        (False, ("no rule keeps it",)),
        (True, ("daily 2",)),
        (False, ("no rule keeps it",)),
        (True, ("last 1", "daily 2")),
    ]


def test_days_without_a_snapshot_do_not_count():
    some = [snapshot(f"2026-01-{day:02d}") for day in (1, 5, 9, 20)]
    assert kept(some, "daily 3", "2026-01-21") == ["2026-01-05 00:00", "2026-01-09 00:00", "2026-01-20 00:00"]


def test_weeks_begin_on_monday_and_belong_to_the_year_of_their_thursday():
    sunday, monday, new_year = (datetime(*day, tzinfo=UTC) for day in ((2026, 12, 27), (2026, 12, 28), (2027, 1, 1)))
    assert Period.WEEKLY.of(sunday, UTC) == (2026, 52)
    assert Period.WEEKLY.of(monday, UTC) == Period.WEEKLY.of(new_year, UTC) == (2026, 53)


def test_grandfather_father_and_son():
    assert kept(daily("2026-01-01", 400), "daily 3, weekly 2, monthly 3, yearly 5", "2027-02-05") == [
        "2026-12-31 00:00",  # yearly; its month, too
        "2027-01-31 00:00",  # monthly, and the Sunday of its week
        "2027-02-02 00:00",
        "2027-02-03 00:00",
        "2027-02-04 00:00",
    ]


def test_a_day_begins_where_the_zone_says():
    evening = [snapshot("2026-06-01T21:30"), snapshot("2026-06-01T22:30")]  # the second is of June 2nd in Berlin
    assert len(kept(evening, "daily 2", "2026-06-03", zone=UTC)) == 1
    assert len(kept(evening, "daily 2", "2026-06-03", zone=BERLIN)) == 2


def test_days_of_23_and_25_hours_are_days():
    """In Berlin the clocks went forward on 2026-03-29 and back on 2026-10-25."""
    for last_day in ("2026-03-29", "2026-10-25"):
        midnight = datetime.fromisoformat(last_day).replace(tzinfo=BERLIN)
        hours = [midnight.astimezone(UTC) + timedelta(hours=number) for number in range(-24, 40)]
        days = {Period.DAILY.of(hour, BERLIN) for hour in hours}
        per_day = {day: sum(Period.DAILY.of(hour, BERLIN) == day for hour in hours) for day in days}
        assert per_day[(midnight.year, midnight.month, midnight.day)] in {23, 25}
        assert len({Period.HOURLY.of(hour, BERLIN) for hour in hours}) == len(hours)  # the hour that comes twice, too


def test_durations_go_back_from_the_newest_snapshot_so_that_a_machine_that_is_gone_keeps_what_it_had():
    old = daily("2025-01-01", 5)
    assert len(kept(old, "within 2d", "2026-11-01")) == 3
    assert len(kept(old, "within-daily 2d", "2026-11-01")) == 3


def test_a_clock_that_is_a_year_ahead_drops_nothing_of_the_others():
    others = daily("2026-01-01", 5)
    stray = snapshot("2027-02-05")
    stays = kept([*others, stray], "within 2d", "2026-01-05")
    assert stays == ["2026-01-03 00:00", "2026-01-04 00:00", "2026-01-05 00:00", "2027-02-05 00:00"]
    decisions = judged([*others, stray], "last 1", "2026-01-05")
    assert [one.reasons for one in decisions if one.keep] == [("last 1",), ("its time lies in the future",)]


def test_a_clock_that_went_back_does_not_make_the_newest_an_old_one():
    first = snapshot("2026-05-01")
    second = snapshot("2020-01-01", parent=first.id)  # a battery was empty
    assert kept([first, second], "last 1", "2026-05-02") == ["2020-01-01 00:00"]


def test_what_was_removed_still_links_the_others():
    """May's snapshot is the parent of one that went, and that is the parent of the newest, whose clock is years behind."""
    may, gone = snapshot("2026-05-01"), snapshot("2020-01-01", removed=True)
    gone = replace(gone, parent=may.id)
    newest = snapshot("2020-01-02", parent=gone.id)
    decisions = decide([may, newest], Policy(parse_rules("last 1")), Calendar(may.started), removed=[gone])
    assert [one.snapshot for one in decisions if one.keep] == [newest]


@pytest.mark.parametrize(
    "flaw", [{"partial": True}, {"trust": Trust.DISTRUSTED}, {"trust": Trust.FRESH, "decoded": False}]
)
def test_a_flawed_snapshot_is_not_kept_in_place_of_a_good_one(flaw: dict[str, Any]):
    good, flawed = snapshot("2026-01-01T03:00"), snapshot("2026-01-01T15:00", **flaw)
    for rules in ("last 1", "daily 1", "within-daily 1h"):
        decisions = judged([good, flawed], rules, "2026-01-02")
        assert [one.reasons for one in decisions] == [(f"{rules} of the good ones",), (rules,)]


def test_a_name_that_is_always_partial_is_thinned_like_any_other():
    assert len(kept(daily("2026-01-01", 30, partial=True), "last 3", "2026-02-01")) == 3


def test_what_another_key_signed_under_the_same_name_pushes_nothing_out():
    own = daily("2026-01-01", 3)
    forged = daily("2026-02-01", 50, made_by="77aa")
    assert sorted(kept([*own, *forged], "last 2", "2026-04-01"))[:2] == ["2026-01-02 00:00", "2026-01-03 00:00"]
    assert kept([*own, *forged], "last 2", "2026-04-01", merge_keys=True) == ["2026-03-21 00:00", "2026-03-22 00:00"]


def test_names_that_cannot_be_read_are_told_apart_by_their_hashes():
    hidden = [
        *daily("2026-01-01", 3, name=None, readable=False, name_hash=b"a" * 16),
        *daily("2026-02-01", 3, name=None, readable=False, name_hash=b"b" * 16),
    ]
    assert kept(hidden, "last 1", "2026-03-01") == ["2026-01-03 00:00", "2026-02-03 00:00"]
    with pytest.raises(NotPermitted, match="host"):
        kept(hidden, "last 1", "2026-03-01", group_by=frozenset({GroupBy.HOST}))


def test_groups():
    two = [*daily("2026-01-01", 2, host="h", tags=frozenset("t")), *daily("2026-02-01", 2, host="i")]
    for group_by, stay in (("name", 1), ("host", 2), ("tags", 2), ("name,host,tags", 2), ("none", 1)):
        assert len(kept(two, "last 1", "2026-03-01", group_by=parse_group_by(group_by))) == stay
    with pytest.raises(UsageError, match="nothing to group by"):
        parse_group_by("name,none")


# Schedules like backy's: a tag expires when it is beyond *keep* and older than *keep* x *interval*.

SCHEDULE = "daily: every 1d keep 3, weekly: every 7d keep 2"


def test_a_tag_beyond_keep_and_older_than_keep_intervals_keeps_nothing():
    days = daily("2026-01-01", 6, tags=frozenset({"daily"}))
    assert kept(days, SCHEDULE, "2026-01-06") == [
        "2026-01-03 00:00",  # the fourth, but not yet older than three days
        "2026-01-04 00:00",
        "2026-01-05 00:00",
        "2026-01-06 00:00",
    ]


def test_a_young_tag_stays_however_many_there_are_and_an_old_one_if_there_are_few():
    many = [snapshot(f"2026-01-05T{hour:02d}:00", tags=frozenset({"daily"})) for hour in range(10)]
    assert len(kept(many, SCHEDULE, "2026-01-05T12:00")) == 10
    few = daily("2020-01-01", 3, tags=frozenset({"daily"}))
    newest = snapshot("2026-01-05", tags=frozenset({"weekly"}))
    assert len(kept([*few, newest], SCHEDULE, "2026-01-05")) == 4


def test_a_snapshot_stays_as_long_as_one_of_its_tags_and_without_any_it_goes():
    old = snapshot("2026-01-01", tags=frozenset({"daily", "weekly"}))
    bare = snapshot("2026-01-02")
    days = daily("2026-01-10", 5, tags=frozenset({"daily"}))
    decisions = {one.snapshot.id: one for one in judged([old, bare, *days], SCHEDULE, "2026-01-14")}
    assert decisions[old.id].reasons == ("weekly: every 7d keep 2",)
    assert decisions[bare.id].reasons == ("no rule keeps it",)


def test_tags_that_the_schedule_does_not_know_never_expire():
    named = snapshot("2020-01-01", tags=frozenset({"manual:before-upgrade"}))
    days = daily("2026-01-01", 5, tags=frozenset({"daily"}))
    assert judged([named, *days], SCHEDULE, "2026-01-05")[0].reasons == ("tag manual:before-upgrade is in no schedule",)


@pytest.mark.parametrize("rules", ["tag gold", "daily: every 1d keep 1"])
def test_tags_that_cannot_be_read_may_be_those_that_keep(rules: str):
    hidden = snapshot("2020-01-01", name=None, readable=False, tag_hashes=frozenset({b"t" * 16}))
    assert judged([hidden], rules, "2026-01-01")[0].reasons == ("this key cannot read its tags",)


# Dates to expire at.


def test_until_it_expires_a_snapshot_stays_and_takes_no_place():
    first, second = daily("2026-01-01", 2)
    third = snapshot("2026-01-03", expires=datetime(2026, 3, 1, tzinfo=UTC))
    assert [one.keep for one in judged([first, second, third], "last 1", "2026-02-01")] == [False, True, True]
    late = judged([first, second, third], "last 1", "2026-04-01")
    assert [one.keep for one in late] == [False, False, True]  # its date is no reason to go, unless that is asked for
    asked = judged([first, second, third], "last 1", "2026-04-01", expired=True)
    assert [one.reasons for one in asked] == [("no rule keeps it",), ("last 1",), ("expired 2026-03-01",)]


def test_protection_is_stronger_than_a_date():
    one = snapshot("2026-01-01", expires=datetime(2026, 1, 2, tzinfo=UTC), protected=True)
    assert judged([one], "last 1", "2026-02-01", expired=True)[0].reasons == ("protected",)


# Text.


@pytest.mark.parametrize(
    "text",
    ["", "daily", "daily x", "daily -1", "daily 7 8", "hourly 1d", "within 7", "within 0d", "minutely 3", "last 99999999",
     "tag a b", "daily: every 1d", "daily: every 0d keep 1", "daily: every 1d keep 0", "within-last 3d", "last ²"],
)  # fmt: skip
def test_what_is_no_rule_is_refused(text: str):
    with pytest.raises(UsageError):
        parse_rule(text)


def test_the_words_of_the_options_are_understood_too():
    assert parse_rules("keep-last 3, keep-within-daily 1y") == parse_rules("last 3,within-daily 365d")
