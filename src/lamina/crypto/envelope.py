"""A session's key, sealed to a public key: HPKE (RFC 9180) with the hybrid KEM ML-KEM-768 + X25519.

Hybrid, so that what is uploaded today stays unreadable both to an attacker with a quantum computer and to one who breaks
the younger ML-KEM.
"""

from __future__ import annotations

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, MLKEM768X25519PrivateKey, MLKEM768X25519PublicKey, Suite

from lamina.crypto.hashing import derive
from lamina.errors import Damaged

ALGORITHM = 1  # stored: HPKE base mode, KEM ML-KEM-768 + X25519, HKDF-SHA256, AES-256-GCM
PUBLIC_KEY_SIZE = 1184 + 32  # bytes: ML-KEM-768 encapsulation key (FIPS 203), then X25519

_SUITE = Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
_MLKEM_PUBLIC_SIZE = 1184


class EnvelopeKey:
    """A private key that opens envelopes, made from a 32-byte seed."""

    def __init__(self, seed: bytes) -> None:
        mlkem = MLKEM768PrivateKey.from_seed_bytes(derive(seed, "mlkem d") + derive(seed, "mlkem z"))
        x25519 = X25519PrivateKey.from_private_bytes(derive(seed, "x25519"))
        self._private = MLKEM768X25519PrivateKey(mlkem, x25519)
        self.public = mlkem.public_key().public_bytes_raw() + x25519.public_key().public_bytes_raw()

    def unseal(self, envelope: bytes, info: bytes) -> bytes:
        """Return what was sealed to this key with the same *info*. Raises: Damaged."""
        try:
            return _SUITE.decrypt(envelope, self._private, info)
        except (InvalidTag, ValueError):
            raise Damaged(
                "a sealed session key does not open", hint="it was changed, or sealed to another key"
            ) from None

    def __repr__(self) -> str:
        return "EnvelopeKey(***)"


def seal_to(public: bytes, secret: bytes, info: bytes) -> bytes:
    """Seal *secret* so that only the private half of *public* opens it, and only with the same *info*."""
    key = MLKEM768X25519PublicKey(
        MLKEM768PublicKey.from_public_bytes(public[:_MLKEM_PUBLIC_SIZE]),
        X25519PublicKey.from_public_bytes(public[_MLKEM_PUBLIC_SIZE:]),
    )
    return _SUITE.encrypt(secret, key, info)
