"""Hashes with and without a key."""

from __future__ import annotations

from blake3 import blake3

from lamina.crypto.hashing import derive, keyed_hash, public_hash, same

KEY = bytes(range(32))


def test_a_public_hash_is_that_of_the_joined_parts():
    assert public_hash([b"ab", b"", memoryview(b"c")]) == public_hash([b"abc"]) == blake3(b"abc").digest()


def test_a_keyed_hash_needs_its_key():
    assert keyed_hash(KEY, b"abc") != keyed_hash(bytes(32), b"abc") != public_hash([b"abc"])


def test_every_purpose_and_field_makes_another_key():
    made = {derive(KEY, "a"), derive(KEY, "b"), derive(KEY, "a", b"1"), derive(KEY, "a1"), derive(bytes(32), "a")}
    assert len(made) == 5
    assert all(len(key) == 32 for key in made)


def test_secrets_are_compared_by_value():
    assert same(b"one", b"o" + b"ne")
    assert not same(b"one", b"two")
