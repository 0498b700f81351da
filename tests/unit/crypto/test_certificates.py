"""The owner's word for a key."""

from __future__ import annotations

import pytest

from lamina.crypto.certificates import (
    CERTIFICATE_SIZE,
    Certificate,
    decode_certificate,
    owner_certificate,
)
from lamina.crypto.signing import SigningKey, is_signed
from lamina.model.snapshots import Role

OWNER, SLOT = SigningKey(bytes(32)), SigningKey(bytes([1]) * 32)
HOME, ELSEWHERE = b"h" * 16, b"e" * 16
WRITER = Certificate(b"slotslot", Role.WRITER, SLOT.public, b"x" * 32)


def decode(data: bytes, repository: bytes = HOME) -> Certificate | None:
    return decode_certificate(data, repository=repository, owner_verify_key=OWNER.public)


@pytest.mark.parametrize("certificate", [WRITER, owner_certificate(OWNER.public)], ids=["writer", "owner"])
def test_what_the_owner_signed_is_believed(certificate: Certificate):
    encoded = certificate.encode(HOME, OWNER)
    assert len(encoded) == CERTIFICATE_SIZE
    assert decode(encoded) == certificate


def test_a_certificate_counts_for_its_repository_only():
    assert decode(WRITER.encode(ELSEWHERE, OWNER)) is None


def test_nobody_certifies_himself():
    assert decode(WRITER.encode(HOME, SLOT)) is None


def test_a_slot_key_is_never_an_owner_even_if_the_owner_signed_it():
    assert decode(Certificate(b"slotslot", Role.OWNER, SLOT.public, bytes(32)).encode(HOME, OWNER)) is None


def test_the_owner_key_is_never_a_writer():
    assert decode(Certificate(b"slotslot", Role.WRITER, OWNER.public, bytes(32)).encode(HOME, OWNER)) is None


@pytest.mark.parametrize("place", range(0, CERTIFICATE_SIZE, 8))
def test_a_changed_certificate_is_not_believed(place: int):
    encoded = bytearray(WRITER.encode(HOME, OWNER))
    encoded[place] ^= 1
    assert decode(bytes(encoded)) is None


@pytest.mark.parametrize("data", [b"", b"x", WRITER.encode(HOME, OWNER) + b"x"])
def test_another_length_is_no_certificate(data: bytes):
    assert decode(data) is None


def test_a_signature_is_for_its_key_and_message():
    signature = SLOT.sign(b"yes")
    assert is_signed(SLOT.public, signature, b"yes")
    assert not is_signed(SLOT.public, signature, b"no")
    assert not is_signed(OWNER.public, signature, b"yes")
    assert not is_signed(b"no key", signature, b"yes")
    assert repr(SLOT) == "SigningKey(***)"
