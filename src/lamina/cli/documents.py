"""What the JSON events hold (docs/reference/json.md): reports and records as plain documents. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lamina.engine.backup import BackupReport, Coverage, Difference
    from lamina.engine.outcome import Missing
    from lamina.engine.restore import RestorePlan, RestoreReport
    from lamina.engine.restoring.plan import TreePlan
    from lamina.engine.restoring.report import TreeReport
    from lamina.engine.verify import Amount, Problem, VerifyReport
    from lamina.engine.verifying.overview import CoverageReport
    from lamina.model.snapshots import KeySlot, Origin, Snapshot
    from lamina.storage.probe import ProbeReport

Document = dict[str, Any]  # the edge: what json.dumps takes


def time_text(moment: datetime | None) -> str | None:
    """ISO 8601 in UTC, ending in `Z`."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z") if moment else None


def differences(items: Iterable[Difference]) -> list[Document]:
    return [{"path": one.path, "offset": one.offset, "length": one.length, "reason": one.reason} for one in items]


def _missing(items: Iterable[Missing]) -> list[Document]:
    return [
        {"path": one.path, "offset": one.offset, "length": one.length, "object": one.object, "reason": one.reason}
        for one in items
    ]


def _coverage(coverage: Coverage) -> Document:
    return {
        "mode": coverage.mode.value,
        "share": round(coverage.share, 6),
        "compared_bytes": coverage.compared,
        "of_bytes": coverage.of,
        "differences": differences(coverage.differences),
    }


def backup_document(report: BackupReport, *, name: str, dry_run: bool) -> Document:
    return {
        "snapshot": report.snapshot.hex() if report.snapshot else None,
        "name": name,
        "dry_run": dry_run,
        "size": report.statistics.size,
        "read_bytes": report.statistics.read,
        "new_bytes": report.statistics.new,
        "stored_bytes": report.statistics.stored,
        "duration_s": round(report.duration.total_seconds(), 3),
        "parent": report.parent.hex() if report.parent else None,
        "partial": report.partial,
        "files": asdict(report.files) if report.files is not None else None,
        "flaws": [{"path": one.path, "state": one.state.name.lower(), "reason": one.reason} for one in report.flaws],
        "coverage": _coverage(report.coverage),
        "unread": differences(report.unread),
        "changed_while_read": list(report.changed_while_read),
        "hints_untrusted": list(report.hints_untrusted),
        "notes": list(report.notes),
    }


def restore_document(plan: RestorePlan, report: RestoreReport | None) -> Document:
    """*report* is None for a dry run."""
    item = plan.item
    document: Document = {
        "snapshot": plan.snapshot.id.hex(),
        "dry_run": report is None,
        "items": [{"path": item.path, "size": item.size, "target": item.target}],
        "size": item.size,
    }
    if report is not None:
        document |= {
            "written_bytes": report.written,
            "kept_bytes": report.kept,
            "duration_s": round(report.duration.total_seconds(), 3),
            "verified": report.verified,
            "unread": differences(report.unread),
            "missing": _missing(report.missing),
        }
    return document


def tree_restore_document(plan: TreePlan, report: TreeReport, target: str, *, dry_run: bool) -> Document:
    return {
        "snapshot": plan.snapshot.id.hex(),
        "dry_run": dry_run,
        "target": target,
        "size": plan.size,
        "files": report.files,
        "directories": report.directories,
        "links": report.links,
        "others": report.others,
        "replaced": report.replaced,
        "kept": report.kept,
        "corrected": report.corrected,
        "deleted": report.deleted,
        "newer": report.newer,
        "written_bytes": report.written,
        "kept_bytes": report.kept_bytes,
        "duration_s": round(report.duration.total_seconds(), 3),
        "verified": report.verified,
        "compared": report.compared,
        "findings": [
            {
                "what": finding.value,
                "count": found.count,
                "examples": [{"path": path, "reason": reason} for path, reason in found.examples],
            }
            for finding, found in report.findings.items()
        ],
        "missing": _missing(report.missing),
        "not_applied": [
            {"what": kind, "count": one.count, "only_root": one.privileged, "examples": list(one.examples)}
            for kind, one in report.not_applied.items()
        ],
    }


def _problems(problems: Iterable[Problem]) -> list[Document]:
    return [{"object": one.object, "what": one.what, "snapshots": list(one.snapshots)} for one in problems]


def verify_document(report: VerifyReport) -> Document:
    return {
        "objects": report.objects,
        "bytes_read": report.read,
        "chunks": report.chunks,
        "snapshots": report.snapshots,
        "duration_s": round(report.duration.total_seconds(), 3),
        "problems": _problems(report.problems),
        "warnings": _problems(report.warnings),
        "limits": list(report.limits),
        "packs": _amount(report.packs),
        "packs_read": _amount(report.checked),
        "packs_left": _amount(report.left),
        "recorded": report.recorded,
        "distrusted": list(report.distrusted),
        "verified": list(report.verified),
        "notes": list(report.notes),
        "settled": report.settled,
    }


def coverage_document(report: CoverageReport) -> Document:
    return {
        "packs": _amount(report.packs),
        "verified": [
            {
                "depth": one.depth.name.lower(),
                "within": [{"days": age.days, **_amount(found)} for age, found in one.within],
                "ever": _amount(one.ever),
                "never": _amount(one.never),
                "oldest": time_text(one.oldest),
            }
            for one in report.depths
        ],
    }


def _amount(amount: Amount) -> Document:
    return {"count": amount.packs, "bytes": amount.bytes}


def snapshot_document(snapshot: Snapshot) -> Document:
    return {
        "id": snapshot.id.hex(),
        "name": snapshot.name,
        "host": snapshot.host,
        "paths": list(snapshot.paths),
        "tags": sorted(snapshot.tags),
        "note": snapshot.note,
        "started": time_text(snapshot.started),
        "finished": time_text(snapshot.finished),
        "size": snapshot.size,
        "read_bytes": snapshot.statistics.read,
        "new_bytes": snapshot.statistics.new,
        "stored_bytes": snapshot.statistics.stored,
        "parent": snapshot.parent.hex() if snapshot.parent else None,
        "copied_from": _origin(snapshot.copied_from),
        "made_by": snapshot.made_by,
        "partial": snapshot.partial,
        "trust": snapshot.trust.value,
        "expires": time_text(snapshot.expires),
        "protected": snapshot.protected,
        "removed": snapshot.removed,
        "readable": snapshot.readable,
    }


def _origin(origin: Origin | None) -> Document | None:
    if origin is None:
        return None
    return {"repository": origin.repository.hex(), "snapshot": origin.snapshot.hex()}


def key_document(slot: KeySlot) -> Document:
    return {
        "id": slot.id,
        "role": slot.role.value,
        "label": slot.label,
        "created": time_text(slot.created),
        "current": slot.current,
    }


def probe_document(report: ProbeReport) -> Document:
    return {
        "address": report.address,
        "suitable": report.suitable,
        "skew_s": round(report.skew.total_seconds(), 3),
        "upload_bytes_per_s": round(report.upload_bytes_per_s),
        "download_bytes_per_s": round(report.download_bytes_per_s),
        "checks": [
            {"name": one.name, "ok": one.ok, "required": one.required, "detail": one.detail} for one in report.checks
        ],
    }
