"""Which index records of a storage count, and what they say (spec: index)."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from lamina.crypto.hashing import HASH_SIZE, public_hash
from lamina.errors import Damaged, ObjectMissing, RecordForged
from lamina.model.ids import PackId, SessionId
from lamina.repository.control import ControlRecords, Signed, record_number
from lamina.repository.decisions import Decision, read_decision
from lamina.repository.format import BlobRow, Kind
from lamina.repository.object_names import (
    DELTAS,
    MANIFESTS,
    SEGMENTS,
    SNAPSHOTS,
    delta_session,
    is_delta,
    snapshot_name,
    start_name,
)
from lamina.repository.records import IndexRecord, ManifestRecord, PackRow, StartRecord
from lamina.repository.tables import ROW
from lamina.storage.storage import Storage

SEGMENT_SIGNED_AS = SEGMENTS.rstrip("/")  # a segment's name is its hash, so its signature is for the folder


class CountedRecords:
    """The index records that count at one moment, and what was decided of those who wrote them.

    Deltas of sessions that were aborted, or whose decision cannot be read, are among them for reading only: `doubtful`.
    """

    def __init__(self, storage: Storage, control: ControlRecords, known: Collection[SessionId] = ()) -> None:
        """*known*: sessions that committed, for all that was seen before. Raises: Damaged, StorageError."""
        self._storage = storage
        self._control = control
        self.manifest, listed, decided = self._consistent()
        folded = frozenset(self.manifest.folded if self.manifest else ())
        self.deltas = frozenset(listed - folded)
        sessions = {delta_session(name) for name in self.deltas}
        self.doubtful: set[SessionId] = set()
        self.unreadable: set[SessionId] = set()  # those among the doubtful that may have committed
        self.committed = sessions & set(known)
        self.undecided: set[SessionId] = set()
        for session in sorted(sessions - self.committed):
            self._sort(session, decided)

    @property
    def names(self) -> set[str]:
        """Every record to be read."""
        return {*self.deltas, *(self.manifest.segments if self.manifest else ())}

    @property
    def number(self) -> int:
        """Of the manifest; 0: there is none."""
        return self.manifest.number if self.manifest else 0

    def read(self, name: str) -> IndexRecord | None:
        """One record that counts; None for a delta that is damaged or not believed. Raises: Damaged for a segment."""
        if not name.startswith(DELTAS):
            return read_segment(self._storage, self._control, name).structure
        try:
            return read_delta(self._storage, self._control, name)
        except Damaged:
            return None

    def doubtful_packs(self) -> frozenset[PackId]:
        """What the deltas of doubtful sessions name, for all that can be read."""
        names = [name for name in self.deltas if delta_session(name) in self.doubtful]
        return frozenset(PackId(pack.id) for name in names for pack in self._packs(name))

    def _packs(self, name: str) -> Sequence[PackRow]:
        record = self.read(name)
        return record.packs if record is not None else ()

    def _consistent(self) -> tuple[ManifestRecord | None, set[str], set[str]]:
        """The newest manifest, and deltas and decisions as they were while it was the newest.

        Decisions are listed after deltas: a delta that came after its session was aborted is always seen as such.
        """
        while True:
            before = manifest_names(self._storage)
            manifest = newest_manifest(self._storage, self._control)
            deltas = {found.name for found in self._storage.objects(DELTAS) if is_delta(found.name)}
            decided = {found.name for found in self._storage.objects(SNAPSHOTS)}
            if manifest_names(self._storage) == before:
                return manifest, deltas, decided

    def _sort(self, session: SessionId, decided: Collection[str]) -> None:
        if snapshot_name(session) not in decided:
            self.undecided.add(session)
            return
        try:
            decision = read_decision(self._storage, self._control, session)
        except Damaged:
            self.unreadable.add(session)
            self.doubtful.add(session)
            return
        if decision is Decision.COMMITTED:
            self.committed.add(session)
        else:
            self.doubtful.add(session)


def read_delta(storage: Storage, control: ControlRecords, name: str) -> IndexRecord | None:
    """One delta; None if it is not by who began its session. Raises: Damaged, ObjectMissing."""
    try:
        signed = control.read(name, Kind.DELTA, IndexRecord)
        start = start_name(delta_session(name))
        starter = control.decode(storage.get(start), start, {Kind.START: StartRecord}).signer.slot
    except RecordForged:
        return None
    except ObjectMissing as error:
        _raise_unless_start(error, storage, name)
        return None  # the start record is still to come, or gone: nobody vouches for the delta
    if signed.signer.slot != starter:
        return None  # somebody wrote it for another's session
    check_index(signed.structure, name)
    return signed.structure


def _raise_unless_start(error: ObjectMissing, storage: Storage, name: str) -> None:
    """A delta that is gone was folded into a manifest: whoever reads it has to look again."""
    try:
        storage.stat(name)
    except ObjectMissing:
        raise error from None


def manifest_names(storage: Storage) -> set[str]:
    """Every name that a manifest may have and something has."""
    return {found.name for found in storage.objects(MANIFESTS) if record_number(found.name) is not None}


def newest_manifest(storage: Storage, control: ControlRecords) -> ManifestRecord | None:
    """The newest believed manifest, or None if there is none. Raises: Damaged."""
    for name in sorted(manifest_names(storage), reverse=True):
        try:
            return control.read(name, Kind.MANIFEST, ManifestRecord).structure
        except RecordForged:
            continue
    return None


def has_newer_manifest(storage: Storage, control: ControlRecords, number: int) -> bool:
    """Whether a prune published another manifest since the one of *number*. Raises: Damaged, StorageError."""
    if all((record_number(name) or 0) <= number for name in manifest_names(storage)):
        return False
    newest = newest_manifest(storage, control)
    return newest is not None and newest.number > number


def read_segment(storage: Storage, control: ControlRecords, name: str) -> Signed[IndexRecord]:
    """One segment; its name is its hash, so its signature is for the folder. Raises: Damaged."""
    data = storage.get(name)
    if public_hash([data]).hex() != name.rpartition("/")[2]:
        raise Damaged(f"{name} is damaged: its bytes do not fit its name", hint="`lamina repair` makes the index anew")
    signed = control.decode(data, name, {Kind.SEGMENT: IndexRecord}, signed_as=SEGMENT_SIGNED_AS)
    check_index(signed.structure, name)
    return signed


def encode_index(packs: Sequence[tuple[PackRow, Sequence[BlobRow]]]) -> IndexRecord:
    """The record that says where the chunks of *packs* lie."""
    rows = sorted(
        ROW.pack(row.id, ordinal, row.offset, row.stored_size, row.plain_size)
        for ordinal, (_, rows) in enumerate(packs)
        for row in rows
    )
    return IndexRecord([pack for pack, _ in packs], b"".join(rows))


def check_index(record: IndexRecord, name: str) -> None:
    """Refuse impossible packs, and rows that are unsorted, name packs that are not listed, or reach beyond them.

    Raises: Damaged.
    """
    if any(len(pack.id) != HASH_SIZE or not 0 <= pack.size < 1 << 32 for pack in record.packs):
        raise Damaged(f"{name} lists a pack that cannot be")
    if len(record.rows) % ROW.size:
        raise Damaged(f"{name} holds no whole number of rows")
    previous = b""
    for chunk, pack, offset, stored, _ in ROW.iter_unpack(record.rows):
        if chunk < previous or pack >= len(record.packs) or offset + stored > record.packs[pack].size:
            raise Damaged(f"{name}: the row of chunk {chunk.hex()} makes no sense")
        previous = chunk
