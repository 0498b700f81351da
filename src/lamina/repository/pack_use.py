"""What of each pack is needed: one pass over every row of the index."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass

from lamina.crypto.hashing import public_hash
from lamina.errors import Damaged, FormatUnknown, ObjectMissing, ObjectTruncated, PruneRefused
from lamina.model.ids import PackId
from lamina.repository.format import BLOB_HEADER_SIZE, PACK_HEADER_SIZE, BlobKind, decode_blob_header
from lamina.repository.liveness import Liveness
from lamina.repository.object_names import META, PACKS, find_pack, pack_name
from lamina.repository.records import to_us
from lamina.repository.tables import Pack, Table
from lamina.storage.storage import Storage


@dataclass(frozen=True, slots=True)
class StoredPack:
    """A pack as the storage lists it."""

    size: int
    meta: bool
    modified: int  # by the storage's clock, microseconds since 1970


@dataclass(frozen=True, slots=True)
class PackUse:
    """What of one pack is needed, in bytes of blobs."""

    id: PackId
    size: int  # bytes of the whole object
    meta: bool
    live: int = 0
    spare: int = 0  # needed, but another pack has a copy that may do; whether it does is seen when it is read
    dead: int = 0

    @property
    def name(self) -> str:
        return pack_name(self.id, meta=self.meta)

    @property
    def is_empty(self) -> bool:
        """Whether nothing in it is needed by anybody."""
        return not self.live and not self.spare

    @property
    def share(self) -> float:
        """How much of its blobs is needed and nowhere else, 0 to 1."""
        return self.live / total if (total := self.live + self.spare + self.dead) else 0.0


def list_packs(storage: Storage) -> dict[PackId, StoredPack]:
    """Every pack that is there. Raises: StorageError.

    Whoever may put packs can put one, or junk, under its name in the other folder as well: then both are read, and the one
    counts that is where it belongs.
    """
    found: dict[PackId, StoredPack] = {}
    for folder in PACKS:
        for item in storage.objects(folder):
            pack = find_pack(item.name)
            if pack is not None:
                one = StoredPack(item.size, folder == META, to_us(item.modified))
                found[pack] = one if pack not in found else _true_one(storage, pack, (found[pack], one))
    return found


def pack_sizes(storage: Storage) -> dict[str, int]:
    """Everything that is called like a pack, by name. Raises: StorageError."""
    listed = (item for folder in PACKS for item in storage.objects(folder))
    return {item.name: item.size for item in listed if find_pack(item.name) is not None}


def _true_one(storage: Storage, pack: PackId, twins: tuple[StoredPack, StoredPack]) -> StoredPack:
    for one in twins:
        name = pack_name(pack, meta=one.meta)
        with suppress(Damaged, FormatUnknown, ObjectMissing, ObjectTruncated):
            data = storage.get(name)
            first = decode_blob_header(data[PACK_HEADER_SIZE : PACK_HEADER_SIZE + BLOB_HEADER_SIZE], name=name)
            if public_hash([data]) == pack and (first.kind is not BlobKind.DATA) == one.meta:
                return one
    return twins[0]


def survey(
    table: Table | None, live: Liveness, listed: Mapping[PackId, StoredPack], *, trust_copies: bool
) -> Iterator[PackUse]:
    """The use of every listed pack, given the one *table* whose rows `Liveness` numbered.

    *trust_copies*: of a chunk with several places count the youngest as live and the others as spare, for whoever stored it
    again had a reason; else count all as live.
    Raises: PruneRefused if a chunk that is needed lies in no pack that is there.
    """
    numbers = _numbers(table, listed)
    ages = [one.modified for one in listed.values()]
    live_bytes, spare, dead = (array("Q", bytes(8 * len(listed))) for _ in range(3))
    for chunk, needed, places in _chunks(table, numbers, live):
        if not needed:
            for number, stored in places:
                dead[number] += stored
            continue
        if not places:
            raise _nowhere(chunk)
        kept = max(places, key=lambda place: ages[place[0]]) if trust_copies else None
        for place in places:
            (live_bytes if kept in {None, place} else spare)[place[0]] += place[1]
    for number, (pack_id, one) in enumerate(listed.items()):
        yield PackUse(pack_id, one.size, one.meta, live_bytes[number], spare[number], dead[number])


def _chunks(
    table: Table | None, numbers: array[int], live: Liveness
) -> Iterator[tuple[bytes, bool, list[tuple[int, int]]]]:
    """Every chunk: its id, whether it is needed, and for each pack that is there and has it, the pack's number and bytes."""
    previous, needed, places = b"", False, list[tuple[int, int]]()
    for ordinal, (chunk, pack, _, stored, _) in enumerate(table.rows() if table is not None else ()):
        if chunk != previous:
            if previous:
                yield previous, needed, places
            previous, needed, places = chunk, live.is_marked(ordinal), []
        if numbers[pack] >= 0:
            places.append((numbers[pack], stored))
    if previous:
        yield previous, needed, places


def _numbers(table: Table | None, listed: Mapping[PackId, StoredPack]) -> array[int]:
    """For each pack of the table its place among those *listed*, or -1 if it is not there."""
    order = {pack: number for number, pack in enumerate(listed)}
    packs = table.packs if table is not None else ()
    return array("i", (order[pack.id] if _is_there(pack, listed) else -1 for pack in packs))


def _is_there(pack: Pack, listed: Mapping[PackId, StoredPack]) -> bool:
    found = listed.get(pack.id)
    return found is not None and found.meta == pack.meta


def _nowhere(chunk: bytes) -> PruneRefused:
    return PruneRefused(
        f"chunk {chunk.hex()}, which a snapshot needs, lies in no pack that is there",
        hint="`lamina verify` says what is hurt; `lamina repair` looks for the chunk in packs that no index names",
    )
