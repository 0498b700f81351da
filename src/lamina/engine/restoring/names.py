"""Restore further names of objects that have several."""

from __future__ import annotations

from lamina.engine.restoring.files import FileWriter
from lamina.engine.restoring.folders import Directories, OpenDirectory
from lamina.engine.restoring.jobs import FileJob, FirstJob, LinkJob
from lamina.engine.restoring.report import Record
from lamina.model.entries import Entry, EntryType, Metadata
from lamina.model.operation import Operation
from lamina.targets.attributes import LOCKING
from lamina.targets.directory import HOPELESS, DirectoryTarget, FirstName
from lamina.targets.folders import Spot, TargetFolder


class Names:
    """The names of objects with several; only these are remembered, until all were met."""

    def __init__(
        self,
        target: DirectoryTarget,
        directories: Directories,
        writer: FileWriter,
        record: Record,
        operation: Operation,
    ) -> None:
        self._target = target
        self._directories = directories
        self._writer = writer
        self._record = record
        self._operation = operation
        self._firsts: dict[tuple[tuple[int, int, int], EntryType], FirstJob] = {}
        self._late: list[tuple[TargetFolder, bytes, Metadata]] = []  # flags that forbid further names

    def find_first(self, entry: Entry) -> FirstJob | None:
        """The first name of an object with several, if this is another."""
        if entry.metadata.links < 2:
            return None
        key = (entry.metadata.identity, entry.type)
        first = self._firsts.get(key)
        if first is not None:
            first.left -= 1
            if not first.left:
                del self._firsts[key]
        return first

    def note_first(
        self, directory: OpenDirectory, entry: Entry, identity: tuple[int, int], job: FileJob | None = None
    ) -> None:
        """The entry is the first name of an object, which has *identity* or gets it from *job*."""
        data = entry.metadata
        if data.links > 1 and data.inode:
            first = FirstJob(directory.folder, entry.name, data.links - 1, identity, job)
            self._firsts[data.identity, entry.type] = first

    def link(self, link: LinkJob) -> None:
        """Make one more name; of what cannot have one, another object."""
        first, entry, folder = link.first, link.entry, link.directory.folder
        try:
            if first.job is not None and first.job.failure is not None:
                self._copy(link)
                return
            identity = first.job.identity if first.job is not None else first.identity
            first.folder.hold()
            try:
                self._target.link(
                    folder, entry.name, FirstName(first.folder, first.name, identity), replace=link.replace
                )
            finally:
                first.folder.release()
            self._record.report.links += 1
            self._operation.progress.advance(skipped=entry.size)
        except FileExistsError as error:
            self._record.fail(Spot(folder, entry.name), error)
        except OSError as error:
            if error.errno in HOPELESS:
                self._record.fail(Spot(folder, entry.name), error)
            self._copy(link)
        finally:
            link.directory.end()
            self._directories.finish(link.directory)

    def _copy(self, link: LinkJob) -> None:
        """Restore what should have been another name as an object of its own; what follows are names of it."""
        entry, directory, first = link.entry, link.directory, link.first
        try:
            if entry.type is not EntryType.FILE:
                first.identity = self._target.make_special(directory.folder, entry, replace=link.replace)
                self._record.report.others += 1
                first.job = None
            else:
                job = FileJob(entry, directory, replace=link.replace)
                self._record.report.written += self._writer.write_now(job)
                if job.failure is not None:
                    self._record.fail(job.spot, job.failure, size=entry.size)
                    return
                self._record.report.files += 1
                self._record.lose(job.spot, job.lost)
                first.job = job
            first.folder, first.name = directory.folder, entry.name
        except OSError as error:
            self._record.fail(Spot(directory.folder, entry.name), error)

    def delay_flags(self, directory: OpenDirectory, entry: Entry) -> Entry:
        """The entry without the flags that would keep it from getting its other names."""
        data = entry.metadata
        if data.links < 2 or not data.flags & LOCKING:
            return entry
        self._late.append((directory.folder, entry.name, data))
        return entry._replace(metadata=data._replace(flags=data.flags & ~LOCKING))

    def set_late_flags(self) -> None:
        """Set the flags that had to wait."""
        for folder, name, metadata in self._late:
            try:
                folder.hold()
                try:
                    self._target.set_flags(folder, name, metadata)
                finally:
                    folder.release()
            except OSError as error:
                self._record.fail(Spot(folder, name), error)
