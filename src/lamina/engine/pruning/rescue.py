"""Copy what is needed out of condemned packs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from lamina.errors import Damaged, ObjectMissing, ObjectTruncated
from lamina.model.ids import ChunkId, PackId
from lamina.model.operation import Operation
from lamina.repository.access import Access
from lamina.repository.chunks import ChunkReader
from lamina.repository.index import Index
from lamina.repository.liveness import Liveness
from lamina.repository.moving import CopyJudge, PackMover, StoredBlob, read_pack, read_rows, stored_blobs
from lamina.repository.pack_use import StoredPack
from lamina.repository.tables import ChunkPlace

_FAULTS = (Damaged, ObjectMissing, ObjectTruncated)


@dataclass(slots=True)
class Rescue:
    """What came of it."""

    kept: set[PackId] = field(default_factory=set)  # condemned packs that have to stay
    problems: list[str] = field(default_factory=list)
    late: int = 0  # packs that stay only because there was no more time


class Rescuer:
    """Empties condemned packs: whatever is needed of them lies somewhere else when it is done, or they are kept.

    A blob is left behind only if another place was just read and holds the same bytes, or, where the key can tell, what the
    id says. That two blobs have one id proves nothing: anybody with a writer's key can seal anything under any id.
    """

    def __init__(self, access: Access, index: Index, live: Liveness, mover: PackMover, operation: Operation) -> None:
        self._access = access
        self._index = index
        self._live = live
        self._mover = mover
        self._operation = operation
        self._judge = CopyJudge(access, ChunkReader(access, index))
        self._moved: set[bytes] = set()  # fingerprints of blobs
        self._true: set[ChunkId] = set()  # chunks of which a true copy was moved
        self._condemned: AbstractSet[PackId] = frozenset()
        self._stays: AbstractSet[PackId] = frozenset()
        self._known: set[PackId] = set()  # condemned packs that the index speaks of
        self._needed: set[PackId] = set()  # those among them that hold something that is needed
        self.result = Rescue()

    def empty(
        self, condemned: AbstractSet[PackId], listed: dict[PackId, StoredPack], is_late: Callable[[], bool]
    ) -> Rescue:
        """Do it for all *condemned* packs that are *listed*; when it *is_late*, the rest is kept. Raises: StorageError.

        *listed* is without packs that were due before: what somebody still says of these is not taken into the index.
        """
        self._condemned = condemned
        self._stays = listed.keys() - condemned
        self._look_through_index()
        for pack in sorted(condemned & listed.keys()):
            self._operation.check_stop()
            if pack in self._live.later_packs:  # no index spoke of it at first, and then a repair found it
                self._keep(pack, "that was found while this prune was under way")
                continue
            if self._is_empty(pack, listed[pack]):
                continue
            if is_late():
                self.result.kept.add(pack)
                self.result.late += 1
            else:
                self._empty_one(pack, listed[pack])
        for pack in self._needed - listed.keys():
            self._keep(pack, "is missing")
        return self.result

    def _look_through_index(self) -> None:
        """Note which condemned packs the index speaks of, and which of these hold something that is needed."""
        for table in self._index.tables():
            condemned = [pack.id in self._condemned for pack in table.packs]
            self._known.update(pack.id for pack in table.packs if pack.id in self._condemned)
            for chunk, pack, *_ in table.rows():
                if condemned[pack] and self._live.is_live(ChunkId(chunk)):
                    self._needed.add(table.packs[pack].id)

    def _is_empty(self, pack: PackId, stored: StoredPack) -> bool:
        """Whether nothing in a pack is needed; of one that the index does not know its own footer says so."""
        if pack in self._known:
            return pack not in self._needed
        try:
            rows = read_rows(self._access, pack, stored.size, meta=stored.meta)
        except _FAULTS:
            return True  # whatever it holds, no record says that anybody may need it
        return not any(self._live.is_live(row.id) for row in rows)

    def _empty_one(self, pack: PackId, stored: StoredPack) -> None:
        try:
            data, tail = read_pack(self._access, pack, meta=stored.meta)
        except _FAULTS as error:
            if not all(self._is_elsewhere(chunk) or self._save(chunk, pack) for chunk in self._needed_of(pack)):
                self._keep(pack, error.message)
            return
        for blob in stored_blobs(data, tail, self._live.is_live):
            if not self._has_copy(blob):
                self._mover.add(blob)
                self._moved.add(blob.fingerprint)
                if self._judge.is_true(blob):
                    self._true.add(blob.header.id)

    def _needed_of(self, pack: PackId) -> list[ChunkId]:
        return [row[0] for row in self._index.rows_of(pack) if self._live.is_live(row[0])]

    def _save(self, chunk: ChunkId, pack: PackId) -> bool:
        """Move a chunk out of a damaged pack, if it is whole for all its id says; a steward cannot know."""
        for place in self._index.places(chunk):
            blob = self._judge.true_blob(place, chunk) if place.pack == pack else None
            if blob is not None:
                self._mover.add(blob)
                self._true.add(chunk)
                return True
        return False

    def _has_copy(self, blob: StoredBlob) -> bool:
        chunk = blob.header.id
        if blob.fingerprint in self._moved or chunk in self._true:
            return True
        places = list(self._staying(chunk))
        return any(self._judge.equals(place, blob) for place in places) or self._is_elsewhere(chunk)

    def _is_elsewhere(self, chunk: ChunkId) -> bool:
        """Whether a place that stays holds just what the id says; a steward cannot know."""
        return chunk in self._true or any(
            self._judge.true_blob(place, chunk) is not None for place in self._staying(chunk)
        )

    def _staying(self, chunk: ChunkId) -> Iterable[ChunkPlace]:
        return (place for place in self._index.places(chunk) if place.pack in self._stays)

    def _keep(self, pack: PackId, why: str) -> None:
        self.result.kept.add(pack)
        self.result.problems.append(f"pack {pack.hex()} stays, as something in it is needed: {why}")
