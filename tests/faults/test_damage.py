"""What was damaged heals with the next backups, and strangers among the objects bother nobody (test_zoo has all damage)."""

from __future__ import annotations

import random

import pytest

from lamina.testing.damage import flip_bit
from lamina.testing.repositories import CHUNK, SmallRepository

FIRST = random.Random(1).randbytes(5 * CHUNK + 17)
SECOND = FIRST[:CHUNK] + random.Random(2).randbytes(CHUNK) + FIRST[2 * CHUNK :]
ALONE = random.Random(3).randbytes(3 * CHUNK)


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
