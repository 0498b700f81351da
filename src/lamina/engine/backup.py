"""Save images, trees of files and streams as one snapshot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import chain

from lamina.engine.outcome import Difference, Flaw
from lamina.engine.saving.compare import Comparison, Coverage, VerifyMode, choose_mode, merged
from lamina.engine.saving.compare_files import FileComparison
from lamina.engine.saving.dry_run import CountingPutter
from lamina.engine.saving.image_jobs import ImageBackup, StoredImage
from lamina.engine.saving.images import ImageReader
from lamina.engine.saving.parent import Parent
from lamina.engine.saving.tree_job import TreeCounts, TreeJob, sum_counts
from lamina.engine.saving.tree_jobs import TreeBackup, TreeOptions, remember_looks
from lamina.errors import Damaged, LaminaError, SourceUnreadable, Stopped, StorageError
from lamina.filters.pipeline import compression_level
from lamina.model.entries import Entry, EntryType, Metadata
from lamina.model.ids import SessionId
from lamina.model.operation import Operation
from lamina.model.process import Process
from lamina.model.snapshots import Role, Snapshot, Statistics, Trust
from lamina.repository.repository import Repository
from lamina.repository.sessions import Session, SnapshotFacts
from lamina.repository.streams import ChunkPutter
from lamina.repository.trees import put_tree
from lamina.repository.writer import EncodingOptions
from lamina.sources.hints import ChangedRanges
from lamina.sources.owners import group_names, user_names
from lamina.sources.source import FileSource, ImageSource, StreamSource

__all__ = ["BackupOptions", "BackupReport", "Coverage", "Difference", "Input", "VerifyMode", "backup"]


@dataclass(frozen=True, slots=True)
class Input:
    """One source and the path it is stored under (relative, `/`-separated, no `..`; "": it is the root itself)."""

    path: str
    source: ImageSource | FileSource | StreamSource
    hints: ChangedRanges | None = None  # None: nothing is known; empty ranges: nothing changed
    above: Mapping[str, Metadata] = field(default_factory=dict)  # by path, of the directories above it


@dataclass(frozen=True, slots=True)
class BackupOptions:
    """What the user wants of one backup."""

    name: str
    host: str = ""
    tags: frozenset[str] = frozenset()
    expires: datetime | None = None
    compression: str = "default"  # off | fast | default | better | best
    chunk_size: int | None = None  # of images; None: the parent's, else the repository's default
    parent: Snapshot | None = None  # None: the newest snapshot of the name
    verify: VerifyMode = VerifyMode.ADAPTIVE
    check_encoding: bool = False  # decode and compare even when the run is verified in full
    trees: TreeOptions = field(default_factory=TreeOptions)
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
    files: TreeCounts | None = None  # None: there was no tree
    unread: tuple[Difference, ...] = ()  # ranges of images that could not be read
    flaws: tuple[Flaw, ...] = ()  # entries of trees that are not whole, as many as are named
    changed_while_read: tuple[str, ...] = ()  # paths of images
    hints_untrusted: tuple[str, ...] = ()  # paths whose hints were found lying; everything was read instead
    notes: tuple[str, ...] = ()
    partial: bool = False  # something could not be read


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
            error.say_too(f"snapshot {snapshot.hex()[:8]} was made, but not (wholly) compared with its source")
            raise
    return BackupReport(
        snapshot=snapshot,
        statistics=run.statistics(),
        duration=timedelta(seconds=operation.clock.monotonic() - begun),
        parent=run.parent.snapshot.id if run.parent.snapshot is not None else None,
        coverage=coverage,
        files=_total([saved.tree for saved in run.saved if saved.tree is not None]),
        unread=run.unread(),
        flaws=tuple(chain.from_iterable(saved.tree.flaws for saved in run.saved if saved.tree is not None)),
        changed_while_read=tuple(one.path for one in inputs if _has_changed(one.source)),
        hints_untrusted=tuple(run.untrusted),
        notes=tuple(dict.fromkeys(run.notes)),
        partial=run.is_partial(),
    )


@dataclass(frozen=True, slots=True)
class _Saved:
    """One input and what became of it."""

    input: Input
    entry: Entry  # without a name
    image: StoredImage | None = None
    tree: TreeJob | None = None


class _Run:
    """One backup under way."""

    def __init__(
        self, repository: Repository, inputs: Sequence[Input], options: BackupOptions, operation: Operation
    ) -> None:
        self._repository = repository
        self._inputs = inputs
        self._options = options
        self._operation = operation
        self.notes: list[str] = []
        self.untrusted: list[str] = []
        self.parent = Parent(repository, self.notes.append)
        self.saved: list[_Saved] = []
        self._new = self._stored = self._files_read = 0  # bytes

    def count(self) -> None:
        """Find out what a backup would store, and store nothing."""
        self._find_parent()
        putter = CountingPutter(self._repository)
        self._store_all(putter, None)
        self._new = putter.new

    def store(self) -> SessionId:
        """Store everything and commit."""
        self._find_parent()
        level = compression_level(self._options.compression)
        encoding = EncodingOptions(level, check=self._must_check(), heal=self.parent.must_heal)
        session = self._repository.begin(self._options.process, encoding, self._operation)
        try:
            self._rely_on_parent(session)
            self._store_all(session.writer, session)
            self._operation.check_stop()  # Ctrl-C also ends the program that feeds a pipe: what came then is cut off
            self._commit(session)
        except (LaminaError, KeyboardInterrupt):
            self._give_up(session)
            raise
        finally:
            session.close()
        return session.id

    def verify(self, session: SessionId) -> Coverage:
        """Compare what was stored with its sources, and say in the repository what came of it."""
        modes = [self._mode(saved) for saved in self.saved]
        if all(mode is VerifyMode.NONE for mode in modes):
            return Coverage(VerifyMode.NONE, of=sum(saved.entry.size for saved in self.saved))
        self._operation.progress.start("verify", sum(saved.entry.size for saved in self.saved))
        coverage = merged([self._compare(saved, mode) for saved, mode in zip(self.saved, modes, strict=True)])
        self._record(session, coverage)
        return coverage

    def statistics(self) -> Statistics:
        """What was read, new and stored so far."""
        images = sum(saved.image.job.read for saved in self.saved if saved.image is not None)
        size = sum(saved.entry.size for saved in self.saved)
        return Statistics(size=size, read=images + self._files_read, new=self._new, stored=self._stored)

    def unread(self) -> tuple[Difference, ...]:
        """Ranges of images that could not be read."""
        return tuple(chain.from_iterable(saved.image.job.unread for saved in self.saved if saved.image is not None))

    def is_partial(self) -> bool:
        """Whether something could not be read."""
        trees = [saved.tree for saved in self.saved if saved.tree is not None]
        return bool(self.unread()) or any(tree.lost for tree in trees)

    def _find_parent(self) -> None:
        self.parent.find(self._options.name, self._options.parent, self._operation.clock)

    def _rely_on_parent(self, session: Session) -> None:
        snapshot = self.parent.snapshot
        if snapshot is not None and not session.rely_on(self._repository.parent(snapshot)):
            self.notes.append(f"the parent snapshot {snapshot.short_id} was removed meanwhile; everything is read")
            self.parent.snapshot = None

    def _store_all(self, putter: ChunkPutter, session: Session | None) -> None:
        sizes = [one.source.size for one in self._inputs if isinstance(one.source, ImageSource)]
        self._operation.progress.start("backup", sum(sizes) if len(sizes) == len(self._inputs) else None)
        images = ImageBackup(self._repository, self.parent, self.notes.append, self.untrusted.append, self._operation)
        chunk_sizes = [images.chunk_size(one.path, self._options.chunk_size) for one in self._inputs]
        reader = ImageReader(putter, session, max(chunk_sizes), self._operation)
        trees = TreeBackup(self._repository, self.parent, putter, session, self._operation)
        try:
            for one, chunk_size in zip(self._inputs, chunk_sizes, strict=True):
                self.saved.append(self._store_one(images, reader, trees, one, chunk_size))
        finally:
            reader.close()
            trees.close()
            self._files_read = trees.read

    def _store_one(
        self, images: ImageBackup, reader: ImageReader, trees: TreeBackup, one: Input, chunk_size: int
    ) -> _Saved:
        source = one.source
        if isinstance(source, ImageSource):
            image = images.store(reader, one.path, source, one.hints, chunk_size)
            return _Saved(one, Entry(b"", EntryType.FILE, source.metadata, image.content), image=image)
        if isinstance(source, FileSource):
            tree, entry = trees.store_tree(one.path, source, self._options.trees)
            if entry.child is None and not one.path:  # there is no entry that could say so
                raise SourceUnreadable(f"cannot look into {source.name}: {entry.error}", hint="nothing was backed up")
            return _Saved(one, entry, tree=tree)
        content = trees.store_stream(source)
        return _Saved(one, Entry(b"", EntryType.FILE, source.metadata, content))

    def _commit(self, session: Session) -> None:
        entries = {
            saved.input.path: saved.entry._replace(
                name=saved.input.path.rpartition("/")[2].encode("utf-8", "surrogateescape")
            )
            for saved in self.saved
        }
        above = {path: metadata for saved in self.saved for path, metadata in saved.input.above.items()}
        root = put_tree(session.writer, entries, above)
        options, done = self._options, self.statistics()
        users, groups = self._owners(above)
        facts = SnapshotFacts(
            root=root,
            size=done.size,
            read=done.read,
            partial=self.is_partial(),
            name=options.name,
            host=options.host,
            program=options.program,
            paths=tuple(saved.input.path for saved in self.saved),
            tags=options.tags,
            expires=options.expires,
            users=users,
            groups=groups,
        )
        session.commit(facts)
        trees = [saved.tree for saved in self.saved if saved.tree is not None]
        remember_looks(self._repository, options.name, session.id, trees, self._operation)
        self._new, self._stored = session.writer.counts.new, session.writer.counts.stored

    def _owners(self, above: Mapping[str, Metadata]) -> tuple[Mapping[int, str], Mapping[int, str]]:
        """What the owners of all entries are called; of what was kept, as the parent knows."""
        trees = [saved.tree for saved in self.saved if saved.tree is not None]
        single = [*above.values(), *(saved.entry.metadata for saved in self.saved)]
        users = {one.uid for one in single}.union(*(tree.users for tree in trees))
        groups = {one.gid for one in single}.union(*(tree.groups for tree in trees))
        old = self.parent.snapshot if any(tree.lost for tree in trees) else None
        known = (old.users, old.groups) if old is not None else ({}, {})
        return {**known[0], **user_names(users)}, {**known[1], **group_names(groups)}

    def _give_up(self, session: Session) -> None:
        """Leave what was uploaded where the next run finds it; what goes wrong here is not what went wrong first."""
        try:
            session.give_up()
        except (LaminaError, OSError) as error:
            self._operation.progress.message(f"what was uploaded last will be uploaded again: {error}")

    def _must_check(self) -> bool:
        """Chunks are decoded before they are stored, unless the whole run is compared afterwards anyway."""
        if self._options.check_encoding or self._repository.role is not Role.OWNER:
            return True  # a writer cannot read content back: its comparison decodes nothing
        return not all(
            isinstance(one.source, ImageSource)
            and choose_mode(self._options.verify, one.source, hinted=one.hints is not None) is VerifyMode.FULL
            for one in self._inputs
        )

    def _mode(self, saved: _Saved) -> VerifyMode:
        wanted = self._options.verify
        if saved.image is not None and isinstance(saved.input.source, ImageSource):
            return choose_mode(wanted, saved.input.source, hinted=saved.image.is_hinted)
        if saved.tree is None:
            return VerifyMode.NONE  # a stream cannot be read again; its chunks were decoded before they were stored
        return VerifyMode.SAMPLE if wanted is VerifyMode.ADAPTIVE else wanted

    def _compare(self, saved: _Saved, mode: VerifyMode) -> Coverage:
        """What became of one input; one that cannot be read back differs as a whole."""
        path, source, size = saved.input.path, saved.input.source, saved.entry.size
        if mode is VerifyMode.NONE:
            return Coverage(mode, of=size)
        try:
            if saved.image is not None and isinstance(source, ImageSource):
                return Comparison(self._repository, self._operation).compare(path, source, saved.image.content, mode)
            assert saved.tree is not None  # noqa: S101 - only images and trees are compared
            deadline_s = self._options.trees.file_timeout_s
            return FileComparison(self._repository, saved.tree, deadline_s, self._operation).compare(saved.entry, mode)
        except Damaged as error:
            return Coverage(mode, 0, size, (Difference(path, 0, size, error.message),))

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
            self._repository.edit(self._repository.get_snapshot(session), trust=trust, note=note or None)
        except LaminaError as error:  # the snapshot is committed and stays, whatever became of the mark
            self.notes.append(f"the outcome of the comparison could not be recorded: {error.message}")


def _total(trees: Sequence[TreeJob]) -> TreeCounts | None:
    """The counts of all trees together."""
    return sum_counts([tree.counts for tree in trees]) if trees else None


def _has_changed(source: ImageSource | FileSource | StreamSource) -> bool:
    return isinstance(source, ImageSource) and source.changed()
