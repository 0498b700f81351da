"""A list that remembers what immutable records said, and believes nothing else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from lamina.errors import StorageUnavailable
from lamina.model.ids import SessionId
from lamina.model.snapshots import Snapshot
from lamina.repository import snapshot_cache
from lamina.repository.format import Kind
from lamina.repository.object_names import ATTRIBUTES, numbered, session_folder, snapshot_name
from lamina.repository.records import AbortRecord
from lamina.repository.snapshot_cache import Remembered
from lamina.testing.damage import flip_bit
from lamina.testing.many_snapshots import add_snapshots
from lamina.testing.repositories import SmallRepository
from lamina.testing.storages import Fault, FaultyStorage

COUNT = 60


@pytest.fixture
def filled() -> SmallRepository:
    """A repository with `COUNT` snapshots, with nothing behind their records: no verify would be content with it."""
    small = SmallRepository()
    repository = small.open()
    add_snapshots(repository, COUNT)
    repository.close()
    return small


def listed(
    small: SmallRepository, cache: Path | None, holder: str = "owner", storage: FaultyStorage | None = None
) -> list[Snapshot]:
    """What a new process shows."""
    repository = small.open(holder, cache=cache, storage=storage)
    try:
        return repository.snapshots(removed=True)
    finally:
        repository.close()


def reads(small: SmallRepository, cache: Path, holder: str = "owner") -> list[str]:
    """The records of snapshots that a new process reads to show them all."""
    storage = FaultyStorage(small.storage)
    listed(small, cache, holder, storage)
    folders = ("snapshots/", "attributes/", "removed/")
    return [name for call, name in storage.calls if call != "objects" and name.startswith(folders)]


def files(cache: Path) -> list[Path]:
    return sorted(cache.rglob("snapshots-*"))


def test_a_list_is_the_same_with_and_without_a_cache(filled: SmallRepository, tmp_path: Path):
    for holder in ("owner", "writer", "steward"):
        plain = listed(filled, None, holder)
        assert len(plain) == COUNT
        assert listed(filled, tmp_path, holder) == plain
        assert listed(filled, tmp_path, holder) == plain


def test_what_was_read_once_is_not_read_again(filled: SmallRepository, tmp_path: Path):
    assert len(reads(filled, tmp_path)) >= 2 * COUNT
    assert reads(filled, tmp_path) == []


def test_only_what_is_new_is_read(filled: SmallRepository, tmp_path: Path):
    first, second, *_ = listed(filled, tmp_path)
    owner = filled.open()
    tagged, removed = owner.edit(second, note="new"), first
    owner.unforget(first) if first.removed else owner.forget(first)
    owner.close()
    names = reads(filled, tmp_path)
    assert {name.split("/")[1] for name in names} == {tagged.id.hex(), removed.id.hex()}
    after = {one.id: one for one in listed(filled, tmp_path)}
    assert after[second.id].note == "new"
    assert after[first.id].removed is not first.removed
    assert list(after.values()) == listed(filled, None)


def test_what_vanished_from_the_storage_vanishes_from_the_list(filled: SmallRepository, tmp_path: Path):
    gone, *left = listed(filled, tmp_path)
    filled.storage.delete(snapshot_name(gone.id))
    assert listed(filled, tmp_path) == left


def test_a_session_that_was_given_up_is_remembered_as_that(small: SmallRepository, tmp_path: Path):
    name = snapshot_name(SessionId(bytes(16)))
    small.open().access.control.write(Kind.ABORT, name, AbortRecord(1, "no sign of life"))
    assert listed(small, tmp_path) == []
    assert reads(small, tmp_path) == []
    assert listed(small, tmp_path) == []


def test_no_name_lies_in_the_cache_for_others_to_read(filled: SmallRepository, tmp_path: Path):
    snapshot = listed(filled, tmp_path)[0]
    listed(filled, tmp_path, "steward")
    assert snapshot.name is not None
    assert len(files(tmp_path)) == 2  # each key holder has its own
    for file in files(tmp_path):
        data = file.read_bytes()
        for text in (snapshot.name, snapshot.host, *snapshot.paths, "machine"):
            assert text.encode() not in data


def test_the_cache_of_another_key_is_as_good_as_none(filled: SmallRepository, tmp_path: Path):
    listed(filled, tmp_path)
    (owners,) = files(tmp_path)
    listed(filled, tmp_path, "steward")
    (stewards,) = (file for file in files(tmp_path) if file != owners)
    stewards.write_bytes(owners.read_bytes())
    found = listed(filled, tmp_path, "steward")
    assert len(found) == COUNT
    assert not any(one.readable for one in found)


@pytest.mark.parametrize("place", [0, 40, 1000, -1])
def test_a_damaged_cache_is_ignored_and_replaced(filled: SmallRepository, tmp_path: Path, place: int):
    plain = listed(filled, tmp_path)
    (file,) = files(tmp_path)
    data = bytearray(file.read_bytes())
    data[place] ^= 1
    file.write_bytes(data)
    assert listed(filled, tmp_path) == plain
    assert reads(filled, tmp_path) == []


@pytest.mark.parametrize("data", [b"", b"x", bytes(1000)])
def test_a_cache_that_was_cut_is_ignored(filled: SmallRepository, tmp_path: Path, data: bytes):
    plain = listed(filled, tmp_path)
    (file,) = files(tmp_path)
    file.write_bytes(data)
    assert listed(filled, tmp_path) == plain


def test_what_another_lamina_wrote_is_not_understood(
    filled: SmallRepository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    listed(filled, tmp_path)
    monkeypatch.setattr(snapshot_cache, "_EDITION", b"2.0 id started")
    assert len(reads(filled, tmp_path)) >= 2 * COUNT


def test_a_cache_that_cannot_be_kept_costs_only_time(filled: SmallRepository, tmp_path: Path):
    place = tmp_path / "a file"
    place.touch()
    assert listed(filled, place) == listed(filled, None)


def test_a_damaged_record_is_named_every_time(filled: SmallRepository, tmp_path: Path):
    bad, marked, *_ = listed(filled, None)
    flip_bit(filled.storage, snapshot_name(bad.id), -40)
    flip_bit(filled.storage, numbered(session_folder(ATTRIBUTES, marked.id), 1), -40)
    whole = [one.id for one in listed(filled, None)]
    assert bad.id not in whole
    for _ in range(2):
        filled.progress.messages.clear()
        assert [one.id for one in listed(filled, tmp_path)] == whole
        assert any(bad.id.hex() in message for message in filled.progress.messages)
        assert any(marked.id.hex() in message for message in filled.progress.messages)


@pytest.mark.parametrize("folder", ["snapshots/", "attributes/", "removed/"])
def test_a_folder_that_cannot_be_listed_is_not_empty(filled: SmallRepository, tmp_path: Path, folder: str):
    listed(filled, tmp_path)
    with pytest.raises(StorageUnavailable):
        listed(filled, tmp_path, storage=FaultyStorage(filled.storage, [Fault("objects", prefix=folder)]))


def test_what_a_session_relies_on_is_read_from_the_storage(filled: SmallRepository, tmp_path: Path):
    repository = filled.open(cache=tmp_path)
    kept = next(one for one in repository.snapshots() if not one.removed)
    parent = repository.parent(kept)
    assert parent.still_there()
    filled.storage.delete(snapshot_name(kept.id))
    assert not parent.still_there()
    repository.close()


def test_who_asks_for_the_truth_gets_it(filled: SmallRepository, tmp_path: Path):
    plain = listed(filled, tmp_path)
    storage = FaultyStorage(filled.storage)
    repository = filled.open(cache=tmp_path, storage=storage)
    repository.ignore_cache()
    assert repository.snapshots(removed=True) == plain
    assert sum(call == "get" and name.startswith("snapshots/") for call, name in storage.calls) == COUNT
    repository.close()


def test_names_that_are_no_unicode_come_back(filled: SmallRepository):
    one = replace(listed(filled, None)[0], paths=("a\udcff", "b"), users={0: "r\udcfe"}, groups={7: "w"})
    assert one.name is not None
    remembered = Remembered.of("snapshots/x", b"m", one)
    assert remembered.snapshot is not None
    assert not remembered.snapshot.paths
    assert remembered.recall() == one
