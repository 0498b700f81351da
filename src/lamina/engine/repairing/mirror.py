"""What a mirror of the storage can give back: the same objects under the same names."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from lamina.crypto.hashing import public_hash
from lamina.engine.repairing.survey import FAULTS, Survey
from lamina.errors import LaminaError
from lamina.model.ids import ChunkId
from lamina.repository.access import Access
from lamina.repository.blobs import SealedBlob, split_blob
from lamina.repository.format import BLOB_HEADER_SIZE, Kind
from lamina.repository.inspection import Inspector, kinds_of
from lamina.repository.object_names import (
    ATTRIBUTES,
    EPOCHS,
    FORMATS,
    GENERATIONS,
    REMOVALS,
    SESSIONS,
    SNAPSHOTS,
    pack_id,
)
from lamina.repository.packs import PackTail, check_pack
from lamina.repository.records import KeyEntry
from lamina.repository.repository import Repository
from lamina.storage.storage import Parts, Storage, StoredObject

# Records that are never deleted: what a mirror has of them was here once. Key slots, deltas and segments may be gone for good.
_FOR_EVER = (FORMATS, EPOCHS, SESSIONS, SNAPSHOTS, ATTRIBUTES, REMOVALS, GENERATIONS)


@dataclass(frozen=True, slots=True)
class FromMirror:
    """What a mirror has that is missing or damaged here."""

    records: tuple[str, ...] = ()  # missing here
    packs: tuple[str, ...] = ()  # missing here
    replaced: tuple[
        str, ...
    ] = ()  # packs that are damaged here: their names are taken, so their blobs go into new ones

    def __bool__(self) -> bool:
        return bool(self.records or self.packs or self.replaced)


def look_into_mirror(here: Repository, mirror: Repository, survey: Survey, *, has_index: bool) -> FromMirror:
    """Find what *mirror* has whole, and count it among what is there. Raises: StorageError."""
    listed = {item.name for item in here.storage.objects()}
    theirs = {item.name: item for item in mirror.storage.objects()}
    inspector = Inspector(mirror)
    new = sorted(theirs.keys() - listed)
    records = [name for name in new if name.startswith(_FOR_EVER) and _is_whole(inspector, name)]
    missing = survey.missing if has_index else [name for name in new if kinds_of(name) == {Kind.PACK}]
    broken = [one.name for one in survey.damaged]
    whole: set[str] = set()
    for name in (*missing, *broken):
        tail = _tail(mirror, name) if name in theirs else None
        if tail is not None and (name in missing or _lacks(survey, tail)):
            whole.add(name)
            survey.take(theirs[name], tail)
    packs, replaced = ([name for name in names if name in whole] for names in (missing, broken))
    return FromMirror(tuple(records), tuple(packs), tuple(replaced))


def pack_blobs(mirror: Repository, name: str) -> Iterator[tuple[ChunkId, SealedBlob, KeyEntry]]:
    """Every blob of one pack of the mirror, as it lies there. Raises: Damaged, ObjectMissing, StorageError."""
    data = mirror.storage.get(name)
    _, tail = check_pack(data, pack_id(name), mirror.access.structure_key, name=name)
    for row in tail.rows:
        blob = data[row.offset : row.offset + row.stored_size]
        header = split_blob(blob, row.id, row.kind, name=name)
        links = blob[BLOB_HEADER_SIZE : BLOB_HEADER_SIZE + header.links_size]
        body = blob[BLOB_HEADER_SIZE + header.links_size :]
        yield row.id, SealedBlob(header, links, body, row.plain_size), tail.keys[row.key]


class Overlay:
    """A storage, for reading, some objects of which are taken from another."""

    def __init__(self, storage: Storage, other: Storage, names: frozenset[str]) -> None:
        self._storage = storage
        self._other = other
        self._names = names

    @property
    def address(self) -> str:
        return self._storage.address

    def put(self, name: str, parts: Parts) -> None:
        self._storage.put(name, parts)

    def get(self, name: str) -> bytes:
        return self._of(name).get(name)

    def get_range(self, name: str, offset: int, length: int) -> bytes:
        return self._of(name).get_range(name, offset, length)

    def stat(self, name: str) -> StoredObject:
        return self._of(name).stat(name)

    def objects(self, prefix: str = "") -> Iterator[StoredObject]:
        return self._storage.objects(prefix)

    def delete(self, name: str) -> None:
        self._storage.delete(name)

    def close(self) -> None:
        """Nothing: both belong to somebody else."""

    def _of(self, name: str) -> Storage:
        return self._other if name in self._names else self._storage


def _lacks(survey: Survey, tail: PackTail) -> bool:
    """Whether a pack holds something that is nowhere else."""
    return any(next(survey.index.places(row.id), None) is None for row in tail.rows)


def _tail(mirror: Repository, name: str) -> PackTail | None:
    access: Access = mirror.access
    try:
        data = mirror.storage.get(name)
        if public_hash([data]) != pack_id(name):
            return None
        return check_pack(data, pack_id(name), access.structure_key, name=name)[1]
    except FAULTS:
        return None


def _is_whole(inspector: Inspector, name: str) -> bool:
    if not inspector.is_known(name):
        return False
    try:
        inspector.check(name)
    except LaminaError:
        return False
    return True
