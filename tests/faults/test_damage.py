"""Bit rot and lost objects: `verify` names the object and the snapshots it costs, and all else still restores."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from lamina.errors import LaminaError
from lamina.storage.storage import Storage
from lamina.testing.damage import cut_object, flip_bit, swap_objects
from lamina.testing.repositories import CHUNK, SmallRepository

FIRST = random.Random(1).randbytes(5 * CHUNK + 17)
SECOND = FIRST[:CHUNK] + random.Random(2).randbytes(CHUNK) + FIRST[2 * CHUNK :]
ALONE = random.Random(3).randbytes(3 * CHUNK)

KINDS = ["lamina.json", "format/", "keys/epoch-", "keys/", "sessions/", "index/delta/", "snapshots/", "attributes/",
         "removed/", "data/", "meta/"]  # fmt: skip


@pytest.fixture(scope="module")
def saved() -> SmallRepository:
    """Two snapshots of one image that share chunks, and one of another that shares none; to be copied and damaged."""
    repository = SmallRepository()
    for content, name in ((FIRST, "shared"), (SECOND, "shared"), (ALONE, "alone")):
        repository.back_up(content, name=name)
    opened = repository.open()
    opened.forget(opened.find_snapshot("alone@latest"))
    opened.unforget(opened.find_snapshot("alone@latest", removed=True))
    opened.close()
    return repository


def names(repository: SmallRepository, kind: str) -> list[str]:
    found = sorted(item.name for item in repository.storage.objects() if item.name.startswith(kind))
    if kind == "keys/":
        found = [name for name in found if "epoch" not in name]
    assert found
    return found


FLIPS: dict[str, Callable[[int], int]] = {
    "magic": lambda _: 0,
    "version": lambda _: 7,
    "reserved": lambda _: 13,
    "body": lambda size: size // 2,
    "towards-the-end": lambda size: size - 70,
    "hash": lambda size: size - 20,
    "last": lambda size: size - 1,
}
CUTS: dict[str, Callable[[int], int]] = {
    "empty": lambda _: 0,
    "header": lambda _: 16,
    "half": lambda size: size // 2,
    "one-byte-less": lambda size: size - 1,
}


def check_named(damaged: SmallRepository, name: str) -> None:
    """*name* is reported, by whoever meets it, and what does not need it restores."""
    report = damaged.verify()
    found = [problem for problem in report.problems if problem.object == name]
    assert found, f"{name} is not among {[problem.object for problem in report.problems]}"
    hit = {snapshot for problem in report.problems for snapshot in problem.snapshots}
    for snapshot in damaged.snapshots(removed=True):
        try:
            content = damaged.restore(snapshot.id.hex())
        except LaminaError:
            assert snapshot.id.hex() in hit, f"snapshot {snapshot.short_id} does not restore and nobody says so"
        else:
            assert content in (FIRST, SECOND, ALONE)
            assert snapshot.id.hex() not in hit, f"snapshot {snapshot.short_id} restores after all"


@pytest.mark.parametrize("flip", FLIPS.values(), ids=FLIPS)
@pytest.mark.parametrize("kind", KINDS)
def test_one_flipped_bit(saved: SmallRepository, kind: str, flip: Callable[[int], int]):
    for name in names(saved, kind):
        damaged = saved.copy()
        flip_bit(damaged.storage, name, flip(damaged.storage.stat(name).size))
        check_named(damaged, name)


@pytest.mark.parametrize("cut", CUTS.values(), ids=CUTS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_cut_object(saved: SmallRepository, kind: str, cut: Callable[[int], int]):
    for name in names(saved, kind):
        damaged = saved.copy()
        cut_object(damaged.storage, name, cut(damaged.storage.stat(name).size))
        check_named(damaged, name)


@pytest.mark.parametrize(
    "kind", [kind for kind in KINDS if kind not in ("lamina.json", "keys/", "format/", "keys/epoch-")]
)
def test_two_objects_that_changed_places(saved: SmallRepository, kind: str):
    found = names(saved, kind)
    damaged = saved.copy()
    swap_objects(damaged.storage, found[0], found[1])
    report = damaged.verify()
    assert {found[0], found[1]} <= {problem.object for problem in report.problems}


def remove(storage: Storage, name: str) -> None:
    storage.delete(name)


@pytest.mark.parametrize("kind", ["data/", "meta/"])
def test_a_lost_pack_is_named_with_its_snapshots(saved: SmallRepository, kind: str):
    for name in names(saved, kind):
        damaged = saved.copy()
        remove(damaged.storage, name)
        check_named(damaged, name)


@pytest.mark.parametrize("kind", ["index/delta/", "sessions/"])
def test_a_lost_index_delta_or_start_record_costs_only_snapshots_that_are_named(saved: SmallRepository, kind: str):
    for name in names(saved, kind):
        damaged = saved.copy()
        remove(damaged.storage, name)
        hit = {snapshot for problem in damaged.verify().problems for snapshot in problem.snapshots}
        assert hit
        for snapshot in damaged.snapshots():
            if snapshot.id.hex() in hit:
                with pytest.raises(LaminaError):
                    damaged.restore(snapshot.id.hex())
            else:
                assert damaged.restore(snapshot.id.hex()) in (FIRST, SECOND, ALONE)


@pytest.mark.parametrize("kind", ["data/", "meta/", "index/delta/", "sessions/", "snapshots/"])
def test_after_damage_the_next_backups_succeed(saved: SmallRepository, kind: str):
    """What is damaged is not referred to where that is known; a distrusted snapshot is healed by the next backup."""
    for name in names(saved, kind):
        damaged = saved.copy()
        flip_bit(damaged.storage, name, 100)
        for _ in range(2):
            damaged.back_up(SECOND, name="shared")
        assert damaged.restore("shared@latest") == SECOND


def test_a_stranger_among_the_objects_is_a_warning(saved: SmallRepository):
    for stranger in ("README", "index/delta/notes", "snapshots/x", "data/README"):
        damaged = saved.copy()
        damaged.storage.put(stranger, [b"hello"])
        report = damaged.verify()
        assert stranger in {one.object for one in (*report.problems, *report.warnings)}
        assert damaged.restore("shared@latest") == SECOND
        damaged.back_up(SECOND)
