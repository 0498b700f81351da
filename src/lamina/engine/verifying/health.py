"""What one verify knows of packs: which copies of chunks are whole."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from lamina.model.ids import ChunkId, PackId
from lamina.repository.format import BlobRow
from lamina.repository.index import Index
from lamina.repository.inspection import PackContent
from lamina.repository.tables import ChunkPlace, place_mark


@dataclass(slots=True)
class Health:
    """Which copies of chunks are whole, as far as this verify looked."""

    good: dict[PackId, int] = field(default_factory=dict)  # packs that fit their names: sum of their rows' marks
    unread: set[PackId] = field(default_factory=set)  # listed as the index has them, and not read by this run
    bad_blobs: set[tuple[ChunkId, PackId]] = field(default_factory=set)  # that do not open
    saved_blobs: set[tuple[ChunkId, PackId]] = field(default_factory=set)  # that open, in packs that are damaged

    def take(self, content: PackContent) -> None:
        """Take note of a pack whose bytes fit its name."""
        self.good[content.id] = sum(map(_mark, content.rows))
        self.bad_blobs.update((chunk, content.id) for chunk in content.bad)

    def is_whole(self, chunk: ChunkId, place: ChunkPlace) -> bool:
        """Whether the copy at *place* is whole; of a pack that was not read, whether nothing speaks against it."""
        if (chunk, place.pack) in self.saved_blobs:
            return True
        return (place.pack in self.good or place.pack in self.unread) and (chunk, place.pack) not in self.bad_blobs

    def has_whole_copy(self, index: Index, chunk: ChunkId) -> bool:
        """Whether a chunk can be read from somewhere."""
        return any(self.is_whole(chunk, place) for place in index.places(chunk))


def held_by(index: Index, packs: Iterable[PackId]) -> dict[PackId, list[tuple[ChunkId, ChunkPlace]]]:
    """What the index says that each of *packs* holds; reads all of the index."""
    wanted = frozenset(packs)
    found: defaultdict[PackId, list[tuple[ChunkId, ChunkPlace]]] = defaultdict(list)
    for table in index.tables():
        ordinals = {number: pack for number, pack in enumerate(table.packs) if pack.id in wanted}
        if not ordinals:
            continue
        for chunk, ordinal, offset, stored, plain in table.rows():
            pack = ordinals.get(ordinal)
            if pack is not None:
                place = ChunkPlace(pack.id, pack.meta, pack.size, offset, stored, plain)
                found[pack.id].append((ChunkId(chunk), place))
    return dict(found)


def _mark(row: BlobRow) -> int:
    return place_mark(row.id, row.offset, row.stored_size, row.plain_size)
