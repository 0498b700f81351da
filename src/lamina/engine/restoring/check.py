"""Read a restored tree back and compare it with what is stored."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import NamedTuple

from lamina.engine.restoring.files import FileWriter
from lamina.engine.restoring.jobs import BATCH_FOLDERS
from lamina.engine.restoring.plan import Enter, Leave, TreePlan, TreeWalk
from lamina.engine.restoring.report import Finding, TreeReport
from lamina.engine.threads import each, overlapping
from lamina.errors import Damaged
from lamina.model.entries import Entry, EntryState, EntryType
from lamina.model.operation import Operation
from lamina.repository.repository import Repository
from lamina.targets.directory import DirectoryTarget
from lamina.targets.folders import Spot, TargetFolder

BATCH_FILES = 256
BATCH_BYTES = 8 << 20


def check_tree(
    repository: Repository, plan: TreePlan, target: DirectoryTarget, report: TreeReport, operation: Operation
) -> None:
    """Compare the content of every file that looks restored; what differs is a finding of *report*.

    Raises: StorageError, Stopped.
    """
    operation.progress.start("verify", plan.size)
    check = _Check(TreeWalk(repository.reader(), plan), target, frozenset(one.path for one in report.missing))
    writer = FileWriter(repository, target, operation)

    def compare(batch: Sequence[_File]) -> Sequence[tuple[_File, str]]:
        operation.check_stop()
        return [(file, reason) for file in batch if (reason := _difference(writer, file, operation))]

    with ThreadPoolExecutor(overlapping(), thread_name_prefix="check") as executor:
        batches: list[list[_File]] = []
        for different in each(executor, compare, _noted(check.batches(), batches), operation):
            for file, reason in different:
                report.find(Finding.DIFFERENT, Spot(file.folder, file.entry.name), reason)
            for file in batches.pop(0):
                report.compared += 1
                file.folder.release()
    report.verified = True


class _File(NamedTuple):
    """A file that looks restored."""

    folder: TargetFolder  # held until it is compared
    entry: Entry


class _Check:
    """The walk of one comparison."""

    def __init__(self, walk: TreeWalk, target: DirectoryTarget, missing: frozenset[str]) -> None:
        """*missing*: paths of what is known not to be whole."""
        self._missing = missing
        self._walk = walk
        self._target = target

    def batches(self) -> Iterator[list[_File]]:
        batch: list[_File] = []
        size, folders = 0, set()
        for file in self._files():
            batch.append(file)
            size += file.entry.size
            folders.add(id(file.folder))
            if size >= BATCH_BYTES or len(batch) == BATCH_FILES or len(folders) == BATCH_FOLDERS:
                yield batch
                batch, size, folders = [], 0, set()
        if batch:
            yield batch

    def _files(self) -> Iterator[_File]:
        stack = [self._target.top]
        stack[0].hold()
        for step in self._walk:
            if isinstance(step, Enter):
                try:
                    stack.append(self._target.open_folder(stack[-1], step.entry.name, writing=False))
                    stack[-1].park_above()
                except OSError:  # it is not restored, which the report says
                    self._walk.skip()
            elif isinstance(step, Leave):
                left = stack.pop()
                with suppress(OSError):
                    stack[-1].unpark(left)
                left.release()
            elif isinstance(step, Entry) and self._looks_restored(stack[-1], step):
                stack[-1].hold()
                yield _File(stack[-1], step)
        stack[0].release()

    def _looks_restored(self, folder: TargetFolder, entry: Entry) -> bool:
        if entry.type is not EntryType.FILE or entry.state is EntryState.UNREAD:
            return False
        if self._missing and Spot(folder, entry.name).path.decode("utf-8", "surrogateescape") in self._missing:
            return False
        try:
            status = self._target.status(folder, entry.name)
            if status is None:
                return False
            if entry.metadata.is_implied:
                return self._target.is_type(entry, status) and status.st_size == entry.size
            return self._target.is_right(folder, entry, status) or self._target.is_nearly_right(entry, status)
        except OSError:
            return False


def _difference(writer: FileWriter, file: _File, operation: Operation) -> str:
    """Why a file is not as it was saved; empty if it is."""
    try:
        is_there = writer.is_there(file.entry, file.folder)
    except (OSError, Damaged) as error:
        return f"it cannot be compared: {error}"
    operation.progress.advance(read=file.entry.size)
    return "" if is_there else "it does not hold what was written to it"


def _noted(batches: Iterator[list[_File]], noted: list[list[_File]]) -> Iterator[list[_File]]:
    """The same batches, each put on a list as it goes by."""
    for batch in batches:
        noted.append(batch)
        yield batch
