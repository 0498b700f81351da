"""Key slots and what opens them."""

from __future__ import annotations

import pytest

from lamina.errors import NotPermitted, RepositoryMissing, UsageError, WrongPassphrase
from lamina.model.secret import Secret
from lamina.model.snapshots import Role
from lamina.repository.repository import Repository
from lamina.testing.damage import flip_bit
from lamina.testing.repositories import SmallRepository
from lamina.testing.storages import MemoryStorage


def unlock(small: SmallRepository, text: str) -> Role:
    repository = Repository.open(small.storage, Secret(text.encode()), small.operation())
    repository.close()
    return repository.role


def test_every_passphrase_opens_with_its_role(small: SmallRepository):
    assert [unlock(small, holder) for holder in ("owner", "writer", "steward")] == [
        Role.OWNER,
        Role.WRITER,
        Role.STEWARD,
    ]


def test_the_recovery_key_opens_as_owner_even_without_any_slot(small: SmallRepository):
    for name in [found.name for found in small.storage.objects("keys/") if "epoch" not in found.name]:
        small.storage.delete(name)
    assert unlock(small, small.recovery_key.lower()) is Role.OWNER


@pytest.mark.parametrize("text", ["", "Owner", "owner "])
def test_a_wrong_passphrase_is_wrong(small: SmallRepository, text: str):
    with pytest.raises(WrongPassphrase):
        unlock(small, text)


def test_a_misspelt_recovery_key_is_called_misspelt(small: SmallRepository):
    key = small.recovery_key
    with pytest.raises(WrongPassphrase, match="misspelt"):
        unlock(small, key[:-1] + ("0" if key[-1] != "0" else "1"))


def test_the_recovery_key_of_another_repository_is_wrong(small: SmallRepository):
    from lamina.crypto.passphrases import format_recovery_key

    with pytest.raises(WrongPassphrase, match="another repository"):
        unlock(small, format_recovery_key(bytes(32)))


def test_an_empty_place_is_no_repository():
    with pytest.raises(RepositoryMissing):
        Repository.open(MemoryStorage(), Secret(b"x"), SmallRepository().operation())


def test_one_damaged_slot_does_not_keep_others_from_opening():
    damaged = SmallRepository()
    repository = damaged.open()
    name = next(found.name for found in repository._keyring.slots(print) if found.record.label == "writer")
    repository.close()
    flip_bit(damaged.storage, name, 300)
    assert unlock(damaged, "owner") is Role.OWNER
    with pytest.raises(Exception, match=name):
        unlock(damaged, "writer")


def test_a_new_passphrase_replaces_the_old_one(small: SmallRepository):
    repository = Repository.open(small.storage, Secret(b"writer"), small.operation())
    before = repository.keys()
    repository.change_passphrase(Secret(b"another"))
    after = repository.keys()
    assert {slot.id for slot in after} == {slot.id for slot in before}
    repository.close()
    assert unlock(small, "another") is Role.WRITER
    with pytest.raises(WrongPassphrase):
        unlock(small, "writer")


def test_a_recovery_key_has_no_passphrase_to_change(small: SmallRepository):
    repository = Repository.open(small.storage, Secret(small.recovery_key.encode()), small.operation())
    with pytest.raises(UsageError, match="recovery key"):
        repository.change_passphrase(Secret(b"x"))
    assert repository.export_key() == small.recovery_key
    repository.close()


def test_a_removed_slot_opens_no_more_and_the_last_owner_stays(small: SmallRepository):
    repository = small.open()
    slots = repository.keys()
    by_label = {slot.label: slot for slot in slots}
    repository.remove_key(by_label["writer"].id[:6])
    with pytest.raises(UsageError, match="last owner"):
        repository.remove_key(by_label[""].id)
    for none in ("", "zz", by_label["writer"].id):
        with pytest.raises(UsageError):
            repository.remove_key(none)
    second = repository.add_key(Role.OWNER, Secret(b"second"))
    repository.remove_key(by_label[""].id)
    repository.close()
    assert unlock(small, "second") is Role.OWNER
    with pytest.raises(WrongPassphrase):
        unlock(small, "writer")
    assert second.role is Role.OWNER


def test_only_owners_manage_keys(small: SmallRepository):
    for holder in ("writer", "steward"):
        repository = small.open(holder)
        with pytest.raises(NotPermitted):
            repository.add_key(Role.WRITER, Secret(b"x"))
        repository.close()


def test_no_key_or_passphrase_is_shown(small: SmallRepository):
    repository = small.open()
    shown = f"{repository._unlocked!r} {repository.access!r} {repository.keys()!r}"
    bundle = repository._unlocked.bundle
    for secret in (bundle.root, bundle.structure_key, bundle.id_key):
        assert repr(secret) not in shown
        assert secret.hex() not in shown
    repository.close()
