"""`lamina forget`, `unforget`: remove snapshots, one by one or by a policy, and take that back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lamina.cli import exit_codes
from lamina.cli.arguments import Verbs
from lamina.cli.policies import add_policy_options, policy_of
from lamina.cli.selecting import SELECTORS_HELP, find_snapshots, whole
from lamina.cli.snapshots import label
from lamina.cli.text import format_time, table
from lamina.errors import UsageError
from lamina.model.quantities import format_count

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import tzinfo

    from lamina.cli.call import Call
    from lamina.engine.forget import ForgetPlan, ForgetReport
    from lamina.model.retention import Calendar, Decision
    from lamina.model.snapshots import Snapshot
    from lamina.repository.repository import Repository


def add_to(verbs: Verbs) -> None:
    forget = verbs.add(
        "forget",
        summary="remove snapshots: those named, those that a policy does not keep, or those that have expired",
        about="With rules, snapshots compete by name, and SNAPSHOT says among which (default: all). Their space is kept"
        " until a prune, and `lamina unforget` takes them back until then (7 days, unless prune is told otherwise).",
        examples=(
            "lamina forget 3fa94c01",
            "lamina forget --dry-run 'name:mail & ..2025-12-31'",
            "lamina forget --keep-within 2d --keep-daily 7 --keep-weekly 4 --keep-monthly 12 --dry-run",
            "lamina forget --policy standard --expired",
            "lamina forget name:mail --policy 'daily: every 1d keep 7, weekly: every 7d keep 4'",
        ),
        run=run_forget,
        repeated="snapshots",
    )
    forget.add_argument("snapshots", metavar="SNAPSHOT", nargs="*", help=SELECTORS_HELP)
    add_policy_options(forget)
    add = forget.add_argument_group("what goes").add_argument
    add("--expired", action="store_true", help="remove what has expired")
    add(
        "--force", action="store_true",
        help="remove also what is young, the last good snapshot of a name, and all if the rules keep nothing",
    )  # fmt: skip
    add("-n", "--dry-run", action="store_true", help="say what would stay and go, and why; remove nothing")
    unforget = verbs.add(
        "unforget",
        summary="take back what forget removed",
        examples=("lamina snapshots --removed", "lamina unforget 3fa94c01", "lamina unforget removed"),
        run=run_unforget,
        repeated="snapshots",
    )
    unforget.add_argument("snapshots", metavar="SNAPSHOT", nargs="+", help=SELECTORS_HELP)


def run_forget(call: Call) -> int:
    from lamina.engine.forget import forget
    from lamina.model.retention import Calendar

    with call.repository() as (repository, operation):
        repository.check_keeper("forget snapshots")  # a dry run shows nothing that would then be refused
        plan = _plan(call, repository, Calendar(operation.clock.now(), call.zone))
        if call.arguments.dry_run:
            return _show_plan(call, plan)
        report = forget(repository, plan, operation)
    _show_report(call, plan, report)
    if report.stopped_by is not None:
        raise report.stopped_by
    return exit_codes.DONE


def _plan(call: Call, repository: Repository, calendar: Calendar) -> ForgetPlan:
    from lamina.engine.forget import PROTECT_YOUNGER_THAN, ForgetOptions, plan_forget

    arguments, policy = call.arguments, policy_of(call)
    if not arguments.snapshots and policy is None and not arguments.expired:
        raise UsageError(
            "nothing was named that could be removed", hint="name snapshots, or give --policy or --expired"
        )
    younger = call.settings.protect_younger_than
    options = ForgetOptions(
        policy=policy,
        expired=arguments.expired,
        force=arguments.force,
        protect_younger_than=PROTECT_YOUNGER_THAN if younger is None else younger,
    )
    everything = repository.snapshots(removed=True)
    chosen = _chosen(call, repository, everything) if arguments.snapshots else everything
    return plan_forget(everything, [one for one in chosen if not one.removed], options, calendar)


def _chosen(call: Call, repository: Repository, everything: Sequence[Snapshot]) -> list[Snapshot]:
    """What the words of the call stand for, without the ids that a call that broke off has already forgotten."""
    from lamina.model.selector_text import parse
    from lamina.model.selectors import ById

    left = []
    for text in call.arguments.snapshots:
        selector = parse(whole(text))
        fitting = [one for one in everything if isinstance(selector, ById) and one.id.hex().startswith(selector.prefix)]
        if fitting and all(one.removed for one in fitting):
            call.output.note(f"{text} is forgotten already")
        else:
            left.append(text)
    return find_snapshots(call, repository, left) if left else []


def _show_plan(call: Call, plan: ForgetPlan) -> int:
    call.output.events("decision", map(_decision_document, plan.decisions))
    for refusal in plan.refusals:
        call.output.warning(f"this would be refused: {refusal}")
    gone, kept = plan.removed, plan.kept
    said = f"would forget {len(gone)}, and keep {format_count(len(kept), 'snapshot')}"
    lines = [*_table(plan.decisions, call.zone), said + (", but is refused" if plan.refusals else "")]
    if plan.hint:
        call.output.note(f"hint: {plan.hint}")
    call.output.report("forget", _document(plan, gone, dry_run=True), lines)
    return exit_codes.USAGE if plan.refusals else exit_codes.DONE


def _show_report(call: Call, plan: ForgetPlan, report: ForgetReport) -> None:
    call.output.events("decision", map(_decision_document, plan.decisions))
    reasons = {one.snapshot.id: one.reasons for one in plan.decisions}
    lines = [f"forgot {label(one)}  ({', '.join(reasons[one.id])})" for one in report.forgotten]
    lines.append(f"forgot {len(report.forgotten)} of {format_count(len(plan.decisions), 'snapshot')}")
    if report.forgotten and report.stopped_by is None:
        call.output.note("take it back with `lamina unforget ID`, until a prune (7 days, unless it is told otherwise)")
    call.output.report("forget", _document(plan, report.forgotten, dry_run=False), lines)


def _document(plan: ForgetPlan, gone: Sequence[Snapshot], *, dry_run: bool) -> dict[str, object]:
    return {
        "dry_run": dry_run,
        "snapshots": [one.id.hex() for one in gone],
        "kept": len(plan.kept),
        "refused": list(plan.refusals),
    }


def _decision_document(decision: Decision) -> dict[str, object]:
    from lamina.cli.documents import time_text

    one = decision.snapshot
    return {
        "snapshot": one.id.hex(),
        "name": one.name,
        "started": time_text(one.started),
        "tags": sorted(one.tags),
        "keep": decision.keep,
        "reasons": list(decision.reasons),
    }


def _table(decisions: Sequence[Decision], zone: tzinfo) -> list[str]:
    rows = [
        [
            "keep" if one.keep else "forget",
            one.snapshot.short_id,
            format_time(one.snapshot.started, zone),
            one.snapshot.name if one.snapshot.name is not None else "(not readable)",
            ",".join(sorted(one.snapshot.tags)),
            ", ".join(one.reasons),
        ]
        for one in decisions
    ]
    return table(["", "ID", "STARTED", "NAME", "TAGS", "BECAUSE"], rows) if rows else []


def run_unforget(call: Call) -> int:
    with call.repository() as (repository, _):
        chosen = find_snapshots(call, repository, call.arguments.snapshots, removed=True)
        found = [one for one in chosen if one.removed]  # a call that broke off has brought some of them back already
        if not found:
            raise UsageError("no snapshot was chosen that is forgotten", hint="see: lamina snapshots --removed")
        if left := len(chosen) - len(found):
            call.output.note(f"{left} of the snapshots chosen were not forgotten")
        for one in found:
            repository.unforget(one)
    lines = [f"took back {label(one)}" for one in found]
    call.output.report("unforget", {"snapshots": [one.id.hex() for one in found]}, lines)
    return exit_codes.DONE
