"""Bring back into the index what packs hold that no record of it says, or can be read to say (spec: index).

Rows are brought back as deltas of a session that does nothing else: they count as those of any session do, and a prune folds
them. A manifest is only written where something that counts cannot be read: it leaves that out. A prune that publishes one at the
same time takes nothing back but this.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice

import msgspec

from lamina.crypto.hashing import HASH_SIZE
from lamina.errors import Damaged, ObjectExists, ObjectMissing, RecordForged, RepositoryError
from lamina.model.ids import PackId, SessionId
from lamina.repository.access import Access
from lamina.repository.control import LAST_NUMBER, ControlRecords, record_number
from lamina.repository.format import Kind
from lamina.repository.generations import newest_generation, read_generations
from lamina.repository.index_records import manifest_names, read_delta, read_segment
from lamina.repository.object_names import (
    DELTAS,
    GENERATIONS,
    MANIFESTS,
    PACKS,
    delta_name,
    find_pack,
    is_delta,
    numbered,
    pack_name,
)
from lamina.repository.records import GenerationClosedRecord, IndexRecord, ManifestRecord, PackRow
from lamina.repository.segments import fold
from lamina.repository.tables import ROW, Pack, Table
from lamina.storage.storage import Storage

DELTA_ROWS = 300_000  # about 14 MiB


@dataclass(frozen=True, slots=True)
class Adoption:
    """What the index has to be told."""

    tables: Sequence[Table]  # where the chunks of packs lie
    packs: Collection[PackId]  # of these it does not say all
    gone: Collection[PackId]  # these it names, and they are not there


def adopt_packs(access: Access, session: SessionId, told: Adoption) -> frozenset[PackId]:
    """Put deltas of *session* with what the index lacks, and a manifest that counts only what is there and can be read.

    Nothing is adopted that a prune has condemned: what it is about to delete must not be found again. The session must be
    announced and must not have caught up with any prune since: so each that begins from now on waits for it.
    Returns what was adopted. Raises: StorageError, RepositoryError; Damaged if nobody can know what a prune condemned.
    """
    condemned = condemned_packs(access.storage, access.control)
    wanted = frozenset(told.packs) - condemned
    for number, record in enumerate(_records(told.tables, wanted)):
        access.control.write(Kind.DELTA, delta_name(session, number), record)
    gone = frozenset(pack for pack in told.gone if _is_gone(access.storage, pack))
    while not is_index_whole(access, gone):
        _mend_manifest(access, wanted, condemned, gone)  # until it is the newest, whatever a prune publishes meanwhile
    return wanted


def is_index_whole(access: Access, gone: Collection[PackId] = ()) -> bool:
    """Whether all that counts can be read (the newest manifest, its segments, and deltas) and no segment names a pack that is
    *gone*. Raises: StorageError.
    """
    try:
        manifest = _newest(access.storage, access.control)
    except Damaged:
        return False
    whole = manifest is None or all(_is_whole(access, segment, gone) for segment in manifest.segments)
    return whole and not _damaged_deltas(access, manifest.folded if manifest is not None else ())


def condemned_packs(storage: Storage, control: ControlRecords) -> frozenset[PackId]:
    """Packs that a prune is about to delete, or should have deleted. Raises: Damaged, StorageError."""
    found = set(read_generations(storage, control).condemned)
    for item in storage.objects(GENERATIONS):
        if not item.name.endswith("/closed"):
            continue
        try:
            due = control.read(item.name, Kind.GENERATION_CLOSED, GenerationClosedRecord).structure.due
        except RecordForged:
            continue
        found.update(pack for name in due if (pack := find_pack(name)) is not None)
    return frozenset(found)


def _is_gone(storage: Storage, pack: PackId) -> bool:
    """Whether a pack is certainly not there: a list alone proves nothing."""
    for meta in (False, True):
        try:
            storage.stat(pack_name(pack, meta=meta))
        except ObjectMissing:
            continue
        return False
    return True


def _mend_manifest(
    access: Access, wanted: Collection[PackId], condemned: Collection[PackId], gone: Collection[PackId]
) -> None:
    """Try to put a manifest that counts nothing that cannot be read or is gone. Raises: StorageError, RepositoryError."""
    storage, control = access.storage, access.control
    number, base = _next_manifest(storage, control)
    if base is not None:
        readable = msgspec.structs.replace(base, segments=[name for name in base.segments if _is_whole(access, name)])
        segments = fold(access, readable, (), (), frozenset(gone), lambda _: True).segments
        folded = [*base.folded, *_damaged_deltas(access, base.folded)]
        mended = ManifestRecord(number, bytes(HASH_SIZE), segments, folded, base.generation, base.buried, base.kept)
    else:
        folded = [*_stale_deltas(access, wanted, condemned), *_damaged_deltas(access, ())]
        mended = ManifestRecord(number, bytes(HASH_SIZE), [], folded, _ended_generation(storage, control))
    with suppress(ObjectExists):  # somebody was faster: look at what that is
        control.write(Kind.MANIFEST, numbered(MANIFESTS, number), mended)


def _next_manifest(storage: Storage, control: ControlRecords) -> tuple[int, ManifestRecord | None]:
    """The next free number of a manifest, and the newest one; None if that is damaged: older ones are no help, for they may name
    packs that a prune has deleted since.

    Both by one list: a manifest that a prune publishes meanwhile stays the newer one. Raises: RepositoryError if none is left.
    """
    names = manifest_names(storage)
    newest, base = 0, None
    for name in sorted(names, reverse=True):
        try:
            base = control.read(name, Kind.MANIFEST, ManifestRecord).structure
        except RecordForged:
            continue  # it takes a number, and stands behind nothing
        except Damaged:
            pass
        newest = record_number(name) or 0
        break
    for number in range(newest + 1, LAST_NUMBER + 1):
        if numbered(MANIFESTS, number) not in names:
            return number, base
    raise RepositoryError(
        "no number is left for an index manifest",
        hint=f"delete {numbered(MANIFESTS, LAST_NUMBER)}, and find out who can write to the storage: see the threat model",
    )


def _damaged_deltas(access: Access, folded: Collection[str]) -> list[str]:
    """Deltas that count, and cannot be read."""
    found = []
    for item in access.storage.objects(DELTAS):
        if item.name in folded or not is_delta(item.name):
            continue
        try:
            read_delta(access.storage, access.control, item.name)
        except ObjectMissing:
            continue  # a prune folded it since it was listed
        except Damaged:
            found.append(item.name)
    return found


def _ended_generation(storage: Storage, control: ControlRecords) -> int:
    """The newest generation that is closed: one that is open has to publish a manifest of its own."""
    newest = newest_generation(storage, control)
    if newest is None:
        return 0
    return newest.number if newest.closed is not None else newest.number - 1


def _newest(storage: Storage, control: ControlRecords) -> ManifestRecord | None:
    """The newest manifest; None if there is none. Raises: Damaged."""
    for name in sorted(manifest_names(storage), reverse=True):
        try:
            return control.read(name, Kind.MANIFEST, ManifestRecord).structure
        except RecordForged:
            continue
    return None


def _stale_deltas(access: Access, wanted: Collection[PackId], condemned: Collection[PackId]) -> list[str]:
    """Deltas that a lost manifest had folded because they name packs that a prune took away. Raises: RepositoryError."""
    there = {item.name.rpartition("/")[2] for folder in PACKS for item in access.storage.objects(folder)}
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


def _is_whole(access: Access, segment: str, gone: Collection[PackId] = ()) -> bool:
    try:
        record = read_segment(access.storage, access.control, segment).structure
    except (Damaged, ObjectMissing):
        return False
    return not gone or not any(pack.id in gone for pack in record.packs)


def _records(tables: Sequence[Table], wanted: Collection[PackId]) -> Iterator[IndexRecord]:
    """What *tables* say of the *wanted* packs, in records that are not too large."""
    merged = heapq.merge(*(_rows(table, wanted) for table in tables), key=lambda one: one[0])
    for batch in iter(lambda: list(islice(merged, DELTA_ROWS)), []):
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
