"""`lamina backup`: save images, trees of files and streams as one snapshot."""

from __future__ import annotations

import argparse
import shlex
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

from lamina import __version__, wiring
from lamina.cli import exit_codes
from lamina.cli.arguments import Parser, Verbs, typed
from lamina.cli.backup_inputs import add_selecting, check_sources, opened_inputs, stored_paths
from lamina.cli.selecting import find_snapshot
from lamina.errors import HookFailed, UsageError
from lamina.model.entries import EntryState
from lamina.model.paths import check_name, check_tag, default_name
from lamina.model.quantities import format_duration, format_size, parse_expiry, parse_rate, parse_size, parse_timeout
from lamina.settings_file import COMPRESSIONS

if TYPE_CHECKING:
    from lamina.cli.call import Call
    from lamina.engine.backup import BackupOptions, BackupReport
    from lamina.engine.hooks import Hook
    from lamina.engine.saving.known import Compare
    from lamina.engine.saving.tree_job import TreeCounts
    from lamina.engine.saving.tree_jobs import TreeOptions
    from lamina.model.operation import Operation
    from lamina.repository.repository import Repository

VERIFY_MODES = ("full", "sample", "none")
_FLAWS = {
    EntryState.UNREAD: "could not be read; the snapshot has nothing of it, or not all",
    EntryState.KEPT: "could not be read; what the snapshot before has of it was kept",
    EntryState.CHANGED: "is not of one moment",
}
SHOWN = 10  # of what is listed line by line
COMPARE_NOTHING = "none"
READERS_MAX = 64


def add_to(verbs: Verbs) -> None:
    parser = verbs.add(
        "backup",
        summary="save directories, images and streams as one snapshot",
        about="A SOURCE is a directory, an image file, a block device, or - for standard input.",
        examples=(
            "lamina backup /home --exclude-caches --exclude '*.tmp'",
            "lamina backup vm.xml disk0.img /etc --name vm1",
            "lamina backup --name mail /dev/vg/mail-root /dev/vg/mail-data --tag daily --expire 30d",
            "lamina backup --stdin-name shop.sql --from-command pg_dump shop",
            "find . -newer stamp -print0 | lamina backup --name today --files-from -",
            "rbd diff --format json --from-snap old pool/image@new | lamina backup --hints - /dev/rbd0",
        ),
        run=run_backup,
        repeated="sources",
    )
    parser.add_argument("sources", metavar="SOURCE", nargs="*", help="a directory, an image file, a block device, or -")
    _add_naming(parser)
    add_selecting(parser)
    _add_tuning(parser)
    _add_hooks(parser)


def _add_naming(parser: Parser) -> None:
    add = parser.add_argument
    add(
        "--name", metavar="NAME", help="what to call the snapshot (default: the only source's base name, else the host)"
    )
    add("--tag", metavar="TAG", action="append", default=[], dest="tags", help="tag the snapshot; may be repeated")
    add(
        "--auto-tag", action="store_true", help="tag it daily, weekly, monthly, if the last one with that tag is so old"
    )
    add("--expire", metavar="WHEN", help="let it expire after a duration (30d, 12h, 2w, 1y) or at an ISO date")
    add("--stdin-name", metavar="NAME", default="stdin", help="store a stream under NAME (default: stdin)")
    add(
        "--from-command", metavar="WORD", nargs=argparse.REMAINDER, default=[],
        help="save what a command prints, if it ends well; the rest of the line is the command",
    )  # fmt: skip
    add("--parent", metavar="SNAPSHOT", help="compare with SNAPSHOT (default: the newest one of this name)")
    add("--hints", metavar="FILE", help="read only what `rbd diff --format json` in FILE (or -) says has changed")


def _add_tuning(parser: Parser) -> None:
    add = parser.add_argument
    add("--compression", choices=COMPRESSIONS, default=None, help="how hard to compress")
    add("--chunk-size", metavar="SIZE", type=typed(parse_size), help="cut images into chunks of SIZE")
    add("--limit-upload", metavar="RATE", type=typed(parse_rate), help="send at most RATE bytes a second, like 10MiB")
    add(
        "--compare", metavar="FIELDS", type=typed(parse_compare), default=argparse.SUPPRESS,
        help="files are unchanged if size and FIELDS are (default: mtime,ctime,inode; none: read every file)",
    )  # fmt: skip
    add(
        "--readers", metavar="N", type=typed(parse_readers),
        help="read files with N threads (default: as many as profit; 1 for a rotating disk)",
    )  # fmt: skip
    add(
        "--file-timeout", metavar="TIME", type=typed(parse_timeout),
        help="give a file up that does not answer for so long (default: 5m)",
    )  # fmt: skip
    add(
        "--verify", choices=VERIFY_MODES, default=None,
        help="compare this much with the source afterwards (default: all of image files, a sample of all else)",
    )  # fmt: skip
    add("--check-encoding", action="store_true", help="decode and compare every chunk before it is stored")
    add("-n", "--dry-run", action="store_true", help="say what would be stored, and store nothing")


def _add_hooks(parser: Parser) -> None:
    add = parser.add_argument_group("commands before and after (split into words, never run by a shell)").add_argument
    add("--pre", metavar="COMMAND", action="append", default=[], help="run COMMAND before anything is opened")
    add("--post", metavar="COMMAND", action="append", default=[], help="run COMMAND at the end, whatever happened")
    add("--hook-failure", choices=("fail", "warn"), default="fail", help="what a failing command means")
    add(
        "--hook-timeout", metavar="TIME", type=typed(parse_timeout), default=None,
        help="stop a command that takes longer (default: 1h)",
    )  # fmt: skip


def parse_readers(text: str) -> int:
    """How many threads may read. Raises: UsageError."""
    if not text.isdecimal() or not 1 <= int(text) <= READERS_MAX:
        raise UsageError(f"{text!r} is no number of threads", hint=f"from 1 to {READERS_MAX}")
    return int(text)


def parse_compare(text: str) -> frozenset[Compare] | None:
    """The fields that must be as before; None if every file is to be read. Raises: UsageError.

    >>> sorted(field.value for field in parse_compare("mtime,inode"))
    ['inode', 'mtime']
    """
    from lamina.engine.saving.known import Compare

    if text == COMPARE_NOTHING:
        return None
    try:
        return frozenset(Compare(word) for word in text.split(",") if word != "size")
    except ValueError as error:
        raise UsageError(
            f"{text!r} is no list of fields", hint="size, mtime, ctime and inode, joined by commas; or none"
        ) from error


def run_backup(call: Call) -> int:
    from lamina.engine.backup import backup
    from lamina.engine.hooks import Outcome, hooked

    arguments, cwd = call.arguments, wiring.working_directory()
    check_sources(arguments)
    paths = stored_paths(arguments, cwd)
    name = check_name(default_name(paths, wiring.host_name()) if arguments.name is None else arguments.name)
    hooks = _hooks(call)
    own = wiring.own_folders(call.settings)
    report = None
    try:
        with ExitStack() as stack:
            inputs = None
            if not arguments.pre:  # then a typing error costs no passphrase
                inputs = stack.enter_context(opened_inputs(arguments, cwd, own, call.stop))
            repository, operation = stack.enter_context(call.repository())
            ending = stack.enter_context(hooked(hooks, name, wiring.environment(), operation))
            if inputs is None:
                inputs = stack.enter_context(opened_inputs(arguments, cwd, own, call.stop))
            call.output.event("start", verb="backup", name=name, paths=paths)
            report = backup(repository, inputs, _options(call, name, repository, operation), operation)
            ending.snapshot = report.snapshot.hex() if report.snapshot is not None else ""
            if report.partial:
                ending.outcome = Outcome.PARTIAL
    except HookFailed:
        if report is not None:  # the snapshot was made, whatever became of a command afterwards
            _show(call, report, name)
        raise
    _show(call, report, name)
    if report.coverage.differences:
        return exit_codes.DISTRUSTED
    return exit_codes.PARTIAL if report.partial else exit_codes.DONE


def _show(call: Call, report: BackupReport, name: str) -> None:
    from lamina.cli.documents import backup_document

    _warn(call, report)
    document = backup_document(report, name=name, dry_run=call.arguments.dry_run)
    call.output.report("backup", document, [] if call.output.style.quiet else _lines(report, name))


def _hooks(call: Call) -> list[Hook]:
    from lamina.engine.hooks import Hook

    arguments = call.arguments
    deadline_s = 3600.0 if arguments.hook_timeout is None else arguments.hook_timeout
    hooks = []
    for when, commands in (("pre", arguments.pre), ("post", arguments.post)):
        for text in commands:
            try:
                words = tuple(shlex.split(text))
            except ValueError as error:
                raise UsageError(f"the command {text!r} cannot be split into words: {error}") from error
            hooks.append(Hook(words, when, arguments.hook_failure, deadline_s))  # type: ignore[arg-type]  # pre or post
    return hooks


def _options(call: Call, name: str, repository: Repository, operation: Operation) -> BackupOptions:
    from lamina.engine.backup import BackupOptions, VerifyMode

    arguments = call.arguments
    return BackupOptions(
        name=name,
        host=wiring.host_name(),
        tags=_tags(call, name, repository, operation),
        expires=parse_expiry(arguments.expire, operation.clock.now(), call.zone) if arguments.expire else None,
        compression=call.settings.compression,
        chunk_size=arguments.chunk_size,
        parent=find_snapshot(call, repository, arguments.parent) if arguments.parent else None,
        verify=VerifyMode(arguments.verify) if arguments.verify else VerifyMode.ADAPTIVE,
        check_encoding=arguments.check_encoding,
        trees=_tree_options(call),
        dry_run=arguments.dry_run,
        process=wiring.this_process(),
        program=f"lamina {__version__}",
    )


def _tags(call: Call, name: str, repository: Repository, operation: Operation) -> frozenset[str]:
    from lamina.model.auto_tags import automatic_tags
    from lamina.model.retention import Calendar

    given = frozenset(check_tag(tag) for tag in call.arguments.tags)
    if not call.arguments.auto_tag:
        return given
    of_name = [one for one in repository.snapshots() if one.name == name]
    return given | automatic_tags(of_name, Calendar(operation.clock.now(), call.zone))


def _tree_options(call: Call) -> TreeOptions:
    from lamina.engine.saving.tree_jobs import TreeOptions

    options, arguments = TreeOptions(), call.arguments
    if "compare" in arguments:
        options = replace(options, compare=arguments.compare)
    if arguments.readers is not None:
        options = replace(options, readers=arguments.readers)
    if arguments.file_timeout is not None:
        options = replace(options, file_timeout_s=arguments.file_timeout)
    return options


def _lines(report: BackupReport, name: str) -> list[str]:
    done = report.statistics
    seconds = report.duration.total_seconds()
    speed = f", {format_size(done.read / seconds)}/s" if seconds and done.read else ""
    head = f"snapshot {report.snapshot.hex()[:8]}" if report.snapshot else "dry run, nothing stored:"
    lines = [
        f"{head}  {name}  {format_size(done.size)}",
        f"read {format_size(done.read)}, new {format_size(done.new)}, stored {format_size(done.stored)}",
        f"took {format_duration(seconds)}{speed}",
    ]
    if report.files is not None:
        lines.insert(1, _count_line(report.files))
    if report.snapshot and report.coverage.of:
        share, of = report.coverage.share, format_size(report.coverage.of)
        outcome = "DIFFERS" if report.coverage.differences else "matches"
        lines.append(
            f"compared {share:.1%} of {of} with the source: {outcome}" if report.coverage.compared else "not compared"
        )
    return [*lines, *report.notes]


def _count_line(files: TreeCounts) -> str:
    text = f"{files.new:,} new, {files.changed:,} changed, {files.unchanged:,} unchanged in {files.directories:,} directories"
    vanished = f"; {files.vanished:,} vanished meanwhile" if files.vanished else ""
    return text + vanished + (f"; not whole: {files.flawed:,}" if files.flawed else "")


def _warn(call: Call, report: BackupReport) -> None:
    """Say loudly what the user should do something about."""
    warn = call.output.warning
    for path in report.hints_untrusted:
        warn(f"the hints for {path} are wrong: something had changed where they say nothing did; everything was read")
    for path in report.changed_while_read:
        warn(f"{path} changed while it was read; back up a snapshot of it, or stop what writes to it")
    for one in report.unread[:SHOWN]:
        warn(f"{one.path}: {one.length} bytes at {one.offset} could not be read: {one.reason}")
    if len(report.unread) > SHOWN:
        warn(f"{len(report.unread) - SHOWN} more ranges could not be read")
    for flaw in report.flaws[:SHOWN]:
        warn(f"{flaw.path}: {_FLAWS[flaw.state]}: {flaw.reason}")
    if report.files is not None and report.files.flawed > min(SHOWN, len(report.flaws)):
        warn(f"{report.files.flawed - min(SHOWN, len(report.flaws)):,} more entries are not whole")
    for one in report.coverage.differences[:SHOWN]:
        warn(f"{one.path}: {one.length} bytes at {one.offset} differ from the source: {one.reason}")
    if report.coverage.differences:
        warn("the snapshot is marked as distrusted; the next backup of this name reads everything")
