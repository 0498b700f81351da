"""From what a person remembers or has on paper to a 32-byte key."""

from __future__ import annotations

import base64
import binascii
import os
from dataclasses import dataclass

from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from lamina.crypto.hashing import public_hash
from lamina.errors import WrongPassphrase
from lamina.model.secret import Secret


@dataclass(frozen=True, slots=True)
class KdfCost:
    """What one guess costs: Argon2id's parameters, RFC 9106's second recommended choice (64 MiB)."""

    memory_kib: int = 64 * 1024
    iterations: int = 3
    lanes: int = 4


KDF_LIMIT = KdfCost(memory_kib=4 * 1024 * 1024, iterations=64, lanes=64)  # a hostile slot may not ask for more


def stretch(passphrase: Secret, salt: bytes, cost: KdfCost) -> bytes:
    """Derive a 32-byte key from a passphrase with Argon2id (RFC 9106)."""
    kdf = Argon2id(salt=salt, length=32, iterations=cost.iterations, lanes=cost.lanes, memory_cost=cost.memory_kib)
    return kdf.derive(passphrase.reveal())


_PREFIX = "LAMINA-1-"
_CROCKFORD = str.maketrans("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", "0123456789ABCDEFGHJKMNPQRSTVWXYZ")
_STANDARD = str.maketrans("0123456789ABCDEFGHJKMNPQRSTVWXYZ", "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567")
_MISREAD = str.maketrans("ILO", "110")  # Crockford: letters that people write for digits
_CHECK_SIZE = 3  # bytes; 35 bytes are exactly 56 letters


def new_root() -> bytes:
    """32 fresh random bytes: all a repository's keys come from them."""
    return os.urandom(32)


def format_recovery_key(root: bytes) -> str:
    """Write a 32-byte key for paper: Crockford's base 32 (no I, L, O, U) in groups of seven, with a checksum.

    >>> format_recovery_key(bytes(32))
    'LAMINA-1-0000000-0000000-0000000-0000000-0000000-0000000-0000000-001N92Q'
    """
    payload = root + public_hash([_PREFIX.encode(), root])[:_CHECK_SIZE]
    letters = base64.b32encode(payload).decode().translate(_CROCKFORD)
    return _PREFIX + "-".join(letters[i : i + 7] for i in range(0, len(letters), 7))


def parse_recovery_key(text: Secret) -> bytes | None:
    """Return the key that *text* writes, or None if it does not look like a recovery key at all.

    Raises: WrongPassphrase if it looks like one and its checksum is wrong (a misread letter).
    """
    letters = text.reveal().decode("utf-8", "replace").strip().upper()
    if not letters.startswith(_PREFIX):
        return None
    letters = "".join(letters[len(_PREFIX) :].replace("-", "").split()).translate(_MISREAD)
    try:
        payload = base64.b32decode(letters.translate(_STANDARD))
    except (binascii.Error, ValueError):
        payload = b""
    root, check = payload[:32], payload[32:]
    if len(root) != 32 or check != public_hash([_PREFIX.encode(), root])[:_CHECK_SIZE]:
        raise WrongPassphrase(
            "the recovery key is misspelt: its checksum does not fit", hint="compare it with the paper letter by letter"
        )
    return root
