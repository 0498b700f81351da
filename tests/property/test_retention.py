"""Laws of retention: more never keeps less, no clock, order or flaw makes it drop what is good."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from lamina.engine.forget import ForgetOptions, plan_forget
from lamina.errors import UsageError
from lamina.model.ids import ChunkId, SessionId
from lamina.model.keep_rules import (
    KeepLast,
    KeepPeriods,
    KeepPeriodsWithin,
    KeepRule,
    KeepScheduled,
    KeepTag,
    KeepWithin,
    Period,
    format_rules,
    parse_rules,
)
from lamina.model.retention import Calendar, GroupBy, Policy, decide, is_good
from lamina.model.snapshots import Snapshot, Trust

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
ZONES = [UTC, *map(ZoneInfo, ("Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu"))]

counts = st.integers(1, 6)
spans = st.integers(1, 24 * 60).map(lambda hours: timedelta(hours=hours))
periods = st.sampled_from(Period)
counted: st.SearchStrategy[KeepRule] = st.one_of(
    counts.map(KeepLast),
    spans.map(KeepWithin),
    st.builds(KeepPeriods, periods, counts),
    st.builds(KeepPeriodsWithin, periods, spans),
)
tags = st.sampled_from(["daily", "gold", "manual:x"])
rules = st.one_of(counted, st.builds(KeepTag, tags), st.builds(KeepScheduled, tags, spans, counts))
zones = st.sampled_from(ZONES)


@st.composite
def lists(draw: st.DrawFn) -> list[Snapshot]:
    """Snapshots whose clocks say anything, with parents that may be any of those made before."""

    def snapshot(number: int) -> Snapshot:
        started = NOW + timedelta(minutes=draw(st.integers(-60 * 24 * 60, 60 * 24 * 20)))
        parent = draw(st.one_of(st.none(), st.integers(0, number)))
        return Snapshot(
            id=_id(number),
            started=started,
            finished=started + timedelta(minutes=5),
            root=ChunkId(bytes(32)),
            size=0,
            partial=draw(st.sampled_from([False, False, True])),
            parent=None if parent is None else _id(parent),
            name=draw(st.sampled_from("ab")),
            host=draw(st.sampled_from("hi")),
            tags=draw(st.frozensets(tags)),
            trust=draw(st.sampled_from(Trust)),
            made_by=draw(st.sampled_from(["owner", "77"])),
            protected=draw(st.integers(0, 9)) == 0,
            expires=draw(st.sampled_from([None, None, NOW + timedelta(days=3), NOW - timedelta(days=3)])),
        )

    return [snapshot(number) for number in range(draw(st.integers(0, 12)))]


def _id(number: int) -> SessionId:
    return SessionId(number.to_bytes(16, "big"))


def kept(snapshots: list[Snapshot], *keep: KeepRule, now: datetime = NOW, zone: object = UTC) -> set[SessionId]:
    decisions = decide(snapshots, Policy(keep), Calendar(now, zone))  # type: ignore[arg-type]
    return {one.snapshot.id for one in decisions if one.keep}


def more(rule: KeepRule, by: int) -> KeepRule:
    if isinstance(rule, KeepWithin | KeepPeriodsWithin):
        return replace(rule, duration=rule.duration + timedelta(hours=by))
    return replace(rule, count=rule.count + by)  # type: ignore[call-arg]


@given(lists(), st.one_of(counted, st.builds(KeepScheduled, tags, spans, counts)), st.integers(0, 200), zones)
def test_a_rule_that_asks_for_more_keeps_no_less(snapshots: list[Snapshot], rule: KeepRule, by: int, zone: object):
    assert kept(snapshots, rule, zone=zone) <= kept(snapshots, more(rule, by), zone=zone)


@given(lists(), st.lists(rules, max_size=3), counted)
def test_one_rule_more_keeps_no_less(snapshots: list[Snapshot], keep: list[KeepRule], rule: KeepRule):
    assert kept(snapshots, *keep) <= kept(snapshots, *keep, rule)


@given(lists(), counted, zones, st.integers(-(10**6), 10**6))
def test_something_good_of_every_name_and_key_stays_whatever_the_clocks_say(
    snapshots: list[Snapshot], rule: KeepRule, zone: object, hours: int
):
    stays = kept(snapshots, rule, now=NOW + timedelta(hours=hours), zone=zone)
    for name, key in {(one.name, one.made_by) for one in snapshots}:
        group = [one for one in snapshots if (one.name, one.made_by) == (name, key)]
        assert stays & {one.id for one in group}
        if any(map(is_good, group)):
            assert stays & {one.id for one in group if is_good(one)}


@given(lists(), counted, st.randoms())
def test_the_order_of_the_list_does_not_matter(snapshots: list[Snapshot], rule: KeepRule, random: object):
    shuffled = list(snapshots)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert kept(shuffled, rule) == kept(snapshots, rule)


@given(lists(), counted, st.permutations(range(12)))
def test_permuted_clocks_lose_nothing_that_the_chain_of_parents_shows_to_be_the_newest(
    snapshots: list[Snapshot], rule: KeepRule, places: list[int]
):
    """Each snapshot's parent is the one before it, so the last is the newest, whatever time it has."""
    clocks = [one.started for one in snapshots]
    chain = [
        replace(one, started=clocks[places[number] % len(clocks)], parent=_id(number - 1) if number else None,
                name="a", made_by="owner", partial=False, trust=Trust.VERIFIED)
        for number, one in enumerate(snapshots)
    ]  # fmt: skip
    if chain and not isinstance(rule, KeepWithin | KeepPeriodsWithin):
        assert chain[-1].id in kept(chain, rule)


@given(lists(), counted, zones, zones)
def test_a_change_of_the_time_zone_changes_days_and_nothing_else(
    snapshots: list[Snapshot], rule: KeepRule, one: object, other: object
):
    before, after = kept(snapshots, rule, zone=one), kept(snapshots, rule, zone=other)
    if isinstance(rule, KeepLast | KeepWithin):
        assert before == after
    assert bool(before) == bool(after)


@given(lists(), counted, st.integers(2, 400))
def test_a_snapshot_from_the_future_takes_nobodys_place(snapshots: list[Snapshot], rule: KeepRule, days: int):
    future = NOW + timedelta(days=days)
    stray = Snapshot(_id(99), future, future, ChunkId(bytes(32)), 0, partial=False, name="a", trust=Trust.VERIFIED)
    assert kept([*snapshots, stray], rule) == kept(snapshots, rule) | {stray.id}


@given(lists(), counted)
def test_flawed_snapshots_and_those_of_another_key_take_no_good_ones_place(snapshots: list[Snapshot], rule: KeepRule):
    good = [one for one in snapshots if is_good(one)]
    flawed = [replace(one, removed=True) for one in snapshots if not is_good(one)]  # links of the chain all the same
    alone = decide(good, Policy((rule,)), Calendar(NOW), removed=flawed)
    assert {one.snapshot.id for one in alone if one.keep} <= kept(snapshots, rule)
    own = [one for one in snapshots if one.made_by == "owner"]
    assert kept(own, rule) == kept(snapshots, rule) & {one.id for one in own}


@given(lists(), st.lists(rules, max_size=3), st.frozensets(st.sampled_from(GroupBy)), st.booleans())
def test_a_plan_never_removes_what_is_protected_or_the_last_good_one(
    snapshots: list[Snapshot], keep: list[KeepRule], group_by: frozenset[GroupBy], expired: bool
):
    options = ForgetOptions(Policy(tuple(keep), group_by), expired=expired)
    plan = plan_forget(snapshots, snapshots, options, Calendar(NOW))
    assert sorted(one.id for one in [*plan.kept, *plan.removed]) == sorted(one.id for one in snapshots)
    assert all(one.reasons for one in plan.decisions)
    assert not any(one.protected for one in plan.removed)
    for name, key in {(one.name, one.made_by) for one in snapshots if is_good(one)}:
        assert any((one.name, one.made_by) == (name, key) and is_good(one) for one in plan.kept)


@given(lists(), st.lists(rules, min_size=1, max_size=3))
def test_what_a_policy_keeps_it_keeps_when_it_is_asked_again(snapshots: list[Snapshot], keep: list[KeepRule]):
    first = kept(snapshots, *keep)
    stay = [one for one in snapshots if one.id in first]
    gone = [replace(one, removed=True) for one in snapshots if one.id not in first]
    again = decide(stay, Policy(tuple(keep)), Calendar(NOW), removed=gone)
    assert all(one.keep for one in again)


@given(st.lists(rules, min_size=1, max_size=5).map(tuple))
def test_rules_are_read_as_they_are_written(keep: tuple[KeepRule, ...]):
    assert parse_rules(format_rules(keep)) == keep


@given(st.text(max_size=40))
def test_no_text_breaks_the_parser_of_rules(text: str):
    try:
        keep = parse_rules(text)
    except UsageError:
        return
    assert parse_rules(format_rules(keep)) == keep
