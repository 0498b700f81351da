"""`lamina restore`: bring files, trees and images back."""

from __future__ import annotations

import os
import sys
from contextlib import nullcontext
from typing import TYPE_CHECKING

from lamina import wiring
from lamina.cli import exit_codes
from lamina.cli.arguments import Verbs, typed
from lamina.cli.listing import missing_lines
from lamina.cli.selecting import SELECTOR_HELP, find_snapshot
from lamina.cli.text import table
from lamina.errors import UsageError
from lamina.model.paths import parse_snapshot_path
from lamina.model.quantities import format_duration, format_size, parse_rate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lamina.cli.call import Call
    from lamina.engine.restore import OpenTarget, RestoreItem, RestorePlan, RestoreReport
    from lamina.model.operation import Operation
    from lamina.repository.repository import Repository
    from lamina.targets.target import ImageTarget, StreamTarget

STDOUT = "-"
OVERWRITE = ("never", "if-newer", "if-changed", "always")


def add_to(verbs: Verbs) -> None:
    parser = verbs.add(
        "restore",
        summary="bring files, directories and images of a snapshot back",
        about="One file or image goes to the file or device TARGET; everything else goes below the directory TARGET.",
        examples=(
            "lamina restore latest ./out",
            "lamina restore latest:/etc/ssh ./out",
            "lamina restore latest:'/home/*/.ssh' ./out",
            "lamina restore latest:/srv /srv --overwrite if-changed --delete",
            "lamina restore mail@latest:dev/vg/mail-root /dev/vg/mail-root --force",
            "lamina restore latest:disk.img - | rbd import - pool/image",
        ),
        run=run_restore,
    )
    add = parser.add_argument
    add(
        "snapshot", metavar="SNAPSHOT[:PATH]",
        help=f"{SELECTOR_HELP}; with :PATH, that entry or what is in that directory; PATH may have *, ?, [a-z] and **",
    )  # fmt: skip
    add("target", metavar="TARGET", help="a directory, a file, a block device, or - for standard output")
    add("--path", metavar="PATH", action="append", default=[], dest="paths", help="that too; may be repeated")
    add(
        "--overwrite", choices=OVERWRITE, default=None,
        help="when to replace a file that is there and differs (default: never)",
    )  # fmt: skip
    add("-f", "--force", action="store_true", help="the same as --overwrite if-changed; needed for devices")
    add("--delete", action="store_true", help="remove what the snapshot does not have from restored directories")
    add("--numeric-ids", action="store_true", help="give files to the saved numbers, whatever the names are here")
    add("--resume", action="store_true", help="continue one image (trees always are; to a device: with --force)")
    add("--verify", action="store_true", help="read everything back afterwards and compare")
    add(
        "--salvage", action="store_true",
        help="of what is damaged, restore what is left: zeros stand for what is lost, and it is listed (exit code 3)",
    )  # fmt: skip
    add(
        "--limit-download", metavar="RATE", type=typed(parse_rate), help="fetch at most RATE bytes a second, like 10MiB"
    )
    add("-n", "--dry-run", action="store_true", help="say what would go where, and write nothing")


def run_restore(call: Call) -> int:
    from lamina.cli.restore_trees import restore_tree_of
    from lamina.engine.restoring.plan import find_single
    from lamina.engine.restoring.salvage import hinting_at_salvage
    from lamina.model.snapshots import Trust

    arguments = call.arguments
    target: str = arguments.target
    wanted = parse_snapshot_path(arguments.snapshot)
    paths = ([] if wanted.path is None else [wanted.path]) + arguments.paths
    _check(arguments.verify, target, dry_run=arguments.dry_run)
    _check_not_own(target, wiring.own_folders(call.settings))
    is_directory = target != STDOUT and (target.endswith("/") or os.path.isdir(target))
    with call.repository() as (repository, operation):
        snapshot = find_snapshot(call, repository, wanted.snapshot)
        if snapshot.trust is Trust.DISTRUSTED:
            why = "something that it needs was found damaged" if snapshot.damaged else "it differed from its source"
            call.output.warning(f"snapshot {snapshot.short_id} is distrusted: {why}")
        with nullcontext() if arguments.salvage else hinting_at_salvage():
            single = None if is_directory else find_single(repository.reader(), snapshot, paths)
        if single is None and target != STDOUT:
            return restore_tree_of(call, (repository, operation), snapshot, paths)
        if len(paths) > 1:
            raise UsageError("standard output takes one file or image", hint="name one path")
        plan_path = single if single is not None else paths[0] if paths else None
        from lamina.engine.restore import plan_restore

        plan = plan_restore(repository, snapshot, plan_path, target)
        return _restore_one(call, repository, plan, operation)


def _check_not_own(target: str, own: Sequence[str]) -> None:
    """Refuse a target in the repository or its cache: strange files in there help nobody."""
    place = os.path.join(os.path.realpath(target), "")
    for folder in own:
        if target != STDOUT and place.startswith(os.path.join(os.path.realpath(folder), "")):
            raise UsageError(f"{target} lies in {folder}, which is Lamina's own", hint="name another TARGET")


def _restore_one(call: Call, repository: Repository, plan: RestorePlan, operation: Operation) -> int:
    from lamina.cli.documents import restore_document
    from lamina.engine.restore import restore

    arguments, output = call.arguments, call.output
    output.event("start", verb="restore", snapshot=plan.snapshot.id.hex(), size=plan.item.size)
    if arguments.dry_run:
        output.report("restore", restore_document(plan, None), _plan_lines(plan))
        return exit_codes.DONE
    force = arguments.force or arguments.overwrite in {"if-changed", "always"}
    opener = target_opener(arguments.target, force=force, resume=arguments.resume)
    report = restore(repository, plan, opener, verify=arguments.verify, operation=operation, salvage=arguments.salvage)
    for one in report.unread:
        output.warning(
            f"{one.path}: {one.length} bytes at {one.offset} could not be read when the snapshot was made ({one.reason})"
        )
    lines = [*missing_lines(report.missing), *([] if output.style.quiet else _lines(plan, report))]
    output.report("restore", restore_document(plan, report), lines)
    return exit_codes.PARTIAL if report.unread or report.missing else exit_codes.DONE


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
    """How the target of a single file or image is opened; as the user chose it, it may be a link."""

    def open_target(item: RestoreItem) -> ImageTarget | StreamTarget:
        if item.target == STDOUT:
            from lamina.targets.stream import StdoutTarget

            return StdoutTarget(sys.stdout.buffer)
        from lamina.targets.image import open_image_target

        return open_image_target(target, item.size, force=force, resume=resume)

    return open_target


def _plan_lines(plan: RestorePlan) -> list[str]:
    rows = [[plan.item.path, format_size(plan.item.size), plan.item.target]]
    return [*table(["PATH", "SIZE", "TARGET"], rows, right=["SIZE"]), "dry run: nothing was written"]


def _lines(plan: RestorePlan, report: RestoreReport) -> list[str]:
    seconds = report.duration.total_seconds()
    speed = f", {format_size(report.size / seconds)}/s" if seconds and report.size else ""
    kept = f", {format_size(report.kept)} needed no writing" if report.kept else ""
    lines = [
        f"{plan.item.path} → {plan.item.target}  {format_size(plan.item.size)}",
        f"wrote {format_size(report.written)}{kept}, in {format_duration(seconds)}{speed}",
    ]
    return [*lines, "read back and compared: all right"] if report.verified else lines
