"""A session of a small repository into which chunks are put one by one, and which says what was put and read."""

from __future__ import annotations

from lamina.model.entries import Buffer
from lamina.model.ids import ChunkId
from lamina.model.process import Process
from lamina.repository.blobs import Node
from lamina.repository.chunks import ChunkReader
from lamina.repository.format import BlobKind
from lamina.repository.writer import EncodingOptions
from lamina.testing.repositories import SmallRepository


class CountingReader(ChunkReader):
    """Remembers which metadata chunks were asked for."""

    def __init__(self, *args) -> None:
        super().__init__(*args)
        self.asked: list[ChunkId] = []

    def get_node(self, kind: BlobKind, chunk: ChunkId) -> Node:
        self.asked.append(chunk)
        return super().get_node(kind, chunk)


class ChunkStore:
    """A `ChunkPutter`; `new` are the nodes that were new since it was last emptied."""

    def __init__(self, small: SmallRepository | None = None) -> None:
        self.small = small or SmallRepository()
        self.repository = self.small.open()
        self.session = self.repository.begin(Process(), EncodingOptions(3, check=True), self.small.operation())
        self.new: list[ChunkId] = []
        self.sizes: list[int] = []  # of all data chunks that were put
        self._known: set[ChunkId] = set()

    def data_id(self, content: Buffer) -> ChunkId:
        return self.session.writer.data_id(content)

    def put_data(self, chunk: ChunkId, content: Buffer) -> bool:
        self.sizes.append(len(content))
        return self.session.writer.put_data(chunk, content)

    def put_node(self, kind: BlobKind, node: Node) -> ChunkId:
        chunk = self.session.writer.put_node(kind, node)
        if chunk not in self._known:
            self._known.add(chunk)
            self.new.append(chunk)
        return chunk

    def put(self, content: bytes) -> ChunkId:
        """Store data and return its id."""
        chunk = self.data_id(content)
        self.put_data(chunk, content)
        return chunk

    def reader(self) -> CountingReader:
        """A reader of all that was put so far."""
        self.session.writer.flush()
        return CountingReader(self.repository.access, self.session.index)

    def close(self) -> None:
        self.session.close()
        self.repository.close()
