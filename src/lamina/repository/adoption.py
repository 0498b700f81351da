"""Bring back into the index what packs hold that no record of it says, or can be read to say (spec: index).

Rows are brought back as deltas of a session that does nothing else: they count as those of any session do, and a prune folds
them. A manifest is only written in place of one that is damaged, or names segments that are: nobody can fold beside that.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterator, Sequence
from itertools import islice

from lamina.crypto.hashing import HASH_SIZE
from lamina.errors import Damaged, ObjectMissing, RecordForged, RepositoryError
from lamina.model.ids import PackId, SessionId
from lamina.repository.access import Access
from lamina.repository.control import ControlRecords, record_number
from lamina.repository.format import Kind, delta_name
from lamina.repository.generations import newest_generation, read_generations
from lamina.repository.index_records import DELTAS, MANIFESTS, is_delta, manifest_names, read_delta, read_segment
from lamina.repository.records import GenerationClosedRecord, IndexRecord, ManifestRecord, PackRow
from lamina.repository.tables import ROW, Pack, Table
from lamina.storage.storage import Storage

DELTA_ROWS = 300_000  # about 14 MiB


def adopt_packs(
    access: Access, session: SessionId, tables: Sequence[Table], packs: Collection[PackId]
) -> frozenset[PackId]:
    """Put deltas of *session* that have what *tables* say of *packs*, and a readable manifest if there is none.

    Nothing is adopted that a prune has condemned: what it is about to delete must not be found again. The session must be
    announced and must not have caught up with any prune since: so each that begins from now on waits for it.
    Returns what was adopted. Raises: StorageError, RepositoryError; Damaged if nobody can know what a prune condemned.
    """
    condemned = condemned_packs(access.storage, access.control)
    wanted = frozenset(packs) - condemned
    for number, record in enumerate(_records(tables, wanted)):
        access.control.write(Kind.DELTA, delta_name(session, number), record)
    if not is_index_whole(access):
        _mend_manifest(access, wanted, condemned)
    return wanted


def is_index_whole(access: Access) -> bool:
    """Whether the newest manifest and all of its segments can be read. Raises: StorageError."""
    try:
        manifest = _newest(access.storage, access.control)
    except Damaged:
        return False
    return manifest is None or all(_is_whole(access, segment) for segment in manifest.segments)


def condemned_packs(storage: Storage, control: ControlRecords) -> frozenset[PackId]:
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


def _mend_manifest(access: Access, wanted: Collection[PackId], condemned: Collection[PackId]) -> None:
    """Put a manifest that names only segments that can be read. Raises: StorageError, RepositoryError, ObjectExists."""
    storage, control = access.storage, access.control
    try:
        base = _newest(storage, control)
    except Damaged:  # older ones are no help: they may name packs that a prune has deleted since
        base = None
    number = max((record_number(name) or 0 for name in manifest_names(storage)), default=0) + 1
    if base is not None:
        segments = [name for name in base.segments if _is_whole(access, name)]
        mended = ManifestRecord(
            number, bytes(HASH_SIZE), segments, base.folded, base.generation, base.buried, base.kept
        )
    else:
        folded = _stale_deltas(access, wanted, condemned)
        mended = ManifestRecord(number, bytes(HASH_SIZE), [], folded, _ended_generation(storage, control))
    control.write(Kind.MANIFEST, f"{MANIFESTS}{number:08d}", mended)


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
    except (Damaged, ObjectMissing):
        return False
    return True


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
