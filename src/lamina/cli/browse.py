"""`lamina ls`, `find`, `history`: look at what snapshots hold."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lamina.cli import exit_codes
from lamina.cli.arguments import Verbs, typed
from lamina.cli.listing import EntryLines, remark, shown_name, shown_time
from lamina.cli.selecting import SELECTOR_HELP, SELECTORS_HELP, find_snapshot, find_snapshots
from lamina.cli.text import format_time, table
from lamina.errors import NotPermitted
from lamina.model.entries import EntryType
from lamina.model.paths import parse_snapshot_path
from lamina.model.quantities import format_count, format_size, parse_size

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from datetime import tzinfo
    from typing import TypeVar

    from lamina.cli.call import Call
    from lamina.cli.documents import Document
    from lamina.engine.history import Change
    from lamina.engine.search import Criteria, Hit
    from lamina.model.operation import Operation
    from lamina.model.snapshots import Snapshot
    from lamina.repository.repository import Repository

    Item = TypeVar("Item")

AT_A_TIME = 256  # lines or events printed together
TYPES = {
    "f": EntryType.FILE,
    "d": EntryType.DIRECTORY,
    "l": EntryType.SYMLINK,
    "p": EntryType.FIFO,
    "s": EntryType.SOCKET,
    "c": EntryType.CHARACTER_DEVICE,
    "b": EntryType.BLOCK_DEVICE,
}


def add_to(verbs: Verbs) -> None:
    _add_ls(verbs)
    _add_find(verbs)
    _add_history(verbs)


def _add_ls(verbs: Verbs) -> None:
    ls = verbs.add(
        "ls",
        summary="list what is in a directory of a snapshot",
        about="What could not be read, or changed while it was read, is marked so. A directory's size is that of all below it.",
        examples=("lamina ls latest", "lamina ls web@latest:etc/ssh", "lamina ls -R 3fa94c01:home --json"),
        run=run_ls,
    )
    ls.add_argument("snapshot", metavar="SNAPSHOT[:PATH]", help=f"{SELECTOR_HELP}; without :PATH, its top")
    ls.add_argument("-R", "--recursive", action="store_true", help="list everything below, with whole paths")


def _add_find(verbs: Verbs) -> None:
    find = verbs.add(
        "find",
        summary="find paths in all snapshots",
        about="A PATTERN with a slash is held against whole paths, any other against base names; * ? [a-z] and ** are"
        " understood as in .gitignore. Snapshots in a row that have the same entry are shown as one line.",
        examples=(
            "lamina find '*.conf'",
            "lamina find 'etc/**/sshd_config' --name web",
            "lamina find '*.iso' --larger 1GiB --older 90d --all",
        ),
        run=run_find,
        repeated="patterns",
    )
    add = find.add_argument
    add("patterns", metavar="PATTERN", nargs="+", help="what to look for; one of several has to fit")
    _add_searched(find)
    add("--newer", metavar="WHEN", help="modified after WHEN: a date, or how long ago, like 7d")
    add("--older", metavar="WHEN", help="modified before WHEN")
    add("--larger", metavar="SIZE", type=typed(parse_size), help="files of more than SIZE, like 10MiB")
    add("--smaller", metavar="SIZE", type=typed(parse_size), help="files of less than SIZE")
    add(
        "--type", choices=tuple(TYPES), action="append", default=[], dest="types",
        help="only files, directories, symbolic links, pipes, sockets, or devices; may be repeated",
    )  # fmt: skip
    add("--all", action="store_true", help="show every snapshot, not only the first and last of a row")


def _add_history(verbs: Verbs) -> None:
    history = verbs.add(
        "history",
        summary="show one path through time",
        about="One line for each snapshot in which its content or metadata differ from the one before.",
        examples=(
            "lamina history etc/passwd --name web",
            "lamina history etc/passwd --name web --snapshot 2026-01-01..",
            "lamina history disk.img --json",
        ),
        run=run_history,
    )
    history.add_argument("path", metavar="PATH", help="as stored")
    _add_searched(history)


def _add_searched(parser: argparse.ArgumentParser) -> None:
    """In which snapshots to look."""
    parser.add_argument("--name", metavar="NAME", help="only in snapshots of this name")
    parser.add_argument(
        "--snapshot", metavar="SNAPSHOT", action="append", default=[], dest="snapshots",
        help=f"only in these: {SELECTORS_HELP}; may be repeated",
    )  # fmt: skip


def run_ls(call: Call) -> int:
    from lamina.cli.browse_documents import entry_document
    from lamina.engine.browse import Listed, list_entries

    output, recursive = call.output, call.arguments.recursive
    wanted = parse_snapshot_path(call.arguments.snapshot)
    count = flawed = 0
    with call.repository() as (repository, operation):
        snapshot = find_snapshot(call, repository, wanted.snapshot)
        lines = EntryLines(snapshot)

        def line(one: Listed) -> str:
            return lines.line(one.path if recursive else one.path.rpartition("/")[2], one.entry)

        def document(one: Listed) -> Document:
            return entry_document(one.path, one.entry, snapshot)

        for batch in _batches(list_entries(repository, snapshot, wanted.path, recursive=recursive)):
            operation.check_stop()
            count += len(batch)
            flawed += sum(one.entry.is_flawed for one in batch)
            show(call, "entry", batch, line, document)
    output.report("ls", {"snapshot": snapshot.id.hex(), "count": count, "flawed": flawed})
    if flawed:
        output.note(f"{flawed} of these could not be read, or changed while they were read")
    return exit_codes.DONE


def show(
    call: Call, event: str, batch: Sequence[Item], line: Callable[[Item], str], document: Callable[[Item], Document]
) -> None:
    """Print some results, as lines or as events."""
    if call.output.style.json:
        call.output.events(event, [document(one) for one in batch])
    else:
        call.output.lines([line(one) for one in batch])


def _batches(items: Iterable[Item]) -> Iterator[list[Item]]:
    from lamina.engine.threads import batched

    return batched(items, AT_A_TIME)


def run_find(call: Call) -> int:
    from lamina.cli.browse_documents import hit_document
    from lamina.engine.search import find

    every: bool = call.arguments.all
    count = 0
    path: str | None = None
    with call.repository() as (repository, operation):
        snapshots = _searched(call, repository)
        for batch in _batches(find(repository, snapshots, _criteria(call, operation), operation)):
            count += len(batch)
            if call.output.style.json:
                call.output.events("found", [hit_document(hit, every=every) for hit in batch])
                continue
            for hit in batch:
                if hit.path != path:
                    path = hit.path
                    call.output.lines([shown_name(path)])
                call.output.lines(_hit_lines(hit, call.zone, every=every))
    call.output.report("find", {"count": count, "snapshots": len(snapshots)})
    if not count:
        call.output.note(f"not found in {format_count(len(snapshots), 'snapshot')}")
    return exit_codes.DONE


def _criteria(call: Call, operation: Operation) -> Criteria:
    from lamina.engine.search import Criteria
    from lamina.model.moments import parse_moment, to_ns

    arguments, now = call.arguments, operation.clock.now()
    newer, older = (
        to_ns(parse_moment(text, now, call.zone)) if text else None for text in (arguments.newer, arguments.older)
    )
    return Criteria(
        patterns=tuple(arguments.patterns),
        types=frozenset(TYPES[letter] for letter in arguments.types),
        newer_ns=newer,
        older_ns=older,
        larger=arguments.larger,
        smaller=arguments.smaller,
    )


def _searched(call: Call, repository: Repository) -> list[Snapshot]:
    """The snapshots that are asked for and whose names this key can read; the others are spoken of."""
    name: str | None = call.arguments.name
    asked: Sequence[str] = call.arguments.snapshots
    everything = repository.snapshots()
    if asked:
        chosen = {one.id for one in find_snapshots(call, repository, asked)}
        everything = [one for one in everything if one.id in chosen]
    readable = [one for one in everything if one.readable and name in {None, one.name}]
    hidden = sum(not one.readable for one in everything)
    if hidden and not readable:
        raise NotPermitted(
            f"a {repository.role.value} key cannot read the names in {format_count(hidden, 'snapshot')}",
            hint="use an owner's passphrase",
        )
    if hidden:
        call.output.warning(f"not looked into {format_count(hidden, 'snapshot')}: this key cannot read the names there")
    return readable


def _hit_lines(hit: Hit, zone: tzinfo, *, every: bool) -> list[str]:
    entry = hit.entry
    what = f"{format_size(entry.size):>10}  {shown_time(entry.metadata.mtime_ns)}{remark(entry)}"
    if every:
        return [f"  {one.short_id}  {format_time(one.started, zone)}  {what}  {one.name}" for one in hit.snapshots]
    first, last = hit.snapshots[0], hit.snapshots[-1]
    count = len(hit.snapshots)
    if count == 1:
        return [f"  {first.short_id}            {format_time(first.started, zone)}  {what}  {first.name}"]
    row = f"{format_time(first.started, zone)} .. {format_time(last.started, zone)}, {count} snapshots"
    return [f"  {first.short_id}..{last.short_id}  {row}  {what}  {first.name}"]


def run_history(call: Call) -> int:
    from lamina.cli.browse_documents import change_document
    from lamina.engine.history import history

    path = call.arguments.path.strip("/")
    with call.repository() as (repository, operation):
        found = history(repository, _searched(call, repository), path, operation)
    for name, changes in found.items():
        call.output.events("change", [change_document(name, path, change) for change in changes])
        call.output.lines(
            [*([f"{shown_name(name or '')}:"] if len(found) > 1 else []), *_change_lines(changes, call.zone)]
        )
    call.output.report("history", {"path": path, "count": sum(map(len, found.values()))})
    return exit_codes.DONE


def _change_lines(changes: Sequence[Change], zone: tzinfo) -> list[str]:
    rows = [
        [
            change.snapshots[0].short_id,
            format_time(change.snapshots[0].started, zone),
            str(len(change.snapshots)),
            format_size(change.entry.size) if change.entry else "",
            shown_time(change.entry.metadata.mtime_ns) if change.entry else "",
            ", ".join(change.what) + (remark(change.entry) if change.entry else ""),
        ]
        for change in changes
    ]
    return table(["FROM", "TIME", "SNAPSHOTS", "SIZE", "MODIFIED", "WHAT"], rows, right=["SNAPSHOTS", "SIZE"])
