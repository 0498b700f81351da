"""`lamina forget`, `unforget`: remove snapshots, and take that back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lamina.cli import exit_codes
from lamina.cli.arguments import Verbs
from lamina.cli.selecting import SELECTORS_HELP, find_snapshots
from lamina.cli.snapshots import label
from lamina.errors import UsageError

if TYPE_CHECKING:
    from lamina.cli.call import Call


def add_to(verbs: Verbs) -> None:
    forget = verbs.add(
        "forget",
        summary="remove snapshots",
        about="Their space is kept until a prune, and `lamina unforget` takes it back until then.",
        examples=("lamina forget 3fa94c01", "lamina forget --dry-run 'name:mail & ..2025-12-31'"),
        run=run_forget,
        repeated="snapshots",
    )
    forget.add_argument("-n", "--dry-run", action="store_true", help="say which ones, and remove nothing")
    unforget = verbs.add(
        "unforget",
        summary="take back what forget removed",
        examples=("lamina snapshots --removed", "lamina unforget 3fa94c01", "lamina unforget removed"),
        run=run_unforget,
        repeated="snapshots",
    )
    for parser in (forget, unforget):
        parser.add_argument("snapshots", metavar="SNAPSHOT", nargs="+", help=SELECTORS_HELP)


def run_forget(call: Call) -> int:
    dry_run: bool = call.arguments.dry_run
    with call.repository() as (repository, _):
        found = find_snapshots(call, repository, call.arguments.snapshots)
        if not dry_run:
            for one in found:
                repository.forget(one)
    lines = [f"{'would forget' if dry_run else 'forgot'} {label(one)}" for one in found]
    call.output.report("forget", {"dry_run": dry_run, "snapshots": [one.id.hex() for one in found]}, lines)
    if not dry_run:
        call.output.note("take it back with `lamina unforget ID`, until a prune")
    return exit_codes.DONE


def run_unforget(call: Call) -> int:
    with call.repository() as (repository, _):
        found = find_snapshots(call, repository, call.arguments.snapshots, removed=True)
        for one in found:
            if not one.removed:
                raise UsageError(f"snapshot {one.short_id} was not forgotten", hint="see: lamina snapshots --removed")
        for one in found:
            repository.unforget(one)
    lines = [f"took back {label(one)}" for one in found]
    call.output.report("unforget", {"snapshots": [one.id.hex() for one in found]}, lines)
    return exit_codes.DONE
