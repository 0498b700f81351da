"""The writer's protocol beside a prune, whose records are made by hand here."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import timedelta

import pytest

from lamina.errors import ChunkMissing, RepositoryError, SessionAborted
from lamina.model.ids import ChunkId, PackId, SessionId
from lamina.model.process import Process
from lamina.repository.format import BLOB_HEADER_SIZE, Kind
from lamina.repository.generations import generation_name, read_generations
from lamina.repository.object_names import caught_up_name, snapshot_name, start_name
from lamina.repository.records import (
    AbortRecord,
    GenerationClosedRecord,
    GenerationOpenRecord,
)
from lamina.repository.repository import Repository
from lamina.repository.sessions import START_TRIES, Session, SnapshotFacts
from lamina.repository.trees import put_tree
from lamina.repository.writer import EncodingOptions
from lamina.storage.storage import Storage
from lamina.testing.repositories import CHUNK, SmallRepository
from lamina.testing.storages import FaultyStorage

OLD = random.Random(1).randbytes(CHUNK)
NEW = random.Random(2).randbytes(CHUNK)
IMAGE = OLD + NEW + bytes(17)


class Prune:
    """The records of a prune, step by step, signed by the owner."""

    def __init__(self, small: SmallRepository) -> None:
        self.repository = small.open()
        self.write = self.repository.access.control.write

    def open(self, number: int, condemned: list[PackId] = [], buried: list[SessionId] = []) -> None:  # noqa: B006
        record = GenerationOpenRecord([], [], list(buried), list(condemned), "")
        self.write(Kind.GENERATION_OPEN, generation_name(number, "open"), record)

    def close(self, number: int, buried: list[SessionId] = []) -> None:  # noqa: B006
        self.write(Kind.GENERATION_CLOSED, generation_name(number, "closed"), GenerationClosedRecord(list(buried), []))

    def abort(self, session: SessionId) -> None:
        self.write(Kind.ABORT, snapshot_name(session), AbortRecord(1, "no sign of life"))


@pytest.fixture
def prune(small: SmallRepository) -> Iterator[Prune]:
    made = Prune(small)
    yield made
    made.repository.close()


@pytest.fixture
def repository(small: SmallRepository) -> Iterator[Repository]:
    opened = small.open()
    yield opened
    opened.close()


def begin(repository: Repository, small: SmallRepository) -> Session:
    return repository.begin(Process(), EncodingOptions(level=None, check=True), small.operation())


def put(session: Session, content: bytes) -> tuple[ChunkId, bool]:
    chunk = session.writer.data_id(content)
    return chunk, session.writer.put_data(chunk, content)


def commit(session: Session) -> None:
    root = put_tree(session.writer, {})
    session.commit(SnapshotFacts(root, 0, 0, False, "s", "", "", (), frozenset(), None))


def data_packs(storage: Storage) -> set[PackId]:
    return {PackId(bytes.fromhex(found.name[5:])) for found in storage.objects("data/")}


def names(storage: Storage, prefix: str) -> list[str]:
    return sorted(found.name for found in storage.objects(prefix))


def test_a_chunk_in_a_condemned_pack_counts_as_absent(small: SmallRepository, prune: Prune, repository: Repository):
    small.back_up(OLD)
    session = begin(repository, small)
    assert put(session, OLD)[1] is False
    session.close()
    prune.open(1, list(data_packs(small.storage)))
    session = begin(repository, small)
    assert put(session, OLD)[1] is True
    commit(session)
    session.close()


def test_packs_of_a_closed_generation_are_condemned_no_more(
    small: SmallRepository, prune: Prune, repository: Repository
):
    small.back_up(OLD)
    packs = data_packs(small.storage)
    prune.open(1, list(packs))
    assert read_generations(small.storage, repository.access.control).condemned == packs
    prune.close(1)
    found = read_generations(small.storage, repository.access.control)
    assert (found.newest, found.condemned) == (1, frozenset())


def test_catching_up_copies_verbatim_and_only_then_says_so(
    small: SmallRepository, prune: Prune, repository: Repository
):
    small.back_up(OLD)
    condemned = data_packs(small.storage)
    session = begin(repository, small)
    chunk, new = put(session, OLD)
    assert not new
    place = next(repository.index.places(chunk))
    before = session.reader.get_blob(place)
    prune.open(1, list(condemned))
    watched = FaultyStorage(small.storage)
    commit_through(session, watched)
    puts = [name for call, name in watched.calls if call == "put"]
    said = puts.index(caught_up_name(session.id, 1))
    copied = [n for n, name in enumerate(puts) if name.startswith(("data/", "index/delta/"))]
    assert copied
    assert max(copied) < said < puts.index(snapshot_name(session.id))
    fresh = small.open()
    fresh.reader()
    (copy,) = [one for one in fresh.index.places(chunk) if one.pack not in condemned]
    header, blob, entry = fresh.reader().get_blob(copy)
    assert (header.id, header.salt, blob[BLOB_HEADER_SIZE:]) == (
        before[0].id,
        before[0].salt,
        before[1][BLOB_HEADER_SIZE:],
    )
    assert entry == before[2], "the copy still names the session that wrote it"
    fresh.close()
    session.close()


def commit_through(session: Session, storage: Storage) -> None:
    """Commit, with every call to the storage going through *storage*."""
    from dataclasses import replace

    from lamina.repository.control import ControlRecords

    access = session._access
    control = access.control
    watched = ControlRecords(
        storage, access.repository, access.structure_key, control._owner_verify_key, control.signer
    )
    session._access = session.writer._access = replace(access, storage=storage, control=watched)
    commit(session)


def test_a_session_that_needs_nothing_condemned_says_so_at_once(
    small: SmallRepository, prune: Prune, repository: Repository
):
    session = begin(repository, small)
    put(session, NEW)
    prune.open(1)
    session.catch_up()
    assert caught_up_name(session.id, 1) in names(small.storage, "sessions/")
    session.catch_up()
    commit(session)
    session.close()


def test_catching_up_notices_that_the_parent_was_removed(small: SmallRepository, prune: Prune, repository: Repository):
    """Ids taken from the parent were never looked up; once it is forgotten nothing else protects its chunks."""
    small.back_up(IMAGE)
    parent = repository.find_snapshot("latest")
    session = begin(repository, small)
    assert session.rely_on(repository.parent(parent))
    repository.forget(parent)
    packs = data_packs(small.storage)
    prune.open(1, list(packs))
    session.catch_up()
    copied = data_packs(small.storage) - packs
    assert copied
    chunk = session.writer.data_id(OLD)
    assert repository.index.find(chunk).pack in copied
    commit(session)
    session.close()


def test_a_removed_parent_is_not_relied_on(small: SmallRepository, repository: Repository):
    small.back_up(IMAGE)
    parent = repository.find_snapshot("latest")
    repository.forget(parent)
    session = begin(repository, small)
    assert not session.rely_on(repository.parent(parent))
    session.close()


def test_a_chunk_that_is_gone_when_catching_up_fails_the_backup(
    small: SmallRepository, prune: Prune, repository: Repository
):
    session = begin(repository, small)
    session.writer.use(ChunkId(b"gone" * 8))
    prune.open(1)
    with pytest.raises(ChunkMissing):
        session.catch_up()
    assert names(small.storage, "sessions/") == [start_name(session.id)]
    session.close()


@pytest.mark.parametrize("late", [True, False], ids=["before-commit", "while-catching-up"])
def test_an_abort_marker_fails_the_backup_and_the_next_one_stores_anew(
    small: SmallRepository, prune: Prune, repository: Repository, late: bool
):
    """Nothing of an aborted session counts, not even for the process that wrote it."""
    session = begin(repository, small)
    put(session, NEW)
    session.writer.flush()
    session.give_up()
    prune.abort(session.id)
    if not late:
        prune.open(1)
    with pytest.raises(SessionAborted, match="gave this backup"):
        commit(session)
    session.close()
    again = begin(repository, small)
    assert put(again, NEW)[1] is True
    commit(again)
    again.close()


def test_an_undecided_sessions_chunks_are_used(small: SmallRepository, repository: Repository):
    session = begin(repository, small)
    put(session, NEW)
    session.writer.flush()
    session.give_up()
    session.close()
    fresh = small.open()
    again = begin(fresh, small)
    assert put(again, NEW)[1] is False
    again.close()
    fresh.close()


def test_a_session_catches_up_with_generations_that_begin_while_it_starts(small: SmallRepository, prune: Prune):
    class Pruning(FaultyStorage):
        """Begins a generation behind the back of what a session says of itself, *times* times."""

        times = 0
        number = 0

        def put(self, name, parts):
            super().put(name, parts)
            if name.startswith("sessions/") and self.times:
                self.times -= 1
                self.number += 1
                prune.open(self.number)
                prune.close(self.number)

    storage = Pruning(small.storage)
    storage.times = 2
    repository = small.open(storage=storage)
    session = begin(repository, small)
    said = [name.rpartition("/")[2] for name in names(small.storage, "sessions/")]
    assert said == ["gen-00000001", "gen-00000002", "start"]
    put(session, NEW)
    commit(session)
    session.close()
    storage.times = START_TRIES
    with pytest.raises(SessionAborted, match=f"{START_TRIES} times"):
        begin(repository, small)
    repository.close()


def test_a_checkpoint_publishes_and_sees_a_generation(small: SmallRepository, prune: Prune, repository: Repository):
    session = begin(repository, small)
    put(session, NEW)
    session.writer.flush()
    session.checkpoint()
    assert names(small.storage, "index/delta/") == []
    prune.open(1)
    small.clock.advance(timedelta(minutes=1))
    session.checkpoint()
    assert len(names(small.storage, "index/delta/")) == 1
    assert session.is_behind
    session.catch_up()
    assert not session.is_behind
    commit(session)
    session.close()


@pytest.mark.parametrize("closed", [False, True])
def test_what_a_generation_buries_is_not_brought_back(small: SmallRepository, prune: Prune, closed: bool):
    small.back_up(IMAGE)
    repository = prune.repository
    snapshot = repository.find_snapshot("latest")
    repository.forget(snapshot)
    prune.open(1, buried=[snapshot.id])
    if closed:
        prune.close(1, buried=[snapshot.id])
    with pytest.raises(RepositoryError, match="buried"):
        repository.unforget(snapshot)


def test_a_burial_that_was_taken_back_at_the_end_is_none(small: SmallRepository, prune: Prune):
    small.back_up(IMAGE)
    repository = prune.repository
    snapshot = repository.find_snapshot("latest")
    repository.forget(snapshot)
    prune.open(1, buried=[snapshot.id])
    prune.close(1, buried=[])
    repository.unforget(snapshot)
    assert repository.find_snapshot("latest").id == snapshot.id


def test_only_one_of_two_edits_at_once_wins(small: SmallRepository):
    from lamina.errors import ObjectExists

    small.back_up(IMAGE)

    class Racing(FaultyStorage):
        def put(self, name, parts):
            if name.startswith("attributes/") and not self.calls.count(("put", name)):
                self.calls.append(("put", name))
                rival = small.open()
                rival.edit(rival.find_snapshot("latest"), add_tags=["rival"])
                rival.close()
            super().put(name, parts)

    slow = small.open(storage=Racing(small.storage))
    with pytest.raises(ObjectExists):
        slow.edit(slow.find_snapshot("latest"), add_tags=["slow"])
    slow.close()
    assert small.snapshots()[0].tags == {"rival"}
