"""Check single objects as deep as the key at hand goes."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache

import msgspec

from lamina.crypto.hashing import public_hash
from lamina.errors import Damaged, ObjectMissing, RecordForged
from lamina.model.ids import ChunkId, PackId, RepositoryId, SessionId
from lamina.repository.attributes import decode_attributes
from lamina.repository.birth import decode_birth
from lamina.repository.blobs import Node, split_blob
from lamina.repository.control import unseal_body
from lamina.repository.format import BlobHeader, BlobKind, BlobRow, Kind, decode_object, decode_pack_header
from lamina.repository.index_records import check_index, read_segment
from lamina.repository.object_names import (
    ATTRIBUTES,
    COVERAGE,
    DATA,
    DELTAS,
    EPOCHS,
    FORMATS,
    GENERATIONS,
    MANIFESTS,
    META,
    REMOVALS,
    ROOT,
    SEGMENTS,
    SESSIONS,
    SLOTS,
    SNAPSHOTS,
    delta_session,
    start_name,
)
from lamina.repository.packs import check_pack
from lamina.repository.records import (
    AbortRecord,
    AttributesRecord,
    CaughtUpRecord,
    CoverageRecord,
    EpochRecord,
    FormatRecord,
    GenerationClosedRecord,
    GenerationOpenRecord,
    IndexRecord,
    KeyEntry,
    ManifestRecord,
    RemovalRecord,
    SnapshotBody,
    SnapshotRecord,
    StartRecord,
    from_us,
)
from lamina.repository.repository import Repository
from lamina.repository.session_keys import Purpose, entry_hash, reader_slot
from lamina.repository.tables import ChunkPlace

_HEX16, _HEX32, _NUMBER = "[0-9a-f]{16}", "[0-9a-f]{32}", "[0-9]{8}"
_PACK = re.compile(f"(?:{DATA}|{META})[0-9a-f]{{64}}")
_SLOT = re.compile(SLOTS + _HEX16)
_RECORDS: list[tuple[re.Pattern[str], dict[Kind, type[msgspec.Struct]]]] = [
    (re.compile(FORMATS + _NUMBER), {Kind.FORMAT: FormatRecord}),
    (re.compile(EPOCHS + _NUMBER), {Kind.EPOCH: EpochRecord}),
    (re.compile(f"{SESSIONS}{_HEX32}/start"), {Kind.START: StartRecord}),
    (re.compile(f"{SESSIONS}{_HEX32}/gen-{_NUMBER}"), {Kind.CAUGHT_UP: CaughtUpRecord}),
    (re.compile(SNAPSHOTS + _HEX32), {Kind.SNAPSHOT: SnapshotRecord, Kind.ABORT: AbortRecord}),
    (re.compile(f"{ATTRIBUTES}{_HEX32}/{_NUMBER}"), {Kind.ATTRIBUTES: AttributesRecord}),
    (re.compile(f"{REMOVALS}{_HEX32}/{_NUMBER}"), {Kind.REMOVAL: RemovalRecord}),
    (re.compile(f"{GENERATIONS}{_NUMBER}/open"), {Kind.GENERATION_OPEN: GenerationOpenRecord}),
    (re.compile(f"{GENERATIONS}{_NUMBER}/closed"), {Kind.GENERATION_CLOSED: GenerationClosedRecord}),
    (re.compile(f"{DELTAS}{_HEX32}-{_NUMBER}"), {Kind.DELTA: IndexRecord}),
    (re.compile(MANIFESTS + _NUMBER), {Kind.MANIFEST: ManifestRecord}),
    (re.compile(COVERAGE + _NUMBER), {Kind.COVERAGE: CoverageRecord}),
]
_SEGMENT = re.compile(SEGMENTS + "[0-9a-f]{64}")


def kinds_of(name: str) -> frozenset[Kind]:
    """What an object of this name may be; nothing if the format has no such names (lamina.json has no kind)."""
    for pattern, kind in ((_PACK, Kind.PACK), (_SLOT, Kind.KEY_SLOT), (_SEGMENT, Kind.SEGMENT)):
        if pattern.fullmatch(name):
            return frozenset({kind})
    return frozenset(next((kinds for pattern, kinds in _RECORDS if pattern.fullmatch(name)), ()))


def check_stored(data: bytes, name: str, repository: RepositoryId | None) -> None:
    """Check an object as far as that goes without any key: its hash, its header, and whose it says it is.

    Raises: Damaged, FormatUnknown.
    """
    if name == ROOT:
        decode_birth(data)
        return
    kinds = kinds_of(name)
    if kinds & {Kind.PACK, Kind.SEGMENT} and public_hash([data]).hex() != name.rpartition("/")[2]:
        raise Damaged(f"{name} is damaged: its bytes do not fit its name")
    if Kind.PACK not in kinds:
        decode_object(data, *kinds, name=name)
    elif decode_pack_header(data, name=name).repository != repository and repository is not None:
        raise Damaged(f"{name} is of another repository")


@dataclass(frozen=True, slots=True)
class PackContent:
    """What came of checking one pack whose bytes fit its name."""

    id: PackId
    rows: tuple[BlobRow, ...]
    bad: dict[ChunkId, str] = field(default_factory=dict)  # chunks that do not open, and why
    faults: tuple[str, ...] = ()  # what else is wrong
    keys: tuple[KeyEntry, ...] = ()


class Inspector:
    """Checks objects of one repository by their names."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository
        self._access = repository.access
        self._namer = self._access.namer() if self._access.id_key is not None else None
        self._key_hashes = lru_cache(maxsize=4096)(self._read_key_hashes)

    def is_pack(self, name: str) -> bool:
        """Whether an object of this name is a pack."""
        return kinds_of(name) == {Kind.PACK}

    def is_known(self, name: str) -> bool:
        """Whether the format has objects of this name."""
        return name == ROOT or bool(kinds_of(name))

    def check(self, name: str) -> None:
        """Check any object that is no pack. Raises: Damaged, FormatUnknown, ObjectMissing."""
        if name == ROOT:
            decode_birth(self._access.storage.get(name)).check(self._access.structure_key)
        elif _SLOT.fullmatch(name):
            self._repository.check_slot(name)
        elif _SEGMENT.fullmatch(name):
            read_segment(self._access.storage, self._access.control, name)
        else:
            kinds = next(kinds for pattern, kinds in _RECORDS if pattern.fullmatch(name))
            self._check_record(name, kinds)

    def check_pack(self, name: str) -> PackContent:
        """Check a pack and open every blob that this key can open. Raises: Damaged, FormatUnknown, ObjectMissing."""
        pack = PackId(bytes.fromhex(name.rpartition("/")[2]))
        data = self._access.storage.get(name)
        header, tail = check_pack(data, pack, self._access.structure_key, name=name)
        faults = [] if header.repository == self._access.repository else [f"{name} is of another repository"]
        faults += [fault for entry in tail.keys if (fault := self._origin_fault(entry))]
        view = memoryview(data)
        bad: dict[ChunkId, str] = {}
        for row in tail.rows:
            try:
                self._check_blob(name, row, view[row.offset : row.offset + row.stored_size], tail.keys[row.key])
            except Damaged as error:
                bad[row.id] = error.message
        return PackContent(pack, tail.rows, bad, tuple(faults), tail.keys)

    def check_place(self, chunk: ChunkId, place: ChunkPlace) -> None:
        """Check one copy of a chunk, in a pack that may be damaged. Raises: Damaged, ObjectMissing, ObjectTruncated."""
        header, blob, entry = self._repository.reader().get_blob(place)
        row = BlobRow(chunk, header.kind, header.key, place.offset, place.stored_size, place.plain_size)
        self._check_blob(place.pack_name, row, memoryview(blob), entry)

    def _check_blob(self, name: str, row: BlobRow, blob: memoryview, entry: KeyEntry) -> None:
        header = split_blob(blob, row.id, row.kind, name=name)
        links = self._access.sealer.unseal_links(header, blob) if header.links_size else b""
        key = self._access.opener.find_key(entry, _purpose(header)) if header.body_size else b""
        if key is None:
            return
        body = self._access.sealer.unseal_body(header, blob, session_key=key)
        if len(links) + len(body) != row.plain_size:
            raise Damaged(f"chunk {row.id.hex()} has another length than the footer says")
        if self._namer is None:
            return
        is_data = row.kind is BlobKind.DATA
        found = (
            self._namer.data_id(body)
            if is_data
            else self._namer.node_id(row.kind, Node(links, body), reader_slot(entry))
        )
        if found != row.id:
            raise Damaged(f"chunk {row.id.hex()} holds other content than its id says; whoever wrote it lied")

    def _origin_fault(self, entry: KeyEntry) -> str:
        """A key entry must be one that its session announced under its writer's signature."""
        try:
            announced = self._key_hashes(SessionId(entry.session))
        except ObjectMissing:
            return f"its key was announced in {start_name(SessionId(entry.session))}, which is missing"
        except Damaged as error:
            return error.message
        return (
            "" if entry_hash(entry) in announced else f"its key is not one that session {entry.session.hex()} announced"
        )

    def _read_key_hashes(self, session: SessionId) -> frozenset[bytes]:
        name = start_name(session)
        return frozenset(self._access.control.read(name, Kind.START, StartRecord).structure.key_hashes)

    def _check_record(self, name: str, kinds: dict[Kind, type[msgspec.Struct]]) -> None:
        signed = self._access.control.decode(self._access.storage.get(name), name, kinds)
        record = signed.structure
        if isinstance(record, IndexRecord):
            check_index(record, name)
            self._check_starter(name, delta_session(name), signed.signer.slot)
        if isinstance(record, AttributesRecord):
            decode_attributes(record, name, signed.body)
        if isinstance(record, SnapshotRecord):
            for time in (record.started, record.finished, record.expires or 0):
                from_us(time)
            self._check_starter(name, SessionId(bytes.fromhex(name.rpartition("/")[2])), signed.signer.slot)
            key = self._access.opener.find_key(record.keys, Purpose.METADATA)
            if key is not None:
                session = SessionId(bytes.fromhex(name.rpartition("/")[2]))
                unseal_body(key, session, signed.body, SnapshotBody, self._access.repository)

    def _check_starter(self, name: str, session: SessionId, slot: bytes) -> None:
        """Refuse a record by another *slot* than the one that started its session. Raises: RecordForged."""
        start = self._access.control.read(start_name(session), Kind.START, StartRecord)
        if start.signer.slot != slot:
            raise RecordForged(f"{name} is signed by another key than the one that started its session")


def _purpose(header: BlobHeader) -> Purpose:
    return Purpose.CONTENT if header.kind is BlobKind.DATA else Purpose.METADATA
