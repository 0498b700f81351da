"""Back up images into a repository."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from lamina.chunking.chunker import FixedChunker
from lamina.engine.compare import Comparison, Coverage, VerifyMode, choose_mode
from lamina.engine.dry_run import CountingPutter
from lamina.engine.hinting import are_hints_true
from lamina.engine.images import ImageJob, ImageReader
from lamina.engine.outcome import Difference
from lamina.errors import Damaged, EntryMissing, LaminaError, NotPermitted, Stopped, StorageError
from lamina.filters.pipeline import compression_level
from lamina.model.entries import Entry, EntryType, FixedContent
from lamina.model.ids import SessionId
from lamina.model.operation import Operation
from lamina.model.process import Process
from lamina.model.snapshots import Role, Snapshot, Statistics, Trust
from lamina.repository.manifests import heads
from lamina.repository.repository import Repository
from lamina.repository.sessions import Session, SnapshotFacts
from lamina.repository.streams import ChunkPutter, FixedMap
from lamina.repository.trees import get_entry, put_tree
from lamina.repository.writer import EncodingOptions
from lamina.sources.hints import ChangedRanges
from lamina.sources.source import ImageSource, StreamSource

__all__ = ["BackupOptions", "BackupReport", "Coverage", "Difference", "Input", "VerifyMode", "backup"]


@dataclass(frozen=True, slots=True)
class Input:
    """One source and the path it is stored under (relative, `/`-separated, no `..`)."""

    path: str
    source: ImageSource | StreamSource
    hints: ChangedRanges | None = None  # None: nothing is known; empty ranges: nothing changed


@dataclass(frozen=True, slots=True)
class BackupOptions:
    """What the user wants of one backup."""

    name: str
    host: str = ""
    tags: frozenset[str] = frozenset()
    expires: datetime | None = None
    compression: str = "default"  # off | fast | default | better | best
    chunk_size: int | None = None  # None: the parent's, else the repository's default
    parent: Snapshot | None = None  # None: the newest snapshot of the name
    verify: VerifyMode = VerifyMode.ADAPTIVE
    check_encoding: bool = False  # decode and compare even when the run is verified in full
    dry_run: bool = False
    process: Process = field(default_factory=Process)
    program: str = ""  # name and version of the program, for the record


@dataclass(frozen=True, slots=True)
class BackupReport:
    """What came of one backup."""

    snapshot: SessionId | None  # None for a dry run
    statistics: Statistics
    duration: timedelta
    parent: SessionId | None
    coverage: Coverage
    unread: tuple[Difference, ...] = ()  # ranges that could not be read; the snapshot is partial
    changed_while_read: tuple[str, ...] = ()  # paths
    hints_untrusted: tuple[str, ...] = ()  # paths whose hints were found lying; everything was read instead
    notes: tuple[str, ...] = ()


def backup(
    repository: Repository, inputs: Sequence[Input], options: BackupOptions, operation: Operation
) -> BackupReport:
    """Save *inputs* as one snapshot.

    Raises: SessionAborted, StorageError, SourceError; Stopped (what was uploaded is used by the next run).
    """
    begun = operation.clock.monotonic()
    run = _Run(repository, inputs, options, operation)
    if options.dry_run:
        run.count()
        coverage, snapshot = Coverage(VerifyMode.NONE), None
    else:
        snapshot = run.store()
        try:
            coverage = run.verify(snapshot)
        except (Stopped, StorageError) as error:
            error.message += f"; snapshot {snapshot.hex()[:8]} was made, but not (wholly) compared with its source"
            error.args = (error.message,)
            raise
    return BackupReport(
        snapshot=snapshot,
        statistics=run.statistics(),
        duration=timedelta(seconds=operation.clock.monotonic() - begun),
        parent=run.parent.id if run.parent is not None else None,
        coverage=coverage,
        unread=tuple(difference for stored in run.stored for difference in stored.job.unread),
        changed_while_read=tuple(one.path for one in inputs if _has_changed(one.source)),
        hints_untrusted=tuple(run.untrusted),
        notes=tuple(run.notes),
    )


@dataclass(frozen=True, slots=True)
class _Stored:
    """One input and what became of it."""

    input: Input
    job: ImageJob
    content: FixedContent
    hinted: bool


@dataclass(slots=True)
class _Run:
    """One backup under way."""

    repository: Repository
    inputs: Sequence[Input]
    options: BackupOptions
    operation: Operation
    parent: Snapshot | None = None
    stored: list[_Stored] = field(default_factory=list)
    untrusted: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    heal: bool = False  # some snapshot is doubtful: refer only to chunks that were just seen to be whole
    is_clear: bool = True  # there is no doubt which snapshot hints refer to
    new: int = 0  # bytes
    put: int = 0  # bytes

    def count(self) -> None:
        """Find out what a backup would store, and store nothing."""
        self.parent = self._find_parent()
        putter = CountingPutter(self.repository)
        self._store_all(putter, None)
        self.new = putter.new

    def store(self) -> SessionId:
        """Store everything and commit."""
        self.parent = self._find_parent()
        level = compression_level(self.options.compression)
        encoding = EncodingOptions(level, check=self._must_check(), heal=self.heal)
        session = self.repository.begin(self.options.process, encoding, self.operation)
        try:
            self._rely_on_parent(session)
            self._store_all(session.writer, session)
            self.operation.check_stop()  # Ctrl-C also ends the program that feeds a pipe: what came then is cut off
            self._commit(session)
        except (LaminaError, KeyboardInterrupt):
            self._give_up(session)
            raise
        finally:
            session.close()
        return session.id

    def verify(self, session: SessionId) -> Coverage:
        """Compare what was stored with its sources, and say in the repository what came of it."""
        modes = [self._mode(stored) for stored in self.stored]
        if all(mode is VerifyMode.NONE for mode in modes):
            return Coverage(VerifyMode.NONE, of=sum(stored.content.size for stored in self.stored))
        self.operation.progress.start("verify", sum(stored.content.size for stored in self.stored))
        comparison = Comparison(self.repository, self.operation)
        parts = [self._compare(comparison, stored, mode) for stored, mode in zip(self.stored, modes, strict=True)]
        whole = all(mode is VerifyMode.FULL for mode in modes)
        coverage = Coverage(
            VerifyMode.FULL if whole else VerifyMode.SAMPLE,
            sum(part.compared for part in parts),
            sum(part.of for part in parts),
            tuple(difference for part in parts for difference in part.differences),
        )
        self._record(session, coverage)
        return coverage

    def statistics(self) -> Statistics:
        """What was read, new and stored so far."""
        return Statistics(
            size=sum(stored.content.size for stored in self.stored),
            read=sum(stored.job.read for stored in self.stored),
            new=self.new,
            stored=self.put,
        )

    def _find_parent(self) -> Snapshot | None:
        """The snapshot to compare with: the user's choice, or the newest of the name that is no other's parent."""
        snapshots = self.repository.snapshots()
        self.heal = any(one.is_doubtful for one in snapshots)
        if self.options.parent is not None:
            return self.options.parent
        found = heads(snapshots, self.options.name)
        self.is_clear = len(found) == 1 and found[0].started <= self.operation.clock.now()
        return found[-1] if found else None

    def _rely_on_parent(self, session: Session) -> None:
        if self.parent is None:
            return
        if not session.rely_on(self.repository.parent(self.parent)):
            self.notes.append(f"the parent snapshot {self.parent.short_id} was removed meanwhile; everything is read")
            self.parent = None

    def _store_all(self, putter: ChunkPutter, session: Session | None) -> None:
        sizes = [one.source.size for one in self.inputs if isinstance(one.source, ImageSource)]
        self.operation.progress.start("backup", sum(sizes) if len(sizes) == len(self.inputs) else None)
        chunk_sizes = [self._chunk_size(one) for one in self.inputs]
        reader = ImageReader(putter, session, max(chunk_sizes), self.operation)
        try:
            for one, chunk_size in zip(self.inputs, chunk_sizes, strict=True):
                self.stored.append(self._store_one(reader, one, chunk_size))
        finally:
            reader.close()

    def _store_one(self, reader: ImageReader, one: Input, chunk_size: int) -> _Stored:
        chunker = FixedChunker(chunk_size)
        source = one.source
        if not isinstance(source, ImageSource):
            job = ImageJob(one.path, chunker, 0, None)
            return _Stored(one, job, reader.store_stream(job, source), hinted=False)
        parent = self._parent_map(one.path, chunk_size)
        job = ImageJob(one.path, chunker, source.size, parent)
        hints = self._believed_hints(one, source, job)
        content = reader.store_image(job, source, hints)
        return _Stored(one, job, content, hinted=hints is not None)

    def _believed_hints(self, one: Input, source: ImageSource, job: ImageJob) -> ChangedRanges | None:
        """The hints of an input, if there is a parent they can refer to and a sample does not contradict them."""
        if one.hints is None:
            return None
        if self.parent is None or job.parent is None or not self.is_clear:
            self.notes.append(
                f"the hints for {one.path} were not used, everything was read: {self._why_no_parent(one.path)}"
            )
            return None
        job.whole_leaves = not self.parent.partial
        if are_hints_true(source, job, one.hints, self.repository.access.namer(), self.operation):
            return one.hints
        self.untrusted.append(one.path)
        return None

    def _why_no_parent(self, path: str) -> str:
        """Why hints have nothing to refer to."""
        if self.parent is None:
            return "there is no snapshot of this name yet"
        who = f"snapshot {self.parent.short_id}"
        if self.parent.is_doubtful:
            return f"{who} is distrusted" if self.parent.trust is Trust.DISTRUSTED else f"{who} was never compared"
        if not self.is_clear:
            return (
                f"it is not clear that {who} is the one they refer to (clocks, or runs at the same time): say --parent"
            )
        return f"{who} has chunks of another size" if self._parent_content(path) else f"{who} has no such image"

    def _parent_map(self, path: str, chunk_size: int) -> FixedMap | None:
        """The same image in the parent, if its chunks may be referred to without a look."""
        if self.parent is None or self.parent.is_doubtful:
            return None
        content = self._parent_content(path)
        if content is None or content.chunk_size != chunk_size:
            return None
        return FixedMap(self.repository.reader(), content)

    def _parent_content(self, path: str) -> FixedContent | None:
        """The same image in the parent. What cannot be read of it only means that more is read of the source."""
        if self.parent is None:
            return None
        try:
            return get_entry(self.repository.reader(), self.parent.root, path).content
        except EntryMissing:
            return None
        except (Damaged, NotPermitted) as error:
            note = f"the parent snapshot {self.parent.short_id} is of no use: {error.message}"
            if note not in self.notes:
                self.notes.append(note)
            return None

    def _chunk_size(self, one: Input) -> int:
        if self.options.chunk_size is not None:
            return self.options.chunk_size
        content = self._parent_content(one.path)
        return content.chunk_size if content is not None else self.repository.access.format.chunk_size

    def _commit(self, session: Session) -> None:
        entries = {
            stored.input.path.lstrip("/"): Entry(
                stored.input.path.rpartition("/")[2].encode("utf-8", "surrogateescape"),
                EntryType.FILE,
                stored.input.source.metadata,
                stored.content,
            )
            for stored in self.stored
        }
        root = put_tree(session.writer, entries)
        options = self.options
        facts = SnapshotFacts(
            root=root,
            size=sum(stored.content.size for stored in self.stored),
            read=sum(stored.job.read for stored in self.stored),
            partial=any(stored.job.unread for stored in self.stored),
            name=options.name,
            host=options.host,
            program=options.program,
            paths=tuple(stored.input.path for stored in self.stored),
            tags=options.tags,
            expires=options.expires,
        )
        session.commit(facts)
        self.new, self.put = session.writer.counts.new, session.writer.counts.stored

    def _give_up(self, session: Session) -> None:
        """Leave what was uploaded where the next run finds it; what goes wrong here is not what went wrong first."""
        try:
            session.give_up()
        except (LaminaError, OSError) as error:
            self.operation.progress.message(f"what was uploaded last will be uploaded again: {error}")

    def _must_check(self) -> bool:
        """Chunks are decoded before they are stored, unless the whole run is compared afterwards anyway."""
        if self.options.check_encoding or self.repository.role is not Role.OWNER:
            return True  # a writer cannot read content back: its comparison decodes nothing
        return not all(
            isinstance(one.source, ImageSource)
            and choose_mode(self.options.verify, one.source, hinted=one.hints is not None) is VerifyMode.FULL
            for one in self.inputs
        )

    def _mode(self, stored: _Stored) -> VerifyMode:
        source = stored.input.source
        if not isinstance(source, ImageSource):
            return VerifyMode.NONE  # a stream cannot be read again; its chunks were decoded before they were stored
        return choose_mode(self.options.verify, source, hinted=stored.hinted)

    def _compare(self, comparison: Comparison, stored: _Stored, mode: VerifyMode) -> Coverage:
        """What became of one input; a stored image whose map cannot be read differs as a whole."""
        path, source, content = stored.input.path, stored.input.source, stored.content
        if mode is VerifyMode.NONE or not isinstance(source, ImageSource):
            return Coverage(VerifyMode.NONE, of=content.size)
        try:
            return comparison.compare(path, source, content, mode)
        except Damaged as error:
            return Coverage(mode, 0, content.size, (Difference(path, 0, content.size, error.message),))

    def _record(self, session: SessionId, coverage: Coverage) -> None:
        """Mark the snapshot as verified or distrusted."""
        if not coverage.differences and coverage.mode is not VerifyMode.FULL:
            return
        trust = Trust.DISTRUSTED if coverage.differences else Trust.VERIFIED
        note = ""
        if coverage.differences:
            first = coverage.differences[0]
            note = (
                f"differs from its source in {len(coverage.differences)} places, first {first.path} at {first.offset}"
            )
        try:
            self.repository.edit(self.repository.get_snapshot(session), trust=trust, note=note or None)
        except LaminaError as error:  # the snapshot is committed and stays, whatever became of the mark
            self.notes.append(f"the outcome of the comparison could not be recorded: {error.message}")


def _has_changed(source: ImageSource | StreamSource) -> bool:
    return isinstance(source, ImageSource) and source.changed()
