"""Options that say what to keep: a policy of the settings file, one written on the spot, and single rules."""

from __future__ import annotations

import argparse
import re
from functools import partial
from typing import TYPE_CHECKING

from lamina.cli.arguments import Once, Parser, typed
from lamina.errors import UsageError
from lamina.model.keep_rules import Period, keep_rule, parse_rules, parse_schedule
from lamina.model.retention import Policy, parse_group_by

if TYPE_CHECKING:
    from lamina.cli.call import Call
    from lamina.model.keep_rules import KeepRule
    from lamina.settings import Settings

_UNITS = {
    Period.HOURLY: "hour",
    Period.DAILY: "day",
    Period.WEEKLY: "week",
    Period.MONTHLY: "month",
    Period.YEARLY: "year",
}
_POLICY_NAME = re.compile(r"[\w.-]+")


def add_policy_options(parser: Parser) -> None:
    """Add `--policy` and everything that goes with it."""
    group = parser.add_argument_group("what stays: whatever one rule keeps")
    add = group.add_argument
    add(
        "--policy", metavar="POLICY", action=Once,
        help="a policy of the settings file, or rules: 'within 2d, daily 7, weekly 4, tag gold'",
    )  # fmt: skip
    _add_rule(group, "last", "N", "keep the newest N")
    for period in Period:
        _add_rule(group, period.value, "N", f"keep the newest of each {_UNITS[period]}, of N that have one")
    _add_rule(group, "within", "TIME", "keep what is not older than TIME, like 30d")
    for period in Period:
        _add_rule(group, f"within-{period.value}", "TIME", f"keep the newest of each {_UNITS[period]}, for TIME")
    _add_rule(group, "tag", "TAG", "keep what has TAG; may be repeated")
    add(
        "--keep-schedule", metavar="LINE", dest="keep", action="append", type=typed(parse_schedule),
        help="a line of a schedule, 'daily: every 1d keep 7'; may be repeated",
    )  # fmt: skip
    add(
        "--group-by", metavar="WHAT", action=Once, type=typed(parse_group_by),
        help="what snapshots share that compete: name, host, tags, joined by commas, or none (default: name)",
    )  # fmt: skip
    add(
        "--merge-keys", action="store_true",
        help="let snapshots compete that were signed with different keys, as after a writer got a new one",
    )  # fmt: skip


def _add_rule(group: argparse._ArgumentGroup, kind: str, metavar: str, text: str) -> None:
    rule = typed(partial(keep_rule, kind))
    group.add_argument(
        f"--keep-{kind}", metavar=metavar, dest="keep", action="append", default=[], type=rule, help=text
    )


def policy_of(call: Call) -> Policy | None:
    """The policy that was named, with the rules given beside it; None if there is neither. Raises: UsageError."""
    arguments = call.arguments
    rules: list[KeepRule] = list(arguments.keep)
    if arguments.policy is None and not rules:
        if arguments.group_by is not None or arguments.merge_keys:
            raise UsageError("--group-by and --merge-keys say nothing without rules", hint="give --policy or --keep-…")
        return None
    named = Policy() if arguments.policy is None else _named(arguments.policy, call.settings)
    return Policy(
        (*named.keep, *rules),
        named.group_by if arguments.group_by is None else arguments.group_by,
        named.merge_keys or arguments.merge_keys,
    )


def _named(text: str, settings: Settings) -> Policy:
    if text in settings.policies:
        return settings.policies[text]
    if _POLICY_NAME.fullmatch(text) is None:
        return Policy(parse_rules(text))
    known = ", ".join(sorted(settings.policies)) or "it has none"
    raise UsageError(
        f"the settings file has no policy {text!r}",
        hint=f"policies there: {known}; or write rules, as in --policy 'daily 7, weekly 4'",
    )
