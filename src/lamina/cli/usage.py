"""`lamina du` and `stats`: what snapshots and a repository occupy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lamina.cli import exit_codes
from lamina.cli.arguments import Verbs
from lamina.cli.listing import shown_name
from lamina.cli.selecting import SELECTORS_HELP, find_snapshot, find_snapshots
from lamina.cli.text import format_time, pairs, table
from lamina.errors import UsageError
from lamina.model.paths import parse_snapshot_path
from lamina.model.quantities import format_count, format_size

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TypeVar

    from lamina.cli.call import Call
    from lamina.engine.stats import Stats
    from lamina.engine.usage import BackyUsage, PathUsage, Usage
    from lamina.model.ids import SessionId
    from lamina.model.paths import SnapshotPath
    from lamina.repository.repository import Repository

    One = TypeVar("One", Usage, BackyUsage)


def add_to(verbs: Verbs) -> None:
    du = verbs.add(
        "du",
        summary="show what snapshots occupy, alone and shared",
        about="OWN is in no other snapshot, FREED what forgetting it frees, FAIR its share of everything it refers to."
        " With :PATH, what each entry of a directory occupies.",
        examples=("lamina du", "lamina du web@latest web@latest~1", "lamina du latest:home", "lamina du --backy"),
        run=run_du,
        repeated="snapshots",
    )
    du.add_argument(
        "snapshots", metavar="SNAPSHOT[:PATH]", nargs="*", help=f"{SELECTORS_HELP}; without one, all of them"
    )
    du.add_argument("--backy", action="store_true", help="show the columns of `backy2 du`, before compression")
    verbs.add(
        "stats",
        summary="show figures of the whole repository",
        examples=("lamina stats", "lamina stats --json"),
        run=run_stats,
    )


def run_du(call: Call) -> int:
    wanted = [parse_snapshot_path(text) for text in call.arguments.snapshots]
    if any(one.path is not None for one in wanted):
        if len(wanted) > 1 or call.arguments.backy:
            raise UsageError("of SNAPSHOT:PATH one at a time can be measured, without --backy")
        return _run_paths(call, wanted[0])
    return _run_backy(call, wanted) if call.arguments.backy else _run_snapshots(call, wanted)


def _run_snapshots(call: Call, wanted: Sequence[SnapshotPath]) -> int:
    from lamina.cli.browse_documents import usage_document
    from lamina.engine.usage import measure

    with call.repository() as (repository, operation):
        chosen = _chosen(call, repository, wanted)
        found = _only(measure(repository, operation), chosen)
    call.output.events("usage", [usage_document(one) for one in found])
    header = ["ID", "TIME", "NAME", "SIZE", "OWN", "BEFORE", "SHARED", "BEFORE", "METADATA", "FAIR", "FREED"]
    rows = [
        [
            one.snapshot.short_id,
            format_time(one.snapshot.started, call.zone),
            one.snapshot.name if one.snapshot.name is not None else "(not readable)",
            *map(
                format_size,
                (
                    one.snapshot.size,
                    one.own.stored,
                    one.own.plain,
                    one.shared.stored,
                    one.shared.plain,
                    one.own_metadata.stored + one.shared_metadata.stored,
                    one.fair,
                    one.freed,
                ),
            ),
        ]
        for one in found
    ]
    call.output.report(
        "du", {"count": len(found)}, table(header, rows, right=header[3:]) if found else ["no snapshots"]
    )
    if found:
        call.output.detail("BEFORE: before compression")
    return exit_codes.DONE


def _run_backy(call: Call, wanted: Sequence[SnapshotPath]) -> int:
    from lamina.cli.browse_documents import backy_document
    from lamina.engine.usage import measure_as_backy

    with call.repository() as (repository, operation):
        chosen = _chosen(call, repository, wanted)
        found = _only(measure_as_backy(repository, operation), chosen)
    call.output.events("usage", [backy_document(one) for one in found])
    header = ["ID", "NAME", "REAL", "NULL", "DEDUP OWN", "DEDUP OTHERS", "INDIVIDUAL", "EST. SPACE", "EST. SPACE FREED"]
    rows = [
        [
            one.snapshot.short_id,
            one.snapshot.name if one.snapshot.name is not None else "(not readable)",
            *map(
                format_size,
                (one.real, one.null, one.dedup_own, one.dedup_others, one.individual, one.space, one.freed),
            ),
        ]
        for one in found
    ]
    call.output.report(
        "du", {"count": len(found)}, table(header, rows, right=header[2:]) if found else ["no snapshots"]
    )
    return exit_codes.DONE


def _chosen(call: Call, repository: Repository, wanted: Sequence[SnapshotPath]) -> set[SessionId] | None:
    """The snapshots that were named, looked up before anything is measured; None: all."""
    if not wanted:
        return None
    return {one.id for one in find_snapshots(call, repository, [each.snapshot for each in wanted])}


def _only(found: Sequence[One], chosen: set[SessionId] | None) -> list[One]:
    return [one for one in found if chosen is None or one.snapshot.id in chosen]


def _run_paths(call: Call, wanted: SnapshotPath) -> int:
    from lamina.cli.browse_documents import path_usage_document
    from lamina.engine.usage import measure_paths

    with call.repository() as (repository, operation):
        snapshot = find_snapshot(call, repository, wanted.snapshot)
        found = list(measure_paths(repository, snapshot, wanted.path, operation))
    call.output.events("path_usage", [path_usage_document(one) for one in found])
    header = ["SIZE", "STORED", "OWN", "PATH"]
    rows = [[*map(format_size, (one.size, one.stored, one.own)), _path(one)] for one in found]
    call.output.report(
        "du", {"count": len(found), "snapshot": snapshot.id.hex()}, table(header, rows, right=header[:3])
    )
    return exit_codes.DONE


def _path(one: PathUsage) -> str:
    return shown_name(one.path) + ("/" if one.entry.is_directory and one.path != "." else "")


def run_stats(call: Call) -> int:
    from lamina.cli.browse_documents import stats_document
    from lamina.engine.stats import gather

    with call.repository() as (repository, operation):
        stats = gather(repository, operation)
    call.output.report("stats", stats_document(stats), _stats_lines(stats))
    if stats.missing:
        call.output.warning(
            f"of what snapshots need, {format_count(stats.missing, 'chunk')} cannot be found; `lamina verify` says which"
        )
    return exit_codes.DONE


def _stats_lines(stats: Stats) -> list[str]:
    size = format_size
    lines = pairs(
        [
            ("snapshots", f"{stats.snapshots}" + (f" and {stats.forgotten} forgotten" if stats.forgotten else "")),
            ("size", f"{size(stats.size)} in all of them together"),
            (
                "content",
                f"{size(stats.data.stored)} in {format_count(stats.data.chunks, 'chunk')} ({size(stats.data.plain)} before)",
            ),
            ("metadata", f"{size(stats.metadata.stored)} in {format_count(stats.metadata.chunks, 'chunk')}"),
            ("deduplication", _times(stats.deduplication)),
            ("compression", _times(stats.compression)),
            ("packs", f"{stats.data_packs} of content, {stats.metadata_packs} of metadata, {size(stats.pack_bytes)}"),
            ("index", size(stats.index_bytes)),
            ("other objects", size(stats.other_bytes)),
            ("all objects", size(stats.total)),
            ("of no use", f"{size(stats.reclaimable)} that no snapshot needs"),
            ("", ""),
        ]
    )
    rows = [
        [
            one.name if one.name is not None else "(not readable)",
            str(one.snapshots),
            size(one.size),
            size(one.own),
        ]
        for one in stats.names
    ]
    header = ["NAME", "SNAPSHOTS", "SIZE", "OWN"]
    return [*lines, "", *table(header, rows, right=header[1:])] if rows else lines


def _times(ratio: float | None) -> str:
    return f"{ratio:.2f} times" if ratio is not None else ""
