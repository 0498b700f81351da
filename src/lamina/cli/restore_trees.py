"""`lamina restore` of trees: its options, what it says on the way, and what came of it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING

from lamina import wiring
from lamina.cli import exit_codes
from lamina.cli.documents import tree_restore_document
from lamina.cli.listing import missing_lines
from lamina.engine.restoring.plan import Action, Overwrite, RestoreOptions, TreePlan, plan_tree
from lamina.engine.restoring.report import Finding, Findings, TreeReport
from lamina.engine.restoring.salvage import hinting_at_salvage
from lamina.engine.restoring.tree import restore_tree
from lamina.errors import TargetExists
from lamina.model.quantities import format_count, format_duration, format_size
from lamina.targets.directory import DirectoryTarget
from lamina.targets.owners import Owners

if TYPE_CHECKING:
    from lamina.cli.call import Call
    from lamina.model.operation import Operation
    from lamina.model.snapshots import Snapshot
    from lamina.repository.repository import Repository

_SAID = {
    Finding.LEFT_ALONE: "differ from the snapshot and were left alone (--overwrite if-changed replaces them)",
    Finding.FAILED: "could not be restored",
    Finding.UNREAD: "are missing: they could not be read when the snapshot was made",
    Finding.FLAWED: "are not as they were: they could not be read when the snapshot was made",
    Finding.CHANGED: "may be of several moments: they changed while the snapshot was made",
    Finding.KEPT_MOUNT: "were not deleted",
    Finding.SALVAGED: "are not whole any more; they are dated 1970, so that nothing takes them for whole",
    Finding.DIFFERENT: "are not what was written when they are read back: the disk or the memory is faulty",
}


def restore_tree_of(call: Call, world: tuple[Repository, Operation], snapshot: Snapshot, paths: Sequence[str]) -> int:
    """Restore below the directory that the call names; returns the exit code."""
    arguments, output = call.arguments, call.output
    repository, operation = world
    if os.path.lexists(arguments.target) and not os.path.isdir(arguments.target):
        raise TargetExists(
            f"{arguments.target} is no directory, and more than one file is to be restored",
            hint="name a directory, or one file of the snapshot (SNAPSHOT:PATH)",
        )
    options = _options(call)
    with nullcontext() if arguments.salvage else hinting_at_salvage():
        plan = plan_tree(repository.reader(), snapshot, paths)
    output.event("start", verb="restore", snapshot=snapshot.id.hex(), size=plan.size)
    owners = Owners({}, {}) if arguments.numeric_ids else Owners(snapshot.users, snapshot.groups)
    target = DirectoryTarget(arguments.target, owners, dry_run=arguments.dry_run, kept=wiring.own_paths(call.settings))
    try:
        report = restore_tree(repository, plan, target, options, operation)
    finally:
        target.close()
    lines = missing_lines(report.missing) if options.salvage else []
    lines += [] if output.style.quiet else _lines(plan, report, options)
    _warn(call, report)
    if report.damaged and not options.salvage:
        output.warning("what was damaged was left out; --salvage restores what is left of it")
    output.report("restore", tree_restore_document(plan, report, arguments.target, dry_run=options.dry_run), lines)
    if report.count_of(Finding.DIFFERENT):
        return exit_codes.FAILED
    return exit_codes.DONE if options.dry_run or report.is_complete else exit_codes.PARTIAL


def _options(call: Call) -> RestoreOptions:
    arguments, output = call.arguments, call.output
    overwrite = Overwrite(arguments.overwrite or ("if-changed" if arguments.force else "never"))

    listens = arguments.dry_run or output.style.verbose

    def tell(action: Action, path: bytes) -> None:
        shown = path.decode("utf-8", "surrogateescape")
        if arguments.dry_run:
            output.event("entry", action=action.value, path=shown)
            output.lines([f"{action.value:<10}  {shown}"])
        else:
            output.detail(f"{action.value:<10}  {shown}")

    return RestoreOptions(
        overwrite,
        arguments.delete,
        arguments.verify,
        arguments.dry_run,
        tell if listens else None,
        salvage=arguments.salvage,
    )


def _lines(plan: TreePlan, report: TreeReport, options: RestoreOptions) -> list[str]:
    made = ", ".join((
        format_count(report.files, "file"), format_count(report.directories, "directory", "directories"),
        format_count(report.links, "hard link"), format_count(report.others, "other"),
    ))  # fmt: skip
    rest = [f"{count} {word}" for word, count in (
        ("replaced", report.replaced), ("kept as they are", report.kept), ("deleted", report.deleted),
        ("newer and kept", report.newer), ("left alone", report.count_of(Finding.LEFT_ALONE)),
    ) if count]  # fmt: skip
    if options.dry_run:
        return [f"would restore {made}", *([", ".join(rest)] if rest else []), "dry run: nothing was written"]
    seconds = report.duration.total_seconds()
    speed = f", {format_size(report.written / seconds)}/s" if seconds and report.written else ""
    lines = [f"snapshot {plan.snapshot.short_id}: restored {made}", *([", ".join(rest)] if rest else [])]
    lines.append(f"wrote {format_size(report.written)}, in {format_duration(seconds)}{speed}")
    if report.verified and not report.count_of(Finding.DIFFERENT):
        lines.append(f"read back and compared {format_count(report.compared, 'file')}: all right")
    return lines


def _warn(call: Call, report: TreeReport) -> None:
    for finding, found in report.findings.items():
        call.output.warning(f"{found.count} entries {_SAID[finding]}{_examples(found)}")
    for kind, one in report.not_applied.items():
        why = " (only root may)" if one.privileged else ""
        call.output.warning(f"{kind}: not applied {one.count} times{why}, first to {'; '.join(one.examples)}")


def _examples(found: Findings) -> str:
    shown = "".join(f"\n  {path}: {reason}" if reason else f"\n  {path}" for path, reason in found.examples)
    more = found.count - len(found.examples)
    return f":{shown}" + (f"\n  and {more} more" if more else "")
