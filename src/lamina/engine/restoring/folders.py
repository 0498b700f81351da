"""Restore directories: made before what is in them, given their attributes when all in them is done."""

from __future__ import annotations

import stat

from lamina.engine.restoring.plan import Action, Broken, Enter, RestoreOptions, TreePlan
from lamina.engine.restoring.report import Finding, Record
from lamina.model.entries import Entry, Metadata
from lamina.targets.directory import DirectoryTarget
from lamina.targets.folders import Spot, TargetFolder


class OpenDirectory:
    """A directory that is being restored; finished once the walk has left it and all in it is done."""

    __slots__ = ("folder", "is_sure", "metadata", "names", "parent", "removes", "unfinished")

    def __init__(self, folder: TargetFolder, metadata: Metadata | None, parent: OpenDirectory | None) -> None:
        """*metadata* is what it gets in the end; None: it stays as it is."""
        self.folder = folder
        self.metadata = metadata
        self.parent = parent
        self.unfinished = 1  # what is still to be done in it; the walk is one
        self.names: set[bytes] | None = None  # what the snapshot has in it, where others are to be found in the end
        self.removes = False  # what the snapshot does not have
        self.is_sure = True  # that what the snapshot does not have was not there, and is ours to remove
        if parent is not None:
            self.is_sure = parent.is_sure
            parent.unfinished += 1

    def begin(self) -> None:
        """Something in it is to be done, and needs it open. Raises: OSError."""
        self.folder.hold()
        self.unfinished += 1

    def end(self) -> None:
        """It is done."""
        self.folder.release()
        self.unfinished -= 1


class Directories:
    """The directories of one restore; all of it is done by one thread."""

    def __init__(self, plan: TreePlan, target: DirectoryTarget, options: RestoreOptions, record: Record) -> None:
        self._target = target
        self._options = options
        self._record = record
        touches_top = target.top.fresh or target.was_empty or options.overwrite.replaces
        top = OpenDirectory(target.top, plan.top.metadata if touches_top else None, None)
        if target.was_empty and not options.dry_run:
            try:
                target.begin()
            except OSError as error:
                record.fail(Spot(target.top), error)
        if plan.top.is_flawed:
            record.report.find(Finding.FLAWED, Spot(target.top), plan.top.error)
        target.top.hold()
        top.is_sure = plan.is_sure
        self._watch(top, whole=plan.patterns is None)
        self._stack = [top]

    @property
    def current(self) -> OpenDirectory:
        """The one that the walk is in."""
        return self._stack[-1]

    def enter(self, step: Enter) -> bool:
        """Go into a directory, made if need be; false if what is in it cannot be restored."""
        entry, above = step.entry, self._stack[-1]
        self.expect(entry)
        spot = Spot(above.folder, entry.name)
        if entry.is_flawed:
            self._record.report.find(Finding.FLAWED, spot, entry.error)
        try:
            folder = self._open(above.folder, entry)
        except OSError as error:
            self._record.fail(spot, error)
            folder = None
        if folder is None:
            return False
        directory = OpenDirectory(folder, entry.metadata if step.whole or folder.fresh else None, above)
        directory.is_sure &= not entry.is_flawed
        self._watch(directory, whole=step.whole)
        folder.park_above()
        self._stack.append(directory)
        return True

    def _open(self, above: TargetFolder, entry: Entry) -> TargetFolder | None:
        """The directory to be filled; None if something else stays in its place. Raises: OSError."""
        status = self._target.look(above, entry)
        dry_run, spot = self._options.dry_run, Spot(above, entry.name)
        if status is not None and stat.S_ISDIR(status.st_mode):
            self._record.report.kept += 1
            return self._target.open_folder(above, entry.name, writing=not dry_run)
        if status is not None and not self._options.overwrite.replaces:
            self._record.leave_alone(spot, "a directory belongs there")
            return None
        self._record.tell(Action.NEW if status is None else Action.REPLACED, spot)
        self._record.report.directories += 1
        self._record.report.replaced += status is not None
        if dry_run:
            return self._target.absent_folder(above, entry.name)
        if status is not None:
            self._target.remove(above, entry.name)
        return self._target.make_folder(above, entry.name, public=entry.metadata.is_implied)

    def _watch(self, directory: OpenDirectory, *, whole: bool) -> None:
        """Look in the end for what does not belong into a directory."""
        if not directory.folder.fresh:
            directory.names = set()
            if self._options.delete:
                directory.is_sure = directory.is_sure and self._target.may_empty(directory.folder)
                directory.removes = whole and directory.is_sure

    def expect(self, entry: Entry) -> None:
        """The entry is in the directory that the walk is in: what has its name is not removed."""
        directory = self._stack[-1]
        if directory.names is not None and (directory.removes or self._target.is_temporary(entry.name)):
            directory.names.add(entry.name)

    def give_up(self, step: Broken) -> None:
        """Not all of the directory that the walk is in is known."""
        directory = self._stack[-1]
        directory.names = None  # nobody knows what is too much
        self._record.break_off(Spot(directory.folder), step.error)

    def leave(self) -> None:
        """Leave a directory. Raises: OSError; it is left all the same."""
        directory = self._stack.pop()
        try:
            if self._stack:
                self._stack[-1].folder.unpark(directory.folder)
        finally:
            directory.end()
            self.finish(directory)

    def finish(self, directory: OpenDirectory | None) -> None:
        """Give a directory its attributes if all in it is done, and then those above it."""
        is_held = False
        while directory is not None and not directory.unfinished:
            above, folder = directory.parent, directory.folder
            was_held, is_held = is_held, False
            try:
                if not was_held:
                    folder.hold()
                    was_held = True
                if (
                    above is not None and above.unfinished == 1
                ):  # the next: perhaps we may not come from here to it later
                    above.folder.hold_from(folder)
                    is_held = True
                self._tidy(directory)
                if above is None and not self._options.dry_run:
                    self._target.end()
                if directory.metadata is not None and not self._options.dry_run:
                    self._target.finish_folder(folder, directory.metadata)
            except OSError as error:
                self._record.fail(Spot(folder), error)
            finally:
                if was_held:
                    folder.release()
            if above is not None:
                above.unfinished -= 1
            directory = above

    def _tidy(self, directory: OpenDirectory) -> None:
        """Remove what does not belong into a directory. Raises: OSError."""
        if directory.names is None:
            return
        folder = directory.folder
        for name in self._target.names(folder):
            is_temporary = self._target.is_temporary(name)
            if name in directory.names or not (directory.removes or is_temporary):
                continue
            if not self._target.remove(folder, name):
                reason = "it holds another file system, or this repository, its cache or its passphrase"
                self._record.report.find(Finding.KEPT_MOUNT, Spot(folder, name), reason)
            elif not is_temporary:
                self._record.tell(Action.DELETED, Spot(folder, name))
                self._record.report.deleted += 1
