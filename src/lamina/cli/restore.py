"""`lamina restore`: bring images back."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from lamina.cli import exit_codes
from lamina.cli.arguments import Verbs, typed
from lamina.cli.text import table
from lamina.errors import UsageError
from lamina.model.paths import parse_snapshot_path
from lamina.model.quantities import format_duration, format_size, parse_rate

if TYPE_CHECKING:
    from lamina.cli.call import Call
    from lamina.engine.restore import OpenTarget, RestoreItem, RestorePlan, RestoreReport
    from lamina.targets.target import ImageTarget, StreamTarget

STDOUT = "-"
SELECTOR_HELP = "an id or its beginning, latest, latest~2, NAME@latest or NAME@latest~1"


def add_to(verbs: Verbs) -> None:
    parser = verbs.add(
        "restore",
        summary="bring the images of a snapshot back",
        about="An image goes to the file or device TARGET; several images go below the directory TARGET.",
        examples=(
            "lamina restore latest restored.img",
            "lamina restore mail@latest:dev/vg/mail-root /dev/vg/mail-root --force",
            "lamina restore 3fa94c01 /srv/restored/",
            "lamina restore latest - | rbd import - pool/image",
        ),
        run=run_restore,
    )
    add = parser.add_argument
    add("snapshot", metavar="SNAPSHOT[:PATH]", help=f"{SELECTOR_HELP}; with :PATH, that entry alone")
    add("target", metavar="TARGET", help="a file, a block device, a directory, or - for standard output")
    add("-f", "--force", action="store_true", help="write over what is there; over an image, only what differs")
    add("--resume", action="store_true", help="continue a restore that was interrupted (to a device: with --force)")
    add("--verify", action="store_true", help="read everything back afterwards and compare")
    add(
        "--limit-download", metavar="RATE", type=typed(parse_rate), help="fetch at most RATE bytes a second, like 10MiB"
    )
    add("-n", "--dry-run", action="store_true", help="say what would go where, and write nothing")


def run_restore(call: Call) -> int:
    from lamina.cli.documents import restore_document
    from lamina.engine.restore import plan_restore, restore
    from lamina.model.snapshots import Trust

    arguments, output = call.arguments, call.output
    target: str = arguments.target
    wanted = parse_snapshot_path(arguments.snapshot)
    _check(arguments.verify, target, dry_run=arguments.dry_run)
    with call.repository() as (repository, operation):
        snapshot = repository.find_snapshot(wanted.snapshot)
        is_directory = target != STDOUT and (target.endswith("/") or os.path.isdir(target))
        plan = plan_restore(repository, snapshot, wanted.path, target, is_directory=is_directory)
        output.event("start", verb="restore", snapshot=snapshot.id.hex(), size=plan.size)
        if snapshot.trust is Trust.DISTRUSTED:
            output.warning(f"snapshot {snapshot.short_id} is distrusted: it was found to differ from its source")
        if arguments.dry_run:
            output.report("restore", restore_document(plan, None), _plan_lines(plan))
            return exit_codes.DONE
        opener = target_opener(target, force=arguments.force, resume=arguments.resume)
        report = restore(repository, plan, opener, verify=arguments.verify, operation=operation)
    output.report("restore", restore_document(plan, report), [] if output.style.quiet else _lines(plan, report))
    for one in report.unread:
        output.warning(
            f"{one.path}: {one.length} bytes at {one.offset} could not be read when the snapshot was made ({one.reason})"
        )
    return exit_codes.PARTIAL if report.unread else exit_codes.DONE


def _check(verify: bool, target: str, *, dry_run: bool) -> None:
    if target == STDOUT and verify:
        raise UsageError("--verify cannot read back what went to standard output")
    if target == STDOUT and not dry_run and sys.stdout is None:
        raise UsageError("standard output is closed", hint="redirect it: lamina restore … - > FILE")
    if target == STDOUT and not dry_run and sys.stdout.isatty():
        raise UsageError(
            "standard output is a terminal, and an image is no text",
            hint="pipe it: lamina restore … - | rbd import - …",
        )


def target_opener(target: str, *, force: bool, resume: bool) -> OpenTarget:
    """How each item's target is opened; directories below a TARGET that is a directory are made when needed.

    TARGET itself may be a link, as the user chose it; below it no link is followed.
    """

    def open_target(item: RestoreItem) -> ImageTarget | StreamTarget:
        if item.target == STDOUT:
            from lamina.targets.stream import StdoutTarget

            return StdoutTarget(sys.stdout.buffer)
        from lamina.targets.below import open_image_below
        from lamina.targets.image import open_image_target

        if item.target == target:
            return open_image_target(target, item.size, force=force, resume=resume)
        inside = item.target.removeprefix(os.path.join(target, ""))
        return open_image_below(target, inside, item.size, force=force, resume=resume)

    return open_target


def _plan_lines(plan: RestorePlan) -> list[str]:
    rows = [[item.path, format_size(item.size), item.target] for item in plan.items]
    return [*table(["PATH", "SIZE", "TARGET"], rows, right=["SIZE"]), "dry run: nothing was written"]


def _lines(plan: RestorePlan, report: RestoreReport) -> list[str]:
    seconds = report.duration.total_seconds()
    speed = f", {format_size(report.size / seconds)}/s" if seconds and report.size else ""
    kept = f", {format_size(report.kept)} needed no writing" if report.kept else ""
    lines = [f"{item.path} → {item.target}  {format_size(item.size)}" for item in plan.items]
    lines.append(f"wrote {format_size(report.written)}{kept}, in {format_duration(seconds)}{speed}")
    return [*lines, "read back and compared: all right"] if report.verified else lines
