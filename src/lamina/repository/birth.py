"""What a new repository begins with, and its one clear object, lamina.json (spec: lamina.json)."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass

from lamina.crypto.envelope import ALGORITHM
from lamina.crypto.hashing import derive, keyed_hash, public_hash, same
from lamina.errors import Damaged, FormatUnknown, ObjectMissing, RepositoryExists, RepositoryMissing
from lamina.model.ids import RepositoryId
from lamina.repository.format import FEATURES, VERSION
from lamina.repository.object_names import PACKS, ROOT, SESSIONS, SNAPSHOTS
from lamina.repository.records import EpochRecord, FormatRecord
from lamina.storage.storage import Storage

_ROOT_LOST = (
    "delete nothing: put it back from a copy of the storage, or run `lamina repair --lamina-json` with the recovery key"
)
MIB = 1 << 20
DATA_PACK = 32 * MIB  # large enough that object counts and request costs stay small
META_PACK = 8 * MIB


@dataclass(frozen=True, slots=True)
class Birth:
    """What lamina.json says."""

    repository: RepositoryId
    owner_verify_key: bytes
    mac: bytes

    def encode(self) -> bytes:
        """The object's bytes: one JSON document whose last field is the hash of all before it."""
        fields = {
            "magic": "lamina",
            "version": VERSION,
            "features": FEATURES,
            "repository": self.repository.hex(),
            "owner": self.owner_verify_key.hex(),
            "mac": self.mac.hex(),
        }
        head = json.dumps(fields, indent=2).encode().removesuffix(b"\n}")
        return head + b',\n  "hash": "' + public_hash([head]).hex().encode() + b'"\n}\n'

    def check(self, structure_key: bytes) -> None:
        """Refuse what was written without a key of this repository. Raises: Damaged."""
        if not same(self.mac, birth_mac(structure_key, self.repository, self.owner_verify_key)):
            raise Damaged(
                f"{ROOT} was not written by a key of this repository",
                hint="restore it from a copy; it never changes",
            )


def new_birth(structure_key: bytes, owner_verify_key: bytes) -> Birth:
    """A new repository's."""
    repository = RepositoryId(os.urandom(16))
    return Birth(repository, owner_verify_key, birth_mac(structure_key, repository, owner_verify_key))


def birth_mac(structure_key: bytes, repository: RepositoryId, owner_verify_key: bytes) -> bytes:
    """What proves that lamina.json was written with a key of the repository."""
    fields = bytes([VERSION]) + FEATURES.to_bytes(4, "little") + repository + owner_verify_key
    return keyed_hash(derive(structure_key, "lamina/1 lamina.json"), fields)


def decode_birth(data: bytes) -> Birth:
    """What lamina.json says. Raises: Damaged, FormatUnknown."""
    damaged = Damaged(f"{ROOT} is damaged", hint="restore it from a copy; it never changes")
    head, _, tail = data.partition(b',\n  "hash": "')
    try:
        fields = json.loads(data)
        intact = tail == public_hash([head]).hex().encode() + b'"\n}\n' and fields["magic"] == "lamina"
        version, features = int(fields["version"]), int(fields["features"])
        birth = Birth(
            RepositoryId(bytes.fromhex(fields["repository"])),
            bytes.fromhex(fields["owner"]),
            bytes.fromhex(fields["mac"]),
        )
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise damaged from error
    if not intact:
        raise damaged
    if version != VERSION or features & ~FEATURES:
        raise FormatUnknown(
            f"the repository has format {version} with features {features:#x}; this Lamina knows format {VERSION}",
            hint="upgrade Lamina",
        )
    return birth


def read_birth(storage: Storage) -> Birth:
    """What the lamina.json of a repository says. Raises: RepositoryMissing, Damaged, FormatUnknown, StorageError."""
    try:
        return decode_birth(storage.get(ROOT))
    except ObjectMissing as error:
        if _was_used(storage):
            raise RepositoryMissing(f"{ROOT} is missing at {storage.address}", hint=_ROOT_LOST) from error
        raise RepositoryMissing(
            f"there is no repository at {storage.address}", hint="`lamina init` makes one; or check the address"
        ) from error


def check_free(storage: Storage) -> None:
    """Refuse a place that holds anything at all. Raises: RepositoryExists."""
    try:
        storage.stat(ROOT)
    except ObjectMissing:
        if next(iter(storage.objects()), None) is None:
            return
        if _was_used(storage):
            raise RepositoryExists(
                f"{ROOT} is missing at {storage.address}, but what was backed up there is not", hint=_ROOT_LOST
            ) from None
        raise RepositoryExists(
            f"{storage.address} is not empty, and what is there is no whole repository",
            hint="choose another place, or empty this one (an `init` that was interrupted leaves nothing of worth)",
        ) from None
    raise RepositoryExists(
        f"there is a repository at {storage.address} already; it was not touched",
        hint="back up into it, or choose another place",
    )


def _was_used(storage: Storage) -> bool:
    """Whether somebody backed something up there: what an `init` that was interrupted leaves is worth nothing, that is not."""
    return any(next(iter(storage.objects(folder)), None) is not None for folder in (SESSIONS, SNAPSHOTS, *PACKS))


def first_format(created: int, chunk_size: int) -> FormatRecord:
    """The parameters a new repository starts with."""
    return FormatRecord(
        1, created, VERSION, FEATURES, chunk_size, "fastcdc", MIB // 4, MIB, 8 * MIB, DATA_PACK, META_PACK
    )


def first_epoch(public: bytes) -> EpochRecord:
    """The key that session keys are sealed to until it is rotated."""
    return EpochRecord(0, ALGORITHM, public)
