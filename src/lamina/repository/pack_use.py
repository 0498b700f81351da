"""What of each pack is needed: one pass over every row of the index."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from lamina.errors import PruneRefused
from lamina.model.ids import PackId
from lamina.repository.format import pack_name
from lamina.repository.liveness import Liveness
from lamina.repository.tables import Pack, Table
from lamina.storage.storage import Storage

_FOLDERS = {"data/": False, "meta/": True}


@dataclass(frozen=True, slots=True)
class StoredPack:
    """A pack as the storage lists it."""

    size: int
    meta: bool


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
    """Every pack that is there. Raises: StorageError."""
    found: dict[PackId, StoredPack] = {}
    for folder, meta in _FOLDERS.items():
        for item in storage.objects(folder):
            name = item.name.removeprefix(folder)
            if len(name) == 64 and set(name) <= set("0123456789abcdef"):
                found[PackId(bytes.fromhex(name))] = StoredPack(item.size, meta)
    return found


def survey(
    table: Table | None, live: Liveness, listed: Mapping[PackId, StoredPack], *, trust_copies: bool
) -> Iterator[PackUse]:
    """The use of every listed pack, given the one *table* whose rows `Liveness` numbered.

    *trust_copies*: count one place of a chunk as live and the others as spare; else all as live.
    Raises: PruneRefused if a chunk that is needed lies in no pack that is there.
    """
    numbers = _numbers(table, listed)
    live_bytes, spare, dead = (array("Q", bytes(8 * len(listed))) for _ in range(3))
    previous, needed, kept = b"", False, True
    for ordinal, (chunk, pack, _, stored, _) in enumerate(table.rows() if table is not None else ()):
        if chunk != previous:
            if needed and not kept:
                raise _nowhere(previous)
            previous, needed, kept = chunk, live.is_marked(ordinal), False
        number = numbers[pack]
        if number < 0:
            continue
        if not needed:
            dead[number] += stored
        elif kept and trust_copies:
            spare[number] += stored
        else:
            live_bytes[number] += stored
            kept = True
    if needed and not kept:
        raise _nowhere(previous)
    for number, (pack_id, one) in enumerate(listed.items()):
        yield PackUse(pack_id, one.size, one.meta, live_bytes[number], spare[number], dead[number])


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
