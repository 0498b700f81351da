"""What of a tree is not stored yet: entries that are being read, directories that are not complete."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from lamina.engine.saving.file_reader import ToRead
from lamina.engine.saving.known import KnownDirectory, KnownEntry
from lamina.model.entries import Entry, Metadata
from lamina.repository.trees import DirectoryWriter
from lamina.sources.source import Folder, Found

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


class GrowingDirectory:
    """One directory under construction."""

    def __init__(self, slot: Pending, writer: DirectoryWriter, known: KnownDirectory) -> None:
        self.slot = slot
        self.writer = writer
        self.known = known
        self.waiting: deque[Pending | KnownEntry] = deque()  # in the order of names
        self.is_ended = False
        self.metadata: Metadata | None = None  # when it is known
        self.error = slot.found.error
        self.small: list[tuple[Pending, ToRead]] = []  # files to be bundled
        self.small_size = 0  # bytes

    def drain(self) -> None:
        """Write the entries that are known, up to the first that is not."""
        waiting, writer = self.waiting, self.writer
        while waiting:
            first: Pending | KnownEntry | Entry | None = waiting[0]
            if isinstance(first, Pending):
                if not first.is_done:
                    return
                first = first.entry
            if isinstance(first, KnownEntry):
                writer.keep(first.node, first.number)
            elif isinstance(first, Entry):
                writer.add(first)
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
