"""Bring a tree, or a part of one, back into a directory."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

from lamina.engine.permits import check_contents
from lamina.engine.restoring.check import check_tree
from lamina.engine.restoring.files import FileWriter
from lamina.engine.restoring.folders import Directories, OpenDirectory
from lamina.engine.restoring.jobs import Batch, FileJob, FirstJob, LinkJob, Piece, small_piece
from lamina.engine.restoring.names import Names
from lamina.engine.restoring.plan import Action, Enter, Leave, Overwrite, RestoreOptions, TreePlan, TreeWalk
from lamina.engine.restoring.report import Finding, Record, TreeReport
from lamina.engine.threads import each, overlapping
from lamina.errors import Damaged, EntryMissing, LaminaError
from lamina.model.entries import Entry, EntryState, EntryType
from lamina.model.operation import Operation
from lamina.repository.repository import Repository
from lamina.targets.directory import DirectoryTarget
from lamina.targets.folders import Spot, TargetFolder

BATCH_LINKS = 1024


def restore_tree(
    repository: Repository, plan: TreePlan, target: DirectoryTarget, options: RestoreOptions, operation: Operation
) -> TreeReport:
    """Carry *plan* out. Raises: EntryMissing if nothing fits, NotPermitted, TargetError, StorageError, Stopped.

    It can be run again: what is done is kept then. What cannot be restored is reported, and the rest is restored.
    """
    check_contents(repository)
    begun = operation.clock.monotonic()
    operation.progress.start("restore", plan.size)
    run = _Run(repository, plan, target, options, operation)
    report = run.report
    try:
        run.do()
        if not options.dry_run:
            target.sync()
        if options.verify and not options.dry_run:
            check_tree(repository, plan, target, report, operation)
    except LaminaError as error:
        error.say_too("what was restored until then stays")
        raise
    report.duration = timedelta(seconds=operation.clock.monotonic() - begun)
    report.not_applied = target.shortfalls.kinds
    return report


class _Run:
    """One restore under way. All but the fetching, and the writing of long files, is done by one thread."""

    def __init__(
        self,
        repository: Repository,
        plan: TreePlan,
        target: DirectoryTarget,
        options: RestoreOptions,
        operation: Operation,
    ) -> None:
        self._record = Record(target.name, options.tell)
        self.report = self._record.report
        self._walk = TreeWalk(repository.reader(), plan, salvage=options.salvage)
        self._target = target
        self._is_partial = plan.snapshot.partial
        self._options = options
        self._operation = operation
        self._large: set[FileJob] = set()  # that are open
        self._writer = FileWriter(repository, target, operation, salvage=options.salvage)
        self._directories = Directories(plan, target, options, self._record)
        self._names = Names(target, self._directories, self._writer, self._record, operation)

    def do(self) -> None:
        """Raises: as `restore_tree`."""
        try:
            count = overlapping()
            with ThreadPoolExecutor(count, thread_name_prefix="restore") as executor:
                # each batch that was fetched and not written takes memory: one more than are being fetched
                for batch in each(executor, self._writer.fetch, self._batches(), self._operation, ahead=count + 1):
                    self._writer.write(batch)
                    self._settle(batch)
                    self._operation.check_stop()
            self._directories.leave()
            self._names.set_late_flags()
        finally:
            for job in self._large:
                self._writer.close(job)
        if not self._walk.found and self._walk.is_selective:
            raise EntryMissing("the snapshot has nothing that fits", hint="`lamina ls SNAPSHOT` lists what it has")

    def _batches(self) -> Iterator[Batch]:
        batch = Batch()
        for one in self._pieces():
            if isinstance(one, LinkJob):
                batch.links.append(one)
                if len(batch.links) < BATCH_LINKS:
                    continue
            elif batch.has_room(one):
                batch.add(one)
                continue
            yield batch
            batch = Batch()
            if isinstance(one, Piece):
                batch.add(one)
        if batch.pieces or batch.links:
            yield batch

    def _pieces(self) -> Iterator[Piece | LinkJob]:
        """Walk; directories and what has no content are restored on the way."""
        for step in self._walk:
            self._operation.check_stop()
            try:
                if isinstance(step, Entry):
                    yield from self._restore(step)
                elif isinstance(step, Enter):
                    if not self._directories.enter(step):
                        self._walk.skip()
                elif isinstance(step, Leave):
                    self._directories.leave()
                else:
                    self._directories.give_up(step)
            except OSError as error:
                self._record.fail(Spot(self._directories.current.folder), error)

    def _restore(self, entry: Entry) -> Iterable[Piece | LinkJob]:
        directory = self._directories.current
        self._directories.expect(entry)
        spot = Spot(directory.folder, entry.name)
        if entry.state is EntryState.UNREAD:
            self.report.find(Finding.UNREAD, spot, entry.error)
            return ()
        if entry.state is EntryState.CHANGED:
            self.report.find(Finding.CHANGED, spot, entry.error)
        elif entry.is_flawed:
            self.report.find(Finding.FLAWED, spot, entry.error)
        try:
            status = self._target.look(directory.folder, entry)
            first = self._names.find_first(entry)
            if first is not None:
                return self._add_name(entry, directory, first, status)
            action = self._decide(directory.folder, entry, status)
            if action is Action.KEPT:
                self._keep(directory, entry, status)
            elif action is not Action.LEFT_ALONE:
                return self._make(directory, entry, status)
        except (OSError, Damaged) as error:
            self._record.fail(spot, error)
        return ()

    def _decide(self, folder: TargetFolder, entry: Entry, status: os.stat_result | None) -> Action:
        """What is done with an entry that is no directory; leaving alone is noted. Raises: OSError."""
        overwrite, is_file = self._options.overwrite, entry.type is EntryType.FILE
        if status is None:
            return Action.NEW
        if not (is_file and overwrite is Overwrite.ALWAYS) and self._is_right(folder, entry, status):
            return Action.KEPT
        if overwrite.replaces:
            return Action.REPLACED
        if overwrite is Overwrite.IF_NEWER and self._target.is_type(entry, status):
            if entry.metadata.mtime_ns > status.st_mtime_ns:
                return Action.REPLACED
            self.report.newer += 1
            self._record.tell(Action.LEFT_ALONE, Spot(folder, entry.name))
            return Action.LEFT_ALONE
        self._record.leave_alone(Spot(folder, entry.name), "it differs from what the snapshot has")
        return Action.LEFT_ALONE

    def _is_right(self, folder: TargetFolder, entry: Entry, status: os.stat_result) -> bool:
        """Raises: OSError, Damaged, StorageError."""
        if entry.type is EntryType.FILE and not entry.metadata.inode:
            # times of images and streams say nothing of their content
            is_alike = self._target.is_type(entry, status) and status.st_size == entry.size
            return is_alike and self._writer.is_there(entry, folder)
        if self._target.is_right(folder, entry, status):
            return True
        return self._target.is_nearly_right(entry, status) and self._writer.is_there(entry, folder)

    def _keep(self, directory: OpenDirectory, entry: Entry, status: os.stat_result | None) -> None:
        """Raises: OSError, Damaged."""
        unread = self._writer.unread_bytes(entry) if self._is_partial else 0
        if unread:
            self.report.find(Finding.FLAWED, Spot(directory.folder, entry.name), f"{unread} bytes could not be read")
        self.report.kept += 1
        self.report.kept_bytes += entry.size
        self._operation.progress.advance(skipped=entry.size)
        if not self._options.dry_run:
            entry = self._names.delay_flags(directory, entry)
            self.report.corrected += self._target.correct(directory.folder, entry.name, entry.metadata)
        if status is not None:
            self._names.note_first(directory, entry, (status.st_dev, status.st_ino))

    def _make(self, directory: OpenDirectory, entry: Entry, status: os.stat_result | None) -> Iterable[Piece]:
        """Raises: OSError."""
        if not self._clear_way(directory, entry, status):
            return ()
        is_file = entry.type is EntryType.FILE
        self._record.tell(Action.NEW if status is None else Action.REPLACED, Spot(directory.folder, entry.name))
        self.report.replaced += status is not None
        if self._options.dry_run:
            self.report.files += is_file
            self.report.others += not is_file
            self.report.written += entry.size
            self._names.note_first(directory, entry, (0, 0))
            return ()
        entry = self._names.delay_flags(directory, entry)
        replace = status is not None and not stat.S_ISDIR(status.st_mode)
        if not is_file:
            identity = self._target.make_special(directory.folder, entry, replace=replace)
            self.report.others += 1
            self._names.note_first(directory, entry, identity)
            return ()
        job = FileJob(entry, directory, replace=replace)
        self._names.note_first(directory, entry, (0, 0), job)
        directory.begin()
        small = small_piece(job)
        return self._pieces_of(job) if small is None else (small,)

    def _pieces_of(self, job: FileJob) -> Iterator[Piece]:
        for piece in self._writer.pieces(job):
            if piece.is_first and not piece.is_last:
                self._large.add(job)
                self._writer.begin(job)
            yield piece

    def _clear_way(self, directory: OpenDirectory, entry: Entry, status: os.stat_result | None) -> bool:
        """Whether there is room for an entry that is no directory. Raises: OSError."""
        if status is None or self._options.dry_run:
            return True
        try:
            whole = self._options.delete and directory.is_sure and not entry.is_flawed
            self._target.clear_way(directory.folder, entry.name, status, whole=whole)
        except OSError as error:
            if error.errno not in {errno.ENOTEMPTY, errno.EEXIST}:
                raise
            reason = "a directory is in the way that is not empty; --delete removes it"
            self._record.leave_alone(Spot(directory.folder, entry.name), reason)
            return False
        return True

    def _add_name(
        self, entry: Entry, directory: OpenDirectory, first: FirstJob, status: os.stat_result | None
    ) -> Iterable[LinkJob]:
        """Raises: OSError."""
        spot = Spot(directory.folder, entry.name)
        if status is not None and (status.st_dev, status.st_ino) == first.identity:
            self.report.kept += 1
            self._operation.progress.advance(skipped=entry.size)
            return ()
        if status is not None and not self._options.overwrite.replaces:
            self._record.leave_alone(spot, f"it is not another name of {os.fsdecode(first.spot.path)}")
            return ()
        if not self._clear_way(directory, entry, status):
            return ()
        self._record.tell(Action.NEW if status is None else Action.REPLACED, spot)
        self.report.replaced += status is not None
        if self._options.dry_run:
            self.report.links += 1
            return ()
        directory.begin()
        return (LinkJob(entry, directory, first, replace=status is not None and not stat.S_ISDIR(status.st_mode)),)

    def _settle(self, batch: Batch) -> None:
        """Count what a thread has written, and finish what is done with it."""
        self.report.written += batch.written
        self.report.kept_bytes += batch.kept
        for piece in batch.pieces:
            job = piece.job
            if not piece.is_last:
                continue
            self._writer.finish(job)
            self._large.discard(job)
            if job.failure is not None:
                self._record.fail(job.spot, job.failure, size=job.entry.size)
            else:
                self.report.files += 1
                self._record.lose(job.spot, job.lost)
                if job.unread:
                    self.report.find(Finding.FLAWED, job.spot, f"{job.unread} bytes could not be read")
            job.directory.end()
            self._directories.finish(job.directory)
        for link in batch.links:
            self._names.link(link)
