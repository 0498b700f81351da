"""A snapshot's tree → the same tree with what is lost marked as lost; what is whole is used as it is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice, repeat

from lamina.engine.outcome import Flaw
from lamina.engine.reachable import Reachability
from lamina.engine.repairing.parts import IsThere, Part, nodes_left, parts_left
from lamina.engine.repairing.wanted import join
from lamina.errors import Damaged, FormatUnknown
from lamina.model.entries import Content, Entry, EntryState, EntryType, FixedContent, Metadata, Position, Totals
from lamina.model.ids import ChunkId
from lamina.model.operation import Operation
from lamina.repository.chunks import ChunkReader
from lamina.repository.directories import DirectoryNode
from lamina.repository.streams import FANOUT, ChunkPutter, FixedMapWriter, Slot
from lamina.repository.trees import DirectoryWriter

GRAIN = 64 << 10  # bytes: the smallest chunks there are, so that of a long file as little as possible is lost
FLAWS_KEPT = 1000

_UNREAD: Slot = (Position.UNREAD, None)
_END = object()


@dataclass(slots=True, eq=False)
class _Frame:
    """A directory under construction."""

    path: str
    nodes: Iterator[DirectoryNode | None]
    writer: DirectoryWriter
    entry: Entry  # in the directory above
    rest: Iterator[Entry | None] = field(default_factory=lambda: iter(()))
    is_lost: bool = False  # part of it is


class TreeRewrite:
    """Rewrites trees of one repository, one session at a time."""

    def __init__(
        self,
        reader: ChunkReader,
        reachability: Reachability,
        is_there: IsThere,
        putter: ChunkPutter,
        operation: Operation,
    ) -> None:
        self._reader = reader
        self._reachability = reachability
        self._is_there = is_there
        self._putter = putter
        self._operation = operation
        self.flaws: list[Flaw] = []  # the first of them
        self.lost = 0  # entries of which something is lost
        self.lost_bytes = 0

    def rewrite(self, root: ChunkId) -> ChunkId:
        """The new root; a tree may be deeper than Python's stack. Raises: StorageError, Stopped."""
        top = Entry(b"", EntryType.DIRECTORY, Metadata(), child=root)
        frames = [self._frame("", top, root)]
        while True:
            below = self._fill(frames[-1])
            if below is not None:
                frames.append(below)
                continue
            done = frames.pop()
            child, totals = done.writer.finish()
            if not frames:
                return child
            frames[-1].writer.add(self._finished(done, child, totals))

    def _frame(self, path: str, entry: Entry, directory: ChunkId) -> _Frame:
        return _Frame(path, nodes_left(self._reader, directory), DirectoryWriter(self._putter), entry)

    def _finished(self, done: _Frame, child: ChunkId, totals: Totals) -> Entry:
        if not done.is_lost:
            return done.entry._replace(child=child, totals=totals)
        self._say(done.path, "part of the list of what was in it is lost", 0)
        return _unread(done.entry, "part of its entries were lost in the repository")._replace(
            child=child, totals=totals
        )

    def _fill(self, frame: _Frame) -> _Frame | None:
        """Add entries until one is a directory that has to be rewritten; None: all are added."""
        while True:
            for entry in frame.rest:
                if entry is None:
                    frame.is_lost = True
                    self._say(frame.path, "an entry in it makes no sense", 0)
                    continue
                path = join(frame.path, entry.name)
                if entry.child is None:
                    frame.writer.add(self._entry(path, entry))
                elif self._reachability.is_whole_below(entry.child):
                    frame.writer.add(entry)
                else:
                    return self._frame(path, entry, entry.child)
            node = next(frame.nodes, _END)
            if isinstance(node, DirectoryNode):
                self._operation.check_stop()
                frame.rest = _entries(node)
            elif node is None:
                frame.is_lost = True
            else:
                return None

    def _entry(self, path: str, entry: Entry) -> Entry:
        if entry.content is None or self._reachability.is_whole_content(entry):
            return entry
        parts = parts_left(self._reader, entry.content, self._is_there)
        lost = sum(part.length for part in parts if part.lost)
        if lost >= entry.content.size:
            self._say(path, "all of its content is lost", lost)
            return _unread(entry, "its content was lost in the repository")._replace(content=None)
        self._say(path, f"{lost} bytes of its content are lost", lost)
        content = (
            self._fixed(entry.content) if isinstance(entry.content, FixedContent) else self._cut_anew(entry.content)
        )
        error = f"{lost} of {entry.content.size} bytes were lost in the repository"
        return entry._replace(content=content, state=EntryState.KEPT, error=error)

    def _fixed(self, content: FixedContent) -> Content:
        """The same stream, what is lost unread."""
        parts = parts_left(self._reader, content, self._is_there)
        return self._stream(_slots(parts, content.chunk_size), content.chunk_size, content.size)

    def _cut_anew(self, content: Content) -> Content:
        """A fixed stream in place of one that its content cut: only such a one can say that a range is unread."""
        blocks = self._blocks(parts_left(self._reader, content, self._is_there), content.size)
        slots = (_UNREAD if block is None else (Position.DATA, self._put(block)) for block in blocks)
        return self._stream(slots, GRAIN, content.size)

    def _stream(self, slots: Iterator[Slot], chunk_size: int, size: int) -> Content:
        writer = FixedMapWriter(self._putter, chunk_size)
        for leaf in iter(lambda: list(islice(slots, FANOUT)), []):
            writer.add_leaf(leaf)
        return writer.finish(size)

    def _blocks(self, parts: Iterator[Part], size: int) -> Iterator[bytes | None]:
        """The content in pieces of `GRAIN` bytes; None for one of which anything is lost."""
        buffer, is_lost = bytearray(), False
        for part in parts:
            data = self._bytes(part)
            done = 0
            while done < part.length:
                take = min(GRAIN - len(buffer), part.length - done)
                buffer += bytes(take) if data is None else data[part.start + done : part.start + done + take]
                is_lost = is_lost or data is None
                done += take
                if len(buffer) == GRAIN or (part.offset + done == size):
                    yield None if is_lost else bytes(buffer)
                    buffer, is_lost = bytearray(), False

    def _bytes(self, part: Part) -> bytes | None:
        """The content of the chunk that a part is of."""
        self._operation.check_stop()
        if part.lost or part.chunk is None:
            return None
        try:
            data = self._reader.get_data(part.chunk)
        except Damaged:
            return None
        return data if len(data) >= part.start + part.length else None

    def _put(self, block: bytes) -> ChunkId:
        chunk = self._putter.data_id(block)
        self._putter.put_data(chunk, block)
        return chunk

    def _say(self, path: str, reason: str, lost: int) -> None:
        self.lost += 1
        self.lost_bytes += lost
        if len(self.flaws) < FLAWS_KEPT:
            self.flaws.append(Flaw(path, EntryState.UNREAD, reason))


def _slots(parts: Iterator[Part], chunk_size: int) -> Iterator[Slot]:
    """What stands at each position of a fixed stream."""
    for part in parts:
        if part.lost:
            yield from repeat(_UNREAD, -(-part.length // chunk_size))
        else:
            yield part.position, part.chunk


def _entries(node: DirectoryNode) -> Iterator[Entry | None]:
    """The entries of a node; None for one that makes no sense."""
    for number in range(len(node.records)):
        try:
            yield node.entry(number)
        except (Damaged, FormatUnknown):
            yield None


def _unread(entry: Entry, error: str) -> Entry:
    return entry._replace(state=EntryState.UNREAD, error=error)
