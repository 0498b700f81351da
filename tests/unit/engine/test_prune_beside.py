"""Prunes beside writers, readers, each other, and those who change their minds."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta

import pytest

from lamina.engine.prune import PruneReport, plan_prune, prune
from lamina.errors import RepositoryError, SessionAborted, SnapshotMissing
from lamina.model.entries import Entry, EntryType, FixedContent, Position
from lamina.model.ids import ChunkId
from lamina.model.process import Process
from lamina.repository.generations import newest_generation
from lamina.repository.repository import Repository
from lamina.repository.sessions import Session, SnapshotFacts
from lamina.repository.tables import ChunkPlace
from lamina.repository.trees import put_tree
from lamina.repository.writer import EncodingOptions
from lamina.testing.repositories import CHUNK, SmallRepository
from lamina.testing.storages import FaultyStorage
from tests.unit.engine.test_prune import NOW, forget, names, run_prune

OLD, SHARED, NEW = (random.Random(seed).randbytes(CHUNK) for seed in (1, 2, 3))
NOBODY = Process()
IMPATIENT = replace(NOW, wait=timedelta(0))


@contextmanager
def running(small: SmallRepository, process: Process = NOBODY) -> Iterator[tuple[Repository, Session]]:
    """A backup under way."""
    repository = small.open()
    session = repository.begin(process, EncodingOptions(None, check=True), small.operation())
    try:
        yield repository, session
    finally:
        session.close()
        repository.close()


def put(session: Session, content: bytes) -> ChunkId:
    chunk = session.writer.data_id(content)
    session.writer.put_data(chunk, content)
    return chunk


def commit(session: Session, chunk: ChunkId) -> str:
    """Make a snapshot that has *chunk* as its only file."""
    content = FixedContent(CHUNK, CHUNK, Position.DATA, chunk)
    root = put_tree(session.writer, {"image": Entry(b"image", EntryType.FILE, content=content)})
    session.commit(SnapshotFacts(root, CHUNK, 0, False, "s", "", "", (), frozenset(), None))
    return session.id.hex()


def run_when(small: SmallRepository, fits: Callable[[str, str], bool], act: Callable[[], object]) -> PruneReport:
    """A prune, and *act* once, right before its first call to the storage that *fits*."""

    class Between(FaultyStorage):
        done = False

        def _meet(self, call, name, go):
            if not self.done and fits(call, name):
                self.done = True
                act()
            return super()._meet(call, name, go)

    storage = Between(small.storage)
    report = run_prune(small, storage=storage)
    assert storage.done, "nothing was tested"
    return report


def is_open(call: str, name: str) -> bool:
    return call == "put" and name.startswith("generations/") and name.endswith("/open")


def is_manifest(call: str, name: str) -> bool:
    return call == "put" and name.startswith("index/manifest/")


def is_closed(call: str, name: str) -> bool:
    return call == "put" and name.startswith("generations/") and name.endswith("/closed")


def is_pack(call: str, name: str) -> bool:
    return call == "delete" and name.startswith(("data/", "meta/"))


def test_a_session_that_began_before_is_waited_for_and_saves_what_it_needs(small: SmallRepository):
    small.back_up(OLD)
    with running(small) as (_, session):
        chunk = put(session, OLD)
        forget(small, "latest")
        report = run_prune(small, options=IMPATIENT)
        assert not report.finished
        assert [one.session for one in report.waits_for] == [session.id]
        assert names(small.storage, "index/manifest/") == []
        commit(session, chunk)
    assert run_prune(small).finished
    assert small.restore("latest") == OLD


def test_a_session_that_caught_up_is_not_waited_for(small: SmallRepository):
    small.back_up(OLD)
    with running(small) as (_, session):
        chunk = put(session, OLD)
        forget(small, "latest")
        run_prune(small, options=IMPATIENT)
        session.catch_up()
        report = run_prune(small, options=IMPATIENT)
        assert report.finished
        assert report.deleted
        commit(session, chunk)
    assert small.restore("latest") == OLD


def test_a_prune_waits_as_long_as_it_was_told(small: SmallRepository):
    small.back_up(OLD)
    with running(small):
        forget(small, "latest")
        report = run_prune(small, options=replace(NOW, wait=timedelta(seconds=31)))
        assert not report.finished
        assert sum(small.clock.slept) == pytest.approx(31)
    assert any("waiting for session" in one for one in small.progress.messages)
    small.clock.advance(timedelta(days=2))
    assert run_prune(small).finished


def test_a_session_that_shows_no_life_is_given_up_and_cannot_commit(small: SmallRepository):
    small.back_up(OLD)
    with running(small) as (_, session):
        chunk = put(session, NEW)
        forget(small, "latest")
        small.clock.advance(timedelta(hours=25))
        repository = small.open()
        plan = plan_prune(repository, Process(), NOW, small.operation())
        repository.close()
        report = run_prune(small)
        assert report.finished
        assert report.aborted == plan.aborted == (session.id,)
        assert report.freed == plan.freed
        with pytest.raises(SessionAborted):
            commit(session, chunk)
    run_prune(small)
    assert names(small.storage, "data/") == []


@pytest.mark.parametrize(
    ("change", "dead"),
    [
        ({}, True),
        ({"number": 8}, True),  # asked of the machine: it is gone
        ({"boot": "before"}, True),
        ({"host": "another"}, False),
        ({"namespace": "container"}, False),
        ({"started": 0}, False),
    ],
)
def test_a_process_of_this_host_that_is_gone_is_given_up_at_once(
    small: SmallRepository, change: dict[str, object], dead: bool
):
    here = Process("host", "boot", 7, 70, "namespace")
    small.back_up(OLD)
    forget(small, "latest")
    with running(small, replace(here, **change)) as (_, session):
        pass
    repository = small.open()
    report = prune(repository, here, replace(IMPATIENT, is_running=lambda _: False), small.operation())
    repository.close()
    assert report.aborted == ((session.id,) if dead else ())
    assert report.finished is dead
    small.clock.advance(timedelta(days=2))
    run_prune(small)


def test_a_process_of_this_host_that_still_runs_is_waited_for(small: SmallRepository):
    here = Process("host", "boot", 7, 70, "namespace")
    small.back_up(OLD)
    forget(small, "latest")
    asked = []
    with running(small, here):
        repository = small.open()
        options = replace(IMPATIENT, is_running=lambda process: not asked.append(process))
        assert not prune(repository, replace(here, number=9), options, small.operation()).finished
        repository.close()
    assert asked[0] == here
    small.clock.advance(timedelta(days=2))
    run_prune(small)


def test_a_snapshot_that_is_committed_while_a_prune_begins_keeps_what_it_needs(small: SmallRepository):
    """It referred to chunks of a forgotten snapshot before they were condemned: the second mark finds them."""
    small.back_up(OLD)
    with running(small) as (_, session):
        chunk = put(session, OLD)
        forget(small, "latest")
        report = run_when(small, is_open, lambda: commit(session, chunk))
    assert report.copied
    assert small.restore("latest") == OLD


def test_a_snapshot_that_is_committed_and_forgotten_meanwhile_can_be_brought_back(small: SmallRepository):
    small.back_up(OLD)
    with running(small) as (repository, session):
        chunk = put(session, OLD)
        forget(small, "latest")

        def commit_and_forget() -> None:
            commit(session, chunk)
            repository.forget(repository.get_snapshot(session.id))

        run_when(small, is_open, commit_and_forget)
        repository.unforget(repository.get_snapshot(session.id))
    assert small.restore("latest") == OLD


@pytest.mark.parametrize("moment", [is_open, lambda call, name: call == "objects" and name == "data/"])
def test_what_is_brought_back_in_time_stays(small: SmallRepository, moment: Callable[[str, str], bool]):
    """Before the generation is open nobody warns; the prune has to look again."""
    small.back_up(OLD)
    repository = small.open()
    snapshot = repository.find_snapshot("latest")
    repository.forget(snapshot)
    report = run_when(small, moment, lambda: repository.unforget(snapshot))
    repository.close()
    assert report.buried == ()
    assert small.restore("latest") == OLD


def test_what_is_brought_back_too_late_is_said_to_be_gone(small: SmallRepository):
    small.back_up(OLD)
    repository = small.open()
    snapshot = repository.find_snapshot("latest")
    repository.forget(snapshot)
    refused = []

    def bring_back() -> None:
        with pytest.raises(RepositoryError, match="under way"):
            repository.unforget(snapshot)
        refused.append(snapshot)

    report = run_when(small, is_manifest, bring_back)
    assert refused
    assert report.buried == (snapshot.id,)
    with pytest.raises(RepositoryError, match="burial is final"):
        repository.unforget(snapshot)
    with pytest.raises(SnapshotMissing, match="a prune has buried it"):
        repository.find_snapshot(snapshot.id.hex(), removed=True)
    assert not repository.parent(snapshot).still_there()
    repository.close()


def test_a_snapshot_that_is_being_buried_is_nobodys_parent_even_if_somebody_brings_it_back(small: SmallRepository):
    small.back_up(OLD)
    repository = small.open()
    snapshot = repository.find_snapshot("latest")
    repository.forget(snapshot)
    seen = []

    def look() -> None:
        repository._put_removal(snapshot, removed=False)
        seen.append(repository.parent(snapshot).still_there())

    run_when(small, is_manifest, look)
    repository.close()
    assert seen == [False]


def test_a_take_over_goes_by_what_was_said_at_the_beginning(small: SmallRepository):
    """A snapshot that was live when the generation began is removed before it is taken over: it was not to be buried."""
    small.back_up(OLD)
    small.back_up(OLD + NEW)
    forget(small, "latest~1")
    with running(small):
        assert not run_prune(small, options=IMPATIENT).finished
        forget(small, "latest")
    small.clock.advance(timedelta(days=2))
    report = run_prune(small)
    assert len(report.buried) == 1
    repository = small.open()
    repository.unforget(repository.find_snapshot("latest", removed=True))
    repository.close()
    assert small.restore("latest") == OLD + NEW


@pytest.mark.parametrize("moment", [is_open, is_manifest, is_closed, is_pack])
def test_two_prunes_at_once_do_no_harm(small: SmallRepository, moment: Callable[[str, str], bool]):
    small.back_up(OLD + SHARED)
    small.back_up(SHARED + NEW)
    forget(small, "latest~1")
    reports = []
    run_when(small, moment, lambda: reports.append(run_prune(small)))
    assert reports[0].finished
    assert run_prune(small).finished
    assert small.restore("latest") == SHARED + NEW
    repository = small.open()
    newest = newest_generation(repository.storage, repository.access.control)
    repository.close()
    assert newest is not None
    assert newest.closed is not None


@pytest.mark.parametrize("moment", [is_manifest, is_closed, is_pack])
def test_a_prune_that_wakes_up_after_others_harms_nobody(small: SmallRepository, moment: Callable[[str, str], bool]):
    """It slept while its generation was closed and another one was carried out."""
    small.back_up(OLD + SHARED)
    small.back_up(SHARED + NEW)
    forget(small, "latest~1")

    def others() -> None:
        run_prune(small)
        small.back_up(NEW + OLD)
        forget(small, "latest~1")
        run_prune(small)

    run_when(small, moment, others)
    run_prune(small)
    assert small.restore("latest") == NEW + OLD


def test_a_reader_lives_across_prunes(small: SmallRepository):
    """Each of them moves a chunk to another pack, and deletes the pack that the reader knows."""
    wanted = [OLD, SHARED, NEW]
    for seed, content in enumerate(wanted):
        small.back_up(content + random.Random(10 + seed).randbytes(16 * CHUNK))  # some of it lies in the same pack
    small.back_up(b"".join(wanted))
    reading = small.open()
    reader, snapshots = reading.reader(), small.snapshots()
    for snapshot, content in zip(snapshots, wanted, strict=False):
        chunk = reading.access.namer().data_id(content)
        forget(small, snapshot.id.hex())
        known = {place.pack for place in reading.index.places(chunk)}
        run_prune(small)
        assert not known & {place.pack for place in fresh_places(small, chunk)}, "it was moved"
        assert reader.get_data(chunk) == content
    reading.close()


def fresh_places(small: SmallRepository, chunk: ChunkId) -> list[ChunkPlace]:
    repository = small.open()
    repository.reader()
    found = list(repository.index.places(chunk))
    repository.close()
    return found


def test_a_session_whose_parent_goes_copies_what_it_took_from_it(small: SmallRepository):
    small.back_up(OLD)
    with running(small) as (repository, session):
        parent = repository.find_snapshot("latest")
        assert session.rely_on(repository.parent(parent))
        forget(small, "latest")
        assert not run_prune(small, options=IMPATIENT).finished
        session.catch_up()
        assert run_prune(small, options=IMPATIENT).finished
        root = parent.root
        session.commit(SnapshotFacts(root, CHUNK, 0, False, "s", "", "", (), frozenset(), None))
    assert small.restore("latest") == OLD


def test_a_delta_that_a_given_up_session_writes_late_is_nowhere_relied_on(small: SmallRepository):
    """What it names was deleted as nobody's; whoever found it there again would refer to nothing."""
    small.back_up(OLD)
    with running(small) as (_, session):
        chunk = put(session, NEW)
        session.writer.flush()
        small.clock.advance(timedelta(days=2))
        run_prune(small)  # gives it up
        forget(small, "latest")
        assert run_prune(small).deleted
        assert names(small.storage, "data/") == []
        session.give_up()  # publishes
        with pytest.raises(SessionAborted):
            commit(session, chunk)
    small.back_up(NEW)
    assert small.restore("latest") == NEW
    run_prune(small)
    small.back_up(NEW + OLD)
    assert small.restore("latest") == NEW + OLD
