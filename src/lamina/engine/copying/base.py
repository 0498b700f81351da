"""What an earlier copy tells of a tree that is to be copied: both are walked beside the tree."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from lamina.errors import Damaged
from lamina.model.entries import Content, CutContent, Entry, FixedContent, SlicedContent
from lamina.model.ids import ChunkId
from lamina.repository.chunks import ChunkReader
from lamina.repository.cut_streams import iter_cut_chunks
from lamina.repository.streams import FixedMap, Slot
from lamina.repository.trees import read_directory


class Pair(NamedTuple):
    """A directory of an earlier snapshot, and the copy of it."""

    source: ChunkId
    copied: ChunkId


class KnownEntry(NamedTuple):
    """An entry of an earlier snapshot, and the copy of it."""

    source: Entry
    copied: Entry

    def directory(self) -> Pair | None:
        if self.source.child is None or self.copied.child is None:
            return None
        return Pair(self.source.child, self.copied.child)


class Leaf(NamedTuple):
    """One leaf of a fixed stream: known as a whole, or position by position."""

    slot: Slot | None  # in the other repository; None: it has to be made
    slots: Sequence[tuple[Slot, Slot | None]] = ()  # here, and in the other repository if it is known


class Readers(NamedTuple):
    """Where is read from, and where copies lie."""

    source: ChunkReader
    copied: ChunkReader


def entries_beside(
    readers: Readers, directory: ChunkId, pair: Pair | None, warn: Callable[[str], None]
) -> Iterator[tuple[Entry, KnownEntry | None]]:
    """The entries of *directory*, each with what *pair* knows under its name. Raises: Damaged, ChunkMissing."""
    before = _known(readers, pair, warn)
    known = next(before, None)
    for entry in read_directory(readers.source, directory):
        while known is not None and known.source.name < entry.name:
            known = next(before, None)
        yield entry, known if known is not None and known.source.name == entry.name else None


def _known(readers: Readers, pair: Pair | None, warn: Callable[[str], None]) -> Iterator[KnownEntry]:
    """What can be read of an earlier copy; the rest is copied anew."""
    if pair is None:
        return
    source, copied = read_directory(readers.source, pair.source), read_directory(readers.copied, pair.copied)
    try:
        for known in map(KnownEntry, source, copied):
            if known.source.name != known.copied.name:
                return
            yield known
    except Damaged as error:
        warn(f"part of the copy made before is of no use: {error.message}")


def leaves(readers: Readers, content: FixedContent, known: KnownEntry | None) -> Iterator[Leaf]:
    """The leaves of a fixed stream in order; those that the earlier copy has too are not read. Raises: Damaged."""
    now = FixedMap(readers.source, content)
    before, copied = _fixed(readers, known, content.chunk_size)
    for leaf in range(now.leaves):
        if before is None or copied is None or leaf >= min(before.leaves, copied.leaves):
            yield Leaf(None, [(slot, None) for slot in now.leaf(leaf)])
        elif now.leaf_slot(leaf) == before.leaf_slot(leaf):
            yield Leaf(copied.leaf_slot(leaf))
        else:
            olds, names = before.leaf(leaf), copied.leaf(leaf)
            same = min(len(olds), len(names))
            yield Leaf(
                None,
                [
                    (slot, names[at] if at < same and olds[at] == slot else None)
                    for at, slot in enumerate(now.leaf(leaf))
                ],
            )


def _fixed(readers: Readers, known: KnownEntry | None, chunk_size: int) -> tuple[FixedMap | None, FixedMap | None]:
    """The maps of both earlier streams, if they are cut alike."""
    contents = (known.source.content, known.copied.content) if known is not None else (None, None)
    before, copied = contents
    if not isinstance(before, FixedContent) or not isinstance(copied, FixedContent):
        return None, None
    if before.chunk_size != chunk_size or (copied.chunk_size, copied.size) != (chunk_size, before.size):
        return None, None
    return FixedMap(readers.source, before), FixedMap(readers.copied, copied)


def known_names(readers: Readers, known: KnownEntry) -> Iterator[tuple[ChunkId, ChunkId]]:
    """What the chunks of an earlier content are called in its copy. Raises: Damaged, ChunkMissing."""
    before, copied = known.source.content, known.copied.content
    if before is None or copied is None or before.size != copied.size:
        return
    for one, other in zip(_chunks(readers.source, before), _chunks(readers.copied, copied), strict=False):
        if one[1] != other[1]:
            return
        yield one[0], other[0]


def _chunks(reader: ChunkReader, content: Content) -> Iterator[tuple[ChunkId, tuple[int, int]]]:
    """The chunks of a content that has no fixed places, with what tells them apart in the other repository, too."""
    if isinstance(content, SlicedContent):
        for chunk, offset, length in content.slices:
            yield chunk, (offset, length)
    elif isinstance(content, CutContent):
        for size, chunk in iter_cut_chunks(reader, content):
            yield chunk, (0, size)
