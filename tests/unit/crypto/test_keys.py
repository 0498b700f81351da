"""Who holds which key."""

from __future__ import annotations

from lamina.crypto.keys import KeyBundle
from lamina.model.snapshots import Role

OWNER = KeyBundle.from_root(bytes(32))


def test_a_root_makes_all_keys_and_each_differs():
    keys = [OWNER.structure_key, OWNER.id_key, OWNER.chunker_key, OWNER.root]
    assert len(set(keys)) == 4
    assert KeyBundle.from_root(bytes(32)) == OWNER


def test_a_writer_cannot_find_the_root():
    writer = OWNER.narrowed(Role.WRITER, b"s" * 32)
    assert (writer.root, writer.id_key, writer.structure_key) == (None, OWNER.id_key, OWNER.structure_key)


def test_a_steward_can_neither_name_content_nor_cut_it():
    steward = OWNER.narrowed(Role.STEWARD, b"s" * 32)
    assert (steward.root, steward.id_key, steward.chunker_key) == (None, None, None)


def test_a_slot_signs_and_opens_with_keys_of_its_own():
    writer = OWNER.narrowed(Role.WRITER, b"s" * 32)
    assert writer.signing_key().public != OWNER.signing_key().public
    assert writer.envelope_key().public != OWNER.envelope_key().public


def test_every_epoch_has_a_key_of_its_own():
    assert OWNER.envelope_key(0).public != OWNER.envelope_key(1).public


def test_no_key_is_shown():
    shown = repr(OWNER.narrowed(Role.WRITER, b"s" * 32)) + repr(OWNER)
    assert "key" not in shown
    assert "root" not in shown
    assert "secret" not in shown
