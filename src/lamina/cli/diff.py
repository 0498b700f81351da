"""`lamina diff`: what differs between two snapshots."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lamina.cli import exit_codes
from lamina.cli.arguments import Verbs
from lamina.cli.listing import shown_name
from lamina.cli.selecting import SELECTOR_HELP, find_snapshot
from lamina.model.paths import parse_snapshot_path
from lamina.model.quantities import format_size

if TYPE_CHECKING:
    from lamina.cli.call import Call
    from lamina.engine.diff import Difference, DiffSummary, Place
    from lamina.model.entries import Entry
    from lamina.repository.repository import Repository

_LETTERS = {"added": "+", "removed": "-", "content": "M", "metadata": "m", "type": "T"}
AT_A_TIME = 256  # events or lines printed together


def add_to(verbs: Verbs) -> None:
    diff = verbs.add(
        "diff",
        summary="show what differs between two snapshots, or two parts of them",
        about="+ added, - removed, M other content, m other metadata, T another type. What both share is not read.",
        examples=(
            "lamina diff web@latest~1 web@latest",
            "lamina diff 3fa94c01:etc 77aa01c2:etc --stat",
            "lamina diff vm@latest~1:disk.img vm@latest:disk.img",
        ),
        run=run_diff,
    )
    add = diff.add_argument
    add("before", metavar="SNAPSHOT[:PATH]", help=f"{SELECTOR_HELP}; the older one")
    add("after", metavar="SNAPSHOT[:PATH]", help="the newer one")
    add("--stat", action="store_true", help="show the summary only")
    add("--exit-code", action="store_true", help=f"exit with {exit_codes.DIFFERENT} if anything differs")


def run_diff(call: Call) -> int:
    from lamina.cli.browse_documents import diff_document, difference_document
    from lamina.engine.diff import Diff
    from lamina.engine.threads import batched

    arguments, output = call.arguments, call.output
    with call.repository() as (repository, operation):
        before, after = (_place(call, repository, text) for text in (arguments.before, arguments.after))
        diff = Diff(repository, before, after, operation, brief=arguments.stat)
        for batch in batched(diff, AT_A_TIME):
            if arguments.stat:
                continue
            output.events("difference", [difference_document(one) for one in batch])
            output.lines([_line(one) for one in batch])
    output.report("diff", diff_document(diff.summary), _summary(diff.summary))
    return exit_codes.DIFFERENT if arguments.exit_code and not diff.summary.is_same else exit_codes.DONE


def _place(call: Call, repository: Repository, text: str) -> Place:
    from lamina.engine.diff import Place

    wanted = parse_snapshot_path(text)
    return Place(find_snapshot(call, repository, wanted.snapshot), wanted.path)


def _line(one: Difference) -> str:
    entry = one.after or one.before
    slash = "/" if entry is not None and entry.is_directory else ""
    return f"{_LETTERS[one.kind.value]} {shown_name(one.path) or '.'}{slash}{_remarks(one)}"


def _remarks(one: Difference) -> str:
    remarks = []
    if one.before is None or one.after is None:
        size = _size(one.after or one.before)
        remarks += [format_size(size)] if size is not None else []
    elif one.kind.value == "content":
        if one.changed is not None:
            where = f" in {one.ranges} range{'s' if one.ranges != 1 else ''}" if one.ranges is not None else ""
            remarks.append(f"{format_size(one.changed)} changed{where}")
        before, after = _size(one.before), _size(one.after)
        if before != after:
            remarks.append(f"{format_size(before or 0)} → {format_size(after or 0)}")
    elif one.kind.value == "type":
        remarks.append(f"{one.before.type.name.lower()} → {one.after.type.name.lower()}")
    if one.kind.value != "type":
        remarks += one.fields
    return f"  ({', '.join(remarks)})" if remarks else ""


def _size(entry: Entry | None) -> int | None:
    return entry.content.size if entry is not None and entry.content is not None else None


def _summary(summary: DiffSummary) -> list[str]:
    if summary.is_same:
        return ["no difference"]
    said = {
        "added": "added",
        "removed": "removed",
        "content": "with other content",
        "metadata": "with other metadata only",
        "type": "of another type",
    }
    counts = [f"{count} {said[kind.value]}" for kind, count in summary.paths.items() if count]
    sizes = f"{format_size(summary.added)} added, {format_size(summary.removed)} removed"
    return [", ".join(counts), f"{sizes}, {format_size(summary.changed)} changed in place"]
