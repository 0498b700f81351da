"""What of a tree is not stored yet: entries that are being read, directories that are not complete."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from lamina.engine.saving.file_reader import ToRead
from lamina.engine.saving.known import KnownDirectory, KnownEntry
from lamina.engine.saving.recall import GrowingLook
from lamina.model.entries import Entry, EntryType, Metadata
from lamina.repository.trees import DirectoryWriter
from lamina.sources.source import Begin, Folder, Found, Same

TASK_FILES, TASK_BYTES = 256, 4 << 20  # handed to a thread at a time: its cost is small against reading so much
FOLDERS_HELD = 64  # directories kept open for one task


@dataclass(slots=True, eq=False)
class Pending:
    """An entry that is not known yet."""

    above: GrowingDirectory | None  # None: it is the root
    found: Found
    known: KnownEntry | None
    entry: Entry | KnownEntry | None = None
    is_done: bool = False  # with or without an entry: it may have vanished
    twins: list[Pending] | None = None  # other names of the same file


@dataclass(slots=True)
class SameDirectory:
    """A directory that looks as it did: as long as what is below it is the same, too, nothing of the parent is read for it."""

    found: Found
    place: bytes
    same: Same
    reused: list[bytes] = field(
        default_factory=list
    )  # directories in it that were met, and are the same with all that is below them


class GrowingDirectory:
    """One directory under construction."""

    def __init__(
        self, slot: Pending, writer: DirectoryWriter, known: KnownDirectory, opened: Begin | SameDirectory
    ) -> None:
        """*opened*: what is known of it so far. What is the same and was not met is kept, but for directories: they vanished."""
        self.slot = slot
        self.found = slot.found
        self.place = opened.place
        self.stamp = (
            opened.same.stamp if opened.same is not None else b""
        )  # as long as nothing else than directories is met
        self._reused = frozenset(opened.reused) if isinstance(opened, SameDirectory) else None
        self._look = GrowingLook() if opened.place and self._reused is None else None
        self.writer = writer
        self.known = known
        self.waiting: deque[Pending | KnownEntry] = deque()  # in the order of names
        self.is_ended = False
        self.metadata: Metadata | None = None  # when it is known
        self.error = slot.found.error
        self.small: list[tuple[Pending, ToRead]] = []  # files to be bundled
        self.small_size = 0  # bytes

    def take(self, name: bytes) -> KnownEntry | None:
        """What the parent has under that name; it is asked for in the order of names."""
        if self._reused is not None:
            self._keep(self.known.before(name))
        return self.known.take(name)

    def keep_rest(self) -> None:
        """The walk has left it: what is the same and was not met is kept."""
        if self._reused is not None:
            self._keep(self.known.rest())

    def _keep(self, entries: Iterator[KnownEntry]) -> None:
        assert self._reused is not None  # noqa: S101 - the caller looked
        for known in entries:
            if known.record.type != EntryType.DIRECTORY or known.record.name in self._reused:
                self.waiting.append(known)

    def look(self) -> bytes | None:
        """The look it will have if it does not change any more, if that would be enough to know it by."""
        if self._look is None or self.metadata is None or self.error:
            return None
        return self._look.finish(self.metadata)

    def drain(self) -> None:
        """Write the entries that are known, up to the first that is not."""
        waiting, writer, look = self.waiting, self.writer, self._look
        while waiting:
            first: Pending | KnownEntry | Entry | None = waiting[0]
            if isinstance(first, Pending):
                if not first.is_done:
                    return
                first = first.entry
            if isinstance(first, KnownEntry):
                writer.keep(first.node, first.number)
                if look is not None:
                    look.keep(first.record)
            elif isinstance(first, Entry):
                writer.add(first)
                if look is not None:
                    look.add(first)
            waiting.popleft()

    @property
    def is_complete(self) -> bool:
        return self.is_ended and not self.waiting and self.metadata is not None


class Batch:
    """Objects that one task reads."""

    def __init__(self) -> None:
        self.slots: list[Pending] = []
        self.objects: list[ToRead] = []
        self.opened: dict[int, GrowingDirectory] = {}  # by the number of an object that is a directory
        self.hung: dict[int, str] = {}
        self._folders: list[Folder] = []  # held
        self._size = 0  # bytes

    def add(self, slot: Pending, one: ToRead, opened: GrowingDirectory | None) -> None:
        if opened is not None:
            self.opened[len(self.slots)] = opened
        if not self._folders or self._folders[-1] is not one.folder:
            one.folder.hold()
            self._folders.append(one.folder)
        self.slots.append(slot)
        self.objects.append(one)
        if one.known is None:
            self._size += one.found.size

    @property
    def is_full(self) -> bool:
        return len(self.slots) >= TASK_FILES or self._size >= TASK_BYTES or len(self._folders) >= FOLDERS_HELD

    def release(self) -> None:
        for folder in self._folders:
            folder.release()
