"""Turn bytes into chunks: one long stream, a bundle of small files, a file with holes."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import groupby

from lamina.chunking.chunker import Chunker, FixedChunker
from lamina.engine.saving.images import ZEROS
from lamina.errors import SourceUnreadable
from lamina.model.entries import (
    Buffer,
    Content,
    FixedContent,
    Position,
    Slice,
    SlicedContent,
    data_positions,
)
from lamina.model.ids import ChunkId
from lamina.model.operation import Operation
from lamina.repository.blobs import Node
from lamina.repository.cut_streams import CutStreamWriter
from lamina.repository.format import BlobKind
from lamina.repository.streams import FANOUT, ChunkPutter, FixedMapWriter, Slot
from lamina.sources.source import ImageSource

MAX_SLICES = 16  # of a file whose chunks are listed in its entry; a longer one has a tree of nodes
READ_BYTES = 2 << 20  # asked of a stream at a time
AHEAD = 2  # chunks of one stream that are being stored while the next is cut

Asking = Callable[[], AbstractContextManager[None]]


class GatedPutter:
    """A `ChunkPutter` that can be closed for a moment: a session catches up only while nobody puts."""

    def __init__(self, putter: ChunkPutter) -> None:
        self._putter = putter
        self._changed = threading.Condition()
        self._inside = 0
        self._closed = False

    def data_id(self, content: Buffer) -> ChunkId:
        """As the putter's."""
        return self._putter.data_id(content)

    def put_data(self, chunk: ChunkId, content: Buffer) -> bool:
        """As the putter's."""
        with self._passing():
            return self._putter.put_data(chunk, content)

    def put_node(self, kind: BlobKind, node: Node) -> ChunkId:
        """As the putter's."""
        with self._passing():
            return self._putter.put_node(kind, node)

    @contextmanager
    def closed(self) -> Iterator[None]:
        """Inside this block nothing is put. For one thread at a time, which must not put anything itself."""
        with self._changed:
            self._closed = True
            self._changed.wait_for(lambda: not self._inside)
        try:
            yield
        finally:
            with self._changed:
                self._closed = False
                self._changed.notify_all()

    @contextmanager
    def _passing(self) -> Iterator[None]:
        with self._changed:
            self._changed.wait_for(lambda: not self._closed)
            self._inside += 1
        try:
            yield
        finally:
            with self._changed:
                self._inside -= 1
                if self._closed:
                    self._changed.notify_all()


class ContentStorer:
    """Stores contents; for any number of threads."""

    def __init__(
        self, putter: ChunkPutter, chunker: Chunker, sealers: ThreadPoolExecutor, operation: Operation
    ) -> None:
        """*sealers*: threads that compress and seal the chunks of long streams while these are read."""
        self._putter = putter
        self._chunker = chunker
        self._sealers = sealers
        self._operation = operation
        self._lock = threading.Lock()
        self._buffers: list[bytearray] = []  # of streams that ended
        self.read = 0  # bytes of all contents so far

    def store_stream(self, read_into: Callable[[memoryview], int]) -> Content:
        """Store what *read_into* gives until it gives nothing. Raises: what it raises, StorageError, Stopped."""
        with self._buffer() as buffer:
            return self._store_stream(read_into, buffer)

    def _store_stream(self, read_into: Callable[[memoryview], int], buffer: bytearray) -> Content:
        begun: deque[tuple[Future[ChunkId], int]] = deque()
        listed = _ChunkList(self._putter)
        filled, final = 0, False
        while not final:
            self._operation.check_stop()
            got = read_into(memoryview(buffer)[filled : filled + READ_BYTES])
            self._count(got)
            filled, final = filled + got, not got
            if filled < self._chunker.max_size and not final:
                continue  # the chunker could not say much yet
            start = 0
            for end in self._chunker.cuts(memoryview(buffer)[:filled], final=final):
                begun.append((self._sealers.submit(self._put, bytes(memoryview(buffer)[start:end])), end - start))
                start = end
                if len(begun) > AHEAD:
                    listed.add(*_finished(begun.popleft()))
            buffer[: filled - start] = buffer[start:filled]
            filled -= start
        for one in begun:
            listed.add(*_finished(one))
        return listed.finish()

    def store_bundle(self, contents: Sequence[bytes]) -> list[SlicedContent]:
        """Store small contents as one stream; where each of them lies. Raises: StorageError."""
        joined = b"".join(contents)
        self._count(len(joined))
        chunks: list[tuple[ChunkId, int]] = []
        start = 0
        for end in self._chunker.cuts(joined, final=True) if joined else ():
            piece = joined if end - start == len(joined) else memoryview(joined)[start:end]
            chunks.append((self._put(piece), end))
            start = end
        return list(_slices(contents, chunks))

    def store_image(self, image: ImageSource, chunk_size: int, asking: Asking = nullcontext) -> FixedContent:
        """Store a file with holes as a fixed stream; *asking* surrounds each read.

        Raises: SourceUnreadable, StorageError, Stopped.
        """
        chunker = FixedChunker(chunk_size)
        builder = FixedMapWriter(self._putter, chunk_size)
        count = chunker.count(image.size)
        data = groupby(data_positions(image.extents(), chunk_size), lambda position: position // FANOUT)
        following = next(data, None)
        for leaf in range(-(-count // FANOUT)):
            self._operation.check_stop()
            slots: list[Slot] = [(Position.HOLE, None)] * min(FANOUT, count - leaf * FANOUT)
            if following is not None and following[0] == leaf:
                self._fill(image, chunker, slots, list(following[1]), asking)
                following = next(data, None)
            builder.add_leaf(slots)
        return builder.finish(image.size)

    def _fill(
        self, image: ImageSource, chunker: FixedChunker, slots: list[Slot], positions: Sequence[int], asking: Asking
    ) -> None:
        """Store the data of one leaf, some chunks ahead."""
        begun: deque[tuple[Future[Slot], int]] = deque()
        for position in positions:
            self._operation.check_stop()
            buffer = bytearray(chunker.length(position, image.size))
            with asking():
                got = image.read_into(position * chunker.size, memoryview(buffer))
            if got < len(buffer):
                raise SourceUnreadable(
                    f"{image.name} shrank to {position * chunker.size + got} bytes while it was read"
                )
            self._count(got)
            begun.append((self._sealers.submit(self._put_slot, buffer), position % FANOUT))
            if len(begun) > AHEAD:
                future, number = begun.popleft()
                slots[number] = future.result()
        for future, number in begun:
            slots[number] = future.result()

    @contextmanager
    def _buffer(self) -> Iterator[bytearray]:
        """A buffer for one stream; used again, for to clear a new one costs more than to store a short stream."""
        try:
            buffer = self._buffers.pop()
        except IndexError:
            buffer = bytearray(self._chunker.max_size + READ_BYTES)
        try:
            yield buffer
        finally:
            self._buffers.append(buffer)

    def _count(self, read: int) -> None:
        with self._lock:
            self.read += read
        self._operation.progress.advance(read=read)

    def _put_slot(self, content: bytearray) -> Slot:
        return (Position.ZERO, None) if ZEROS.startswith(content) else (Position.DATA, self._put(memoryview(content)))

    def _put(self, content: Buffer) -> ChunkId:
        chunk = self._putter.data_id(content)
        if self._putter.put_data(chunk, content):
            self._operation.progress.advance(new=len(content))
        return chunk


class _ChunkList:
    """The chunks of one stream: a few slices, or a tree of nodes as soon as they are many."""

    def __init__(self, putter: ChunkPutter) -> None:
        self._putter = putter
        self._slices: list[Slice] = []
        self._tree: CutStreamWriter | None = None

    def add(self, chunk: ChunkId, size: int) -> None:
        if self._tree is None and len(self._slices) == MAX_SLICES:
            self._tree = CutStreamWriter(self._putter)
            for one in self._slices:
                self._tree.add(one.id, one.length)
        if self._tree is None:
            self._slices.append(Slice(chunk, 0, size))
        else:
            self._tree.add(chunk, size)

    def finish(self) -> Content:
        if self._tree is not None:
            return self._tree.finish()
        return SlicedContent(sum(one.length for one in self._slices), tuple(self._slices))


def _finished(begun: tuple[Future[ChunkId], int]) -> tuple[ChunkId, int]:
    return begun[0].result(), begun[1]


def _slices(contents: Sequence[bytes], chunks: Sequence[tuple[ChunkId, int]]) -> Iterator[SlicedContent]:
    """Where each content lies in the stream that they make together; *chunks* come with the places where they end."""
    number, start, offset = 0, 0, 0  # of the chunk, where it begins, where the content goes on
    for content in contents:
        size = len(content)
        if size and offset + size <= chunks[number][1]:
            yield SlicedContent(size, (Slice(chunks[number][0], offset - start, size),))
            offset += size
        else:
            slices: list[Slice] = []
            left = size
            while left:
                chunk, end = chunks[number]
                length = min(left, end - offset)
                if length:
                    slices.append(Slice(chunk, offset - start, length))
                offset, left = offset + length, left - length
                if left:
                    number, start = number + 1, end
            yield SlicedContent(size, tuple(slices))
