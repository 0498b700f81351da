"""Bring a single file or image of a snapshot back: to a file, a device, or a stream."""

from __future__ import annotations

import posixpath
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from itertools import islice
from typing import TypeVar

from lamina.engine.outcome import Difference, Missing
from lamina.engine.permits import check_contents
from lamina.engine.restoring.salvage import HINT, Losses, merged
from lamina.engine.saving.images import ZEROS
from lamina.engine.threads import each, overlapping
from lamina.errors import Damaged, LaminaError, TargetUnwritable, UsageError
from lamina.model.entries import Content
from lamina.model.ids import ChunkId
from lamina.model.operation import Operation
from lamina.model.snapshots import Snapshot
from lamina.repository.contents import ContentPart, cut_part, iter_parts
from lamina.repository.remains import iter_remaining_parts
from lamina.repository.repository import Repository
from lamina.repository.trees import get_entry, walk_tree
from lamina.targets.target import ImageTarget, StreamTarget

BATCH_BYTES = 8 << 20  # fetched and written at a time: a few large requests instead of many small ones

Outcome = TypeVar("Outcome")


@dataclass(frozen=True, slots=True)
class RestoreItem:
    """One stored file or image and where it goes."""

    path: str  # as stored
    size: int
    target: str  # a path, or `-`
    content: Content


@dataclass(frozen=True, slots=True)
class RestorePlan:
    """Which content goes where."""

    snapshot: Snapshot
    item: RestoreItem


@dataclass(frozen=True, slots=True)
class RestoreReport:
    """What came of one restore."""

    size: int  # bytes of the contents
    written: int  # bytes that had to be written
    kept: int  # bytes that were right already
    duration: timedelta
    verified: bool  # read back and compared
    unread: tuple[Difference, ...] = ()  # ranges the backup could not read; old content or zeros stand there
    missing: tuple[Missing, ...] = ()  # ranges that are lost; zeros stand there


OpenTarget = Callable[[RestoreItem], ImageTarget | StreamTarget]


def plan_restore(repository: Repository, snapshot: Snapshot, path: str | None, target: str) -> RestorePlan:
    """Decide what goes to *target*: the only content of the snapshot, or at or below *path*.

    Raises: EntryMissing; UsageError if there are several, or none.
    """
    reader = repository.reader()
    path = posixpath.normpath("/" + (path or "")).lstrip("/")
    top = get_entry(reader, snapshot.root, path)
    below = walk_tree(reader, top.child, path + "/" if path else "") if top.child is not None else [(path, top)]
    contents = ((name, entry.size, entry.content) for name, entry in below if entry.content is not None)
    found = list(islice(contents, 4))
    if len(found) != 1:
        where = "standard output" if target == "-" else target
        raise UsageError(
            f"{where} takes one file or image, and this would be {len(found) + sum(1 for _ in contents)}",
            hint=f"name one: {', '.join(f'{snapshot.short_id}:{name}' for name, _, _ in found[:3])}" if found else "",
        )
    name, size, content = found[0]
    return RestorePlan(snapshot, RestoreItem(name, size, target, content))


def restore(
    repository: Repository,
    plan: RestorePlan,
    open_target: OpenTarget,
    *,
    verify: bool,
    operation: Operation,
    salvage: bool = False,
) -> RestoreReport:
    """Carry *plan* out; with *salvage*, zeros take the place of what is lost.

    Raises: Damaged, NotPermitted, TargetError, StorageError, Stopped; it can be resumed.
    """
    check_contents(repository)
    begun = operation.clock.monotonic()
    item = plan.item
    operation.progress.start("restore", item.size)
    run = _Run(repository, operation, partial=plan.snapshot.partial, salvage=salvage)
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
        error.say_too(f"{target.name} is incomplete and must not be used as it is")
        if isinstance(error, Damaged) and not salvage:
            error.hint = HINT
        raise
    finally:
        target.close()
    duration = timedelta(seconds=operation.clock.monotonic() - begun)
    return RestoreReport(
        item.size, run.written, run.kept, duration, verify, tuple(run.unread), merged(run.missing.values())
    )


class _Run:
    """One restore under way."""

    def __init__(self, repository: Repository, operation: Operation, *, partial: bool, salvage: bool) -> None:
        self._partial = partial
        self._losses = Losses(repository.index) if salvage else None
        self.missing: dict[int, Missing] = {}  # by offset
        self._reader = repository.reader()
        self._namer = repository.access.namer()
        self._operation = operation
        self._local = threading.local()
        self._lock = threading.Lock()
        self.written = self.kept = 0  # bytes
        self.unread: list[Difference] = []

    def fill(self, item: RestoreItem, target: ImageTarget) -> None:
        """Write an image range by range, from several threads; what is right already stays."""

        def write(batch: Sequence[ContentPart]) -> None:
            self._fill_batch(item, target, batch)

        self._note_unread(item)
        for _ in self._parallel(self._batches(item), write):
            pass

    def pour(self, item: RestoreItem, target: StreamTarget) -> None:
        """Write a stream front to back; fetching runs ahead."""

        def fetch(batch: Sequence[ContentPart]) -> tuple[Sequence[ContentPart], dict[ChunkId, bytes]]:
            return batch, self._fetch(_ids(batch))

        self._note_unread(item)
        for batch, chunks in self._parallel(self._batches(item), fetch):
            for part in batch:
                data = self._cut(item, part, chunks) if part.chunk is not None else None
                target.write(memoryview(ZEROS)[: part.length] if data is None else data)
                self.written += part.length
                self._operation.progress.advance(read=part.length)

    def check(self, item: RestoreItem, target: ImageTarget) -> None:
        """Read what was restored back and compare it with what its chunks are named. Raises: TargetUnwritable."""
        self._operation.progress.start(f"verify {item.target}", item.size)

        def compare(batch: Sequence[ContentPart]) -> None:
            batch = [part for part in batch if part.offset not in self.missing]
            chunks = self._reader.get_many([part.chunk for part in batch if part.chunk is not None and not part.whole])
            for part in batch:
                if not self._is_right(target, part, chunks):
                    raise TargetUnwritable(
                        f"{target.name} does not hold what was written to it at {part.offset}",
                        hint="the disk or the memory of this machine is faulty; restore elsewhere",
                    )
                self._operation.progress.advance(read=part.length)

        for _ in self._parallel(self._batches(item), compare):
            pass

    def _parallel(
        self, batches: Iterator[list[ContentPart]], task: Callable[[Sequence[ContentPart]], Outcome]
    ) -> Iterator[Outcome]:
        with ThreadPoolExecutor(overlapping(), thread_name_prefix="restore") as executor:
            yield from each(executor, task, batches, self._operation)

    def _batches(self, item: RestoreItem) -> Iterator[list[ContentPart]]:
        batch: list[ContentPart] = []
        size = 0
        for part in self._parts(item):
            if part.lost and self._losses is not None:
                self.missing[part.offset] = self._losses.missing(item.path, part)
            if batch and size + part.length > BATCH_BYTES:
                yield batch
                batch, size = [], 0
            batch.append(part)
            size += part.length
        if batch:
            yield batch

    def _parts(self, item: RestoreItem) -> Iterator[ContentPart]:
        parts = iter_parts if self._losses is None else iter_remaining_parts
        return parts(self._reader, item.content)

    def _fetch(self, chunks: Sequence[ChunkId]) -> dict[ChunkId, bytes]:
        """All of *chunks*; or those that are not lost."""
        get = self._reader.get_many
        return get(chunks) if self._losses is None else self._losses.fetch(get, chunks)

    def _cut(self, item: RestoreItem, part: ContentPart, chunks: Mapping[ChunkId, bytes]) -> memoryview | None:
        """The bytes of a part that has a chunk; None if they are lost. Raises: Damaged unless losses are taken."""
        if self._losses is None:
            return _bytes(part, chunks)
        try:
            return _bytes(part, chunks)
        except KeyError:
            pass
        except Damaged as error:
            self._losses.give_up(part.chunk, error)
        with self._lock:
            self.missing[part.offset] = self._losses.missing(item.path, part)
        return None

    def _fill_batch(self, item: RestoreItem, target: ImageTarget, batch: Sequence[ContentPart]) -> None:
        self._operation.check_stop()
        # parts of chunks have no name to be compared by: they are fetched in any case
        chunks = self._fetch([part.chunk for part in batch if part.chunk is not None and not part.whole])
        wrong = [part for part in batch if not self._is_right(target, part, chunks, writing=True)]
        chunks |= self._fetch([part.chunk for part in wrong if part.chunk is not None and part.whole])
        written = 0
        for part in wrong:
            data = self._cut(item, part, chunks) if part.chunk is not None else None
            if data is None:
                target.write_zeros(part.offset, part.length)
            else:
                target.write(part.offset, data)
            written += part.length
        everything = sum(part.length for part in batch)
        self._operation.progress.advance(read=written, skipped=everything - written)
        with self._lock:
            self.written += written
            self.kept += everything - written

    def _is_right(
        self, target: ImageTarget, part: ContentPart, chunks: Mapping[ChunkId, bytes], *, writing: bool = False
    ) -> bool:
        """Whether the target holds already what belongs there; a fresh one holds zeros and nothing else."""
        if writing and target.fresh:
            return part.chunk is None
        view = memoryview(self._buffer(part.length))[: part.length]
        if target.read_into(part.offset, view) != part.length:
            return False
        if part.chunk is None:
            return ZEROS.startswith(view)
        if part.whole:
            return self._namer.data_id(view) == part.chunk
        return part.chunk in chunks and view == cut_part(part, chunks[part.chunk])

    def _note_unread(self, item: RestoreItem) -> None:
        """Remember what the backup could not read, before anything is written."""
        if not self._partial:
            return
        for part in self._parts(item):
            if part.unread:
                reason = "the content of an earlier snapshot stands there" if part.chunk else "zeros stand there"
                self.unread.append(Difference(item.path, part.offset, part.length, reason))

    def _buffer(self, size: int) -> bytearray:
        buffer: bytearray | None = getattr(self._local, "buffer", None)
        if buffer is None or len(buffer) < size:
            buffer = self._local.buffer = bytearray(size)
        return buffer


def _bytes(part: ContentPart, chunks: Mapping[ChunkId, bytes]) -> memoryview:
    assert part.chunk is not None  # noqa: S101 - the caller looked
    return cut_part(part, chunks[part.chunk])


def _ids(batch: Sequence[ContentPart]) -> list[ChunkId]:
    return [part.chunk for part in batch if part.chunk is not None]
