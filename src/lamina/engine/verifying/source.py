"""Compare a snapshot with its sources as they are now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from lamina.engine.backup import Input
from lamina.engine.outcome import Difference
from lamina.engine.permits import check_names
from lamina.engine.saving.compare import Comparison, VerifyMode
from lamina.engine.saving.compare_files import FileComparison
from lamina.engine.saving.known import TreeComparison
from lamina.engine.saving.tree_job import TreeJob
from lamina.engine.saving.tree_jobs import FILE_TIMEOUT_S
from lamina.errors import RepositoryError, StorageError, UsageError
from lamina.model.entries import Entry, FixedContent
from lamina.model.operation import Operation
from lamina.model.snapshots import Snapshot, Trust
from lamina.repository.repository import Repository
from lamina.repository.trees import get_entry
from lamina.sources.source import FileSource, ImageSource


@dataclass(slots=True)
class SourceReport:
    """What came of comparing a snapshot with its sources."""

    snapshot: Snapshot
    compared: int = 0  # bytes
    size: int = 0  # of what is stored of these sources
    differences: list[Difference] = field(default_factory=list)  # although nothing says that the source was modified
    unclear: list[Difference] = field(default_factory=list)  # in sources that do not say when they were modified
    changed: list[Difference] = field(default_factory=list)  # because the source was modified since, or cannot be read
    trust: Trust | None = None  # what the snapshot was marked as
    notes: list[str] = field(default_factory=list)
    duration: timedelta = timedelta()


def verify_source(
    repository: Repository, snapshot: Snapshot, inputs: Sequence[Input], operation: Operation, *, mark: bool = False
) -> SourceReport:
    """Compare all content that *snapshot* has of *inputs* with what these hold now.

    With *mark*, a snapshot all of which is as its source is marked as verified, and one that differs from a source that says
    it was not modified is distrusted: the next backup of its name reads everything.
    Raises: EntryMissing, NotPermitted, UsageError, Damaged, SourceError, StorageError, Stopped.
    """
    begun = operation.clock.monotonic()
    check_names(repository, snapshot)
    entries = [_stored(repository, snapshot, one) for one in inputs]
    report = SourceReport(snapshot, size=sum(entry.size for entry in entries))
    operation.progress.start("verify", report.size)
    for one, entry in zip(inputs, entries, strict=True):
        compare = _compare_image if isinstance(one.source, ImageSource) else _compare_tree
        compare(repository, one, entry, report, operation)
    if mark:
        _mark(repository, report, {one.path for one in inputs})
    report.duration = timedelta(seconds=operation.clock.monotonic() - begun)
    return report


def _stored(repository: Repository, snapshot: Snapshot, one: Input) -> Entry:
    """What the snapshot has of a source. Raises: EntryMissing; UsageError if they cannot be compared."""
    entry = get_entry(repository.reader(), snapshot.root, one.path)
    fits = isinstance(entry.content, FixedContent) if isinstance(one.source, ImageSource) else entry.child is not None
    if not fits:
        what = "an image" if isinstance(one.source, ImageSource) else "a directory"
        raise UsageError(
            f"{one.source.name} is {what}, and what is stored as {one.path!r} is not",
            hint=f"`lamina show {snapshot.short_id}` lists what was saved; name these sources",
        )
    return entry


def _compare_image(
    repository: Repository, one: Input, entry: Entry, report: SourceReport, operation: Operation
) -> None:
    source, content = one.source, entry.content
    assert isinstance(source, ImageSource)  # noqa: S101 - who calls made sure
    assert isinstance(content, FixedContent)  # noqa: S101 - _stored made sure
    coverage = Comparison(repository, operation).compare(one.path, source, content, VerifyMode.FULL)
    found = list(coverage.differences)
    if source.size != content.size:
        start, end = sorted((source.size, content.size))
        found.append(Difference(one.path, start, end - start, f"the source has {source.size} bytes now"))
    report.compared += coverage.compared
    if not source.stable:
        report.unclear += found
        return
    now, then = source.metadata, entry.metadata
    was_modified = source.changed() or (now.mtime_ns, now.ctime_ns, now.inode) != (
        then.mtime_ns, then.ctime_ns, then.inode,
    )  # fmt: skip
    (report.changed if was_modified else report.differences).extend(found)


def _compare_tree(repository: Repository, one: Input, entry: Entry, report: SourceReport, operation: Operation) -> None:
    source = one.source
    assert isinstance(source, FileSource)  # noqa: S101 - a stream is refused before

    def tell(changed: str, why: str) -> None:
        report.changed.append(Difference(changed, 0, 0, why))

    job = TreeJob(one.path, source, None, TreeComparison(repository, None, report.notes.append))
    coverage = FileComparison(repository, job, FILE_TIMEOUT_S, operation, tell).compare(entry, VerifyMode.FULL)
    report.compared += coverage.compared
    report.differences += coverage.differences


def _mark(repository: Repository, report: SourceReport, paths: set[str]) -> None:
    snapshot = report.snapshot
    trust, note = snapshot.trust, None
    if report.differences:
        first = report.differences[0]
        trust = Trust.DISTRUSTED
        note = f"differs from its source in {len(report.differences)} places, first {first.path} at {first.offset}"
    elif not report.unclear and not report.changed and not snapshot.partial and paths >= set(snapshot.paths):
        trust = Trust.VERIFIED
    if trust is snapshot.trust:
        return
    try:
        repository.edit(snapshot, trust=trust, damaged=0, note=note)
        report.trust = trust
    except (StorageError, RepositoryError) as error:
        report.notes.append(f"what came of it could not be recorded: {error.message}")
