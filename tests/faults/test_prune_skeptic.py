"""Interleavings of prunes with catching up, repairs and liars that a skeptic thought of; each lost something once."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import timedelta

import pytest

from lamina.engine.prune import PruneOptions, PruneReport, prune
from lamina.engine.repair import Helpers, RepairOptions, RepairReport, plan_repair, repair
from lamina.engine.verify import verify
from lamina.errors import RepositoryError, StorageUnavailable, UsageError
from lamina.model.process import Process
from lamina.repository.control import LAST_NUMBER
from lamina.repository.format import Kind
from lamina.repository.object_names import ATTRIBUTES, DELTAS, MANIFESTS, SNAPSHOTS, numbered, session_folder
from lamina.repository.records import AttributesRecord, ManifestRecord
from lamina.repository.writer import EncodingOptions
from lamina.storage.storage import Storage
from lamina.testing.damage import flip_bit
from lamina.testing.repositories import SmallRepository
from lamina.testing.storages import Effect, Fault, FaultyStorage
from tests.faults.test_attacks import poison
from tests.unit.engine.test_prune import NOW, forget, names, run_prune
from tests.unit.engine.test_prune_beside import IMPATIENT, NEW, OLD, SHARED, commit, is_manifest, is_open, put, running

HERE = Process("host", "boot", 7, 70)
EAGER = replace(NOW, threshold=1.0)  # rewrites whatever it can
GONE = replace(NOW, is_running=lambda _: False)  # whatever ran on this host


@pytest.fixture
def small() -> SmallRepository:
    """Not verified in the end: lies stay until somebody prunes."""
    return SmallRepository()


class Between(FaultyStorage):
    """Lets something happen right before the first call that fits."""

    def __init__(self, storage: Storage, fits: Callable[[str, str], bool], act: Callable[[], object]) -> None:
        super().__init__(storage)
        self._fits, self._act, self.done = fits, act, False

    def _meet(self, call, name, go):
        if not self.done and self._fits(call, name):
            self.done = True
            self._act()
        return super()._meet(call, name, go)


def prune_here(small: SmallRepository, storage: Storage, options: PruneOptions = GONE) -> PruneReport:
    with closing(small.open(storage=storage)) as repository:
        return prune(repository, replace(HERE, number=8, started=80), options, small.operation())


def repair_here(small: SmallRepository, storage: Storage | None = None) -> RepairReport:
    options = RepairOptions(process=HERE)
    with closing(small.open(storage=storage)) as repository:
        plan = plan_repair(repository, Helpers(), options, small.operation())
        try:
            return repair(repository, plan, options, small.operation())
        finally:
            plan.survey.close()


@pytest.mark.parametrize("lie_stays", [True, False])
@pytest.mark.parametrize("holder", ["owner", "writer"])
def test_who_catches_up_takes_no_lie_for_the_chunk_he_needs(small: SmallRepository, lie_stays: bool, holder: str):
    """The true copy is about to go; of the thief's copies nobody but an owner knows that they are lies."""
    small.back_up(OLD)
    if not lie_stays:
        lie_often(small)
        small.clock.advance(PruneOptions().abort_after * 2)
        run_prune(small, PruneOptions())  # the thief's sessions are over
    forget(small, "latest")
    with closing(small.open(holder)) as repository:
        session = repository.begin(HERE, EncodingOptions(None, check=True), small.operation())
        chunk = put(session, OLD)
        assert not run_prune(small, options=IMPATIENT).finished
        if lie_stays:
            lie_often(small)
        session.catch_up()
        assert run_prune(small, options=IMPATIENT).finished
        commit(session, chunk)
        session.close()
    assert small.restore("latest") == OLD


def lie_often(small: SmallRepository) -> None:
    """Which copy comes first depends on the ids of packs."""
    for _ in range(6):
        poison(small, OLD)


def test_a_pack_that_a_repair_brings_back_while_a_prune_looks_is_not_taken_away_from_who_found_it(
    small: SmallRepository,
):
    """No index spoke of it when the prune looked; when it ends, a snapshot needs what is in it."""
    small.back_up(OLD)
    forget(small, "latest")
    (delta,) = names(small.storage, DELTAS)
    small.storage.delete(delta)

    def repair_and_back_up() -> None:
        assert repair_here(small).adopted
        with running(small) as (_, session):
            commit(session, put(session, OLD))

    between = Between(small.storage, is_open, repair_and_back_up)
    prune_here(small, between)
    assert between.done
    assert small.restore("latest") == OLD


@pytest.mark.parametrize("nth", range(1, 8))
def test_a_repair_never_puts_an_index_of_before_over_that_of_a_prune(small: SmallRepository, nth: int):
    """It looked which manifest is the newest, and then a prune published another and deleted what the old one names."""
    needs_another_manifest(small)
    with running(small) as (_, session):
        assert not run_prune(small, replace(EAGER, wait=timedelta(0))).finished
        session.catch_up()
    between = Between(small.storage, Nth(nth, "objects", MANIFESTS), lambda: run_prune(small, EAGER))
    repair_here(small, between)
    assert between.done
    run_prune(small)
    assert [small.restore(name) for name in ("new@latest", "shared@latest")] == [NEW, SHARED]
    assert repair_here(small).adopted == 0


def needs_another_manifest(small: SmallRepository) -> None:
    """A manifest, something for a prune to do, and a delta of nobody that is damaged."""
    with running(small) as (_, session):
        put(session, SHARED)
        session.writer.flush()
        session.give_up()
    (delta,) = names(small.storage, DELTAS)
    flip_bit(small.storage, delta, 100)
    small.back_up(OLD + NEW, name="both")
    small.back_up(NEW, name="new")
    small.clock.advance(PruneOptions().abort_after * 2)
    run_prune(small, PruneOptions())
    small.back_up(SHARED, name="shared")
    forget(small, "both@latest")


@pytest.mark.parametrize("junk", ["signed by a writer", "no record at all"])
def test_the_last_number_of_a_manifest_ends_no_repair_in_a_loop(small: SmallRepository, junk: str):
    needs_another_manifest(small)
    last = f"{MANIFESTS}{LAST_NUMBER:08d}"
    if junk == "no record at all":
        small.storage.put(last, [b"junk"])
        with pytest.raises(RepositoryError, match="manifest") as refused:
            repair_here(small)
        assert refused.value.hint
        return
    with closing(small.open("writer")) as thief:
        thief.access.control.write(Kind.MANIFEST, last, ManifestRecord(LAST_NUMBER, bytes(32), [], []))
    repair_here(small)
    assert prune_here(small, small.storage).finished
    assert [small.restore(name) for name in ("new@latest", "shared@latest")] == [NEW, SHARED]


class Nth:
    """Fits the *nth* call of its kind."""

    def __init__(self, nth: int, call: str, name: str) -> None:
        self._left, self._call, self._name = nth, call, name

    def __call__(self, call: str, name: str) -> bool:
        self._left -= (call, name) == (self._call, self._name)
        return self._left == 0


@pytest.mark.parametrize("folder", ["data", "meta"])
@pytest.mark.parametrize("is_junk", [True, False])
@pytest.mark.parametrize("holder", ["owner", "steward"])
def test_a_pack_that_somebody_put_into_the_other_folder_too_stops_no_prune(
    small: SmallRepository, folder: str, is_junk: bool, holder: str
):
    """Whoever may put packs can do it, with no key at all."""
    small.back_up(OLD, name="kept")
    small.back_up(NEW, name="gone")
    forget(small, "gone@latest")
    other = {"data": "meta", "meta": "data"}[folder]
    packs = names(small.storage, f"{folder}/")
    for name in packs:
        small.storage.put(f"{other}/{name.partition('/')[2]}", [b"junk" if is_junk else small.storage.get(name)])
    assert run_prune(small, EAGER, holder=holder).finished
    assert small.restore("kept@latest") == OLD
    assert len(set(packs) & set(names(small.storage, f"{folder}/"))) < len(packs)


@pytest.mark.parametrize("junk", ["", "magic", "version", "blob"])
@pytest.mark.parametrize("folder", ["data", "meta"])
def test_junk_among_packs_stops_no_prune(small: SmallRepository, folder: str, junk: str):
    """Not even if it says that a newer Lamina wrote it: it stays, and is named."""
    small.back_up(OLD, name="kept")
    small.back_up(NEW, name="gone")
    forget(small, "gone@latest")
    data = bytearray(small.storage.get(names(small.storage, f"{folder}/")[0]))
    at = {"": len(data) - 1, "magic": 0, "version": 8, "blob": 60}[junk]
    data[at : at + 2] = b"\xff\xff"
    name = f"{folder}/{'ab' * 32}"
    small.storage.put(name, [bytes(data)])
    report = run_prune(small, EAGER)
    assert report.finished
    assert report.buried
    assert name not in names(small.storage, f"{folder}/") or any(name in problem for problem in report.problems)
    assert small.restore("kept@latest") == OLD


def decide_and_die(small: SmallRepository) -> None:
    """A prune that publishes its manifest and does not close; then somebody wants back what it buries, too late."""
    dying = FaultyStorage(small.storage, [Fault("put", prefix="generations/00000001/closed", lasting=True)])
    with closing(small.open()) as repository:
        gone = repository.find_snapshot("gone@latest", removed=True)
        with pytest.raises(StorageUnavailable):
            prune_here(small, dying)
        with pytest.raises(RepositoryError, match="may have buried"):
            repository.unforget(gone)


@pytest.fixture
def forgotten(small: SmallRepository) -> SmallRepository:
    small.back_up(OLD, name="gone")
    small.back_up(NEW, name="kept")
    forget(small, "gone@latest")
    return small


def test_who_protects_what_a_prune_is_about_to_bury_is_told(forgotten: SmallRepository):
    """It looked for the last time before that was brought back and protected."""

    def rescue() -> None:
        with closing(forgotten.open()) as repository:
            gone = repository.find_snapshot("gone@latest", removed=True)
            for rescuing in (repository.unforget, repository.protect):
                with pytest.raises(RepositoryError, match="may have buried"):
                    rescuing(gone)

    report = prune_here(forgotten, Between(forgotten.storage, is_manifest, rescue))
    assert len(report.buried) == 1


def test_what_a_prune_has_decided_to_bury_is_listed_no_more_and_is_no_damage(forgotten: SmallRepository):
    """It was brought back too late, the prune is not closed, and the index names its chunks no more."""
    decide_and_die(forgotten)
    assert [one.name for one in forgotten.snapshots(removed=True)] == ["kept"]
    with closing(forgotten.open()) as repository:
        assert verify(repository, forgotten.operation()).problems == ()


def test_who_looks_while_another_prune_decides_goes_on_with_what_that_decided(forgotten: SmallRepository):
    small = forgotten

    def is_second_look(call: str, name: str) -> bool:
        """No manifest was there a moment ago; now the snapshots are read again."""
        return [*storage.calls[-1:], (call, name)] == [("objects", MANIFESTS), ("objects", SNAPSHOTS)]

    storage = Between(small.storage, is_second_look, lambda: decide_and_die(small))
    report = prune_here(small, storage)
    assert storage.done
    assert report.finished
    assert [one.name for one in small.snapshots(removed=True)] == ["kept"]
    assert small.restore("kept@latest") == NEW


@pytest.mark.parametrize("what", ["removed/", "attributes/", "generations/"])
def test_nothing_is_said_of_a_commit_that_a_power_cut_may_undo(forgotten: SmallRepository, what: str):
    """Its name is seen before it is durable; a second put ends when it is."""
    storage = FaultyStorage(forgotten.storage)
    with closing(forgotten.open(storage=storage)) as repository:
        kept = repository.find_snapshot("kept@latest")
        if what == "removed/":
            repository.forget(kept)
        elif what == "attributes/":
            repository.edit(kept, add_tags=["seen"])
        else:
            prune(repository, HERE, GONE, forgotten.operation())
    puts = [name for call, name in storage.calls if call == "put"]
    said = next(at for at, name in enumerate(puts) if name.startswith(what))
    assert puts[said - 1].startswith(SNAPSHOTS)


def test_a_snapshot_that_somebody_protects_while_it_is_being_forgotten_stays(small: SmallRepository):
    small.back_up(OLD)

    def protect() -> None:
        with closing(small.open()) as other:
            other.protect(other.find_snapshot("latest"))

    between = Between(small.storage, lambda call, name: call == "put" and name.startswith("removed/"), protect)
    with closing(small.open(storage=between)) as repository, pytest.raises(UsageError, match="protected"):
        repository.forget(repository.find_snapshot("latest"))
    assert run_prune(small).buried == ()
    assert small.restore("latest") == OLD


def test_a_forget_that_dies_before_it_sees_a_protection_costs_nothing(small: SmallRepository):
    small.back_up(OLD)

    def protect() -> None:
        with closing(small.open()) as other:
            other.protect(other.find_snapshot("latest"))

    dying = FaultyStorage(small.storage, [Fault("put", effect=Effect.UNACKNOWLEDGED, prefix="removed/")])
    between = Between(dying, lambda call, name: call == "put" and name.startswith("removed/"), protect)
    with closing(small.open(storage=between)) as repository, pytest.raises(StorageUnavailable):
        repository.forget(repository.find_snapshot("latest"))
    report = run_prune(small)
    assert report.buried == ()
    assert any("protected" in problem for problem in report.problems)
    (snapshot,) = small.snapshots(removed=True)
    with closing(small.open()) as repository:
        repository.unforget(snapshot)
    assert run_prune(small).problems == ()
    assert small.restore("latest") == OLD


def test_a_writers_nonsense_keeps_no_snapshot_for_ever(forgotten: SmallRepository):
    """Only an owner or a steward can protect; what is damaged may be of one of them."""
    gone = next(one for one in forgotten.snapshots(removed=True) if one.removed)
    name = numbered(session_folder(ATTRIBUTES, gone.id), 2)
    record = AttributesRecord("nonsense", None, True, [], 0)
    with closing(forgotten.open("other")) as writer:
        writer.access.control.write(Kind.ATTRIBUTES, name, record)
    copy = forgotten.copy()
    assert run_prune(copy).buried == (gone.id,)
    forgotten.storage.delete(name)
    forgotten.storage.put(name, [b"junk"])
    report = run_prune(forgotten)
    assert report.buried == ()
    assert any(name in problem and "delete it" in problem for problem in report.problems)


def test_who_protects_a_snapshot_that_is_being_forgotten_is_told(small: SmallRepository):
    small.back_up(OLD)
    between = Between(
        small.storage,
        lambda call, name: call == "put" and name.startswith("attributes/"),
        lambda: forget(small, "latest"),
    )
    with closing(small.open(storage=between)) as repository, pytest.raises(RepositoryError, match="forgotten") as told:
        repository.protect(repository.find_snapshot("latest"))
    assert "unforget" in (told.value.hint or "")
