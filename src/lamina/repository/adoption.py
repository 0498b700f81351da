"""Add to the index what packs hold that are in none: a new manifest with further segments (spec: index)."""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterator, Sequence
from itertools import islice

from lamina.crypto.hashing import HASH_SIZE, public_hash
from lamina.errors import Damaged, ObjectExists, RecordForged, RepositoryError
from lamina.model.ids import PackId
from lamina.repository.access import Access
from lamina.repository.control import ControlRecords, record_number
from lamina.repository.format import Kind
from lamina.repository.generations import read_generations
from lamina.repository.index_records import (
    DELTAS,
    MANIFESTS,
    SEGMENT_SIGNED_AS,
    SEGMENTS,
    is_delta,
    manifest_names,
    read_delta,
    read_segment,
)
from lamina.repository.records import GenerationClosedRecord, IndexRecord, ManifestRecord, PackRow
from lamina.repository.tables import ROW, Pack, Table
from lamina.storage.storage import Storage

SEGMENT_ROWS = 300_000  # about 14 MiB


def adopt_packs(access: Access, tables: Sequence[Table], packs: Collection[PackId]) -> frozenset[PackId]:
    """Publish a manifest that has, besides all that can be read of the newest, what *tables* say of *packs*.

    Nothing is adopted that a prune has condemned: what it is about to delete must not be found again. Call it only while
    a session is announced that has not caught up with any prune that begins from now on: each waits for it.
    Returns what was adopted. Raises: NotPermitted, StorageError; Damaged if nobody can know what a prune condemned.
    """
    condemned = _condemned(access.storage, access.control)
    wanted = frozenset(packs) - condemned
    names = [_put_segment(access, record) for record in _segments(tables, wanted)]
    while True:
        found = _newest(access.storage, access.control)
        before = found or ManifestRecord(0, bytes(HASH_SIZE), [], _stale_deltas(access, wanted, condemned))
        kept = [name for name in before.segments if _is_whole(access, name)]
        if not set(names) - set(kept) and len(kept) == len(before.segments):
            return wanted  # somebody else has adopted just these
        taken = [record_number(name) or 0 for name in manifest_names(access.storage)]
        number = max(taken, default=0) + 1
        record = ManifestRecord(number, _hash_of(access.storage, number - 1), [*kept, *names], before.folded)
        try:
            access.control.write(Kind.MANIFEST, f"{MANIFESTS}{number:08d}", record)
        except ObjectExists:
            continue  # a prune was faster: add to what it published
        return wanted


def is_index_whole(access: Access) -> bool:
    """Whether the newest manifest and all of its segments can be read. Raises: StorageError."""
    for name in sorted(manifest_names(access.storage), reverse=True):
        try:
            manifest = access.control.read(name, Kind.MANIFEST, ManifestRecord).structure
        except RecordForged:
            continue
        except Damaged:
            return False
        return all(_is_whole(access, segment) for segment in manifest.segments)
    return True


def _condemned(storage: Storage, control: ControlRecords) -> frozenset[PackId]:
    """Packs that a prune is about to delete, or should have deleted. Raises: Damaged, StorageError."""
    found = set(read_generations(storage, control).condemned)
    for item in storage.objects("generations/"):
        if not item.name.endswith("/closed"):
            continue
        try:
            due = control.read(item.name, Kind.GENERATION_CLOSED, GenerationClosedRecord).structure.due
        except RecordForged:
            continue
        found.update(PackId(bytes.fromhex(name[5:])) for name in due if name.startswith(("data/", "meta/")))
    return frozenset(found)


def _newest(storage: Storage, control: ControlRecords) -> ManifestRecord | None:
    """The newest manifest; None if there is none, or a damaged one is the newest.

    An older one is no help then: it may name packs that a prune has deleted since.
    """
    for name in sorted(manifest_names(storage), reverse=True):
        try:
            return control.read(name, Kind.MANIFEST, ManifestRecord).structure
        except RecordForged:
            continue
        except Damaged:
            return None
    return None


def _stale_deltas(access: Access, wanted: Collection[PackId], condemned: Collection[PackId]) -> list[str]:
    """Deltas that a lost manifest had folded because they name packs that a prune took away. Raises: RepositoryError."""
    there = {item.name.rpartition("/")[2] for folder in ("data/", "meta/") for item in access.storage.objects(folder)}
    stale: list[str] = []
    for item in access.storage.objects(DELTAS):
        try:
            record = read_delta(access.storage, access.control, item.name) if is_delta(item.name) else None
        except Damaged:
            continue
        packs = [PackId(pack.id) for pack in record.packs] if record is not None else []
        gone = [pack for pack in packs if pack in condemned or pack.hex() not in there]
        if gone and not set(packs) - set(gone) <= set(wanted):
            raise RepositoryError(
                f"{item.name} was written while the repository was looked at", hint="run `lamina repair` once more"
            )
        stale += [item.name] if gone else []
    return stale


def _is_whole(access: Access, segment: str) -> bool:
    try:
        read_segment(access.storage, access.control, segment)
    except Damaged:
        return False
    return True


def _hash_of(storage: Storage, number: int) -> bytes:
    """The hash at the end of a manifest, zeros if there is none."""
    name = f"{MANIFESTS}{number:08d}"
    return storage.get(name)[-HASH_SIZE:] if name in manifest_names(storage) else bytes(HASH_SIZE)


def _put_segment(access: Access, record: IndexRecord) -> str:
    data = access.control.encode(Kind.SEGMENT, SEGMENT_SIGNED_AS, record)
    name = f"{SEGMENTS}{public_hash([data]).hex()}"
    access.storage.put(name, [data])
    return name


def _segments(tables: Sequence[Table], wanted: Collection[PackId]) -> Iterator[IndexRecord]:
    """What *tables* say of the *wanted* packs, in records that are not too large."""
    merged = heapq.merge(*(_rows(table, wanted) for table in tables), key=lambda one: one[0])
    for batch in iter(lambda: list(islice(merged, SEGMENT_ROWS)), []):
        numbers: dict[Pack, int] = {}
        rows = [ROW.pack(chunk, numbers.setdefault(pack, len(numbers)), *sizes) for chunk, pack, sizes in batch]
        rows.sort()  # a chunk in several packs: by their numbers
        yield IndexRecord([PackRow(pack.id, pack.size, pack.meta, 0) for pack in numbers], b"".join(rows))


def _rows(table: Table, wanted: Collection[PackId]) -> Iterator[tuple[bytes, Pack, tuple[int, int, int]]]:
    """Chunk, pack, and offset and sizes, of the *wanted* packs."""
    known = {number: pack for number, pack in enumerate(table.packs) if pack.id in wanted}
    for chunk, pack, *sizes in table.rows():
        if pack in known:
            yield chunk, known[pack], (sizes[0], sizes[1], sizes[2])
