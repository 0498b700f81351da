"""Is what was copied what it is a copy of?"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from itertools import zip_longest

from lamina.engine.looking.ahead import read_ahead
from lamina.engine.outcome import Difference
from lamina.errors import Damaged
from lamina.model.entries import Content, CutContent, Entry, FixedContent
from lamina.model.ids import ChunkId
from lamina.model.operation import Operation
from lamina.model.snapshots import Role
from lamina.repository.contents import ContentPart, iter_parts
from lamina.repository.repository import Repository
from lamina.repository.trees import walk_tree

_Item = tuple[str, ContentPart | None]


def check_sample(copied: Repository, chunks: Iterable[ChunkId], operation: Operation) -> list[Difference]:
    """Read chunks back that were just put: an id is a keyed hash, so one that opens is what was read. Raises: StorageError."""
    reader, found = copied.reader(), []
    for chunk in chunks:
        operation.check_stop()
        try:
            reader.check_stored(chunk)
        except Damaged as error:
            found.append(Difference("", 0, 0, error.message))
    return found


class TreeCheck:
    """Compares whole trees of two repositories, entry by entry and byte by byte."""

    def __init__(self, source: Repository, copied: Repository, operation: Operation) -> None:
        self._source = source
        self._copied = copied
        self._operation = operation
        self._differences: list[Difference] = []

    def compare(self, source: ChunkId, copied: ChunkId) -> list[Difference]:
        """What differs between two trees. Raises: StorageError, Stopped."""
        try:
            if self._copied.role is Role.OWNER:
                ours = read_ahead(self._source, self._parts(source, copied), self._operation)
                self._compare_bytes(ours, read_ahead(self._copied, self._copied_parts(copied), self._operation))
            else:
                deque(self._parts(source, copied), maxlen=0)
                self._check_stored(copied)
        except Damaged as error:
            self._differences.append(Difference("", 0, 0, error.message))
        return self._differences

    def _compare_bytes(
        self, ours: Iterator[tuple[str, memoryview | None]], theirs: Iterator[tuple[str, memoryview | None]]
    ) -> None:
        for (path, one), (other_path, other) in zip(ours, theirs, strict=False):
            length = len(one) if one is not None else 0
            self._operation.progress.advance(read=length)
            if path != other_path or one != other:
                self._differences.append(Difference(path, 0, length, "the copy holds something else"))
                return  # from here on the two may not be side by side

    def _check_stored(self, copied: ChunkId) -> None:
        """Without the key to content: that every chunk is whole."""
        reader = self._copied.reader()
        for path, part in self._copied_parts(copied):
            self._operation.check_stop()
            if part is not None and part.chunk is not None:
                self._operation.progress.advance(read=part.length)
                try:
                    reader.check_stored(part.chunk)
                except Damaged as error:
                    self._differences.append(Difference(path, part.offset, part.length, error.message))

    def _parts(self, source: ChunkId, copied: ChunkId) -> Iterator[_Item]:
        """The parts of all contents, while the entries are compared."""
        ours, theirs = walk_tree(self._source.reader(), source), walk_tree(self._copied.reader(), copied)
        for one, other in zip_longest(ours, theirs):
            if one is None or other is None or one[0] != other[0] or _said(one[1]) != _said(other[1]):
                path = (one or other or ("",))[0]
                self._differences.append(Difference(path, 0, 0, "the copy has another entry here"))
                return
            yield from self._of(self._source, *one)

    def _copied_parts(self, root: ChunkId) -> Iterator[_Item]:
        for path, entry in walk_tree(self._copied.reader(), root):
            yield from self._of(self._copied, path, entry)

    @staticmethod
    def _of(repository: Repository, path: str, entry: Entry) -> Iterator[_Item]:
        if entry.content is None:
            return
        for part in iter_parts(repository.reader(), entry.content):
            yield path, part


def _said(entry: Entry) -> tuple[object, ...]:
    """All that an entry says but ids."""
    return (*entry._replace(content=None, child=None), entry.child is None, _shape(entry.content))


def _shape(content: Content | None) -> tuple[object, ...]:
    if content is None:
        return ()
    if isinstance(content, FixedContent):
        return content.size, content.chunk_size, content.position
    if isinstance(content, CutContent):
        return (content.size,)
    return content.size, *((one.offset, one.length) for one in content.slices)
