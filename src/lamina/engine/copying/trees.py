"""One tree of one repository → the same tree in another: first its data, then the nodes above them.

Ids are keyed, so every chunk is opened, named and sealed anew, and every node with it. What an earlier copy has of the tree is
used as it is, directory by directory and leaf by leaf, so that a further copy costs what changed.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from lamina.engine.copying.base import KnownEntry, Pair, Readers, entries_beside, known_names, leaves
from lamina.engine.copying.names import KnownNames
from lamina.engine.saving.sampling import Reservoir
from lamina.engine.threads import batched, each, overlapping
from lamina.errors import Damaged
from lamina.model.entries import Content, CutContent, Entry, FixedContent, SlicedContent
from lamina.model.ids import ChunkId
from lamina.model.operation import Operation
from lamina.repository.contents import iter_parts
from lamina.repository.cut_streams import CutStreamWriter, iter_cut_chunks
from lamina.repository.repository import Repository
from lamina.repository.sessions import Session
from lamina.repository.streams import FixedMapWriter, Slot
from lamina.repository.trees import DirectoryWriter

BATCH_BYTES = 4 << 20  # of chunks that a thread fetches, names and puts at a time
BATCH_CHUNKS = 256
ROUND = 32  # batches between two looks at whether a prune began
SAMPLE = 64  # chunks that are read back

_Done = list[tuple[ChunkId, ChunkId, int]]  # id here, id there, bytes


@dataclass(slots=True, eq=False)
class _Frame:
    """A directory under construction."""

    source: ChunkId
    entries: Iterator[tuple[Entry, KnownEntry | None]]
    writer: DirectoryWriter
    waiting: Entry | None = None  # the directory in it that is being made


class TreeCopy:
    """Copies trees of one repository into the session of another."""

    def __init__(
        self,
        source: Repository,
        session: Session,
        names: KnownNames,
        operation: Operation,
    ) -> None:
        """*names*: what chunks are called there, as far as earlier copies tell; more is added."""
        self._source = source
        self._session = session
        self._writer = session.writer
        self._readers = Readers(source.reader(), session.reader)
        self._names = names
        self._operation = operation
        self._done = KnownNames()  # data chunks that are there, and directories whose data are
        self._made = KnownNames()  # directories and streams that are there
        self._put: set[ChunkId] = set()  # being fetched
        self.sample: Reservoir[ChunkId] = Reservoir(SAMPLE)  # of the chunks that were put
        self._count = 0
        self.read = 0  # bytes

    def copy(self, root: ChunkId, pair: Pair | None) -> ChunkId:
        """The copy of a whole tree; *pair*: a tree like it, and its copy, which the session relies on.

        Raises: Damaged, ChunkMissing, StorageError, SessionAborted, Stopped.
        """
        self._put_data(self._data(root, pair))
        return self._tree(root, pair)

    def copy_content(self, content: Content) -> Content:
        """The copy of one content. Raises: as `copy`."""
        self._put_data(self._data_of(content, None))
        return self._content(content, None)

    def close(self) -> None:
        """Give back what was remembered of this tree."""
        self._done.close()
        self._made.close()

    def _data(self, root: ChunkId, pair: Pair | None) -> Iterator[ChunkId]:
        """The data chunks of a tree that may not be in the other repository."""
        todo = [(root, pair)]
        while todo:
            directory, known = todo.pop()
            if (known is not None and known.source == directory) or self._done.get(directory) is not None:
                continue
            deeper: list[tuple[ChunkId, Pair | None]] = []
            for entry, twin in entries_beside(self._readers, directory, known, self._operation.progress.message):
                if entry.content is not None:
                    yield from self._data_of(entry.content, twin)
                if entry.child is not None:
                    deeper.append((entry.child, twin.directory() if twin is not None else None))
            self._done.put(directory, directory)
            todo += reversed(deeper)

    def _data_of(self, content: Content, twin: KnownEntry | None) -> Iterator[ChunkId]:
        if twin is not None and twin.source.content == content:
            return
        if isinstance(content, FixedContent):
            for leaf in leaves(self._readers, content, twin):
                for (_, chunk), known in leaf.slots:
                    if chunk is not None and known is None:
                        yield chunk
            return
        if twin is not None:
            for chunk, name in known_names(self._readers, twin):
                self._names.put(chunk, name)
        for part in iter_parts(self._readers.source, content):
            if part.chunk is not None:
                yield part.chunk

    def _put_data(self, chunks: Iterator[ChunkId]) -> None:
        """Bring data across, on several threads; between two rounds no chunk is being put."""
        with ThreadPoolExecutor(overlapping(), thread_name_prefix="copy") as executor:
            for round_ in batched(self._batches(chunks), ROUND):
                for done in each(executor, self._put_batch, round_, self._operation):
                    self._remember(done)
                self._pause()

    def _batches(self, chunks: Iterator[ChunkId]) -> Iterator[list[ChunkId]]:
        """Chunks that the other repository does not have, each once, a few at a time."""
        batch: list[ChunkId] = []
        size = 0
        for chunk in chunks:
            if chunk in self._put or self._is_there(chunk):
                continue
            place = next(self._source.index.places(chunk), None)
            batch.append(chunk)
            self._put.add(chunk)
            size += place.plain_size if place is not None else 0
            if size >= BATCH_BYTES or len(batch) == BATCH_CHUNKS:
                yield batch
                batch, size = [], 0
        if batch:
            yield batch

    def _is_there(self, chunk: ChunkId) -> bool:
        if self._done.get(chunk) is not None:
            return True
        name = self._names.get(chunk)
        if name is None or self._session.index.find(name) is None:
            return False
        self._writer.use(name)
        self._done.put(chunk, name)
        return True

    def _put_batch(self, batch: list[ChunkId]) -> _Done:
        self._operation.check_stop()
        done: _Done = []
        for chunk, content in self._readers.source.get_many(batch).items():
            name = self._writer.data_id(content)
            is_new = self._writer.put_data(name, content)
            self._operation.progress.advance(read=len(content), new=len(content) if is_new else 0)
            done.append((chunk, name, len(content)))
        return done

    def _remember(self, done: _Done) -> None:
        for chunk, name, size in done:
            self._names.put(chunk, name)
            self._done.put(chunk, name)
            self.read += size
            self._put.discard(chunk)
            self._count += 1
            if self._count == self.sample.next:
                self.sample.take(name)

    def _pause(self) -> None:
        """From time to time publish what is stored; if a prune began, catch up. No chunk is being put now."""
        self._operation.check_stop()
        self._session.checkpoint()
        if self._session.is_behind:
            self._session.catch_up()

    def _tree(self, root: ChunkId, pair: Pair | None) -> ChunkId:
        """Make every directory, the deepest first: a tree may be deeper than Python's stack."""
        known = self._known_directory(root, pair)
        if known is not None:
            return known
        frames = [self._frame(root, pair)]
        while True:
            frame = frames[-1]
            below = self._fill(frame)
            if below is not None:
                frames.append(below)
                continue
            made, _ = frame.writer.finish()
            self._made.put(frame.source, made)
            self._pause()
            frames.pop()
            if not frames:
                return made
            waiting, frames[-1].waiting = frames[-1].waiting, None
            assert waiting is not None  # noqa: S101 - who opened the frame said so
            frames[-1].writer.add(waiting._replace(child=made))

    def _fill(self, frame: _Frame) -> _Frame | None:
        """Add entries until one is a directory that has to be made first; None: all are added."""
        for entry, twin in frame.entries:
            pair = twin.directory() if twin is not None else None
            if entry.child is None:
                content = entry.content
                frame.writer.add(entry if content is None else entry._replace(content=self._content(content, twin)))
                continue
            known = self._known_directory(entry.child, pair)
            if known is None:
                frame.waiting = entry
                return self._frame(entry.child, pair)
            frame.writer.add(entry._replace(child=known))
        return None

    def _frame(self, directory: ChunkId, pair: Pair | None) -> _Frame:
        entries = entries_beside(self._readers, directory, pair, _ignore)
        return _Frame(directory, entries, DirectoryWriter(self._writer))

    def _known_directory(self, directory: ChunkId, pair: Pair | None) -> ChunkId | None:
        if pair is not None and pair.source == directory:
            return pair.copied
        return self._made.get(directory)

    def _content(self, content: Content, twin: KnownEntry | None) -> Content:
        """The copy of a content whose data are there."""
        if twin is not None and twin.source.content == content and twin.copied.content is not None:
            return twin.copied.content
        if isinstance(content, SlicedContent):
            slices = tuple(one._replace(id=self._name(one.id)) for one in content.slices)
            return SlicedContent(content.size, slices)
        if isinstance(content, CutContent):
            return self._cut(content)
        return self._fixed(content, twin)

    def _cut(self, content: CutContent) -> CutContent:
        made = self._made.get(content.id)
        if made is None:
            writer = CutStreamWriter(self._writer)
            for size, chunk in iter_cut_chunks(self._readers.source, content):
                writer.add(self._name(chunk), size)
            made = writer.finish().id
            self._made.put(content.id, made)
        return CutContent(content.size, made)

    def _fixed(self, content: FixedContent, twin: KnownEntry | None) -> FixedContent:
        writer = FixedMapWriter(self._writer, content.chunk_size)
        for leaf in leaves(self._readers, content, twin):
            if leaf.slot is not None:
                writer.add_slot(leaf.slot)
            else:
                writer.add_leaf([known or self._slot(slot) for slot, known in leaf.slots])
                self._pause()
        return writer.finish(content.size)

    def _slot(self, slot: Slot) -> Slot:
        kind, chunk = slot
        return slot if chunk is None else (kind, self._name(chunk))

    def _name(self, chunk: ChunkId) -> ChunkId:
        """What *chunk* is called in the other repository. Raises: Damaged, ChunkMissing."""
        name = self._names.get(chunk)
        if name is None:  # an earlier copy could be read then, and cannot be now
            self._remember(self._put_batch([chunk]))
            name = self._names.get(chunk)
        if name is None:
            raise Damaged(f"chunk {chunk.hex()} has no name in the other repository")
        return name


def _ignore(_warning: str) -> None:
    """It was said when the data were brought across."""
