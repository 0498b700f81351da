"""Session keys sealed to a public key."""

from __future__ import annotations

import pytest

from lamina.crypto.envelope import PUBLIC_KEY_SIZE, EnvelopeKey, seal_to
from lamina.errors import Damaged

SEED, INFO, SECRET = bytes(range(32)), b"this session", bytes(reversed(range(32)))


def test_only_the_private_half_opens_an_envelope():
    key = EnvelopeKey(SEED)
    envelope = seal_to(key.public, SECRET, INFO)
    assert key.unseal(envelope, INFO) == SECRET
    with pytest.raises(Damaged):
        EnvelopeKey(bytes(32)).unseal(envelope, INFO)


def test_an_envelope_opens_only_for_the_use_it_was_sealed_for():
    key = EnvelopeKey(SEED)
    with pytest.raises(Damaged):
        key.unseal(seal_to(key.public, SECRET, INFO), b"another session")


def test_a_seed_always_makes_the_same_key():
    assert EnvelopeKey(SEED).public == EnvelopeKey(SEED).public
    assert len(EnvelopeKey(SEED).public) == PUBLIC_KEY_SIZE


@pytest.mark.parametrize("cut", [0, 1, 31, 1000, 1120, -1])
def test_a_cut_envelope_is_damage(cut: int):
    key = EnvelopeKey(SEED)
    with pytest.raises(Damaged):
        key.unseal(seal_to(key.public, SECRET, INFO)[:cut], INFO)


def test_two_envelopes_of_one_secret_differ():
    key = EnvelopeKey(SEED)
    assert seal_to(key.public, SECRET, INFO) != seal_to(key.public, SECRET, INFO)


def test_a_private_key_does_not_show_itself():
    assert repr(EnvelopeKey(SEED)) == "EnvelopeKey(***)"
