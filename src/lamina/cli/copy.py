"""`lamina copy`: bring snapshots across to another repository."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lamina import __version__, wiring
from lamina.cli import exit_codes
from lamina.cli.arguments import Verbs, typed
from lamina.cli.second import add_second_options, opened_second
from lamina.cli.selecting import SELECTORS_HELP, find_snapshots
from lamina.cli.text import format_time, table
from lamina.model.quantities import format_duration, format_size, parse_rate
from lamina.settings_file import COMPRESSIONS

if TYPE_CHECKING:
    from datetime import tzinfo

    from lamina.cli.call import Call
    from lamina.cli.documents import Document
    from lamina.engine.copy import CopyPlan, CopyReport
    from lamina.model.snapshots import Snapshot

CHECKS = ("none", "sample", "full")


def add_to(verbs: Verbs) -> None:
    parser = verbs.add(
        "copy",
        summary="bring snapshots across to another repository, without their sources",
        about=(
            "The other repository has keys of its own: an owner's passphrase is needed here, an owner's or a writer's"
            " there. What was copied before is left alone, so the same call keeps a mirror up to date."
        ),
        examples=(
            "lamina copy all --to /mnt/offsite",
            "lamina copy latest web@latest --to s3://bucket/offsite --to-passphrase-file offsite.txt",
            "lamina copy 'tag:monthly' --to offsite --dry-run",
        ),
        run=run_copy,
        repeated="snapshots",
    )
    add = parser.add_argument
    add("snapshots", metavar="SNAPSHOT", nargs="+", help=SELECTORS_HELP)
    add_second_options(parser, "to", "the repository to copy to: an address, or a profile", required=True)
    add("--compression", choices=COMPRESSIONS, default=None, help="how hard to compress there")
    add(
        "--verify", choices=CHECKS, default="sample",
        help="read back nothing, some of what was put (the default), or all of the copy, compared with its original",
    )  # fmt: skip
    add(
        "--limit-download", metavar="RATE", type=typed(parse_rate), help="fetch at most RATE bytes a second, like 10MiB"
    )
    add("--limit-upload", metavar="RATE", type=typed(parse_rate), help="send at most RATE bytes a second")
    add("-n", "--dry-run", action="store_true", help="say what would be copied, and copy nothing")


def run_copy(call: Call) -> int:
    from lamina.engine.copy import CopyCheck, CopyOptions, copy, plan_copy

    arguments = call.arguments
    with call.repository() as (source, operation), opened_second(call, "to", operation) as target:
        chosen = find_snapshots(call, source, arguments.snapshots)
        plan = plan_copy(source, target, chosen)
        call.output.event("start", verb="copy", snapshots=len(plan.missing), size=plan.size)
        if arguments.dry_run:
            call.output.report("copy", copy_document(plan, None), _plan_lines(plan, call.zone))
            return exit_codes.DONE
        options = CopyOptions(
            compression=call.settings.compression,
            check=CopyCheck(arguments.verify),
            process=wiring.this_process(),
            program=f"lamina {__version__}",
        )
        report = copy(source, target, plan, options, operation)
    for one in report.failed:
        call.output.warning(f"snapshot {one.source.hex()[:8]} was not copied: {one.reason}")
    if report.failed:
        call.output.note("hint: `lamina verify` says what is damaged, `lamina repair --dry-run` what can be mended")
    for copied in report.copied:
        for difference in copied.differences:
            call.output.warning(f"copy {copied.copy.hex()[:8]}: {difference.path}: {difference.reason}")
    call.output.report("copy", copy_document(plan, report), _lines(plan, report, quiet=call.output.style.quiet))
    if report.failed:
        return exit_codes.PARTIAL
    return exit_codes.DISTRUSTED if any(one.differences for one in report.copied) else exit_codes.DONE


def _plan_lines(plan: CopyPlan, zone: tzinfo) -> list[str]:
    rows = [["copy", *_row(one, zone), ""] for one in plan.missing]
    rows += [["there", *_row(one, zone), copy.short_id] for one, copy in plan.there]
    if not rows:
        return ["no snapshots"]
    return [
        *table(["WHAT", "ID", "TIME", "NAME", "SIZE", "COPY"], rows, right=["SIZE"]),
        f"would copy {_count(len(plan.missing))} of {format_size(plan.size)} at most",
    ]


def _row(snapshot: Snapshot, zone: tzinfo) -> list[str]:
    return [snapshot.short_id, format_time(snapshot.started, zone), snapshot.name or "", format_size(snapshot.size)]


def _lines(plan: CopyPlan, report: CopyReport, *, quiet: bool) -> list[str]:
    if quiet:
        return []
    names = {one.id: one for one in plan.missing}
    rows = [
        [one.source.hex()[:8], one.copy.hex()[:8], names[one.source].name or "", format_size(one.read), format_size(one.stored)]
        for one in report.copied
    ]  # fmt: skip
    lines = table(["ID", "COPY", "NAME", "READ", "STORED"], rows, right=["READ", "STORED"]) if rows else []
    seconds = report.duration.total_seconds()
    lines.append(f"copied {_count(len(report.copied))} in {format_duration(seconds)}; {report.there} were there before")
    return lines


def _count(number: int) -> str:
    return f"{number} {'snapshot' if number == 1 else 'snapshots'}"


def copy_document(plan: CopyPlan, report: CopyReport | None) -> Document:
    """*report* is None for a dry run."""
    from lamina.cli.documents import differences

    document: Document = {
        "dry_run": report is None,
        "missing": [one.id.hex() for one in plan.missing],
        "there": [{"snapshot": one.id.hex(), "copy": copy.id.hex()} for one, copy in plan.there],
        "size": plan.size,
    }
    if report is not None:
        document |= {
            "copied": [
                {
                    "snapshot": one.source.hex(),
                    "copy": one.copy.hex(),
                    "read_bytes": one.read,
                    "new_bytes": one.new,
                    "stored_bytes": one.stored,
                    "differences": differences(one.differences),
                }
                for one in report.copied
            ],
            "failed": [{"snapshot": one.source.hex(), "reason": one.reason} for one in report.failed],
            "duration_s": round(report.duration.total_seconds(), 3),
        }
    return document
