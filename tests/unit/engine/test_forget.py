"""What forgetting refuses, what it does, and what it says when it is stopped half-way."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, timedelta
from typing import Any

import pytest

from lamina.engine.forget import ForgetOptions, ForgetPlan, forget, plan_forget
from lamina.errors import NotPermitted, StorageUnavailable, UsageError
from lamina.model.keep_rules import parse_rules
from lamina.model.retention import Calendar, Policy
from lamina.model.snapshots import Snapshot, Trust
from lamina.repository.repository import Repository
from lamina.testing.repositories import SmallRepository
from lamina.testing.storages import Fault, FaultyStorage
from tests.unit.model.test_retention import daily, snapshot

NOW = Calendar(snapshot("2026-06-01").started, UTC)


def chosen(everything: list[Snapshot], *some: Snapshot, **options: Any) -> ForgetPlan:
    return plan_forget(everything, some, ForgetOptions(**options), NOW)


def by_policy(everything: list[Snapshot], rules: str, **options: Any) -> ForgetPlan:
    keep = () if not rules else parse_rules(rules)
    return plan_forget(everything, everything, ForgetOptions(Policy(keep), **options), NOW)


def test_what_was_chosen_goes():
    old = daily("2026-01-01", 3)
    plan = chosen(old, old[0])
    assert (plan.removed, plan.refusals) == ([old[0]], ())


def test_what_is_protected_is_refused_even_by_force():
    old = daily("2026-01-01", 3)
    locked = replace(old[0], protected=True)
    plan = chosen([locked, *old[1:]], locked, old[1], force=True)
    assert "protected" in plan.refusals[0]
    assert by_policy([locked, *old[1:]], "last 1", force=True).removed == [old[1]]


def test_what_is_younger_than_six_days_is_refused():
    everything = daily("2026-05-20", 12)
    young, old = everything[-2], everything[0]
    assert "younger than 6 days" in chosen(everything, young, old).refusals[0]
    assert not chosen(everything, old).refusals
    assert not chosen(everything, young, force=True).refusals
    assert not chosen(everything, young, protect_younger_than=timedelta(0)).refusals
    assert by_policy(everything, "last 1").removed == everything[:-1]  # a policy has `within` for that


def test_the_last_good_snapshot_of_a_name_is_refused_whatever_flawed_ones_there_are():
    good, partial = snapshot("2026-01-01"), snapshot("2026-01-02", partial=True)
    other = snapshot("2026-01-03", name="other")
    assert "last good snapshot" in chosen([good, partial, other], good).refusals[0]
    assert not chosen([good, partial, other], good, force=True).refusals
    assert not chosen([good, partial, other], partial).refusals
    assert "last of its name" in chosen([partial, other], partial).refusals[0]


def test_one_that_another_key_signed_does_not_count_as_the_last_good_one():
    good, forged = snapshot("2026-01-01"), snapshot("2026-01-02", made_by="77aa")
    assert "last good snapshot of its name and key" in chosen([good, forged], good).refusals[0]


def test_a_policy_keeps_the_last_good_snapshot_and_says_so():
    good = snapshot("2026-01-01")
    bad = snapshot("2026-01-02", trust=Trust.DISTRUSTED, tags=frozenset({"gold"}))
    plan = by_policy([good, bad], "tag gold")
    assert [one.reasons for one in plan.decisions] == [
        ("last good snapshot of its name (no rule keeps it)",),
        ("tag gold",),
    ]
    assert by_policy([good, bad], "tag gold", force=True).removed == [good]


@pytest.mark.parametrize("rules", ["", "last 0", "daily 0, weekly 0"])
def test_a_policy_that_can_keep_nothing_is_refused(rules: str):
    plan = by_policy(daily("2026-01-01", 3), rules)
    assert "keeps nothing at all" in plan.refusals[0]
    assert not by_policy(daily("2026-01-01", 3), rules, force=True).refusals


def test_a_policy_that_keeps_nothing_of_one_name_is_refused():
    """A typing error in a tag has cost somebody all backups, with another program."""
    gold = daily("2026-01-01", 3, tags=frozenset({"gold"}))
    plan = by_policy([*gold, *daily("2026-01-01", 2, name="other")], "tag gold")
    assert plan.refusals == ("the policy (tag gold) keeps none of the 2 snapshots of 'other'",)


def test_a_refusal_can_be_read_however_many_names_there_are():
    everything = [snapshot("2026-01-01", name=f"name-{number}") for number in range(300)]
    for plan in (by_policy(everything, "tag goldd"), chosen(everything, *everything)):
        assert len(plan.refusals) == 6
        assert plan.refusals[-1] == "and so on, 295 times more"


@pytest.mark.parametrize("stays", [{"protected": True}, {"expires": NOW.now + timedelta(days=1)}])
def test_what_stays_anyway_does_not_hide_that_a_policy_keeps_nothing(stays: dict[str, Any]):
    first, *others = daily("2026-01-01", 3)
    everything = [replace(first, **stays), *others]
    assert "keeps none of the 3 snapshots" in by_policy(everything, "tag goldd").refusals[0]
    gold = replace(everything[0], tags=frozenset({"gold"}))
    assert by_policy([gold, *others], "tag gold").removed == others


def test_the_expired_go_and_the_last_good_one_stays():
    past, future = NOW.now - timedelta(days=1), NOW.now + timedelta(days=1)
    everything = [
        snapshot("2026-01-01", expires=past),
        snapshot("2026-01-02", expires=past, name="other"),
        snapshot("2026-01-03", expires=future),
        snapshot("2026-01-04", expires=past, protected=True),
        snapshot("2026-01-05"),
    ]
    plan = plan_forget(everything, everything, ForgetOptions(expired=True), NOW)
    assert plan.removed == everything[:1]
    assert [one.reasons[0] for one in plan.decisions[1:]] == [
        "last good snapshot of its name (expired 2026-05-31)",
        "expires 2026-06-02",
        "expired 2026-05-31",
    ]
    assert not by_policy(everything, "last 1", expired=True).refusals


def test_a_policy_over_some_of_a_name_knows_what_else_there_is():
    everything = daily("2026-01-01", 4)
    plan = plan_forget(everything, everything[:2], ForgetOptions(Policy(parse_rules("tag none")), force=True), NOW)
    assert plan.removed == everything[:2]


# The same with a repository.


@pytest.fixture
def three() -> SmallRepository:
    small = SmallRepository()
    for number in range(3):
        small.back_up(bytes([number]) * 10)
        small.clock.advance(timedelta(days=10))
    return small


def plan_of(small: SmallRepository, repository: Repository, rules: str) -> ForgetPlan:
    everything = repository.snapshots()
    return plan_forget(everything, everything, ForgetOptions(Policy(parse_rules(rules))), Calendar(small.clock.now()))


@pytest.mark.parametrize("holder", ["owner", "steward"])
def test_owner_and_steward_thin_alike(three: SmallRepository, holder: str):
    repository = three.open(holder)
    newest = repository.snapshots()[-1].id
    report = forget(repository, plan_of(three, repository, "last 1"), three.operation())
    assert (len(report.forgotten), report.stopped_by) == (2, None)
    assert [one.id for one in repository.snapshots()] == [newest]


def test_a_writer_may_not_forget_protect_or_expire(three: SmallRepository):
    repository = three.open("writer")
    one = repository.snapshots()[0]
    with pytest.raises(NotPermitted):
        forget(repository, plan_of(three, repository, "last 1"), three.operation())
    with pytest.raises(NotPermitted):
        repository.protect(one)
    with pytest.raises(NotPermitted):
        repository.expire(one, None)


def test_a_refused_plan_does_nothing(three: SmallRepository):
    repository = three.open()
    with pytest.raises(UsageError, match="keeps none"):
        forget(repository, plan_of(three, repository, "tag typo"), three.operation())
    assert len(repository.snapshots()) == 3


def test_what_was_protected_meanwhile_stays(three: SmallRepository):
    repository = three.open()
    plan = plan_of(three, repository, "last 1")
    three.open("steward").protect(plan.removed[0])
    report = forget(repository, plan, three.operation())
    assert not report.forgotten
    assert "protected" in str(report.stopped_by)
    again = forget(repository, plan_of(three, repository, "last 1"), three.operation())
    assert len(again.forgotten) == 1


def test_what_somebody_else_forgot_at_the_same_time_is_forgotten(three: SmallRepository):
    first, second = three.open(), three.open("steward")
    plan = plan_of(three, first, "last 1")
    forget(second, plan, three.operation())
    assert forget(first, plan, three.operation()).stopped_by is None
    assert len(first.snapshots()) == 1


def test_a_fault_half_way_leaves_a_report_and_the_next_run_does_the_rest(three: SmallRepository):
    faulty = FaultyStorage(three.storage, [Fault("put", nth=2, prefix="removed/")])
    repository = three.open(storage=faulty)
    report = forget(repository, plan_of(three, repository, "last 1"), three.operation())
    assert len(report.forgotten) == 1
    assert isinstance(report.stopped_by, StorageUnavailable)
    rest = forget(repository, plan_of(three, repository, "last 1"), three.operation())
    assert len(rest.forgotten) == 1
    assert len(repository.snapshots()) == 1


def test_the_stop_button_is_obeyed_between_two(three: SmallRepository):
    repository, operation = three.open(), three.operation()
    operation.stop.set()
    report = forget(repository, plan_of(three, repository, "last 1"), operation)
    assert not report.forgotten
    assert report.stopped_by is not None


def test_protection_and_dates_hold_for_every_key(three: SmallRepository):
    steward = three.open("steward")
    one = steward.snapshots()[0]
    date = three.clock.now() + timedelta(days=30)
    steward.protect(one)
    steward.expire(one, date)
    seen = three.open().get_snapshot(one.id)
    assert (seen.protected, seen.expires, seen.name) == (True, date, "vm")
    steward.protect(one, protected=False)
    steward.expire(one, None)
    seen = three.open("writer").get_snapshot(one.id)
    assert (seen.protected, seen.expires) == (False, None)
