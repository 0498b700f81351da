"""Turn one source into a stored stream: read, name, compare with the parent, put."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field

from lamina.chunking.chunker import FixedChunker
from lamina.engine.outcome import Difference
from lamina.errors import Damaged, SourceUnreadable
from lamina.model.entries import FixedContent, Position, data_positions
from lamina.model.operation import Operation
from lamina.repository.sessions import Session
from lamina.repository.streams import FANOUT, ChunkPutter, FixedMap, FixedMapWriter, Slot
from lamina.sources.hints import ChangedRanges, Claim
from lamina.sources.source import ImageSource, StreamSource

BATCH_BYTES = 8 << 20  # handed to a thread at a time: its cost is small against reading and naming this much
ZEROS = bytes(16 << 20)  # as long as the largest chunk
WAIT_S = 1.0  # how often a long wait looks at the stop button and the checkpoint

_MEMORY_BYTES = 64 << 20  # for the buffers of all threads together


def worker_count(chunk_size: int) -> int:
    """One thread a processor, fewer if their buffers (about four chunks each) would take too much memory."""
    return max(1, min(len(os.sched_getaffinity(0)), _MEMORY_BYTES // (4 * chunk_size), 8))


@dataclass(slots=True)
class ImageJob:
    """One image on its way into the repository, and what was met on the way."""

    path: str
    chunker: FixedChunker
    size: int
    parent: FixedMap | None  # whose ids may be used as they are
    whole_leaves: bool = True  # whether hints may skip whole leaves of the parent: not if some of it is unread
    unread: list[Difference] = field(default_factory=list)
    read: int = 0  # bytes


class ImageReader:
    """Reads and stores images with several threads; one for a whole backup."""

    def __init__(self, putter: ChunkPutter, session: Session | None, chunk_size: int, operation: Operation) -> None:
        """*session* is None for a dry run."""
        self._putter = putter
        self._session = session
        self._operation = operation
        self._local = threading.local()
        self._lock = threading.Lock()
        self._threads = worker_count(chunk_size)
        self._executor = ThreadPoolExecutor(self._threads, thread_name_prefix="read")

    def close(self) -> None:
        """Wait for the threads to end."""
        self._executor.shutdown(wait=True, cancel_futures=True)

    def store_image(self, job: ImageJob, source: ImageSource, hints: ChangedRanges | None) -> FixedContent:
        """Store *source*; with *hints* (and a parent) read only what they name. Raises: StorageError, Stopped."""
        builder = FixedMapWriter(self._putter, job.chunker.size)
        todo = _Todo(job, source, hints)
        pending: deque[_Leaf] = deque()
        for leaf in range(-(-job.chunker.count(job.size) // FANOUT)):
            pending.append(self._begin_leaf(job, source, todo, leaf))
            if len(pending) > 1:
                self._end_leaf(pending.popleft(), builder)
            if self._session is not None and self._session.is_behind:
                while pending:
                    self._end_leaf(pending.popleft(), builder)
                self._session.catch_up()
        while pending:
            self._end_leaf(pending.popleft(), builder)
        return builder.finish(job.size)

    def store_stream(self, job: ImageJob, source: StreamSource) -> FixedContent:
        """Store a stream of unknown length. Raises: SourceUnreadable, StorageError, Stopped."""
        builder = FixedMapWriter(self._putter, job.chunker.size)
        while True:
            slots, length = self._stream_leaf(job, source)
            job.size += length
            if slots:
                builder.add_leaf(slots)
            if length < FANOUT * job.chunker.size:
                return builder.finish(job.size)
            if self._session is not None and self._session.is_behind:
                self._session.catch_up()

    def _begin_leaf(self, job: ImageJob, source: ImageSource, todo: _Todo, leaf: int) -> _Leaf:
        begun = todo.plan(leaf)
        if begun.known is None:
            per_batch = max(1, BATCH_BYTES // job.chunker.size)
            for start in range(0, len(begun.positions), per_batch):
                batch = begun.positions[start : start + per_batch]
                begun.futures.append(self._executor.submit(self._read_batch, job, source, begun, batch))
        whole = min(FANOUT * job.chunker.size, job.size - leaf * FANOUT * job.chunker.size)
        to_read = len(begun.positions) * job.chunker.size
        self._operation.progress.advance(skipped=max(0, whole - to_read))
        return begun

    def _end_leaf(self, leaf: _Leaf, builder: FixedMapWriter) -> None:
        self._wait(leaf.futures)
        if leaf.known is not None:
            builder.add_slot(leaf.known)
        else:
            builder.add_leaf(leaf.slots)

    def _wait(self, futures: Sequence[Future[None]]) -> None:
        """Wait for all; look at the stop button and the checkpoint now and then. Raises: what a thread raised."""
        left = set(futures)
        try:
            while left:
                self._operation.check_stop()
                done, left = wait(left, timeout=WAIT_S, return_when=FIRST_EXCEPTION)
                for future in done:
                    future.result()
                if self._session is not None:
                    self._session.checkpoint()
        except BaseException:
            for future in left:
                future.cancel()
            raise

    def _read_batch(self, job: ImageJob, source: ImageSource, leaf: _Leaf, numbers: Sequence[int]) -> None:
        buffer = self._buffer(job.chunker.size)
        read = 0
        for number in numbers:
            self._operation.check_stop()
            position = leaf.first + number
            length = job.chunker.length(position, job.size)
            view = memoryview(buffer)[:length]
            offset = position * job.chunker.size
            old = leaf.parent[number] if number < len(leaf.parent) else None
            try:
                got = source.read_into(offset, view)
            except SourceUnreadable as error:
                leaf.slots[number] = self._unread(job, offset, length, error.message, old)
                continue
            if got < length:
                reason = f"the source ends at {offset + got} now: it shrank while it was read"
                leaf.slots[number] = self._unread(job, offset, length, reason, old)
                continue
            read += length
            leaf.slots[number] = self._put(view, old)
        self._operation.progress.advance(read=read)
        with self._lock:
            job.read += read

    def _put(self, content: memoryview, old: Slot | None) -> Slot:
        if ZEROS.startswith(content):
            return (Position.ZERO, None)
        chunk = self._putter.data_id(content)
        if old is not None and old[1] == chunk:
            return (Position.DATA, chunk)  # the parent refers to it, and the parent is there
        if self._putter.put_data(chunk, content):
            self._operation.progress.advance(new=len(content))
        return (Position.DATA, chunk)

    def _unread(self, job: ImageJob, offset: int, length: int, reason: str, old: Slot | None) -> Slot:
        with self._lock:
            job.unread.append(Difference(job.path, offset, length, reason))
        if old is not None and old[1] is not None:
            return (Position.UNREAD_KEPT, old[1])
        return (Position.UNREAD, None)

    def _stream_leaf(self, job: ImageJob, source: StreamSource) -> tuple[list[Slot], int]:
        """Read up to one leaf's worth; its slots and bytes."""
        slots: list[Slot] = []
        length = 0
        pending: deque[Future[Slot]] = deque()
        while length < FANOUT * job.chunker.size:
            self._operation.check_stop()
            buffer = bytearray(job.chunker.size)
            got = source.read_into(memoryview(buffer))
            if got:
                length += got
                self._operation.progress.advance(read=got)
                pending.append(self._executor.submit(self._put, memoryview(buffer)[:got], None))
            while pending and (len(pending) > 2 * self._threads or not got):
                slots.append(pending.popleft().result())
            if self._session is not None:
                self._session.checkpoint()
            if got < job.chunker.size:
                break
        slots += [future.result() for future in pending]
        job.read += length
        return slots, length

    def _buffer(self, size: int) -> bytearray:
        """This thread's buffer; fresh ones would cost page faults on every chunk."""
        buffer: bytearray | None = getattr(self._local, "buffer", None)
        if buffer is None or len(buffer) != size:
            buffer = self._local.buffer = bytearray(size)
        return buffer


@dataclass(slots=True)
class _Leaf:
    """1,024 positions under way."""

    first: int  # position
    slots: list[Slot]
    parent: Sequence[Slot] = ()
    positions: list[int] = field(default_factory=list)  # to be read, counted from the leaf's first
    futures: list[Future[None]] = field(default_factory=list)
    known: Slot | None = None  # the parent's whole leaf, taken as it is


class _Todo:
    """Decides, leaf by leaf and in order, what has to be read."""

    def __init__(self, job: ImageJob, source: ImageSource, hints: ChangedRanges | None) -> None:
        self._job = job
        self._count = job.chunker.count(job.size)
        self._hinted = hints is not None and job.parent is not None
        self._claims: Iterator[tuple[int, Claim]]
        if hints is not None and job.parent is not None:
            self._claims = hints.positions(job.size, job.chunker.size)
        else:  # no hints: all data is to be read, all else is a hole
            data = data_positions(source.extents(), job.chunker.size)
            self._claims = ((position, Claim.READ) for position in data)
        self._next = next(self._claims, None)

    def plan(self, leaf: int) -> _Leaf:
        """What to do about the *leaf*-th node."""
        first = leaf * FANOUT
        count = min(FANOUT, self._count - first)
        claims = self._take(first + count)
        if self._hinted and self._job.whole_leaves and not claims and first + count <= self._same_positions():
            known = self._known_leaf(leaf)
            if known is not None:
                return _Leaf(first, [], known=known)
        begun = _Leaf(first, [(Position.HOLE, None)] * count, self._parent_leaf(leaf))
        if self._hinted:
            self._plan_hinted(begun, dict(claims), count)
        else:
            begun.positions = [position - first for position, _ in claims]
        return begun

    def _plan_hinted(self, leaf: _Leaf, claims: dict[int, Claim], count: int) -> None:
        for number in range(count):
            claim = claims.get(leaf.first + number)
            old = leaf.parent[number] if number < len(leaf.parent) else None
            grown = leaf.first + number >= self._same_positions()
            if claim is Claim.ZEROED:
                continue  # a hole
            if claim is Claim.READ or grown or old is None or old[0] in (Position.UNREAD, Position.UNREAD_KEPT):
                leaf.positions.append(number)
            else:
                leaf.slots[number] = old

    def _take(self, end: int) -> list[tuple[int, Claim]]:
        taken: list[tuple[int, Claim]] = []
        while self._next is not None and self._next[0] < end:
            taken.append(self._next)
            self._next = next(self._claims, None)
        return taken

    def _same_positions(self) -> int:
        """How many positions from the front the parent has with the same length."""
        parent = self._job.parent
        if parent is None:
            return 0
        if parent.content.size == self._job.size:
            return self._count
        return min(parent.content.size, self._job.size) // self._job.chunker.size

    def _known_leaf(self, leaf: int) -> Slot | None:
        parent = self._job.parent
        if (
            parent is None
            or parent.depth < 1
            or min(FANOUT, parent.count - leaf * FANOUT) != min(FANOUT, self._count - leaf * FANOUT)
        ):
            return None
        return parent.leaf_slot(leaf)

    def _parent_leaf(self, leaf: int) -> Sequence[Slot]:
        """The parent's positions, as far as it has them; a damaged node only means that more is read."""
        parent = self._job.parent
        if parent is None or leaf >= parent.leaves:
            return ()
        try:
            slots = parent.leaf(leaf)
        except Damaged:
            return ()
        return slots[: max(0, self._same_positions() - leaf * FANOUT)]
