"""`lamina verify`: read and check everything, or what is asked for."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from lamina import wiring
from lamina.cli import exit_codes
from lamina.cli.arguments import Verbs, typed
from lamina.cli.selecting import SELECTORS_HELP, find_snapshots
from lamina.cli.text import table
from lamina.errors import SnapshotMissing, UsageError
from lamina.model.quantities import format_count, format_duration, format_size, parse_duration, parse_size

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lamina.cli.call import Call
    from lamina.engine.verify import Problem, VerifyOptions, VerifyReport
    from lamina.engine.verifying.findings import Amount
    from lamina.engine.verifying.overview import CoverageReport
    from lamina.model.ids import SessionId
    from lamina.model.snapshots import Snapshot
    from lamina.repository.repository import Repository

_ALONE = ("no_key", "coverage", "source")  # each is another question
_NEXT_STEPS = (
    "hint: prune nothing for now; back up again what the named snapshots hold, and verify again: that heals what the"
    " sources still have. For what stays see `lamina repair --dry-run`"
)


def add_to(verbs: Verbs) -> None:
    parser = verbs.add(
        "verify",
        summary="read and check every object of the repository, or what some snapshots need",
        about="Exit code 1 if anything is damaged. Says in the repository which packs were found whole, and which snapshots"
        " need what is damaged: the next backups heal what they can.",
        examples=(
            "lamina verify",
            "lamina verify web@latest mail@latest",
            "lamina verify --share 1/7",
            "lamina verify --older-than 30d --max-time 2h",
            "lamina verify --structure",
            "lamina verify --no-key",
            "lamina verify --source mail@latest /dev/vg/mail-snapshot",
            "lamina verify --coverage",
        ),
        run=run_verify,
        repeated="snapshots",
    )
    add = parser.add_argument
    add(
        "snapshots", metavar="SNAPSHOT", nargs="*",
        help=f"read only the records and packs of these: {SELECTORS_HELP}",
    )  # fmt: skip
    add("--structure", action="store_true", help="read no data packs: records, index and links only")
    add("--share", metavar="SHARE", help="read that share of the packs, like 1/7, the longest unchecked first")
    add("--older-than", metavar="TIME", type=typed(parse_duration), help="read packs not checked for TIME, like 30d")
    add("--max-time", metavar="TIME", type=typed(parse_duration), help="begin no further pack after TIME")
    add("--max-read", metavar="SIZE", type=typed(parse_size), help="read packs of SIZE at most")
    add("--no-key", action="store_true", help="check stored bytes alone: needs the storage and no passphrase")
    add(
        "--source", metavar=("SNAPSHOT", "SOURCE"), nargs="+",
        help="compare SNAPSHOT with what its sources hold now, and check nothing else",
    )  # fmt: skip
    add("--coverage", action="store_true", help="say how much was verified when, and check nothing")
    add("--no-mark", action="store_true", help="leave the marks of snapshots (verified, distrusted) as they are")


def run_verify(call: Call) -> int:
    arguments = call.arguments
    options = _options(call)
    asked = [name for name in _ALONE if getattr(arguments, name)]
    if arguments.snapshots and (asked or options.is_partial):
        raise UsageError(
            "chosen snapshots are checked whole", hint="leave out the snapshots, or the choices of what to read"
        )
    if len(asked) > 1 or (asked and options.is_partial):
        raise UsageError(f"--{asked[0].replace('_', '-')} cannot be combined with other choices of what to check")
    if arguments.source:
        from lamina.cli.verify_source import run_verify_source

        return run_verify_source(call)
    if arguments.coverage:
        return _run_coverage(call)
    report = _without_key(call) if arguments.no_key else _verify(call, options)
    from lamina.cli.documents import verify_document

    for note in report.notes:
        call.output.warning(note)
    call.output.report("verify", verify_document(report), _lines(report, quiet=call.output.style.quiet))
    return exit_codes.FAILED if report.problems else exit_codes.DONE


def _options(call: Call) -> VerifyOptions:
    from lamina.engine.verify import VerifyOptions
    from lamina.engine.verifying.selection import parse_share
    from lamina.repository.coverage import WHOLE

    arguments = call.arguments
    return VerifyOptions(
        structure_only=arguments.structure,
        share=parse_share(arguments.share) if arguments.share is not None else WHOLE,
        older_than=arguments.older_than,
        max_time=arguments.max_time,
        max_read=arguments.max_read,
        record=True,
        mark=not arguments.no_mark,
    )


def _verify(call: Call, options: VerifyOptions) -> VerifyReport:
    from lamina.engine.verify import verify

    with call.repository() as (repository, operation):
        if call.arguments.snapshots:
            options = replace(options, snapshots=_chosen(call, repository))
        call.output.event("start", verb="verify")
        return verify(repository, operation, options)


def _chosen(call: Call, repository: Repository) -> frozenset[SessionId]:
    """The snapshots that are asked for; forgotten ones where no others are meant. Raises: SnapshotMissing, UsageError."""
    texts = call.arguments.snapshots
    chosen: list[Snapshot] = []
    with suppress(SnapshotMissing):
        chosen = find_snapshots(call, repository, texts)
    chosen = chosen or find_snapshots(call, repository, texts, removed=True)
    if not chosen:
        raise SnapshotMissing("no snapshot is what was asked for", hint="see `lamina snapshots`")
    return frozenset(one.id for one in chosen)


def _without_key(call: Call) -> VerifyReport:
    from lamina.engine.verifying.keyless import verify_without_key

    if not call.settings.address:
        call.missing_address()
    with call.operation() as operation:
        storage = wiring.open_storage(call.settings, operation)
        try:
            call.output.event("start", verb="verify")
            return verify_without_key(storage, operation)
        finally:
            storage.close()


def _run_coverage(call: Call) -> int:
    from lamina.cli.documents import coverage_document
    from lamina.engine.verifying.overview import read_coverage

    with call.repository() as (repository, operation):
        report = read_coverage(repository, operation)
    call.output.report("verify", coverage_document(report), _coverage_lines(report))
    return exit_codes.DONE


def _lines(report: VerifyReport, *, quiet: bool) -> list[str]:
    lines = [*_listed("DAMAGED", report.problems), *_listed("note", report.warnings)]
    lines += [f"snapshot {text[:8]} is marked as distrusted now" for text in report.distrusted]
    if quiet and not report.problems:
        return lines
    seconds = report.duration.total_seconds()
    lines.append(
        f"read {format_count(report.objects, 'object')}, {format_size(report.read)}, in {format_duration(seconds)}:"
        f" {format_count(report.snapshots, 'snapshot')}, {format_count(report.chunks, 'chunk')}"
    )
    if report.checked.packs < report.packs.packs:
        lines.append(f"packs read: {_amount(report.checked)} of {_amount(report.packs)}")
    if report.left.packs:
        lines.append(f"left for the next run: {_amount(report.left)}")
    if report.verified:
        count = len(report.verified)
        lines.append(f"{format_count(count, 'snapshot')} {'is' if count == 1 else 'are'} marked as verified now")
    lines += [f"not checked: {limit}" for limit in report.limits]
    count = len(report.problems)
    verdict = "everything is all right" if report.checked.packs >= report.packs.packs else "what was read is all right"
    if not count:
        return [*lines, verdict]
    return [*lines, f"{count} {'problem' if count == 1 else 'problems'} found", _NEXT_STEPS]


def _amount(amount: Amount) -> str:
    return f"{amount.packs} ({format_size(amount.bytes)})"


def _listed(word: str, problems: Iterable[Problem]) -> list[str]:
    lines = []
    for one in problems:
        affected = f" (affects {', '.join(text[:8] for text in one.snapshots)})" if one.snapshots else ""
        what = one.what if one.what.startswith(one.object) else f"{one.object}: {one.what}"
        lines.append(f"{word}: {what}{affected}")
    return lines


def _coverage_lines(report: CoverageReport) -> list[str]:
    shares = [("no matter when", [one.ever for one in report.depths]), ("never", [one.never for one in report.depths])]
    ages = zip(*(one.within for one in report.depths), strict=True)
    rows = [[f"within {same[0][0].days} d", *(_amount(found) for _, found in same)] for same in ages]
    rows += [[word, *(_amount(amount) for amount in amounts)] for word, amounts in shares]
    oldest = [f"{one.oldest:%Y-%m-%d %H:%M} UTC" if one.oldest is not None else "-" for one in report.depths]
    rows.append(["oldest", *oldest])
    heads = ["VERIFIED", "BYTES", "CONTENT"]
    return [*table(heads, rows, right=heads[1:]), f"packs in all: {_amount(report.packs)}"]
