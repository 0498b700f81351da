"""`lamina backup`: save images as one snapshot."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

from lamina import __version__, wiring
from lamina.cli import exit_codes
from lamina.cli.arguments import Parsed, Parser, Verbs, typed
from lamina.cli.stdin import StoppableInput, standard_input
from lamina.errors import HintsInvalid, UsageError
from lamina.model.paths import STDIN, check_distinct, check_name, check_tag, default_name, stored_path
from lamina.model.quantities import format_duration, format_size, parse_expiry, parse_rate, parse_size
from lamina.settings import COMPRESSIONS

if TYPE_CHECKING:
    from lamina.cli.call import Call
    from lamina.engine.backup import BackupOptions, BackupReport, Input
    from lamina.model.operation import Operation
    from lamina.repository.repository import Repository
    from lamina.sources.hints import ChangedRanges

VERIFY_MODES = ("full", "sample", "none")
DIFFERENCES_SHOWN = 10


def add_to(verbs: Verbs) -> None:
    parser = verbs.add(
        "backup",
        summary="save images as one snapshot",
        about="A SOURCE is an image file, a block device, or - for standard input.",
        examples=(
            "lamina backup disk.img",
            "lamina backup --name mail /dev/vg/mail-root /dev/vg/mail-data --tag daily --expire 30d",
            "pg_dump shop | lamina backup - --stdin-name shop.sql",
            "rbd diff --format json --from-snap old pool/image@new | lamina backup --hints - /dev/rbd0",
        ),
        run=run_backup,
        repeated="sources",
    )
    parser.add_argument("sources", metavar="SOURCE", nargs="+", help="an image file, a block device, or -")
    _add_naming(parser)
    _add_tuning(parser)


def _add_naming(parser: Parser) -> None:
    add = parser.add_argument
    add(
        "--name", metavar="NAME", help="what to call the snapshot (default: the only source's base name, else the host)"
    )
    add("--tag", metavar="TAG", action="append", default=[], dest="tags", help="tag the snapshot; may be repeated")
    add("--expire", metavar="WHEN", help="let it expire after a duration (30d, 12h, 2w, 1y) or at an ISO date")
    add("--stdin-name", metavar="NAME", default="stdin", help="store standard input under NAME (default: stdin)")
    add("--parent", metavar="SNAPSHOT", help="compare with SNAPSHOT (default: the newest one of this name)")
    add("--hints", metavar="FILE", help="read only what `rbd diff --format json` in FILE (or -) says has changed")


def _add_tuning(parser: Parser) -> None:
    add = parser.add_argument
    add("--compression", choices=COMPRESSIONS, default=None, help="how hard to compress")
    add("--chunk-size", metavar="SIZE", type=typed(parse_size), help="cut images into chunks of SIZE")
    add("--limit-upload", metavar="RATE", type=typed(parse_rate), help="send at most RATE bytes a second, like 10MiB")
    add(
        "--verify", choices=VERIFY_MODES, default=None,
        help="compare this much with the source afterwards (default: all of image files, a sample of devices)",
    )  # fmt: skip
    add("--check-encoding", action="store_true", help="decode and compare every chunk before it is stored")
    add("-n", "--dry-run", action="store_true", help="say what would be stored, and store nothing")


def run_backup(call: Call) -> int:
    from lamina.cli.documents import backup_document
    from lamina.engine.backup import backup

    arguments = call.arguments
    paths = stored_paths(arguments, wiring.working_directory())
    name = check_name(default_name(paths, wiring.host_name()) if arguments.name is None else arguments.name)
    _check_stdin(arguments)
    with opened_inputs(arguments, paths, call.stop) as inputs, call.repository() as (repository, operation):
        options = _options(call, name, repository, operation)
        call.output.event("start", verb="backup", name=name, paths=paths)
        report = backup(repository, inputs, options, operation)
    document = backup_document(report, name=name, dry_run=options.dry_run)
    call.output.report("backup", document, [] if call.output.style.quiet else _lines(report, name))
    _warn(call, report)
    if report.coverage.differences:
        return exit_codes.DISTRUSTED
    return exit_codes.PARTIAL if report.unread else exit_codes.DONE


def stored_paths(arguments: Parsed, cwd: str) -> list[str]:
    """Where each source will stand in the snapshot. Raises: UsageError."""
    paths = [stored_path(arguments.stdin_name if one == STDIN else one, cwd) for one in arguments.sources]
    check_distinct(paths)
    return paths


def _check_stdin(arguments: Parsed) -> None:
    if arguments.hints is not None and len(arguments.sources) > 1:
        raise UsageError("--hints describe one image", hint="back that image up alone")
    if arguments.hints is not None and arguments.sources == [STDIN]:
        raise UsageError("--hints cannot describe standard input, which has to be read in any case")
    if arguments.sources.count(STDIN) and standard_input().isatty():
        raise UsageError("standard input is a terminal", hint="pipe the data in: some-command | lamina backup -")


@contextmanager
def opened_inputs(arguments: Parsed, paths: Sequence[str], stop: Event) -> Iterator[list[Input]]:
    """Every source, opened, before anything else is done: a typing error costs no passphrase."""
    from lamina.engine.backup import Input
    from lamina.sources.image import open_image
    from lamina.sources.stream import StdinSource

    with ExitStack() as stack:
        inputs = []
        for text, path in zip(arguments.sources, paths, strict=True):
            if text == STDIN:
                stream = StdinSource(
                    io.BufferedReader(StoppableInput(standard_input().fileno(), stop)), name=arguments.stdin_name
                )
                stack.callback(stream.close)
                inputs.append(Input(path, stream))
                continue
            image = open_image(text)
            stack.callback(image.close)
            inputs.append(Input(path, image, _hints(arguments.hints, image.size)))
        yield inputs


def _hints(file: str | None, size: int) -> ChangedRanges | None:
    from lamina.sources.hints import parse_rbd_diff

    if file is None:
        return None
    try:
        data = standard_input().buffer.read() if file == STDIN else Path(file).read_bytes()
    except OSError as error:
        raise HintsInvalid(f"the hints {file} cannot be read: {error.strerror}") from error
    return parse_rbd_diff(data, size=size)


def _options(call: Call, name: str, repository: Repository, operation: Operation) -> BackupOptions:
    from lamina.engine.backup import BackupOptions, VerifyMode

    arguments = call.arguments
    return BackupOptions(
        name=name,
        host=wiring.host_name(),
        tags=frozenset(check_tag(tag) for tag in arguments.tags),
        expires=parse_expiry(arguments.expire, operation.clock.now()) if arguments.expire else None,
        compression=call.settings.compression,
        chunk_size=arguments.chunk_size,
        parent=repository.find_snapshot(arguments.parent) if arguments.parent else None,
        verify=VerifyMode(arguments.verify) if arguments.verify else VerifyMode.ADAPTIVE,
        check_encoding=arguments.check_encoding,
        dry_run=arguments.dry_run,
        process=wiring.this_process(),
        program=f"lamina {__version__}",
    )


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
    if report.snapshot and report.coverage.of:
        share, of = report.coverage.share, format_size(report.coverage.of)
        outcome = "DIFFERS" if report.coverage.differences else "matches"
        lines.append(
            f"compared {share:.1%} of {of} with the source: {outcome}" if report.coverage.compared else "not compared"
        )
    return [*lines, *report.notes]


def _warn(call: Call, report: BackupReport) -> None:
    """Say loudly what the user should do something about."""
    warn = call.output.warning
    for path in report.hints_untrusted:
        warn(f"the hints for {path} are wrong: something had changed where they say nothing did; everything was read")
    for path in report.changed_while_read:
        warn(f"{path} changed while it was read; back up a snapshot of it, or stop what writes to it")
    for one in report.unread[:DIFFERENCES_SHOWN]:
        warn(f"{one.path}: {one.length} bytes at {one.offset} could not be read: {one.reason}")
    if len(report.unread) > DIFFERENCES_SHOWN:
        warn(f"{len(report.unread) - DIFFERENCES_SHOWN} more ranges could not be read")
    for one in report.coverage.differences[:DIFFERENCES_SHOWN]:
        warn(f"{one.path}: {one.length} bytes at {one.offset} differ from the source: {one.reason}")
    if report.coverage.differences:
        warn("the snapshot is marked as distrusted; the next backup of this name reads everything")
