"""`lamina verify`: read and check everything."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lamina.cli import exit_codes
from lamina.cli.arguments import Verbs
from lamina.model.quantities import format_duration, format_size

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lamina.cli.call import Call
    from lamina.engine.verify import Problem, VerifyReport


def add_to(verbs: Verbs) -> None:
    verbs.add(
        "verify",
        summary="read and check every object of the repository",
        about="Exit code 1 if anything is damaged.",
        examples=("lamina verify", "lamina verify --json"),
        run=run_verify,
    )


def run_verify(call: Call) -> int:
    from lamina.cli.documents import verify_document
    from lamina.engine.verify import verify

    with call.repository() as (repository, operation):
        call.output.event("start", verb="verify")
        report = verify(repository, operation)
    call.output.report("verify", verify_document(report), _lines(report, quiet=call.output.style.quiet))
    return exit_codes.FAILED if report.problems else exit_codes.DONE


def _lines(report: VerifyReport, *, quiet: bool) -> list[str]:
    lines = [*_listed("DAMAGED", report.problems), *_listed("note", report.warnings)]
    if quiet and not report.problems:
        return lines
    seconds = report.duration.total_seconds()
    lines.append(
        f"read {report.objects} objects, {format_size(report.read)}, in {format_duration(seconds)}:"
        f" {report.snapshots} snapshots, {report.chunks} chunks"
    )
    lines += [f"not checked: {limit}" for limit in report.limits]
    count = len(report.problems)
    return [*lines, f"{count} {'problem' if count == 1 else 'problems'} found" if count else "everything is all right"]


def _listed(word: str, problems: Iterable[Problem]) -> list[str]:
    lines = []
    for one in problems:
        affected = f" (affects {', '.join(text[:8] for text in one.snapshots)})" if one.snapshots else ""
        what = one.what if one.what.startswith(one.object) else f"{one.object}: {one.what}"
        lines.append(f"{word}: {what}{affected}")
    return lines
