"""What the control records say (spec: records). Field order is the format; new fields go to the end, with a default.

Times are microseconds since 1970 in UTC, sizes are bytes.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec

from lamina.errors import Damaged

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def to_us(time: datetime) -> int:
    """Microseconds since 1970."""
    return (time - _EPOCH) // timedelta(microseconds=1)


def from_us(microseconds: int) -> datetime:
    """The moment *microseconds* after 1970, aware UTC. Raises: Damaged for one that no calendar has."""
    try:
        return _EPOCH + timedelta(microseconds=microseconds)
    except OverflowError as error:
        raise Damaged(f"a record says the impossible time {microseconds}") from error


class _Record(msgspec.Struct, array_like=True, frozen=True):
    """A MessagePack array in field order."""


class Recipient(_Record, frozen=True):
    """A session key sealed to one reader."""

    slot: bytes  # 8 bytes; zeros: the repository itself, that is the owner
    epoch: int
    algorithm: int
    envelope: bytes


class KeyEntry(_Record, frozen=True):
    """One session key, sealed to all who may have it."""

    session: bytes
    purpose: int  # 1 content, 2 metadata
    recipients: list[Recipient]


class SlotRecord(_Record, frozen=True):
    """A key bundle wrapped with a passphrase, and the owner's word for it."""

    slot: bytes
    label: str
    created: int
    kdf: int  # 1: Argon2id
    salt: bytes
    memory_kib: int
    iterations: int
    lanes: int
    certificate: bytes
    envelope_public: bytes  # of the slot; empty for owners
    wrapped: bytes


class BundleRecord(_Record, frozen=True):
    """What is wrapped in a slot."""

    owner_verify_key: bytes
    root: bytes  # owners only; the rest is derived from it
    structure_key: bytes
    id_key: bytes
    chunker_key: bytes
    slot_secret: bytes


class FormatRecord(_Record, frozen=True):
    """Version and parameters that all writers share."""

    number: int
    created: int
    version: int
    features: int
    chunk_size: int  # default of fixed streams
    chunker: str  # family of content-defined cuts
    chunker_min: int
    chunker_average: int
    chunker_max: int
    data_pack: int  # target sizes
    meta_pack: int


class EpochRecord(_Record, frozen=True):
    """The public key that session keys are sealed to."""

    number: int
    algorithm: int
    public: bytes


class StartRecord(_Record, frozen=True):
    """A session announces itself. Host, boot and process say whether it can still be alive, on its own host only."""

    generation: int  # the newest one seen
    format: int
    started: int
    host: bytes  # keyed hashes, 16 bytes
    boot: bytes
    process: int
    process_started: int  # clock ticks after boot
    key_hashes: list[bytes]  # of the session's content and metadata key entries, so that their origin is signed
    namespace: bytes = b""  # like host; empty in older records, whose `boot` is of boot and namespace together


class CaughtUpRecord(_Record, frozen=True):
    """A session has copied what it needs out of the condemned packs of all generations up to this one."""

    generation: int


class SnapshotRecord(_Record, frozen=True):
    """What everybody with the structure key may know of a snapshot."""

    started: int
    finished: int
    generation: int
    root: bytes
    size: int
    stored: int
    partial: bool
    name_hash: bytes
    tag_hashes: list[bytes]
    expires: int | None
    protected: bool
    parent: bytes  # empty: none
    keys: KeyEntry  # the metadata key
    decoded: bool  # every chunk of this run was decoded and compared before it was stored


class SnapshotBody(_Record, frozen=True):
    """What only the owner and the writer of a snapshot may know."""

    name: str
    host: str
    paths: list[bytes]  # as the file system has them: not always UTF-8
    tags: list[str]
    read: int
    new: int
    program: str
    users: list[tuple[int, bytes]] = []  # what the source's machine calls the owners of entries
    groups: list[tuple[int, bytes]] = []
    copied_from: bytes = b""  # of a copy: repository id and session id of the first original


class AbortRecord(_Record, frozen=True):
    """Stands where the snapshot would: the session may never commit."""

    generation: int
    reason: str


class AttributesRecord(_Record, frozen=True):
    """Everything that can be changed of a snapshot, as it is from this record on."""

    trust: str
    expires: int | None
    protected: bool
    tag_hashes: list[bytes]
    damaged: int = (
        0  # depth of the verify that found damage (spec: coverage), if it is distrusted for that reason alone
    )


class AttributesBody(_Record, frozen=True):
    """The names among the attributes."""

    tags: list[str]
    note: str


class RemovalRecord(_Record, frozen=True):
    """A snapshot is removed (true) or restored (false) from this record on."""

    removed: bool
    time: int


class GenerationOpenRecord(_Record, frozen=True):
    """What a prune saw, and which packs it condemned."""

    committed: list[bytes]
    removed: list[bytes]
    buried: list[bytes]
    condemned: list[bytes]
    evidence: str  # what it rests on, for people and for the next prune: `key=value`, joined by blanks


class GenerationClosedRecord(_Record, frozen=True):
    """What a prune finally did."""

    buried: list[bytes]
    due: list[str]  # names of objects still to be deleted
    buried_before: list[bytes] = []  # by all generations before this one


class PackRow(_Record, frozen=True):
    """One pack an index record speaks of."""

    id: bytes
    size: int
    meta: bool
    retention: int


class IndexRecord(_Record, frozen=True):
    """Where chunks lie: a delta or a segment. Rows are sorted by id (spec: index rows)."""

    packs: list[PackRow]
    rows: bytes


class ManifestRecord(_Record, frozen=True):
    """The segments that count, and the deltas folded into them."""

    number: int
    previous: bytes  # hash of the manifest before; zeros for the first
    segments: list[str]
    folded: list[str]
    generation: int = 0  # whose result it is; 0: no prune's
    buried: list[bytes] = []  # whom this generation buries for good
    kept: list[bytes] = []  # condemned packs that stay, and are condemned no more


class CheckedPacks(_Record, frozen=True):
    """Packs that were found whole at one time."""

    time: int  # when that run began
    depth: int  # 1: their bytes, 2: their content too
    packs: bytes  # the first 8 bytes of each id, sorted


class FinishedRun(_Record, frozen=True):
    """A verify that read a share of all packs, to its end."""

    time: int  # when it began
    depth: int  # as of checked packs
    numerator: int  # of the share; the whole is 1/1
    denominator: int


class CoverageRecord(_Record, frozen=True):
    """What one verify found whole; or all that was known by then."""

    folded: int  # it contains what the records up to this number say; 0: none
    checked: list[CheckedPacks]
    runs: list[FinishedRun] = []
