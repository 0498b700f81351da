"""The index of a generation: segments made of those before, of deltas and of new packs, and the manifest that names them.

A segment holds all rows of the packs it speaks of, so that a deleted pack changes one segment, and a new one is a small segment
until there are enough of these to be joined. Names never recur: a record has a random salt.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import dataclass, field

from lamina.crypto.hashing import public_hash
from lamina.errors import Damaged, ObjectExists, PruneRefused, RecordForged
from lamina.model.ids import PackId
from lamina.repository.access import Access
from lamina.repository.control import LAST_NUMBER
from lamina.repository.format import Kind
from lamina.repository.index_records import SEGMENT_SIGNED_AS, manifest_names, newest_manifest, read_delta, read_segment
from lamina.repository.object_names import MANIFESTS, SEGMENTS, numbered
from lamina.repository.records import IndexRecord, ManifestRecord, PackRow
from lamina.repository.tables import ROW, Table, place_mark

SEGMENT_ROWS = 175_000  # about 8 MiB: what one process holds several times over while it writes it
SMALL_ROWS = SEGMENT_ROWS // 2  # a segment with fewer is joined with what comes


@dataclass(slots=True)
class Folded:
    """What came of folding: the segments of the next manifest, and what they leave out."""

    segments: list[str] = field(default_factory=list)
    deltas: list[str] = field(default_factory=list)  # those whose rows are in them
    dropped: int = 0  # rows of packs that are gone


def fold(
    access: Access,
    base: ManifestRecord | None,
    deltas: Iterable[str],
    added: Sequence[Table],
    gone: AbstractSet[PackId],
    is_there: Callable[[PackId], bool],
) -> Folded:
    """Store segments with all rows of the segments of *base*, of *deltas* and *added*, but for packs that are *gone*.

    What a delta says of packs that are not there is left out as well. Segments that nothing changes are kept. What was written
    is read again and compared. Raises: Damaged, StorageError.
    """
    made = Folded()
    writer = _SegmentWriter(access)
    for name in base.segments if base else ():
        record = read_segment(access.storage, access.control, name).structure
        if len(record.rows) >= SMALL_ROWS * ROW.size and not any(pack.id in gone for pack in record.packs):
            made.segments.append(name)
        else:
            writer.add(record, lambda pack: pack in gone)
    for name in deltas:
        try:
            delta = read_delta(access.storage, access.control, name)
        except Damaged:
            continue  # an aborted session's: what it said is in no index, and nobody needs it
        if delta is not None:
            writer.add(delta, lambda pack: pack in gone or not is_there(pack))
            made.deltas.append(name)
    for table in added:
        writer.add(_as_record(table), lambda _: False)
    made.segments += writer.finish()
    made.dropped = writer.dropped
    return made


def publish(access: Access, record: ManifestRecord, base: ManifestRecord | None) -> ManifestRecord:
    """Make *record* the manifest of its generation, or return the one that somebody else made of it.

    There is one manifest for each generation, under the first number behind *base* that nobody holds: who wakes up after his
    generation ended finds its place taken. Raises: Damaged, StorageError.
    """
    if base is not None and base.generation >= record.generation:
        return base
    number = max(record.generation, base.number + 1 if base is not None else 1)
    while number <= LAST_NUMBER:
        if manifest_name(number) in manifest_names(access.storage):
            taken = _believed(access, number)
            if taken is not None and taken.generation >= record.generation:
                return taken
            number += 1
            continue
        with suppress(ObjectExists):  # then look at what came meanwhile: it may be of this generation
            made = _numbered(record, number)
            access.control.write(Kind.MANIFEST, manifest_name(number), made)
            return made
    raise PruneRefused(
        "no number is left for an index manifest", hint="somebody filled index/manifest/: see the threat model"
    )


def manifest_of(access: Access, generation: int) -> ManifestRecord | None:
    """The manifest of a generation that is not closed, or None if nobody published it yet. Raises: Damaged, StorageError."""
    newest = newest_manifest(access.storage, access.control)
    return newest if newest is not None and newest.generation == generation else None


def manifest_name(number: int) -> str:
    """The name of one manifest."""
    return numbered(MANIFESTS, number)


def manifest_hash(access: Access, record: ManifestRecord | None) -> bytes:
    """What the next manifest says of the one before."""
    if record is None:
        return bytes(32)
    return access.control.read(manifest_name(record.number), Kind.MANIFEST, ManifestRecord).hash


def _believed(access: Access, number: int) -> ManifestRecord | None:
    """The manifest of a number that is taken; None if it is forged."""
    try:
        return access.control.read(manifest_name(number), Kind.MANIFEST, ManifestRecord).structure
    except RecordForged:
        return None


def _numbered(record: ManifestRecord, number: int) -> ManifestRecord:
    return ManifestRecord(
        number, record.previous, record.segments, record.folded, record.generation, record.buried, record.kept
    )


def _as_record(table: Table) -> IndexRecord:
    packs = [PackRow(pack.id, pack.size, pack.meta, 0) for pack in table.packs]
    return IndexRecord(packs, b"".join(ROW.pack(*row) for row in table.rows()))


class _SegmentWriter:
    """Joins records into segments of a good size, stores them, and checks that nothing was lost on the way."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._packs: list[PackRow] = []
        self._rows: list[bytes] = []
        self._mark = 0  # of the rows that are to be in the next segment
        self._made: list[str] = []
        self.dropped = 0

    def add(self, record: IndexRecord, is_gone: Callable[[PackId], bool]) -> None:
        """Take the rows of one record, but for packs that are gone."""
        if self._rows and len(self._rows) + len(record.rows) // ROW.size > SEGMENT_ROWS:
            self._store()
        places: list[int | None] = []
        for pack in record.packs:
            places.append(None if is_gone(PackId(pack.id)) else len(self._packs))
            if places[-1] is not None:
                self._packs.append(pack)
        for chunk, pack_number, offset, stored, plain in ROW.iter_unpack(record.rows):
            place = places[pack_number]
            if place is None:
                self.dropped += 1
                continue
            self._rows.append(ROW.pack(chunk, place, offset, stored, plain))
            self._mark += _mark(record.packs[pack_number], chunk, offset, stored, plain)

    def finish(self) -> list[str]:
        """Store what is left; the names of all that was stored."""
        if self._rows:
            self._store()
        return self._made

    def _store(self) -> None:
        record = IndexRecord(self._packs, b"".join(sorted(self._rows)))
        expected, self._mark = self._mark, 0
        self._packs, self._rows = [], []
        data = self._access.control.encode(Kind.SEGMENT, SEGMENT_SIGNED_AS, record)
        name = f"{SEGMENTS}{public_hash([data]).hex()}"
        self._access.storage.put(name, [data])
        written = read_segment(self._access.storage, self._access.control, name).structure
        if sum(_mark(written.packs[row[1]], row[0], *row[2:]) for row in ROW.iter_unpack(written.rows)) != expected:
            raise Damaged(
                f"{name} does not hold what was put into it; it is not used",
                hint="memory or processor is faulty: test the memory of this machine",
            )
        self._made.append(name)


def _mark(pack: PackRow, chunk: bytes, offset: int, stored: int, plain: int) -> int:
    """A number for one row wherever it stands; sums of it tell two sets of rows apart."""
    return place_mark(chunk, offset, stored, plain) * (1 + int.from_bytes(pack.id[:16], "little"))
