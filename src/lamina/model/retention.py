"""Which snapshots a policy keeps, and why. Pure.

`decide` judges snapshots in groups that do not compete: those of different names, and those signed with different keys.
Two things cannot make it drop what is good: clocks (durations go back from the newest snapshot of the group, unless that
lies in the future), and snapshots that are flawed (every rule is applied twice, once to the good ones alone).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from enum import Enum

from lamina.errors import NotPermitted, UsageError
from lamina.model.ids import SessionId
from lamina.model.keep_rules import KeepRules, KeepScheduled, KeepTag, Look
from lamina.model.order import in_order
from lamina.model.snapshots import Snapshot

AHEAD = timedelta(days=1)  # clocks and time zones may be wrong by so much before a snapshot counts as one of the future
NO_RULE = "no rule keeps it"
_NOTHING = "none"


class GroupBy(Enum):
    """What snapshots must share to compete with each other."""

    NAME = "name"
    HOST = "host"
    TAGS = "tags"


GroupKey = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Policy:
    """What is kept, and among which snapshots that is decided."""

    keep: KeepRules = ()
    group_by: frozenset[GroupBy] = frozenset({GroupBy.NAME})
    merge_keys: bool = (
        False  # let snapshots signed with different keys compete: whoever has one can push out the others'
    )


@dataclass(frozen=True, slots=True)
class Calendar:
    """Now, and where days begin."""

    now: datetime
    zone: tzinfo = UTC


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of one snapshot, with every reason for it."""

    snapshot: Snapshot
    keep: bool
    reasons: tuple[str, ...]
    group: GroupKey = ()


def parse_group_by(text: str) -> frozenset[GroupBy]:
    """Read what to group by, with commas between; `none`: all compete with all. Raises: UsageError.

    >>> sorted(one.value for one in parse_group_by("host,name"))
    ['host', 'name']
    """
    words = [word.strip() for word in text.split(",")]
    if words == [_NOTHING]:
        return frozenset()
    try:
        return frozenset(GroupBy(word) for word in words)
    except ValueError as error:
        known = ", ".join(one.value for one in GroupBy)
        raise UsageError(f"{text!r} is nothing to group by", hint=f"{known}, joined by commas; or none") from error


def is_good(snapshot: Snapshot) -> bool:
    """Whether it is whole, and nobody doubts it."""
    return not snapshot.partial and not snapshot.is_doubtful


def name_key(snapshot: Snapshot, *, merge_keys: bool) -> GroupKey:
    """Equal for snapshots of one name signed with one key, also where this key cannot read names."""
    name = snapshot.name_hash or snapshot.name
    return (name if name is not None else snapshot.id, None if merge_keys else snapshot.made_by)


def grouped(
    snapshots: Iterable[Snapshot], policy: Policy, removed: Iterable[Snapshot] = ()
) -> Mapping[GroupKey, list[Snapshot]]:
    """Those who compete with each other, oldest first. Raises: NotPermitted if this key cannot tell."""
    snapshots = list(snapshots)
    place = _places([*removed, *snapshots], policy)
    found: defaultdict[GroupKey, list[Snapshot]] = defaultdict(list)
    for snapshot in snapshots:
        found[_group_key(snapshot, policy)].append(snapshot)
    ordered = sorted(found.items(), key=lambda item: (item[1][0].name or "", repr(item[0])))
    return {key: sorted(group, key=lambda one: place[one.id]) for key, group in ordered}


def _places(known: Iterable[Snapshot], policy: Policy) -> Mapping[SessionId, int]:
    """Which comes after which; what other keys signed changes nothing about that."""
    by_key: defaultdict[str, list[Snapshot]] = defaultdict(list)
    for one in known:
        by_key["" if policy.merge_keys else one.made_by].append(one)
    return {one.id: place for members in by_key.values() for place, one in enumerate(in_order(members))}


def _group_key(snapshot: Snapshot, policy: Policy) -> GroupKey:
    if GroupBy.HOST in policy.group_by and not snapshot.readable:
        raise NotPermitted(
            f"this key cannot read from which host snapshot {snapshot.short_id} is",
            hint="group by name, or use an owner's passphrase",
        )
    return (
        name_key(snapshot, merge_keys=True)[0] if GroupBy.NAME in policy.group_by else None,
        snapshot.host if GroupBy.HOST in policy.group_by else None,
        _tags_key(snapshot) if GroupBy.TAGS in policy.group_by else None,
        None if policy.merge_keys else snapshot.made_by,
    )


def _tags_key(snapshot: Snapshot) -> tuple[object, ...]:
    return tuple(sorted(snapshot.tag_hashes)) or tuple(sorted(snapshot.tags))


def decide(
    snapshots: Iterable[Snapshot],
    policy: Policy,
    calendar: Calendar,
    *,
    expired: bool = False,
    removed: Iterable[Snapshot] = (),
) -> list[Decision]:
    """Judge every snapshot; group by group, oldest first. With *expired*, those whose time is over go, whatever the rules say.

    *removed* are those forgotten before: they link the others to a chain, which tells what is newer where clocks lie.
    Raises: NotPermitted if this key cannot read what the policy groups by.
    """
    decisions: list[Decision] = []
    for key, group in grouped(snapshots, policy, removed).items():
        fixed = {one.id: found for one in group if (found := _without_rules(one, calendar, expired=expired))}
        competing = [one for one in group if one.id not in fixed]
        reasons = _reasons(competing, policy.keep, calendar)
        for one in group:
            if one.id in fixed:
                keep, why = fixed[one.id]
                decisions.append(Decision(one, keep, (why,), key))
            else:
                rules = tuple(reasons.get(one.id, ()))
                decisions.append(Decision(one, bool(rules), rules or (NO_RULE,), key))
    return decisions


def _without_rules(one: Snapshot, calendar: Calendar, *, expired: bool) -> tuple[bool, str] | None:
    """What is decided before any rule is asked. Such a snapshot takes no place away from another."""
    if one.protected:
        return True, "protected"
    if one.expires is not None and one.expires > calendar.now:
        return True, f"expires {day_of(one.expires, calendar.zone)}"
    if one.expires is not None and expired:
        return False, f"expired {day_of(one.expires, calendar.zone)}"
    if one.started - calendar.now > AHEAD:
        return True, "its time lies in the future"
    return None


def day_of(moment: datetime, zone: tzinfo) -> str:
    """The date in *zone*, as people read it."""
    try:
        return f"{moment.astimezone(zone):%Y-%m-%d}"
    except OverflowError:
        return f"{moment:%Y-%m-%d}"


def _reasons(competing: Sequence[Snapshot], rules: KeepRules, calendar: Calendar) -> Mapping[SessionId, list[str]]:
    """Every reason to keep each; of all that compete, and of the good ones as if there were no others."""
    good = [one for one in competing if is_good(one)]
    reasons: defaultdict[SessionId, list[str]] = defaultdict(list)
    for rule in rules:
        kept = {one.id for one in rule.keeps(_look(competing, calendar))}
        for one in rule.keeps(_look(good, calendar)) if good else ():
            reasons[one.id].append(str(rule) if one.id in kept else f"{rule} of the good ones")
            kept.discard(one.id)
        for left in kept:
            reasons[left].append(str(rule))
    if any(isinstance(rule, KeepTag | KeepScheduled) for rule in rules):
        _keep_what_tags_may_say(competing, rules, reasons)
    return reasons


def keeps_any(snapshots: Sequence[Snapshot], rules: KeepRules, calendar: Calendar) -> bool:
    """Whether the rules would keep even one of *snapshots*, if there were no others."""
    return any(_reasons(snapshots, rules, calendar).values())


def _look(competing: Sequence[Snapshot], calendar: Calendar) -> Look:
    newest = max((one.started for one in competing), default=calendar.now)
    return Look(competing[::-1], min(newest, calendar.now), calendar.zone)


def _keep_what_tags_may_say(
    competing: Iterable[Snapshot], rules: KeepRules, reasons: defaultdict[SessionId, list[str]]
) -> None:
    """A tag that cannot be read, or that a schedule does not know, may be what somebody keeps a snapshot for."""
    scheduled = {rule.tag for rule in rules if isinstance(rule, KeepScheduled)}
    for one in competing:
        if not one.readable and one.tag_hashes:
            reasons[one.id].append("this key cannot read its tags")
        elif scheduled and (strange := sorted(one.tags - scheduled)):
            reasons[one.id].append(f"tag {strange[0]} is in no schedule")


@dataclass(frozen=True, slots=True)
class Loss:
    """What a plan would lose for good."""

    snapshot: Snapshot
    what: str  # what it is the last of


def last_ones(
    everything: Iterable[Snapshot], goes: Callable[[Snapshot], bool], *, merge_keys: bool = False
) -> list[Loss]:
    """The newest good snapshot of each name (and key) of which no good one would stay; of a name without any, the newest."""
    names: defaultdict[GroupKey, list[Snapshot]] = defaultdict(list)
    for snapshot in everything:
        names[name_key(snapshot, merge_keys=merge_keys)].append(snapshot)
    signers = Counter(name for name, _ in names)
    lost: list[Loss] = []
    for (name, _), group in names.items():
        good = [one for one in group if is_good(one)]
        if all(map(goes, good or group)):
            what = "last good snapshot of its name" if good else "last of its name"
            lost.append(Loss(in_order(good or group)[-1], f"{what} and key" if signers[name] > 1 else what))
    return lost
