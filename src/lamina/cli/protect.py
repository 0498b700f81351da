"""`lamina protect`, `unprotect`, `expire`: say of snapshots that they must stay, and until when."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lamina.cli import exit_codes
from lamina.cli.arguments import Verbs
from lamina.cli.selecting import SELECTORS_HELP, find_snapshots
from lamina.cli.snapshots import label
from lamina.cli.text import format_time
from lamina.errors import UsageError
from lamina.model.quantities import parse_expiry

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lamina.cli.call import Call
    from lamina.model.snapshots import Snapshot


def add_to(verbs: Verbs) -> None:
    protect = verbs.add(
        "protect",
        summary="let snapshots stay whatever happens, until `lamina unprotect`",
        about="What is protected is never removed, not even with --force. A writer's key may not protect.",
        examples=("lamina protect mail@latest", "lamina protect tag:before-upgrade"),
        run=run_protect,
        protected=True,
        repeated="snapshots",
    )
    unprotect = verbs.add(
        "unprotect",
        summary="let protected snapshots be like others",
        examples=("lamina unprotect 3fa94c01", "lamina unprotect protected"),
        run=run_protect,
        protected=False,
        repeated="snapshots",
    )
    expire = verbs.add(
        "expire",
        summary="say when snapshots expire",
        about="Until then no policy removes them; afterwards `lamina forget --expired` does.",
        examples=(
            "lamina expire 3fa94c01 --at 1y",
            "lamina expire tag:audit --at 2036-12-31",
            "lamina expire latest --never",
        ),
        run=run_expire,
        repeated="snapshots",
    )
    when = expire.add_mutually_exclusive_group(required=True)
    when.add_argument("--at", metavar="WHEN", help="after a duration from now (30d, 12h, 2w, 1y) or at an ISO date")
    when.add_argument("--never", action="store_true", help="take the date away")
    for parser in (protect, unprotect, expire):
        parser.add_argument("snapshots", metavar="SNAPSHOT", nargs="+", help=SELECTORS_HELP)


def run_protect(call: Call) -> int:
    protected: bool = call.arguments.protected
    with call.repository() as (repository, _):
        found = find_snapshots(call, repository, call.arguments.snapshots)
        repository.check_keeper("protect snapshots, or end that")
        changed = [one if one.protected is protected else repository.protect(one, protected=protected) for one in found]
    lines = [f"{label(one)}  {'protected' if one.protected else 'not protected'}" for one in changed]
    _report(call, changed, lines)
    return exit_codes.DONE


def run_expire(call: Call) -> int:
    with call.repository() as (repository, operation):
        when = None if call.arguments.never else parse_expiry(call.arguments.at, operation.clock.now(), call.zone)
        found = find_snapshots(call, repository, call.arguments.snapshots)
        repository.check_keeper("change when snapshots expire")
        changed = [one if one.expires == when else repository.expire(one, when) for one in found]
    said = "never expires" if when is None else f"expires {format_time(when, call.zone)}"
    _report(call, changed, [f"{label(one)}  {said}" for one in changed])
    return exit_codes.DONE


def _report(call: Call, changed: Sequence[Snapshot], lines: Sequence[str]) -> None:
    from lamina.cli.documents import snapshot_document

    if not changed:
        raise UsageError("no snapshot was chosen", hint="see: lamina snapshots")
    call.output.report(call.arguments.verb, {"snapshots": [snapshot_document(one) for one in changed]}, lines)
