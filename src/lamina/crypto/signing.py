"""Who wrote a record: Ed25519 signatures (RFC 8032)."""

from __future__ import annotations

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

SIGNATURE_SIZE = 64  # bytes


class SigningKey:
    """A private key that signs, made from a 32-byte seed."""

    def __init__(self, seed: bytes) -> None:
        self._private = Ed25519PrivateKey.from_private_bytes(seed)
        self.public = self._private.public_key().public_bytes_raw()

    def sign(self, message: bytes) -> bytes:
        """Return the 64-byte signature of *message*."""
        return self._private.sign(message)

    def __repr__(self) -> str:
        return "SigningKey(***)"


def is_signed(public: bytes, signature: bytes, message: bytes) -> bool:
    """Whether *signature* of *message* was made by the private half of *public*."""
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True
