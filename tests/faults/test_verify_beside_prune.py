"""A prune that works while a verify looks is no damage, and does not hide any."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta

import pytest

from lamina.engine.prune import PruneOptions, prune
from lamina.engine.verify import ROUNDS, VerifyOptions, VerifyReport, verify
from lamina.engine.verifying.needed import needed_packs
from lamina.errors import LaminaError, StorageUnavailable
from lamina.model.process import Process
from lamina.repository.contents import iter_parts
from lamina.repository.tables import ChunkPlace
from lamina.repository.trees import get_entry
from lamina.storage.storage import Parts, Storage, StoredObject
from lamina.testing.damage import flip_bit
from lamina.testing.repositories import CHUNK, SmallRepository
from lamina.testing.storages import Fault, FaultyStorage

NOW = PruneOptions(undo_window=timedelta(0), wait=timedelta(0))


class Interrupted:
    """A storage in which something happens at the n-th read or list."""

    def __init__(self, storage: Storage, number: int, happen: Callable[[], None]) -> None:
        self._storage = storage
        self.left = number
        self._happen = happen

    def _count(self) -> None:
        self.left -= 1
        if self.left == 0:
            self._happen()

    @property
    def address(self) -> str:
        return self._storage.address

    def put(self, name: str, parts: Parts) -> None:
        self._storage.put(name, parts)

    def get(self, name: str) -> bytes:
        self._count()
        return self._storage.get(name)

    def get_range(self, name: str, offset: int, length: int) -> bytes:
        self._count()
        return self._storage.get_range(name, offset, length)

    def stat(self, name: str) -> StoredObject:
        return self._storage.stat(name)

    def objects(self, prefix: str = "") -> Iterator[StoredObject]:
        found = list(self._storage.objects(prefix))
        self._count()
        return iter(found)

    def delete(self, name: str) -> None:
        self._storage.delete(name)

    def close(self) -> None:
        """It is another's."""


@pytest.fixture(scope="module")
def waiting() -> SmallRepository:
    """A repository in which a prune has something to bury, to copy and to delete."""
    small = SmallRepository()
    shared = random.Random(0).randbytes(2 * CHUNK)
    for number in range(3):
        small.back_up(shared + random.Random(number + 1).randbytes(3 * CHUNK), name=f"vm{number}")
    repository = small.open()
    repository.forget(repository.find_snapshot("vm0@latest"))
    repository.close()
    small.clock.advance(timedelta(days=1))
    return small


@pytest.fixture(scope="module")
def closed(waiting: SmallRepository) -> SmallRepository:
    """The same when the prune has said what it deletes, and died before it did."""
    small = waiting.copy()
    refusing = FaultyStorage(small.storage, [Fault("delete", lasting=True)])
    with suppress(StorageUnavailable):
        run_prune(small, refusing)
    assert refusing.met
    return small


def run_prune(small: SmallRepository, storage: Storage | None = None) -> None:
    repository = small.open(storage=storage)
    try:
        assert prune(repository, Process(), NOW, small.operation()).finished
    finally:
        repository.close()


def verify_with_prune_at(small: SmallRepository, number: int, **options: bool) -> tuple[VerifyReport, int]:
    """What a verify says when a prune runs just after its n-th look at the storage; and how many looks were left over."""
    storage = Interrupted(small.storage, number, lambda: run_prune(small))
    repository = small.open(storage=storage)
    try:
        return verify(repository, small.operation(), VerifyOptions(threads=0, **options)), storage.left
    finally:
        repository.close()


@pytest.mark.parametrize("state", ["waiting", "closed"])
def test_a_prune_at_any_moment_of_a_verify_is_no_damage(state: str, request: pytest.FixtureRequest):
    before: SmallRepository = request.getfixturevalue(state)
    number = 0
    while True:
        number += 1
        small = before.copy()
        report, left = verify_with_prune_at(small, number)
        assert report.problems == (), f"a prune after look {number}"
        assert report.settled
        if left > 0:
            break
    assert number > 30


@pytest.mark.parametrize("number", [1, 5, 15, 25, 35, 1000])
def test_a_prune_at_any_moment_hides_no_damage(waiting: SmallRepository, number: int):
    """The prune may refuse to go on; what a snapshot lost is named in any case."""
    small = waiting.copy()
    lost = chunk_of(small, "vm2@latest")
    flip_bit(small.storage, f"data/{lost.pack.hex()}", lost.offset + 100)
    storage = Interrupted(small.storage, number, lambda: try_prune(small))
    repository = small.open(storage=storage)
    snapshot = repository.find_snapshot("vm2@latest")
    report = verify(repository, small.operation(), VerifyOptions(threads=0))
    repository.close()
    assert any(snapshot.id.hex() in problem.snapshots for problem in report.problems)


class Dwindling(FaultyStorage):
    """A storage in which something is deleted as soon as all was listed, each time."""

    def __init__(self, storage: Storage) -> None:
        super().__init__(storage)
        self.looks = 0

    def objects(self, prefix: str = "") -> Iterator[StoredObject]:
        found = list(super().objects(prefix))
        if not prefix:
            self.looks += 1
            self._storage.delete(next(item.name for item in found if item.name.startswith("data/00")))
        return iter(found)


def test_where_prunes_get_on_all_the_time_nobody_is_marked(waiting: SmallRepository):
    """What is found may be owed to them: it is said, and so is that."""
    small = waiting.copy()
    lost = chunk_of(small, "vm2@latest")
    flip_bit(small.storage, f"data/{lost.pack.hex()}", lost.offset + 100)
    for number in range(ROUNDS):
        small.storage.put(f"data/00{number:062x}", [b"what a prune is about to delete"])
    storage = Dwindling(small.storage)
    repository = small.open(storage=storage)
    report = verify(repository, small.operation(), VerifyOptions(threads=0, mark=True))
    repository.close()
    assert storage.looks == ROUNDS
    assert report.problems
    assert not report.settled
    assert "verify again" in report.notes[0]
    assert report.distrusted == ()


@pytest.mark.parametrize("number", range(1, 60, 2))
def test_all_that_a_chosen_snapshot_needs_is_read(waiting: SmallRepository, number: int):
    """Wherever a prune moves what it needs meanwhile, and dies before it deletes anything."""
    small = waiting.copy()
    dying = FaultyStorage(small.storage, [Fault("put", prefix="generations/00000001/closed", lasting=True)])

    def die() -> None:
        with pytest.raises(StorageUnavailable):
            run_prune(small, dying)

    storage = Interrupted(small.storage, number, die)
    repository = small.open(storage=storage)
    chosen = repository.find_snapshot("vm2@latest").id
    report = verify(repository, small.operation(), VerifyOptions(threads=0, mark=True, snapshots=frozenset({chosen})))
    needed = needed_packs(repository, repository.snapshots()[-1:], small.operation())
    repository.close()
    assert report.problems == ()
    assert report.settled
    assert report.checked.packs >= len(needed)


def test_a_chosen_snapshot_that_prunes_keep_moving_is_not_called_right(waiting: SmallRepository):
    """Nothing is wrong with it, and nobody has seen that."""
    small = waiting.copy()
    repository = small.open()
    chosen = repository.find_snapshot("vm2@latest").id
    repository.close()
    for number in range(ROUNDS):
        small.storage.put(f"data/00{number:062x}", [b"what a prune is about to delete"])
    repository = small.open(storage=Dwindling(small.storage))
    report = verify(repository, small.operation(), VerifyOptions(threads=0, mark=True, snapshots=frozenset({chosen})))
    repository.close()
    assert any("not checked for certain" in problem.what for problem in report.problems)
    assert report.verified == ()


def test_a_chosen_snapshot_that_is_gone_when_it_is_looked_at_is_a_problem(waiting: SmallRepository):
    small = waiting.copy()
    repository = small.open()
    chosen = repository.find_snapshot("vm0@latest", removed=True).id
    run_prune(small)
    report = verify(repository, small.operation(), VerifyOptions(threads=0, snapshots=frozenset({chosen})))
    repository.close()
    assert [problem.snapshots for problem in report.problems] == [(chosen.hex(),)]


def try_prune(small: SmallRepository) -> None:
    with suppress(LaminaError):
        run_prune(small)


def chunk_of(small: SmallRepository, snapshot: str) -> ChunkPlace:
    """Where the last chunk of a snapshot's image lies."""
    repository = small.open()
    content = get_entry(repository.reader(), repository.find_snapshot(snapshot).root, "image").content
    assert content is not None
    *_, part = iter_parts(repository.reader(), content)
    assert part.chunk is not None
    place = next(repository.index.places(part.chunk))
    repository.close()
    return place
