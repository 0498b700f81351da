"""The keys of one repository: from a root or a slot's secret to one sub-key a purpose, by role.

root (32 bytes, the recovery key)          owner
├── id key        names chunks             owner  writer
├── chunker key   places content cuts      owner  writer
├── structure key opens shapes, not names  owner  writer  steward
├── signing key   the owner's signature    owner
├── cache key     seals the owner's caches owner
└── epoch n key   opens session keys       owner
slot secret (32 bytes)                            writer  steward
├── signing key   this slot's signature
├── cache key     seals this slot's caches
└── envelope key  opens metadata keys sealed to this slot
"""

from __future__ import annotations

from dataclasses import dataclass, field

from lamina.crypto.envelope import EnvelopeKey
from lamina.crypto.hashing import derive
from lamina.crypto.signing import SigningKey
from lamina.model.snapshots import Role

OWNER_SLOT = bytes(8)  # who signs with the owner's key, and the recipient "the repository"


@dataclass(frozen=True, slots=True)
class KeyBundle:
    """What one key holder holds; fields its role does not have are None. Never shown."""

    role: Role
    structure_key: bytes = field(repr=False)
    id_key: bytes | None = field(default=None, repr=False)
    chunker_key: bytes | None = field(default=None, repr=False)
    root: bytes | None = field(default=None, repr=False)
    slot_secret: bytes | None = field(default=None, repr=False)

    @classmethod
    def from_root(cls, root: bytes) -> KeyBundle:
        """The owner's bundle: everything comes from the root."""
        return cls(
            Role.OWNER,
            structure_key=derive(root, "lamina/1 structure key"),
            id_key=derive(root, "lamina/1 id key"),
            chunker_key=derive(root, "lamina/1 chunker key"),
            root=root,
        )

    def narrowed(self, role: Role, slot_secret: bytes) -> KeyBundle:
        """What an owner hands to a slot of another role."""
        writes = role is Role.WRITER
        return KeyBundle(
            role,
            structure_key=self.structure_key,
            id_key=self.id_key if writes else None,
            chunker_key=self.chunker_key if writes else None,
            slot_secret=slot_secret,
        )

    def signing_key(self) -> SigningKey:
        """The key this holder signs records with."""
        if self.root is not None:
            return SigningKey(derive(self.root, "lamina/1 signing key"))
        return SigningKey(derive(self._secret(), "lamina/1 slot signing key"))

    def envelope_key(self, epoch: int = 0) -> EnvelopeKey:
        """The key that opens what was sealed to this holder: the repository's of *epoch*, or the slot's own."""
        if self.root is not None:
            return EnvelopeKey(derive(self.root, "lamina/1 epoch key", epoch.to_bytes(4, "little")))
        return EnvelopeKey(derive(self._secret(), "lamina/1 slot envelope key"))

    def cache_key(self) -> bytes:
        """The key that seals what this holder keeps in caches; no other holder has it."""
        return derive(self.root if self.root is not None else self._secret(), "lamina/1 cache key")

    def _secret(self) -> bytes:
        assert self.slot_secret is not None  # noqa: S101 - every bundle without a root has one
        return self.slot_secret
