"""Whether two contents differ, and how much of them, without reading more than must be."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from typing import NamedTuple

from lamina.engine.saving.images import ZEROS
from lamina.model.entries import Content, CutContent, Entry, FixedContent, Position
from lamina.model.ids import ChunkId
from lamina.model.snapshots import Role
from lamina.repository.contents import cut_part, iter_parts
from lamina.repository.cut_streams import iter_cut_chunks
from lamina.repository.repository import Repository
from lamina.repository.streams import FANOUT, FixedMap, Slot

_ZEROS = frozenset({Position.ZERO, Position.HOLE})
_REMEMBERED = 8  # chunks: files that lie in one bundle are compared one after the other


class ContentDifference(NamedTuple):
    """By how much a content differs."""

    changed: int | None  # bytes; None: they cannot be told without reading all of both
    ranges: int | None  # None: contents that have no fixed places


class ContentComparison:
    """Compares contents of one repository with the key at hand."""

    def __init__(self, repository: Repository) -> None:
        self._reader = repository.reader()
        self._reads_content = repository.role is Role.OWNER
        self._chunks: OrderedDict[ChunkId, bytes] = OrderedDict()

    def compare(self, before: Entry, after: Entry) -> ContentDifference | None:
        """None if the contents are equal. Raises: Damaged, ChunkMissing, StorageError."""
        old, new = before.content, after.content
        if old == new:
            return None
        if old is None or new is None:
            return ContentDifference(0 if new is None else new.size, None)
        if isinstance(old, FixedContent) and isinstance(new, FixedContent) and old.chunk_size == new.chunk_size:
            return self._compare_fixed(old, new)
        if isinstance(old, CutContent) and isinstance(new, CutContent):
            return self._compare_cut(old, new)
        if old.size != new.size:
            return ContentDifference(new.size if not isinstance(new, FixedContent) else None, None)
        if self._reads_content:
            return None if self._reads_same(old, new) else ContentDifference(new.size, None)
        return None if _has_same_times(before, after) else ContentDifference(new.size, None)

    def _compare_fixed(self, old: FixedContent, new: FixedContent) -> ContentDifference | None:
        """Position by position; leaves that both have are skipped unread."""
        one, other = FixedMap(self._reader, old), FixedMap(self._reader, new)
        total = max(one.count, other.count)
        alike = (
            total if old.size == new.size else min(old.size, new.size) // old.chunk_size
        )  # of one length on both sides
        changed = ranges = end = 0
        for first in range(0, total, FANOUT):
            last = min(first + FANOUT, total)
            leaf = first // FANOUT
            if last <= alike and _is_same(one.leaf_slot(leaf), other.leaf_slot(leaf)):
                continue
            olds = one.leaf(leaf) if first < one.count else ()
            news = other.leaf(leaf) if first < other.count else ()
            for position in range(first, last):
                if position < alike and _is_same(olds[position - first], news[position - first]):
                    continue
                changed += max(_length(one, position), _length(other, position))
                ranges += position != end or not ranges
                end = position + 1
        return ContentDifference(changed, ranges) if changed else None

    def _compare_cut(self, old: CutContent, new: CutContent) -> ContentDifference | None:
        """Chunks of the newer one that the older one has nowhere: an insertion moves what is behind it."""
        known = {chunk for _, chunk in iter_cut_chunks(self._reader, old)}
        changed = sum(size for size, chunk in iter_cut_chunks(self._reader, new) if chunk not in known)
        return ContentDifference(changed, None)

    def _reads_same(self, old: Content, new: Content) -> bool:
        """Byte by byte, part by part."""
        ours, theirs = self._bytes(old), self._bytes(new)
        mine, yours = memoryview(b""), memoryview(b"")
        while True:
            mine = mine or next(ours, memoryview(b""))
            yours = yours or next(theirs, memoryview(b""))
            length = min(len(mine), len(yours))
            if not length:
                return len(mine) == len(yours)
            if mine[:length] != yours[:length]:
                return False
            mine, yours = mine[length:], yours[length:]

    def _bytes(self, content: Content) -> Iterator[memoryview]:
        for part in iter_parts(self._reader, content):
            if part.chunk is None:
                yield memoryview(ZEROS)[: part.length]
            else:
                yield cut_part(part, self._chunk(part.chunk))

    def _chunk(self, chunk: ChunkId) -> bytes:
        if chunk not in self._chunks:
            self._chunks[chunk] = self._reader.get_data(chunk)
            if len(self._chunks) > _REMEMBERED:
                self._chunks.popitem(last=False)
        return self._chunks[chunk]


def _is_same(one: Slot, other: Slot) -> bool:
    """Whether two positions (or all below them) read the same."""
    return one == other or (one[0] in _ZEROS and other[0] in _ZEROS) or (one[1] is not None and one[1] == other[1])


def _has_same_times(before: Entry, after: Entry) -> bool:
    """What change detection goes by: who cannot read content cannot know more of small files that were bundled anew."""
    one, other = before.metadata, after.metadata
    return (one.mtime_ns, one.ctime_ns) == (other.mtime_ns, other.ctime_ns)


def _length(stored: FixedMap, position: int) -> int:
    return stored.chunker.length(position, stored.content.size) if position < stored.count else 0
