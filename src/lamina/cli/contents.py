"""`lamina cat` and `dump`: contents of snapshots as one stream."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from lamina.cli import exit_codes
from lamina.cli.arguments import Verbs
from lamina.cli.restore import STDOUT
from lamina.cli.selecting import SELECTOR_HELP, find_snapshot
from lamina.errors import LaminaError, TargetExists, UsageError
from lamina.model.paths import parse_snapshot_path
from lamina.model.quantities import format_count, format_size

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lamina.cli.call import Call
    from lamina.engine.archive import DumpReport
    from lamina.targets.target import StreamTarget


def add_to(verbs: Verbs) -> None:
    cat = verbs.add(
        "cat",
        summary="write the content of files of a snapshot to standard output",
        about="Exit code 3 if some of it could not be read when the snapshot was made.",
        examples=("lamina cat latest:etc/fstab", "lamina cat web@latest:var/log/syslog.1 web@latest:var/log/syslog"),
        run=run_cat,
        repeated="files",
        target=STDOUT,
    )
    cat.add_argument("files", metavar="SNAPSHOT:PATH", nargs="+", help=f"SNAPSHOT is {SELECTOR_HELP}")
    dump = verbs.add(
        "dump",
        summary="write a snapshot, or a part of it, as a tar or zip archive",
        about="What the format cannot hold is named. Exit code 3 if something could not be read when the snapshot was made.",
        examples=(
            "lamina dump latest:etc > etc.tar",
            "lamina dump latest:srv | zstd > srv.tar.zst",
            "lamina dump latest:home/u/photos --format zip --output photos.zip",
        ),
        run=run_dump,
    )
    add = dump.add_argument
    add("snapshot", metavar="SNAPSHOT[:PATH]", help=f"{SELECTOR_HELP}; with :PATH, that alone")
    add("--format", choices=("tar", "zip"), default="tar", help="tar, as GNU tar and bsdtar read it (default), or zip")
    add("-o", "--output", metavar="FILE", dest="target", default=STDOUT, help="write to FILE, which must not exist yet")


def run_cat(call: Call) -> int:
    from lamina.engine.browse import find_files, write_contents
    from lamina.engine.restoring.salvage import hinting_at_salvage

    wanted = [parse_snapshot_path(text) for text in call.arguments.files]
    for one, text in zip(wanted, call.arguments.files, strict=True):
        if one.path is None:
            raise UsageError(f"{text!r} names a whole snapshot", hint=f"name a file in it: {text}:PATH")
    unread: list[str] = []
    with call.repository() as (repository, operation):
        files = [
            file
            for one in wanted
            for file in find_files(repository, find_snapshot(call, repository, one.snapshot), [one.path or ""])
        ]
        call.output.event("start", verb="cat")
        operation.progress.start("cat", sum(file.entry.size for file in files))
        with hinting_at_salvage(), _opened(STDOUT) as target:
            unread += write_contents(repository, files, target, operation)
    for path in unread:
        call.output.warning(f"{path}: it, or some of it, could not be read when the snapshot was made")
    size = sum(file.entry.size for file in files)
    call.output.report("cat", {"count": len(files), "size": size, "unread_count": len(unread)})
    return exit_codes.PARTIAL if unread else exit_codes.DONE


def run_dump(call: Call) -> int:
    from lamina.cli.browse_documents import dump_document
    from lamina.engine.archive import ArchiveFormat, dump, plan_dump
    from lamina.engine.restoring.salvage import hinting_at_salvage

    arguments, output = call.arguments, call.output
    wanted = parse_snapshot_path(arguments.snapshot)
    if arguments.target == STDOUT and sys.stdout is not None and sys.stdout.isatty():
        raise UsageError(
            "standard output is a terminal, and an archive is no text",
            hint="redirect it, or give --output FILE",
        )
    with call.repository() as (repository, operation):
        snapshot = find_snapshot(call, repository, wanted.snapshot)
        plan = plan_dump(repository, snapshot, wanted.path, ArchiveFormat(arguments.format))
        output.event("start", verb="dump", snapshot=snapshot.id.hex(), size=plan.top.size or snapshot.size)
        with hinting_at_salvage(), _opened(arguments.target) as target:
            report = dump(repository, plan, target, operation, output.warning)
    document = dump_document(report, snapshot, plan.path, plan.format.value)
    output.report("dump", document, [] if output.style.quiet else [_line(report)])
    return exit_codes.PARTIAL if report.unread else exit_codes.DONE


def _line(report: DumpReport) -> str:
    left_out = f", {report.left_out} left out" if report.left_out else ""
    return f"wrote {format_count(report.entries, 'entry', 'entries')}, {format_size(report.size)}{left_out}"


@contextmanager
def _opened(target: str) -> Iterator[StreamTarget]:
    """Standard output, or a new file, of which nothing stays if it does not become complete."""
    from lamina.targets.faults import target_fault
    from lamina.targets.stream import StdoutTarget

    if target == STDOUT:
        if sys.stdout is None:
            raise UsageError("standard output is closed", hint="redirect it: lamina … > FILE")
        stream = StdoutTarget(sys.stdout.buffer)
        yield stream
        stream.close()
        return
    try:
        file = open(target, "xb")  # noqa: SIM115 - closed below
    except FileExistsError as error:
        raise TargetExists(
            f"there is something at {target} already; it was not touched", hint="name another FILE"
        ) from error
    except OSError as error:
        raise target_fault(target, error, resumable=False) from error
    try:
        with file:
            stream = StdoutTarget(file, name=target)
            yield stream
            stream.close()
            os.fsync(file.fileno())
    except OSError as error:
        raise LaminaError(f"{target} cannot be finished: {error.strerror}") from error
    except BaseException:
        with suppress(OSError):
            os.unlink(target)
        raise
