"""`lamina prune`: give back the space of what no snapshot needs."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from lamina import wiring
from lamina.cli import exit_codes
from lamina.cli.arguments import Verbs, typed
from lamina.cli.text import format_time
from lamina.model.quantities import format_size, parse_duration, parse_size, parse_timeout

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import tzinfo

    from lamina.cli.call import Call
    from lamina.cli.documents import Document
    from lamina.engine.prune import PruneOptions, PrunePlan, PruneReport, Undoable
    from lamina.engine.pruning.waiting import Waited

_ZERO = frozenset({"0", "0s", "0m", "0h"})
_OPTIONS = ("undo_window", "wait", "abort_after", "max_repack", "max_time")  # None: as the engine has it


def add_to(verbs: Verbs) -> None:
    parser = verbs.add(
        "prune",
        summary="give back the space of snapshots that were forgotten, and of what runs that died left behind",
        about="Runs beside backups, restores and other prunes, on one machine or many, with an owner's or a steward's key."
        " If sessions that began before have to be waited for, it says so and ends with 0: the next prune goes on from"
        " there, so run it every day. What it buries does not come back.",
        examples=(
            "lamina prune --dry-run",
            "lamina prune",
            "lamina prune --max-repack 50GiB --max-time 2h",
            "lamina prune --undo-window 0h --wait 10m",
        ),
        run=run_prune,
    )
    add = parser.add_argument
    add("-n", "--dry-run", action="store_true", help="say what would be deleted, copied and waited for; change nothing")
    add(
        "--undo-window", metavar="TIME", type=typed(_parse_window),
        help="bury only snapshots that were forgotten TIME ago (default: 7d); until then `unforget` brings them back",
    )  # fmt: skip
    add(
        "--wait", metavar="TIME", type=typed(_parse_time),
        help="wait TIME at most for sessions that began before, like 10m (default: 60s)",
    )  # fmt: skip
    add(
        "--abort-after", metavar="TIME", type=typed(_parse_window),
        help="give up sessions of other hosts that show no sign of life for TIME (default: 24h)",
    )  # fmt: skip
    add(
        "--max-repack",
        metavar="SIZE",
        type=typed(parse_size),
        help="copy SIZE at most out of packs that are half empty",
    )
    add("--max-time", metavar="TIME", type=typed(_parse_time), help="copy nothing more after TIME, like 2h")


def run_prune(call: Call) -> int:
    from lamina.engine.prune import plan_prune, prune

    options = _options(call)
    with call.repository() as (repository, operation):
        call.output.event("start", verb="prune")
        if call.arguments.dry_run:
            plan = plan_prune(repository, wiring.this_process(), options, operation)
            _warn(call, plan.problems)
            call.output.report("prune", _plan_document(plan), _plan_lines(plan, call.zone))
            return exit_codes.DONE
        report = prune(repository, wiring.this_process(), options, operation)
    _warn(call, report.problems)
    call.output.report("prune", _document(report), _lines(report, call.zone))
    return exit_codes.DONE


def _options(call: Call) -> PruneOptions:
    from lamina.engine.prune import PruneOptions

    given = {name: getattr(call.arguments, name) for name in _OPTIONS}
    return PruneOptions(
        is_running=wiring.is_running, **{name: value for name, value in given.items() if value is not None}
    )


def _parse_window(text: str) -> timedelta:
    """Whole hours, days, weeks or years; or 0."""
    return timedelta() if text.strip() in _ZERO else parse_duration(text)


def _parse_time(text: str) -> timedelta:
    """A time to wait, or 0."""
    return timedelta(seconds=0 if text.strip() in _ZERO else parse_timeout(text))


def _warn(call: Call, problems: Sequence[str]) -> None:
    for problem in problems:
        call.output.warning(problem)


def _plan_lines(plan: PrunePlan, zone: tzinfo) -> list[str]:
    lines = [f"would go on with generation {plan.generation}, which another prune began"] if plan.takes_over else []
    lines += [f"would give up session {session.hex()[:8]}, which will not go on" for session in plan.aborted]
    lines.append(f"would bury {_count(len(plan.buried), 'snapshot')} for good")
    lines.append(
        f"would delete {_count(plan.condemned, 'pack')}: {format_size(plan.freed)} would come back,"
        f" and {format_size(plan.copied)} at most be copied"
    )
    return [*lines, *_waiting(plan.waits_for, "would wait for", zone), *_undoable_lines(plan.undoable, zone)]


def _lines(report: PruneReport, zone: tzinfo) -> list[str]:
    lines = [f"gave up session {session.hex()[:8]}, which will not go on" for session in report.aborted]
    if not report.finished:
        return [
            *lines,
            *_waiting(report.waits_for, "waiting for", zone),
            f"generation {report.generation} is under way: the next prune goes on from here",
        ]
    if not report.generation:
        return [*lines, "there was nothing to prune", *_undoable_lines(report.undoable, zone)]
    lines += [f"buried snapshot {session.hex()[:8]}" for session in report.buried]
    lines.append(
        f"deleted {_count(report.deleted, 'pack')} of {format_size(report.freed)},"
        f" and copied {format_size(report.copied)} that were needed"
    )
    if report.left:
        lines.append(f"{_count(report.left, 'pack')} had to wait, for lack of time or room: prune again")
    return lines + _undoable_lines(report.undoable, zone)


def _undoable_lines(undoable: Undoable, zone: tzinfo) -> list[str]:
    if undoable.until is None:
        return []
    until = format_time(undoable.until, zone)
    if undoable.count == 1:
        return [f"1 forgotten snapshot can still be brought back; it may be buried from {until} on"]
    return [f"{undoable.count} forgotten snapshots can still be brought back; the first may be buried from {until} on"]


def _waiting(waited: Sequence[Waited], word: str, zone: tzinfo) -> list[str]:
    return [f"{word} session {one.session.hex()[:8]}, which began {format_time(one.started, zone)}" for one in waited]


def _count(number: int, what: str) -> str:
    return f"{number} {what if number == 1 else what + 's'}"


def _plan_document(plan: PrunePlan) -> Document:
    return {
        "dry_run": True,
        "generation": plan.generation,
        "takes_over": plan.takes_over,
        "buried": [session.hex() for session in plan.buried],
        "packs": plan.condemned,
        "freed_bytes": plan.freed,
        "copied_bytes": plan.copied,
        "aborted": [session.hex() for session in plan.aborted],
        "waits_for": _waited_documents(plan.waits_for),
        "problems": list(plan.problems),
        "undoable": _undoable_document(plan.undoable),
    }


def _document(report: PruneReport) -> Document:
    return {
        "dry_run": False,
        "generation": report.generation or None,
        "finished": report.finished,
        "buried": [session.hex() for session in report.buried],
        "packs": report.deleted,
        "freed_bytes": report.freed,
        "copied_bytes": report.copied,
        "packs_left": report.left,
        "aborted": [session.hex() for session in report.aborted],
        "waits_for": _waited_documents(report.waits_for),
        "problems": list(report.problems),
        "undoable": _undoable_document(report.undoable),
    }


def _undoable_document(undoable: Undoable) -> Document:
    from lamina.cli.documents import time_text

    return {"count": undoable.count, "until": time_text(undoable.until)}


def _waited_documents(waited: Sequence[Waited]) -> list[Document]:
    from lamina.cli.documents import time_text

    return [{"session": one.session.hex(), "started": time_text(one.started)} for one in waited]
