"""lamina.json."""

from __future__ import annotations

import json

import pytest

from lamina.crypto.hashing import public_hash
from lamina.errors import Damaged, FormatUnknown
from lamina.repository.birth import decode_birth, new_birth

KEY = bytes(range(32))
BIRTH = new_birth(KEY, b"o" * 32)


def hashed(fields: object) -> bytes:
    """A document with a right hash, as anybody can make one."""
    head = json.dumps(fields, indent=2).encode().removesuffix(b"\n}")
    return head + b',\n  "hash": "' + public_hash([head]).hex().encode() + b'"\n}\n'


def fields(**changes: object) -> dict[str, object]:
    known = json.loads(BIRTH.encode())
    del known["hash"]
    return {name: value for name, value in (known | changes).items() if value is not None}


def test_it_comes_back_and_is_proven_by_the_structure_key():
    found = decode_birth(BIRTH.encode())
    assert found == BIRTH
    found.check(KEY)
    with pytest.raises(Damaged, match=r"lamina\.json"):
        found.check(bytes(32))


@pytest.mark.parametrize("change", [{"version": 2}, {"features": 1}])
def test_a_newer_format_is_said_to_be_newer(change: dict[str, object]):
    with pytest.raises(FormatUnknown):
        decode_birth(hashed(fields(**change)))


@pytest.mark.parametrize(
    "change",
    [{"magic": None}, {"magic": "other"}, {"repository": 5}, {"owner": "xyz"}, {"version": None}, {"mac": None}, {"version": []}],
)  # fmt: skip
def test_missing_and_senseless_fields_are_damage(change: dict[str, object]):
    with pytest.raises(Damaged):
        decode_birth(hashed(fields(**change)))


@pytest.mark.parametrize(
    "data", [b"", b"{}", b"[]", b"null", b"\xff", b'"hash"', b"[" * 100_000, BIRTH.encode()[:-3], b"x" + BIRTH.encode()]
)
def test_what_is_no_such_document_is_damage(data: bytes):
    with pytest.raises(Damaged):
        decode_birth(data)


@pytest.mark.parametrize("place", range(0, len(BIRTH.encode()) - 3, 7))
def test_a_flipped_bit_is_noticed(place: int):
    data = bytearray(BIRTH.encode())
    data[place] ^= 2
    with pytest.raises(Damaged):
        decode_birth(bytes(data)).check(KEY)
