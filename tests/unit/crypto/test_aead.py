"""One message under one key."""

from __future__ import annotations

import pytest

from lamina.crypto.aead import TAG_SIZE, seal, unseal
from lamina.errors import Damaged

KEY, AAD = bytes(range(32)), b"what it is for"


@pytest.mark.parametrize("size", [0, 1, 65536])
def test_what_was_sealed_is_opened(size: int):
    plain = bytes(size)
    sealed = seal(KEY, plain, AAD)
    assert len(sealed) == size + TAG_SIZE
    assert unseal(KEY, memoryview(sealed), AAD, what="it") == plain


@pytest.mark.parametrize("place", [0, 7, -1], ids=["first", "middle", "tag"])
def test_one_flipped_bit_is_damage_and_names_the_thing(place: int):
    sealed = bytearray(seal(KEY, b"content", AAD))
    sealed[place] ^= 1
    with pytest.raises(Damaged, match="the thing"):
        unseal(KEY, bytes(sealed), AAD, what="the thing")


@pytest.mark.parametrize(("key", "aad"), [(bytes(32), AAD), (KEY, b"another use")], ids=["key", "aad"])
def test_another_key_or_use_does_not_open_it(key: bytes, aad: bytes):
    with pytest.raises(Damaged):
        unseal(key, seal(KEY, b"content", AAD), aad, what="it")


@pytest.mark.parametrize("size", [0, 1, TAG_SIZE - 1])
def test_less_than_a_tag_is_damage(size: int):
    with pytest.raises(Damaged):
        unseal(KEY, bytes(size), AAD, what="it")
