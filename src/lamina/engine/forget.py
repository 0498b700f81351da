"""Remove snapshots: those that were chosen, those that a policy does not keep, those whose time is over."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta

from lamina.errors import LaminaError, ObjectExists, UsageError
from lamina.model.keep_rules import format_rules, keeps_nothing
from lamina.model.operation import Operation
from lamina.model.retention import NO_RULE, Calendar, Decision, GroupKey, Policy, day_of, decide, keeps_any, last_ones
from lamina.model.snapshots import Snapshot
from lamina.repository.repository import Repository

PROTECT_YOUNGER_THAN = timedelta(days=6)  # default
_SHOWN = 5  # snapshots named in an error
_PROTECTED_HINT = "leave them out with `& not(protected)`, or see `lamina unprotect`"


@dataclass(frozen=True, slots=True)
class ForgetOptions:
    """How it is decided what goes."""

    policy: Policy | None = None  # None, and not *expired*: all that was chosen goes
    expired: bool = False  # what has expired goes
    force: bool = False  # let go what is young, and the last good snapshot of a name; never what is protected
    protect_younger_than: timedelta = PROTECT_YOUNGER_THAN  # of what was chosen one by one


@dataclass(frozen=True, slots=True)
class ForgetPlan:
    """What would stay and what would go, each with the reasons; and why none of it may be done, if it may not."""

    decisions: tuple[Decision, ...]
    refusals: tuple[str, ...] = ()
    hint: str = ""

    @property
    def kept(self) -> list[Snapshot]:
        return [one.snapshot for one in self.decisions if one.keep]

    @property
    def removed(self) -> list[Snapshot]:
        return [one.snapshot for one in self.decisions if not one.keep]


@dataclass(frozen=True, slots=True)
class ForgetReport:
    """What was done of a plan; the same call does the rest."""

    forgotten: tuple[Snapshot, ...]
    stopped_by: LaminaError | None = field(default=None)


def plan_forget(
    everything: Sequence[Snapshot], chosen: Sequence[Snapshot], options: ForgetOptions, calendar: Calendar
) -> ForgetPlan:
    """Decide what of *chosen* goes; *everything* is what the repository has, with what is removed and not yet buried. Pure.

    Raises: NotPermitted if this key cannot read what the policy groups by.
    """
    removed = [one for one in everything if one.removed]
    everything = [one for one in everything if not one.removed]
    if options.policy is not None:
        decisions = decide(chosen, options.policy, calendar, expired=options.expired, removed=removed)
        refusals = () if options.force else _keeping_nothing(options.policy, decisions, calendar)
        hint = "look for a typing error, see `lamina forget --dry-run`; or give --force" if refusals else ""
        return ForgetPlan(_with_last_ones(everything, decisions, options), refusals, hint)
    if options.expired:
        return ForgetPlan(_with_last_ones(everything, _expired(chosen, calendar), options))
    return _plan_chosen(everything, chosen, options, calendar)


def _keeping_nothing(policy: Policy, decisions: Iterable[Decision], calendar: Calendar) -> tuple[str, ...]:
    """A rule that keeps nothing is a typing error more often than a wish: it removed all that somebody had, once.

    What stays for another reason, as one that is protected, does not make it less of an error.
    """
    if keeps_nothing(policy.keep):
        return (f"the policy keeps nothing at all ({format_rules(policy.keep) or 'it has no rules'})",)
    groups: defaultdict[GroupKey, list[Decision]] = defaultdict(list)
    for one in decisions:
        groups[one.group].append(one)
    empty = [
        group
        for group in groups.values()
        if any(NO_RULE in one.reasons for one in group)
        and not keeps_any([one.snapshot for one in group if one.keep], policy.keep, calendar)
    ]
    return _few(
        f"the policy ({format_rules(policy.keep)}) keeps none of the {len(group)} snapshots {_of(group[0].snapshot)}"
        for group in empty
    )


def _few(refusals: Iterable[str]) -> tuple[str, ...]:
    """What one can read of many: a repository may have hundreds of names."""
    every = tuple(refusals)
    return every if len(every) <= _SHOWN else (*every[:_SHOWN], f"and so on, {len(every) - _SHOWN} times more")


def _of(snapshot: Snapshot) -> str:
    return f"like {snapshot.short_id}" if snapshot.name is None else f"of {snapshot.name!r}"


def _expired(chosen: Iterable[Snapshot], calendar: Calendar) -> list[Decision]:
    """What becomes of those that have a date to expire at."""
    decisions = []
    for one in chosen:
        if one.expires is None:
            continue
        is_over, day = one.expires <= calendar.now, day_of(one.expires, calendar.zone)
        reasons = [f"expired {day}" if is_over else f"expires {day}"]
        if one.protected:
            reasons.append("protected")
        decisions.append(Decision(one, one.protected or not is_over, tuple(reasons)))
    return decisions


def _with_last_ones(
    everything: Iterable[Snapshot], decisions: Iterable[Decision], options: ForgetOptions
) -> tuple[Decision, ...]:
    """*decisions*, but the last good snapshot of every name stays."""
    decisions = tuple(decisions)
    if options.force:
        return decisions
    gone = {one.snapshot.id for one in decisions if not one.keep}
    merge = options.policy is not None and options.policy.merge_keys
    last = {loss.snapshot.id: loss.what for loss in last_ones(everything, lambda one: one.id in gone, merge_keys=merge)}
    return tuple(
        replace(one, keep=True, reasons=(f"{last[one.snapshot.id]} ({one.reasons[0]})",))
        if one.snapshot.id in last
        else one
        for one in decisions
    )


def _plan_chosen(
    everything: Sequence[Snapshot], chosen: Sequence[Snapshot], options: ForgetOptions, calendar: Calendar
) -> ForgetPlan:
    decisions = tuple(Decision(one, one.protected, ("protected",) if one.protected else ("chosen",)) for one in chosen)
    if locked := [one for one in chosen if one.protected]:
        verb = "is" if len(locked) == 1 else "are"
        return ForgetPlan(decisions, (f"{_named(locked)} {verb} protected",), _PROTECTED_HINT)
    return ForgetPlan(decisions, *_dangers(everything, chosen, options, calendar))


def _dangers(
    everything: Sequence[Snapshot], chosen: Sequence[Snapshot], options: ForgetOptions, calendar: Calendar
) -> tuple[tuple[str, ...], str]:
    """What only `force` allows, and what to do."""
    if options.force:
        return (), ""
    refusals = []
    if young := [one for one in chosen if calendar.now - one.finished < options.protect_younger_than]:
        verb, days = "is" if len(young) == 1 else "are", options.protect_younger_than
        refusals.append(f"{_named(young)} {verb} younger than {days / timedelta(days=1):g} days")
    gone = {one.id for one in chosen}
    refusals += _few(
        f"{_named([loss.snapshot])} is the {loss.what}" for loss in last_ones(everything, lambda one: one.id in gone)
    )
    return tuple(refusals), "give --force if it is to go nevertheless" if refusals else ""


def _named(snapshots: Sequence[Snapshot]) -> str:
    shown = ", ".join(one.short_id + (f" ({one.name})" if one.name else "") for one in snapshots[:_SHOWN])
    more = f" and {len(snapshots) - _SHOWN} more" if len(snapshots) > _SHOWN else ""
    return f"{'snapshot' if len(snapshots) == 1 else 'snapshots'} {shown}{more}"


def forget(repository: Repository, plan: ForgetPlan, operation: Operation) -> ForgetReport:
    """Remove what *plan* says, oldest first; what stops it half-way is in the report.

    Raises: UsageError, before anything is done, if the plan is refused; NotPermitted.
    """
    if plan.refusals:
        raise UsageError("; ".join(plan.refusals), hint=plan.hint)
    repository.check_keeper("forget snapshots")
    operation.progress.start("forgetting", None)
    forgotten: list[Snapshot] = []
    for one in plan.removed:
        try:
            operation.check_stop()
            _forget_one(repository, one)
        except LaminaError as error:
            return ForgetReport(tuple(forgotten), error)
        forgotten.append(one)
    return ForgetReport(tuple(forgotten))


def _forget_one(repository: Repository, snapshot: Snapshot) -> None:
    try:
        repository.forget(snapshot)
    except ObjectExists:  # somebody else wrote the same number
        if not repository.get_snapshot(snapshot.id).removed:
            raise
