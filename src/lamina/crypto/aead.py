"""Seal and open one message: AES-256-GCM under a key that seals nothing else.

The nonce is always zero: every key is derived from a fresh random salt and used once, so there is no counter to lose, and a
cloned machine can at worst seal the same plaintext again.
"""

from __future__ import annotations

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from lamina.errors import Damaged
from lamina.model.entries import Buffer

TAG_SIZE = 16  # bytes that sealing adds
_NONCE = bytes(12)


def seal(key: bytes, plaintext: Buffer, aad: bytes) -> bytes:
    """Encrypt and authenticate *plaintext*, and authenticate *aad*, under a key that is used only once."""
    return AESGCM(key).encrypt(_NONCE, plaintext, aad)


def unseal(key: bytes, ciphertext: Buffer, aad: bytes, *, what: str) -> bytes:
    """Return the plaintext. Raises: Damaged, naming *what*, if one bit of ciphertext, key or *aad* differs."""
    try:
        return AESGCM(key).decrypt(_NONCE, ciphertext, aad)
    except InvalidTag:
        raise Damaged(
            f"{what} does not authenticate: its bytes were changed, or it was sealed with another key",
            hint="run `lamina verify` to see what else is affected",
        ) from None
