"""`lamina snapshots`, `show`, `tag`: look at snapshots and change what is known about them."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from lamina.cli import exit_codes
from lamina.cli.arguments import Parsed, Verbs
from lamina.cli.selecting import GRAMMAR, SELECTOR_HELP, SELECTORS_HELP, find_snapshot, find_snapshots, whole
from lamina.cli.text import format_time, pairs, table
from lamina.errors import UsageError
from lamina.model.paths import check_tag
from lamina.model.quantities import format_size

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import tzinfo

    from lamina.cli.call import Call
    from lamina.model.entries import Entry
    from lamina.model.snapshots import Snapshot

    Saved = Sequence[tuple[str, Entry]]

FLAWS_SHOWN = 100


def add_to(verbs: Verbs) -> None:
    _add_looking(verbs)
    _add_changing(verbs)


def _add_looking(verbs: Verbs) -> None:
    listing = verbs.add(
        "snapshots",
        summary="list snapshots, oldest first",
        examples=(
            "lamina snapshots",
            "lamina snapshots --name mail --tag daily",
            "lamina snapshots 'name:mail & 2026-01-01..2026-03-31, latest'",
            "lamina snapshots --json",
        ),
        run=run_snapshots,
        repeated="snapshots",
    )
    listing.epilog = f"{listing.epilog}\n\n{GRAMMAR}"
    listing.add_argument("snapshots", metavar="SNAPSHOT", nargs="*", help=f"{SELECTORS_HELP}; without one, all of them")
    listing.add_argument("--name", metavar="NAME", help="only snapshots of this name")
    listing.add_argument(
        "--tag", metavar="TAG", action="append", default=[], dest="tags", help="only with this tag; may be repeated"
    )
    listing.add_argument("--removed", action="store_true", help="also those that were forgotten and not yet pruned")
    show = verbs.add(
        "show",
        summary="show everything known about a snapshot",
        examples=("lamina show latest", "lamina show mail@latest~1"),
        run=run_show,
    )
    show.add_argument("snapshot", metavar="SNAPSHOT", help=SELECTOR_HELP)


def _add_changing(verbs: Verbs) -> None:
    tag = verbs.add(
        "tag",
        summary="add and remove tags of snapshots",
        examples=("lamina tag latest --add before-upgrade", "lamina tag 3fa94c01 77aa01c2 --remove daily --add weekly"),
        run=run_tag,
        repeated="snapshots",
    )
    tag.add_argument("--add", metavar="TAG", action="append", default=[], dest="added", help="may be repeated")
    tag.add_argument("--remove", metavar="TAG", action="append", default=[], dest="gone", help="may be repeated")
    tag.add_argument("snapshots", metavar="SNAPSHOT", nargs="+", help=SELECTORS_HELP)


def run_snapshots(call: Call) -> int:
    from lamina.cli.documents import snapshot_document

    with call.repository() as (repository, _):
        found = find_snapshots(call, repository, _listed(call.arguments), removed=call.arguments.removed)
    if call.output.style.json:
        call.output.events("snapshot", [snapshot_document(one) for one in found])
    call.output.report("snapshots", {"count": len(found)}, _table(found, call.zone) if found else ["no snapshots"])
    return exit_codes.DONE


def _listed(arguments: Parsed) -> list[str]:
    """The selectors of a list; names and tags are selected by, so that those count that this key cannot read."""
    from lamina.model.selector_text import quoted

    texts: list[str] = arguments.snapshots or ["all"]
    having = [] if arguments.name is None else [f"name:{quoted(arguments.name)}"]
    having += [f"tag:{quoted(tag)}" for tag in arguments.tags]
    return [" & ".join([f"({', '.join(map(whole, texts))})", *having])] if having else texts


def _table(snapshots: Sequence[Snapshot], zone: tzinfo) -> list[str]:
    header = ["ID", "TIME", "NAME", "SIZE", "STORED", "TAGS", "STATE"]
    rows = [
        [
            one.short_id,
            format_time(one.started, zone),
            one.name if one.name is not None else "(not readable)",
            format_size(one.size),
            format_size(one.statistics.stored),
            ",".join(sorted(one.tags)),
            state_of(one),
        ]
        for one in snapshots
    ]
    return table(header, rows, right=["SIZE", "STORED"])


def state_of(snapshot: Snapshot) -> str:
    """What a person should know about a snapshot, in few words."""
    words = [snapshot.trust.value]
    words += ["partial"] if snapshot.partial else []
    words += ["protected"] if snapshot.protected else []
    words += ["removed"] if snapshot.removed else []
    return ",".join(words)


def run_show(call: Call) -> int:
    from lamina.cli.documents import snapshot_document
    from lamina.engine.saved import flawed_entries, saved_entries
    from lamina.errors import NotPermitted

    with call.repository() as (repository, _):
        snapshot = find_snapshot(call, repository, whole(call.arguments.snapshot), removed=True)
        saved: Saved | None
        flawed: Saved = []
        try:
            saved = saved_entries(repository, snapshot)
            flawed = list(islice(flawed_entries(repository, snapshot), FLAWS_SHOWN + 1))
        except NotPermitted:  # a writer knows the paths of its own snapshots, a steward not even these
            saved = None
    document = snapshot_document(snapshot)
    if saved is not None:
        document["entries"] = [{"path": path, "size": entry.size} for path, entry in saved]
        document["flaws"] = [
            {"path": path, "state": entry.state.name.lower(), "reason": entry.error}
            for path, entry in flawed[:FLAWS_SHOWN]
        ]
    call.output.report("show", document, _details(snapshot, saved, flawed, call.zone))
    return exit_codes.DONE


def _details(snapshot: Snapshot, saved: Saved | None, flawed: Saved, zone: tzinfo) -> list[str]:
    done = snapshot.statistics
    lines = pairs(
        [
            ("snapshot", snapshot.id.hex()),
            ("name", snapshot.name if snapshot.name is not None else "(this key cannot read it)"),
            ("host", snapshot.host),
            ("started", format_time(snapshot.started, zone)),
            ("finished", format_time(snapshot.finished, zone)),
            ("size", format_size(snapshot.size)),
            ("read", format_size(done.read)),
            ("new", format_size(done.new)),
            ("stored", format_size(done.stored)),
            ("parent", snapshot.parent.hex() if snapshot.parent else ""),
            ("copied from", snapshot.copied_from.snapshot.hex() if snapshot.copied_from else ""),
            ("made by", snapshot.made_by if snapshot.made_by == "owner" else f"key {snapshot.made_by}"),
            ("tags", ", ".join(sorted(snapshot.tags))),
            ("expires", format_time(snapshot.expires, zone) if snapshot.expires else ""),
            ("state", state_of(snapshot)),
            ("note", snapshot.note),
        ]
    )
    if saved is None:
        return [*lines, *(["", *table(["PATH"], [[path] for path in snapshot.paths])] if snapshot.paths else [])]
    rows = [
        [format_size(one.size), f"{one.totals.entries:,}" if one.totals else "", path or "/"] for path, one in saved
    ]
    lines += ["", *table(["SIZE", "ENTRIES", "PATH"], rows, right=["SIZE", "ENTRIES"])]
    if flawed:
        rows = [[entry.state.name.lower(), path, entry.error] for path, entry in flawed[:FLAWS_SHOWN]]
        lines += ["", *table(["STATE", "NOT WHOLE", "BECAUSE"], rows)]
    if len(flawed) > FLAWS_SHOWN:
        lines.append("… and more; `lamina ls -R` marks them all")
    return lines


def run_tag(call: Call) -> int:
    from lamina.cli.documents import snapshot_document

    added, gone = ([check_tag(tag) for tag in tags] for tags in (call.arguments.added, call.arguments.gone))
    if not added and not gone:
        raise UsageError("no tag was named", hint="give --add TAG or --remove TAG")
    with call.repository() as (repository, _):
        found = find_snapshots(call, repository, call.arguments.snapshots)
        if not found:
            raise UsageError("no snapshot was chosen", hint="see: lamina snapshots")
        changed = [repository.edit(one, add_tags=added, remove_tags=gone) for one in found]
    document = {"snapshots": [snapshot_document(one) for one in changed]}
    lines = [f"{label(one)}  tags: {', '.join(sorted(one.tags)) or 'none'}" for one in changed]
    call.output.report("tag", document, lines)
    return exit_codes.DONE


def label(snapshot: Snapshot) -> str:
    """The id, and the name where this key can read it."""
    return snapshot.short_id if snapshot.name is None else f"{snapshot.short_id}  {snapshot.name}"
