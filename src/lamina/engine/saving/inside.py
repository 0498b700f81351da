"""The directories that a walk is in: those that change, and below them those that may be the same as in the parent."""

from __future__ import annotations

from lamina.engine.saving.growing import GrowingDirectory, Pending, SameDirectory
from lamina.engine.saving.known import KnownEntry
from lamina.engine.saving.tree_job import Sampled, TreeJob
from lamina.errors import Damaged
from lamina.model.entries import Entry
from lamina.repository.streams import ChunkPutter
from lamina.repository.trees import DirectoryWriter
from lamina.sources.source import Begin, Found, Same, Unchanged


class Inside:
    """A stack. What is below a directory that is the same becomes one that changes only together with all above it."""

    def __init__(self, job: TreeJob, putter: ChunkPutter) -> None:
        self._job = job
        self._putter = putter
        self._stack: list[GrowingDirectory | SameDirectory] = []
        self._root: Pending | None = None

    def root(self) -> Entry:
        """The entry of the root, when all is settled."""
        assert self._root is not None  # noqa: S101 - a walk begins with it
        entry = self._root.entry
        assert entry is not None  # noqa: S101 - a walk ends by leaving it, and what was read is settled
        return entry.entry() if isinstance(entry, KnownEntry) else entry

    def begin(self, step: Begin) -> tuple[GrowingDirectory, KnownEntry | None]:
        """Go into a directory that changes; it, and what the parent has in its place. Raises: Damaged."""
        above = self.innermost() if self._stack else None
        known = self._job.known if above is None else above.take(step.found.name)
        slot = self._slot(above, step.found, known)
        opened = step if step.same is None else SameDirectory(step.found, step.place, step.same)
        entries = self._job.comparison.open(known, must_read=step.same is not None)
        directory = GrowingDirectory(slot, DirectoryWriter(self._putter), entries, opened)
        self._stack.append(directory)
        if step.same is not None:
            self._count(step.same)
        return directory, known

    def begin_same(self, step: Begin, same: Same) -> bool:
        """Go into a directory in which nothing but other directories may have changed; not if it may have changed itself."""
        job = self._job
        if not self._stack and (job.known is None or not job.comparison.is_same(job.known, step.found)):
            return False  # of the root of a snapshot, only what is in it is known
        self._stack.append(SameDirectory(step.found, step.place, same))
        self._count(same)
        return True

    def pass_by(self, step: Unchanged) -> None:
        """Deal with a directory that is the same and not gone into. Raises: Damaged."""
        self._count(step.same, (step.found.name,))
        self._reuse(SameDirectory(step.found, b"", step.same))

    def _count(self, same: Same, below: tuple[bytes, ...] = ()) -> None:
        """Count what is the same in the innermost directory, or in that one *below* it."""
        job, before = self._job, self._job.counts.unchanged
        job.users.update(same.users)
        job.groups.update(same.groups)
        job.counts.unchanged += len(same.names)
        while job.unchanged.next <= job.counts.unchanged:
            name = same.names[job.unchanged.next - before - 1]
            job.unchanged.take(Sampled((*(one.found.name for one in self._stack[1:]), *below, name), None))

    def innermost(self) -> GrowingDirectory:
        """The innermost directory as one that changes: what the parent has of it is opened. Raises: Damaged."""
        number = len(self._stack)
        while number and isinstance(self._stack[number - 1], SameDirectory):
            number -= 1
        above = self._stack[number - 1] if number else None
        for at in range(number, len(self._stack)):
            above = self._stack[at] = self._open(self._stack[at], above)
        assert isinstance(above, GrowingDirectory)  # noqa: S101 - a walk begins with the root
        return above

    def leave_reused(self) -> bytes:
        """Leave a directory if it is the same, with all that is below it; its stamp, or nothing. Raises: Damaged."""
        directory = self._stack[-1]
        if not isinstance(directory, SameDirectory) or len(directory.reused) < directory.same.directories:
            return b""
        self._stack.pop()
        self._reuse(directory)
        return directory.same.stamp

    def leave(self) -> GrowingDirectory:
        """Leave a directory that changes, or that must be looked at closer. Raises: Damaged."""
        directory = self.innermost()
        self._stack.pop()
        return directory

    def _reuse(self, directory: SameDirectory) -> None:
        """Use what the parent has of a directory in the innermost one, and of all that is below it."""
        above = self._stack[-1] if self._stack else None
        if isinstance(above, SameDirectory):
            above.reused.append(directory.found.name)
            return
        known = self._known(directory, above)
        if above is None:
            self._root = Pending(None, directory.found, known, known, is_done=True)
        else:
            above.waiting.append(known)
            above.drain()

    def _open(
        self, one: GrowingDirectory | SameDirectory, above: GrowingDirectory | SameDirectory | None
    ) -> GrowingDirectory:
        assert isinstance(one, SameDirectory)  # noqa: S101 - they stand behind the others
        assert not isinstance(above, SameDirectory)  # noqa: S101 - the one above was opened before
        known = self._known(one, above)
        slot = self._slot(above, one.found, known)
        entries = self._job.comparison.open(known, must_read=True)
        directory = GrowingDirectory(slot, DirectoryWriter(self._putter), entries, one)
        directory.metadata = known.metadata()
        return directory

    def _known(self, directory: SameDirectory, above: GrowingDirectory | None) -> KnownEntry:
        """What the parent has of a directory that looks as it did. Raises: Damaged if it has something else nevertheless."""
        known = self._job.known if above is None else above.take(directory.found.name)
        if known is None or not self._job.comparison.is_same(known, directory.found):
            raise Damaged(f"it has no directory {directory.found.name!r} that looks as was noted")
        return known

    def _slot(self, above: GrowingDirectory | None, found: Found, known: KnownEntry | None) -> Pending:
        slot = Pending(above, found, known)
        if above is None:
            self._root = slot
        else:
            above.waiting.append(slot)
        return slot
