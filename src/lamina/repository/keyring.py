"""Key slots: make, unlock, list, remove (spec: key slots)."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime

import msgspec

from lamina.crypto import aead
from lamina.crypto.certificates import Certificate, decode_certificate, owner_certificate
from lamina.crypto.hashing import public_hash, same
from lamina.crypto.keys import KeyBundle
from lamina.crypto.passphrases import KDF_LIMIT, KdfCost, parse_recovery_key, stretch
from lamina.crypto.signing import SIGNATURE_SIZE, is_signed
from lamina.errors import Damaged, RecordForged, UsageError, WrongPassphrase
from lamina.model.ids import RepositoryId, SlotId
from lamina.model.secret import Secret
from lamina.model.snapshots import Role
from lamina.repository.control import Signer
from lamina.repository.format import Kind, decode_object, decode_record, encode_object, encode_record
from lamina.repository.object_names import EPOCHS, SLOTS
from lamina.repository.records import BundleRecord, SlotRecord, to_us
from lamina.storage.storage import Storage

_ARGON2ID = 1


@dataclass(frozen=True, slots=True)
class Unlocked:
    """A key bundle, and the slot it came from."""

    bundle: KeyBundle
    owner_verify_key: bytes
    signer: Signer
    slot: SlotId | None  # None: opened with the recovery key
    object: str  # the name of the slot's object; empty: none
    envelope_public: bytes  # that metadata keys are sealed to besides the repository's; empty for owners


@dataclass(frozen=True, slots=True)
class _Face:
    """What anybody may know of a slot."""

    slot: SlotId
    certificate: bytes
    envelope_public: bytes
    label: str


@dataclass(frozen=True, slots=True)
class FoundSlot:
    """One slot as it lies in the storage."""

    name: str
    record: SlotRecord
    certificate: Certificate


class Keyring:
    """The key slots of one repository."""

    def __init__(self, storage: Storage, repository: RepositoryId, owner_verify_key: bytes) -> None:
        self._storage = storage
        self._repository = repository
        self._owner_verify_key = owner_verify_key

    def unlock(self, credential: Secret, *, first: str = "") -> Unlocked:
        """Open with a recovery key or a passphrase; *first*: the object to try first, for each costs a derivation.

        Raises: WrongPassphrase, Damaged, StorageError.
        """
        root = parse_recovery_key(credential)
        if root is not None:
            bundle = KeyBundle.from_root(root)
            self._check_owner(bundle.signing_key().public)
            return self._unlocked(bundle, None)
        damage: Damaged | None = None
        for name in sorted(self._names(), key=lambda name: name != first):
            try:
                found = self._read(name)
                bundle_record = self._unwrap(found.record, credential)
            except RecordForged:
                continue
            except Damaged as error:
                damage = error
                continue
            if bundle_record is not None:
                return self._open(found, bundle_record)
        if damage is not None:
            raise Damaged(
                f"no intact key slot opens with this passphrase, and one is damaged: {damage.message}",
                hint="use another passphrase or the recovery key, or restore keys/ from a copy of the storage",
            )
        raise WrongPassphrase(
            "no key of this repository opens with this passphrase",
            hint="check for a typing error; the recovery key works here too",
        )

    def slots(self, warn: Callable[[str], None]) -> Iterator[FoundSlot]:
        """Every intact slot; *warn* is told of what is none, which must not keep an owner from its keys."""
        for name in self._names():
            try:
                yield self._read(name)
            except Damaged as error:
                warn(error.message)

    def check(self, name: str) -> None:
        """Check one slot object as far as that goes without its passphrase. Raises: Damaged."""
        self._read(name)

    def add(self, owner: KeyBundle, role: Role, passphrase: Secret, *, label: str, now: datetime) -> SlotId:
        """Make a slot of *role*, wrapped with *passphrase*; needs the owner's bundle."""
        slot = SlotId(os.urandom(8))
        signing = owner.signing_key()
        if role is Role.OWNER:
            bundle, certificate, envelope_public = owner, owner_certificate(signing.public), b""
        else:
            bundle = owner.narrowed(role, slot_secret=os.urandom(32))
            envelope_public = bundle.envelope_key().public
            certificate = Certificate(slot, role, bundle.signing_key().public, public_hash([envelope_public]))
        face = _Face(slot, certificate.encode(self._repository, signing), envelope_public, label)
        self._put(bundle, face, passphrase, now=now)
        return slot

    def rewrap(self, unlocked: Unlocked, passphrase: Secret, *, now: datetime) -> None:
        """Give the slot in use a new passphrase: the new object first, then the old one goes."""
        if unlocked.slot is None:
            raise UsageError(
                "a recovery key has no passphrase to change", hint="lamina key add --role owner makes a slot with one"
            )
        old = [found for found in self.slots(_ignore) if found.record.slot == unlocked.slot]
        record = old[0].record
        face = _Face(unlocked.slot, record.certificate, record.envelope_public, record.label)
        self._put(unlocked.bundle, face, passphrase, now=now)
        for found in old:
            self._storage.delete(found.name)

    def remove(self, slot: bytes) -> None:
        """Delete every object of a slot."""
        for found in list(self.slots(_ignore)):
            if found.record.slot == slot:
                self._storage.delete(found.name)

    def _names(self) -> list[str]:
        found = [item.name for item in self._storage.objects(SLOTS)]
        return sorted(name for name in found if not name.startswith(EPOCHS))

    def _read(self, name: str) -> FoundSlot:
        _, payload = decode_object(self._storage.get(name), Kind.KEY_SLOT, name=name)
        encoded, signature = bytes(payload[:-SIGNATURE_SIZE]), bytes(payload[-SIGNATURE_SIZE:])
        record = decode_record(encoded, SlotRecord, name=name)
        certificate = decode_certificate(
            record.certificate, repository=self._repository, owner_verify_key=self._owner_verify_key
        )
        if certificate is None or not is_signed(certificate.verify_key, signature, self._message(encoded)):
            raise RecordForged(f"{name} is not a slot that the owner of this repository made", hint="it is ignored")
        if certificate.role is not Role.OWNER and record.slot != certificate.slot:
            raise RecordForged(f"{name} stands under another slot than its certificate names", hint="it is ignored")
        if record.envelope_public and public_hash([record.envelope_public]) != certificate.envelope_hash:
            raise RecordForged(f"{name} names another public key than its certificate", hint="it is ignored")
        return FoundSlot(name, record, certificate)

    def _put(self, bundle: KeyBundle, face: _Face, passphrase: Secret, *, now: datetime) -> None:
        cost = KdfCost()
        record = SlotRecord(
            slot=face.slot,
            label=face.label,
            created=to_us(now),
            kdf=_ARGON2ID,
            salt=os.urandom(32),
            memory_kib=cost.memory_kib,
            iterations=cost.iterations,
            lanes=cost.lanes,
            certificate=face.certificate,
            envelope_public=face.envelope_public,
            wrapped=b"",
        )
        key = stretch(passphrase, record.salt, cost)
        wrapped = aead.seal(key, encode_record(self._bundle_record(bundle)), self._aad(record))
        encoded = encode_record(_with_wrapped(record, wrapped))
        signature = bundle.signing_key().sign(self._message(encoded))
        self._storage.put(SLOTS + os.urandom(8).hex(), [encode_object(Kind.KEY_SLOT, encoded + signature)])

    def _unwrap(self, record: SlotRecord, passphrase: Secret) -> BundleRecord | None:
        """The bundle, or None if the passphrase is another one."""
        cost = KdfCost(record.memory_kib, record.iterations, record.lanes)
        too_much = cost.memory_kib > KDF_LIMIT.memory_kib or cost.iterations > KDF_LIMIT.iterations
        if record.kdf != _ARGON2ID or too_much or cost.lanes > KDF_LIMIT.lanes:
            raise Damaged(f"key slot {record.slot.hex()} asks for a key derivation that this Lamina refuses")
        try:
            key = stretch(passphrase, record.salt, cost)
        except ValueError as error:
            raise Damaged(f"key slot {record.slot.hex()} asks for an impossible key derivation: {error}") from error
        try:
            plain = aead.unseal(key, record.wrapped, self._aad(record), what="key slot")
        except Damaged:
            return None
        return decode_record(plain, BundleRecord, name=f"key slot {record.slot.hex()}")

    def _open(self, found: FoundSlot, record: BundleRecord) -> Unlocked:
        self._check_owner(record.owner_verify_key)
        if found.certificate.role is Role.OWNER:
            bundle = KeyBundle.from_root(record.root)
        else:
            bundle = KeyBundle(
                found.certificate.role, record.structure_key, record.id_key or None, record.chunker_key or None,
                slot_secret=record.slot_secret,
            )  # fmt: skip
        return self._unlocked(bundle, found)

    def _unlocked(self, bundle: KeyBundle, found: FoundSlot | None) -> Unlocked:
        signing = bundle.signing_key()
        if bundle.root is not None:
            certificate = owner_certificate(signing.public).encode(self._repository, signing)
        else:
            assert found is not None  # noqa: S101 - only owners open without a slot
            certificate = found.record.certificate
        signer_slot = certificate[:8]
        signer = Signer(certificate, signing, signer_slot, bundle.role)
        if found is None:
            return Unlocked(bundle, self._owner_verify_key, signer, None, "", b"")
        slot, public = SlotId(found.record.slot), found.record.envelope_public
        return Unlocked(bundle, self._owner_verify_key, signer, slot, found.name, public)

    def _check_owner(self, verify_key: bytes) -> None:
        if not same(verify_key, self._owner_verify_key):
            raise WrongPassphrase(
                "this key belongs to another repository, or lamina.json was replaced",
                hint="compare the address; if it is right, somebody changed the storage",
            )

    def _bundle_record(self, bundle: KeyBundle) -> BundleRecord:
        if bundle.root is not None:
            return BundleRecord(self._owner_verify_key, bundle.root, b"", b"", b"", b"")
        return BundleRecord(
            self._owner_verify_key, b"", bundle.structure_key, bundle.id_key or b"", bundle.chunker_key or b"",
            bundle.slot_secret or b"",
        )  # fmt: skip

    def _aad(self, record: SlotRecord) -> bytes:
        return b"lamina/1 slot" + self._repository + encode_record(_with_wrapped(record, b""))

    def _message(self, encoded: bytes) -> bytes:
        return b"lamina/1 slot" + self._repository + encoded


def _with_wrapped(record: SlotRecord, wrapped: bytes) -> SlotRecord:
    return msgspec.structs.replace(record, wrapped=wrapped)


def _ignore(_warning: str) -> None:
    """What is no slot is of no concern here."""
