"""Which index records count, and the local cache of them."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from lamina.errors import Damaged
from lamina.model.ids import ChunkId, SessionId
from lamina.repository.format import Kind
from lamina.repository.index import MAX_TABLES
from lamina.repository.index_records import check_index, encode_index
from lamina.repository.object_names import delta_name, snapshot_name
from lamina.repository.records import AbortRecord, IndexRecord, ManifestRecord, PackRow
from lamina.repository.repository import Repository
from lamina.testing.damage import flip_bit
from lamina.testing.repositories import CHUNK, SmallRepository
from lamina.testing.storages import FaultyStorage
from tests.unit.repository.test_sessions import begin, commit, put

IMAGE = random.Random(6).randbytes(3 * CHUNK)
PACK = PackRow(b"p" * 32, 1000, False, 0)


def undecided(small: SmallRepository, content: bytes) -> tuple[SessionId, ChunkId]:
    """A session that stored and published one chunk, and never ended."""
    repository = small.open()
    session = begin(repository, small)
    chunk, _ = put(session, content)
    session.writer.flush()
    session.give_up()
    session.close()
    repository.close()
    return session.id, chunk


def knows(repository: Repository, chunk: ChunkId) -> bool:
    repository.index.load(repository.storage, repository.access.control)
    return repository.index.find(chunk) is not None


@pytest.fixture
def repository(small: SmallRepository):
    opened = small.open()
    yield opened
    opened.close()


def test_a_delta_counts_while_its_session_is_undecided_and_not_once_it_is_aborted(
    small: SmallRepository, repository: Repository
):
    session, chunk = undecided(small, IMAGE)
    assert knows(repository, chunk)
    repository.access.control.write(Kind.ABORT, snapshot_name(session), AbortRecord(1, ""))
    assert not knows(repository, chunk)


@pytest.mark.parametrize("folded", [True, False])
def test_a_delta_of_an_aborted_session_counts_only_as_part_of_a_segment(
    small: SmallRepository, repository: Repository, folded: bool
):
    """A manifest names segments with the deltas' content, and the deltas that are in them."""
    from lamina.crypto.hashing import public_hash

    session, chunk = undecided(small, IMAGE)
    control = repository.access.control
    record = control.read(delta_name(session, 0), Kind.DELTA, IndexRecord).structure
    control.write(Kind.ABORT, snapshot_name(session), AbortRecord(1, ""))
    data = control.encode(Kind.SEGMENT, "index/segment", record)
    segment = f"index/segment/{public_hash([data]).hex()}"
    small.storage.put(segment, [data])
    segments = [segment] if folded else []
    control.write(
        Kind.MANIFEST, "index/manifest/00000001", ManifestRecord(1, bytes(32), segments, [delta_name(session, 0)])
    )
    assert knows(repository, chunk) is folded


def test_condemned_packs_are_passed_over_and_still_read(small: SmallRepository, repository: Repository):
    _, chunk = undecided(small, IMAGE)
    assert knows(repository, chunk)
    repository.index.condemned = frozenset(place.pack for place in repository.index.places(chunk))
    assert repository.index.find(chunk) is None
    assert len(list(repository.index.places(chunk))) == 1


def test_a_session_whose_decision_is_damaged_is_read_from_and_not_built_on():
    damaged = SmallRepository()
    repository = damaged.open()
    session = begin(repository, damaged)
    chunk, _ = put(session, IMAGE)
    commit(session)
    session.close()
    repository.close()
    flip_bit(damaged.storage, snapshot_name(session.id), 100)
    repository = damaged.open()
    assert repository.reader().get_data(chunk) == IMAGE
    assert repository.index.find(chunk) is None
    repository.close()


def test_the_cache_is_used_again_and_may_be_deleted_or_damaged(small: SmallRepository, tmp_path: Path):
    small.back_up(IMAGE)
    for damage in (lambda: None, lambda: None, spoil(tmp_path), wipe(tmp_path)):
        damage()
        storage = FaultyStorage(small.storage)
        repository = small.open(cache=tmp_path, storage=storage)
        assert repository.reader().get_data(repository.access.namer().data_id(IMAGE[:CHUNK])) == IMAGE[:CHUNK]
        repository.close()
    assert any(name.startswith("index/delta/") for call, name in storage.calls if call == "get")
    warm = FaultyStorage(small.storage)
    repository = small.open(cache=tmp_path, storage=warm)
    repository.reader()
    repository.close()
    assert not any(name.startswith("index/delta/") for call, name in warm.calls if call == "get")


def spoil(folder: Path):
    def act() -> None:
        for path in folder.rglob("*.table"):
            path.write_bytes(path.read_bytes()[:-1])
        for path in folder.rglob("committed"):
            path.write_bytes(b"half an id")

    return act


def wipe(folder: Path):
    def act() -> None:
        for path in folder.rglob("*"):
            if path.is_file():
                path.unlink()

    return act


def test_many_deltas_become_few_tables(small: SmallRepository, tmp_path: Path):
    rng = random.Random(7)
    contents = [rng.randbytes(1000) for _ in range(3 * MAX_TABLES)]
    for content in contents:
        small.back_up(content)
    repository = small.open(cache=tmp_path)
    namer = repository.access.namer()
    assert all(repository.reader().get_data(namer.data_id(content)) == content for content in contents)
    assert len(list(tmp_path.rglob("*.table"))) <= MAX_TABLES
    repository.close()


def test_an_aborted_sessions_delta_leaves_the_cache_again(small: SmallRepository, tmp_path: Path):
    session, chunk = undecided(small, IMAGE)
    for decided in (False, True):
        if decided:
            control = small.open().access.control
            control.write(Kind.ABORT, snapshot_name(session), AbortRecord(1, ""))
        repository = small.open(cache=tmp_path)
        assert knows(repository, chunk) is not decided
        repository.close()


@pytest.mark.parametrize(
    "rows",
    [b"x", encode_index([(PACK, [])]).rows + b"y" * 47, bytes(32) + (1).to_bytes(4, "little") + bytes(12),
     bytes(32) + bytes(4) + (999).to_bytes(4, "little") + (2).to_bytes(4, "little") + bytes(4),
     b"b" * 32 + bytes(16) + b"a" * 32 + bytes(16)],
    ids=["size", "cut", "no-such-pack", "beyond-the-pack", "unsorted"],
)  # fmt: skip
def test_rows_that_make_no_sense_are_damage(rows: bytes):
    with pytest.raises(Damaged, match="the delta"):
        check_index(IndexRecord([PACK], rows), "the delta")
