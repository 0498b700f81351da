"""What the owner says of a key slot: this verify key may sign as this role."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from lamina.crypto.keys import OWNER_SLOT
from lamina.crypto.signing import SIGNATURE_SIZE, SigningKey, is_signed
from lamina.model.snapshots import Role

ROLE_NUMBERS = {Role.OWNER: 1, Role.WRITER: 2, Role.STEWARD: 3}
_ROLES = {number: role for role, number in ROLE_NUMBERS.items()}
_FIELDS = struct.Struct("<8sB32s32s")  # slot, role, verify key, hash of the slot's envelope public key
_DOMAIN = b"lamina/1 certificate"
CERTIFICATE_SIZE = _FIELDS.size + SIGNATURE_SIZE  # 137 bytes


@dataclass(frozen=True, slots=True)
class Certificate:
    """One slot's role and verify key, vouched for by the owner."""

    slot: bytes  # 8 bytes; zeros for the owner
    role: Role
    verify_key: bytes
    envelope_hash: bytes  # of the slot's envelope public key; zeros for the owner

    def encode(self, repository: bytes, owner: SigningKey) -> bytes:
        """The certificate's 137 bytes, signed by the owner for one repository."""
        fields = _FIELDS.pack(self.slot, ROLE_NUMBERS[self.role], self.verify_key, self.envelope_hash)
        return fields + owner.sign(_DOMAIN + repository + fields)


def owner_certificate(verify_key: bytes) -> Certificate:
    """The owner vouching for itself."""
    return Certificate(OWNER_SLOT, Role.OWNER, verify_key, bytes(32))


def decode_certificate(data: bytes, *, repository: bytes, owner_verify_key: bytes) -> Certificate | None:
    """The certificate in *data*, or None if the owner did not sign it for this repository."""
    fields, signature = data[: _FIELDS.size], data[_FIELDS.size :]
    if len(data) != CERTIFICATE_SIZE or not is_signed(owner_verify_key, signature, _DOMAIN + repository + fields):
        return None
    slot, number, verify_key, envelope_hash = _FIELDS.unpack(fields)
    role = _ROLES.get(number)
    if role is None or (role is Role.OWNER) != (verify_key == owner_verify_key):
        return None
    return Certificate(slot, role, verify_key, envelope_hash)
