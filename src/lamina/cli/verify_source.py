"""`lamina verify --source`: a snapshot against what its sources hold now."""

from __future__ import annotations

import os
from contextlib import ExitStack
from typing import TYPE_CHECKING

from lamina import wiring
from lamina.cli import exit_codes
from lamina.cli.documents import Document, differences
from lamina.cli.selecting import find_snapshot
from lamina.errors import UsageError
from lamina.model.paths import check_distinct, stored_path
from lamina.model.quantities import format_duration, format_size

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from lamina.cli.call import Call
    from lamina.engine.backup import Input
    from lamina.engine.outcome import Difference
    from lamina.engine.verifying.source import SourceReport

SHOWN = 20  # of each kind; --json lists all


def run_verify_source(call: Call) -> int:
    """Compare a snapshot with the sources that the call names; returns the exit code."""
    from lamina.engine.verifying.source import verify_source

    selector, *sources = call.arguments.source
    if not sources:
        raise UsageError(
            "--source needs a snapshot and its sources",
            hint=f"lamina verify --source {selector} SOURCE…; `lamina show {selector}` lists them",
        )
    with ExitStack() as stack:
        inputs = _opened(sources, stack)
        with call.repository() as (repository, operation):
            snapshot = find_snapshot(call, repository, selector)
            call.output.event("start", verb="verify", snapshot=snapshot.id.hex())
            report = verify_source(repository, snapshot, inputs, operation, mark=not call.arguments.no_mark)
    call.output.report("verify", _document(report), _lines(report, quiet=call.output.style.quiet))
    if report.differences:
        return exit_codes.DISTRUSTED
    return exit_codes.DIFFERENT if report.unclear else exit_codes.DONE


def _opened(sources: Sequence[str], stack: ExitStack) -> list[Input]:
    """Each source, under the path that a backup stores it under. Raises: SourceMissing, SourceUnreadable, UsageError."""
    from lamina.engine.backup import Input
    from lamina.sources.files import LocalFiles
    from lamina.sources.image import open_image
    from lamina.sources.selection import Selection

    devices: dict[int, int] = {}
    inputs = []
    for text in sources:
        path = stored_path(text, wiring.working_directory())
        source = (
            LocalFiles(os.fsencode(text), Selection(), devices=devices)
            if os.path.isdir(text)
            else open_image(text, devices)
        )
        stack.callback(source.close)
        inputs.append(Input(path, source))
    check_distinct(one.path for one in inputs)
    return inputs


def _document(report: SourceReport) -> Document:
    return {
        "snapshot": report.snapshot.id.hex(),
        "compared_bytes": report.compared,
        "of_bytes": report.size,
        "differences": differences(report.differences),
        "unclear": differences(report.unclear),
        "changed_since": differences(report.changed),
        "marked": report.trust.value if report.trust is not None else None,
        "duration_s": round(report.duration.total_seconds(), 3),
        "notes": report.notes,
    }


def _lines(report: SourceReport, *, quiet: bool) -> list[str]:
    lines = [
        *_listed("DIFFERENT", report.differences),
        *_listed("different", report.unclear),
        *_listed("changed since", [] if quiet else report.changed),
        *(f"note: {note}" for note in report.notes),
    ]
    seconds = report.duration.total_seconds()
    share = f"{format_size(report.compared)} of {format_size(report.size)}"
    lines.append(f"snapshot {report.snapshot.short_id}: compared {share} in {format_duration(seconds)}")
    if report.trust is not None:
        lines.append(f"the snapshot is marked as {report.trust.value} now")
    if not report.differences and not report.unclear:
        lines.append("what was not changed since is as it was saved" if report.changed else "all is as it was saved")
    return lines


def _listed(word: str, found: Sequence[Difference]) -> Iterable[str]:
    for one in found[:SHOWN]:
        where = f" ({one.length} bytes at {one.offset})" if one.length else ""
        yield f"{word}: {one.path}{where}: {one.reason}"
    if len(found) > SHOWN:
        yield f"{word}: {len(found) - SHOWN} more (--json lists them)"
