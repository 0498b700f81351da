"""What the JSON events of looking into snapshots hold (docs/reference/json.md). Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lamina.cli.documents import Document, time_text
from lamina.model.entries import EntryState
from lamina.model.moments import from_ns

if TYPE_CHECKING:
    from lamina.engine.archive import DumpReport
    from lamina.engine.diff import Difference, DiffSummary
    from lamina.engine.history import Change
    from lamina.engine.search import Hit
    from lamina.engine.stats import Stats
    from lamina.engine.usage import Amount, BackyUsage, PathUsage, Usage
    from lamina.model.entries import Entry
    from lamina.model.snapshots import Snapshot


def entry_document(path: str, entry: Entry, snapshot: Snapshot | None = None) -> Document:
    """*snapshot*: the one whose names of owners are to be told."""
    data = entry.metadata
    document: Document = {
        "path": path,
        "type": entry.type.name.lower(),
        "size": entry.size,
        "mode": data.mode,
        "uid": data.uid,
        "gid": data.gid,
        "user": snapshot.users.get(data.uid) if snapshot is not None else None,
        "group": snapshot.groups.get(data.gid) if snapshot is not None else None,
        "mtime": time_text(from_ns(data.mtime_ns)),
        "mtime_ns": data.mtime_ns,
        "inode": data.inode,
        "links": data.links,
        "state": state_name(entry),
    }
    if entry.target:
        document["target"] = entry.target.decode("utf-8", "surrogateescape")
    if entry.special is not None:
        document["device"] = list(entry.special)
    if entry.error:
        document["reason"] = entry.error
    if entry.totals is not None:
        document |= {"entries_below": entry.totals.entries, "flawed_below": entry.totals.flawed}
    return document


def state_name(entry: Entry) -> str:
    """`whole`, or what is wrong with it."""
    return "whole" if entry.state is EntryState.FRESH else entry.state.name.lower()


def hit_document(hit: Hit, *, every: bool) -> Document:
    first, last = hit.snapshots[0], hit.snapshots[-1]
    document = entry_document(hit.path, hit.entry, first)
    del document["inode"], document["links"]
    document |= {
        "name": first.name,
        "first": first.id.hex(),
        "first_time": time_text(first.finished),
        "last": last.id.hex(),
        "last_time": time_text(last.finished),
        "count": len(hit.snapshots),
    }
    if every:
        document["snapshots"] = [one.id.hex() for one in hit.snapshots]
    return document


def change_document(name: str | None, path: str, change: Change) -> Document:
    first = change.snapshots[0]
    document: Document = {
        "name": name,
        "snapshot": first.id.hex(),
        "time": time_text(first.finished),
        "count": len(change.snapshots),
        "what": list(change.what),
    }
    return document | {"entry": entry_document(path, change.entry, first) if change.entry is not None else None}


def dump_document(report: DumpReport, snapshot: Snapshot, path: str, form: str) -> Document:
    return {
        "snapshot": snapshot.id.hex(),
        "path": path,
        "format": form,
        "entries": report.entries,
        "size": report.size,
        "unread_count": report.unread,
        "left_out_count": report.left_out,
    }


def difference_document(one: Difference) -> Document:
    return {
        "path": one.path,
        "kind": one.kind.value,
        "fields": list(one.fields),
        "changed_bytes": one.changed,
        "changed_ranges": one.ranges,
        "before": entry_document(one.path, one.before) if one.before is not None else None,
        "after": entry_document(one.path, one.after) if one.after is not None else None,
    }


def diff_document(summary: DiffSummary) -> Document:
    return {
        "same": summary.is_same,
        "paths": {kind.value: count for kind, count in summary.paths.items()},
        "added_bytes": summary.added,
        "removed_bytes": summary.removed,
        "changed_bytes": summary.changed,
    }


def amount_document(amount: Amount) -> Document:
    return {"chunks": amount.chunks, "plain_bytes": amount.plain, "stored_bytes": amount.stored}


def usage_document(one: Usage) -> Document:
    return {
        "snapshot": one.snapshot.id.hex(),
        "name": one.snapshot.name,
        "size": one.snapshot.size,
        "own": amount_document(one.own),
        "shared": amount_document(one.shared),
        "own_metadata": amount_document(one.own_metadata),
        "shared_metadata": amount_document(one.shared_metadata),
        "fair_bytes": round(one.fair),
        "freed_bytes": one.freed,
    }


def backy_document(one: BackyUsage) -> Document:
    return {
        "snapshot": one.snapshot.id.hex(),
        "name": one.snapshot.name,
        "real": one.real,
        "null": one.null,
        "dedup_own": one.dedup_own,
        "dedup_others": one.dedup_others,
        "individual": one.individual,
        "est_space": round(one.space),
        "est_space_freed": one.freed,
    }


def path_usage_document(one: PathUsage) -> Document:
    kind = one.entry.type.name.lower()
    return {"path": one.path, "type": kind, "size": one.size, "stored_bytes": one.stored, "own_bytes": one.own}


def stats_document(stats: Stats) -> Document:
    return {
        "snapshots": stats.snapshots,
        "forgotten": stats.forgotten,
        "size": stats.size,
        "data": amount_document(stats.data),
        "metadata": amount_document(stats.metadata),
        "forgotten_only": amount_document(stats.forgotten_only),
        "unreferenced": amount_document(stats.unreferenced),
        "compression": stats.compression,
        "deduplication": stats.deduplication,
        "data_packs": stats.data_packs,
        "metadata_packs": stats.metadata_packs,
        "pack_bytes": stats.pack_bytes,
        "overhead_bytes": stats.overhead,
        "unindexed_bytes": stats.unindexed_bytes,
        "reclaimable_bytes": stats.reclaimable,
        "index_bytes": stats.index_bytes,
        "other_bytes": stats.other_bytes,
        "total_bytes": stats.total,
        "missing_chunks": stats.missing,
        "names": [
            {"name": one.name, "count": one.snapshots, "size": one.size, "own_bytes": one.own} for one in stats.names
        ],
    }
