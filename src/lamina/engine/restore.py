"""Bring the images of a snapshot back."""

from __future__ import annotations

import os
import posixpath
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

from lamina.engine.images import ZEROS
from lamina.engine.outcome import Difference
from lamina.engine.threads import batched, each
from lamina.errors import Damaged, LaminaError, NotPermitted, TargetUnwritable, UsageError
from lamina.model.entries import Entry, FixedContent, Position
from lamina.model.ids import ChunkId
from lamina.model.operation import Operation
from lamina.model.snapshots import Role, Snapshot
from lamina.repository.repository import Repository
from lamina.repository.streams import FixedMap, Slot
from lamina.repository.trees import get_entry, walk_tree
from lamina.targets.target import ImageTarget, StreamTarget

BATCH_BYTES = 8 << 20  # fetched and written at a time: a few large requests instead of many small ones

Outcome = TypeVar("Outcome")


@dataclass(frozen=True, slots=True)
class RestoreItem:
    """One stored image and where it goes."""

    path: str  # as stored
    size: int
    target: str  # a path, or `-`
    content: FixedContent


@dataclass(frozen=True, slots=True)
class RestorePlan:
    """Which entries go where."""

    snapshot: Snapshot
    items: tuple[RestoreItem, ...]

    @property
    def size(self) -> int:
        return sum(item.size for item in self.items)


@dataclass(frozen=True, slots=True)
class RestoreReport:
    """What came of one restore."""

    size: int  # bytes of the images
    written: int  # bytes that had to be written
    kept: int  # bytes that were right already
    duration: timedelta
    verified: bool  # read back and compared
    unread: tuple[Difference, ...] = ()  # ranges the backup could not read; old content or zeros stand there


OpenTarget = Callable[[RestoreItem], ImageTarget | StreamTarget]


def plan_restore(
    repository: Repository, snapshot: Snapshot, path: str | None, target: str, *, is_directory: bool
) -> RestorePlan:
    """Decide which entry goes where: stored paths below a directory; one image to the file *target*.

    Raises: EntryMissing; UsageError if `-` would need more than one stream.
    """
    reader = repository.reader()
    found: list[tuple[str, Entry]]
    below = ""
    if path is None:
        found = list(walk_tree(reader, snapshot.root))
    else:
        path = posixpath.normpath("/" + path).lstrip("/")
        entry = get_entry(reader, snapshot.root, path)
        if entry.child is not None:
            found, below = list(walk_tree(reader, entry.child, path + "/" if path else "")), path
        else:
            found, below = [(path, entry)], posixpath.dirname(path)
    if target == "-" and len(found) != 1:
        raise UsageError(
            f"standard output takes one image, and this would be {len(found)}",
            hint="name one: " + ", ".join(f"{snapshot.short_id}:{name}" for name, _ in found[:3]),
        )
    as_file = len(found) == 1 and not is_directory
    items = []
    for name, entry in found:
        inside = name.removeprefix(f"{below}/") if below else name
        place = target if as_file or target == "-" else os.path.join(target, inside)
        assert entry.content is not None  # noqa: S101 - walk_tree yields files
        items.append(RestoreItem(name, entry.size, place, entry.content))
    return RestorePlan(snapshot, tuple(items))


def restore(
    repository: Repository, plan: RestorePlan, open_target: OpenTarget, *, verify: bool, operation: Operation
) -> RestoreReport:
    """Carry *plan* out. Raises: Damaged, NotPermitted, TargetError, StorageError, Stopped; it can be resumed."""
    if repository.role is not Role.OWNER:
        raise NotPermitted(
            f"a {repository.role.value} key cannot read content back",
            hint="restore with an owner's passphrase or the recovery key",
        )
    begun = operation.clock.monotonic()
    operation.progress.start("restore", plan.size)
    run = _Run(repository, operation, partial=plan.snapshot.partial)
    for item in plan.items:
        target = open_target(item)
        try:
            if isinstance(target, ImageTarget):
                run.fill(item, target)
                target.finish()
                if verify:
                    run.check(item, target)
            else:
                run.pour(item, target)
        except LaminaError as error:
            error.message += f"; {target.name} is incomplete and must not be used as it is"
            error.args = (error.message,)
            raise
        finally:
            target.close()
    duration = timedelta(seconds=operation.clock.monotonic() - begun)
    return RestoreReport(plan.size, run.written, run.kept, duration, verify, tuple(run.unread))


class _Run:
    """One restore under way."""

    def __init__(self, repository: Repository, operation: Operation, *, partial: bool) -> None:
        self._partial = partial
        self._reader = repository.reader()
        self._namer = repository.access.namer()
        self._operation = operation
        self._local = threading.local()
        self._lock = threading.Lock()
        self.written = self.kept = 0  # bytes
        self.unread: list[Difference] = []

    def fill(self, item: RestoreItem, target: ImageTarget) -> None:
        """Write an image range by range, from several threads; what is right already stays."""
        stored = FixedMap(self._reader, item.content)

        def write(batch: Sequence[tuple[int, Slot]]) -> None:
            self._fill_batch(stored, target, batch)

        self._note_unread(item, stored)
        for _ in self._parallel(self._batches(stored), write):
            pass

    def pour(self, item: RestoreItem, target: StreamTarget) -> None:
        """Write a stream front to back; fetching runs ahead."""
        stored = FixedMap(self._reader, item.content)

        def fetch(batch: Sequence[tuple[int, Slot]]) -> tuple[Sequence[tuple[int, Slot]], dict[ChunkId, bytes]]:
            return batch, self._reader.get_many(_ids(batch))

        self._note_unread(item, stored)
        for batch, contents in self._parallel(self._batches(stored), fetch):
            for position, (_, chunk) in batch:
                length = stored.chunker.length(position, item.size)
                target.write(contents[chunk] if chunk is not None else memoryview(ZEROS)[:length])
                self.written += length
                self._operation.progress.advance(read=length)

    def check(self, item: RestoreItem, target: ImageTarget) -> None:
        """Read a restored image back and compare it with what its chunks are named. Raises: TargetUnwritable."""
        stored = FixedMap(self._reader, item.content)
        self._operation.progress.start(f"verify {item.target}", item.size)

        def compare(batch: Sequence[tuple[int, Slot]]) -> None:
            for position, slot in batch:
                length = stored.chunker.length(position, item.size)
                if not self._is_right(target, position * stored.chunker.size, length, slot):
                    raise TargetUnwritable(
                        f"{target.name} does not hold what was written to it at {position * stored.chunker.size}",
                        hint="the disk or the memory of this machine is faulty; restore elsewhere",
                    )
                self._operation.progress.advance(read=length)

        for _ in self._parallel(self._batches(stored), compare):
            pass

    def _parallel(
        self, batches: Iterator[list[tuple[int, Slot]]], task: Callable[[Sequence[tuple[int, Slot]]], Outcome]
    ) -> Iterator[Outcome]:
        with ThreadPoolExecutor(self._threads(), thread_name_prefix="restore") as executor:
            yield from each(executor, task, batches, self._operation)

    def _threads(self) -> int:
        return max(2, min(len(os.sched_getaffinity(0)), 4))  # two at least: fetching overlaps with writing

    def _batches(self, stored: FixedMap) -> Iterator[list[tuple[int, Slot]]]:
        return batched(stored.slots(), max(1, BATCH_BYTES // stored.chunker.size))

    def _fill_batch(self, stored: FixedMap, target: ImageTarget, batch: Sequence[tuple[int, Slot]]) -> None:
        self._operation.check_stop()
        size, total = stored.chunker.size, stored.content.size
        wrong = [
            (position, slot)
            for position, slot in batch
            if not self._is_right(target, position * size, stored.chunker.length(position, total), slot, writing=True)
        ]
        contents = self._reader.get_many(_ids(wrong))
        written = 0
        for position, (_, chunk) in wrong:
            length = stored.chunker.length(position, total)
            if chunk is None:
                target.write_zeros(position * size, length)
            else:
                content = contents[chunk]
                if len(content) != length:
                    raise Damaged(f"chunk {chunk.hex()} has {len(content)} bytes where the image needs {length}")
                target.write(position * size, content)
            written += length
        everything = sum(stored.chunker.length(position, total) for position, _ in batch)
        self._operation.progress.advance(read=written, skipped=everything - written)
        with self._lock:
            self.written += written
            self.kept += everything - written

    def _is_right(self, target: ImageTarget, offset: int, length: int, slot: Slot, *, writing: bool = False) -> bool:
        """Whether the target holds already what belongs there; a fresh one holds zeros and nothing else."""
        if writing and target.fresh:
            return slot[1] is None
        view = memoryview(self._buffer(length))[:length]
        if target.read_into(offset, view) != length:
            return False
        return ZEROS.startswith(view) if slot[1] is None else self._namer.data_id(view) == slot[1]

    def _note_unread(self, item: RestoreItem, stored: FixedMap) -> None:
        """Remember what the backup could not read, before anything is written."""
        if not self._partial:
            return
        for position, (kind, _) in stored.slots():
            if kind in (Position.UNREAD, Position.UNREAD_KEPT):
                kept = kind is Position.UNREAD_KEPT
                reason = "the content of an earlier snapshot stands there" if kept else "zeros stand there"
                length = stored.chunker.length(position, item.size)
                self.unread.append(Difference(item.path, position * stored.chunker.size, length, reason))

    def _buffer(self, size: int) -> bytearray:
        buffer: bytearray | None = getattr(self._local, "buffer", None)
        if buffer is None or len(buffer) < size:
            buffer = self._local.buffer = bytearray(size)
        return buffer


def _ids(batch: Sequence[tuple[int, Slot]]) -> list[ChunkId]:
    return [chunk for _, (_, chunk) in batch if chunk is not None]
