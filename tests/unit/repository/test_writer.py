"""Putting chunks: each once, from any number of threads; healing; full packs and key tables."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import msgspec
import pytest

from lamina.engine.backup import VerifyMode
from lamina.errors import StorageFull
from lamina.model.process import Process
from lamina.repository.format import BlobKind
from lamina.repository.repository import Repository
from lamina.repository.streams import FixedNode
from lamina.repository.writer import EncodingOptions
from lamina.storage.storage import Parts
from lamina.testing.damage import flip_bit
from lamina.testing.repositories import CHUNK, SmallRepository
from lamina.testing.storages import Fault, FaultyStorage
from tests.unit.repository.test_sessions import begin, commit, put

RNG = random.Random(8)


@pytest.fixture
def repository(small: SmallRepository) -> Iterator[Repository]:
    opened = small.open()
    yield opened
    opened.close()


def test_equal_chunks_put_at_once_are_stored_once(small: SmallRepository, repository: Repository):
    contents = [RNG.randbytes(2000) for _ in range(20)]
    session = begin(repository, small)
    with ThreadPoolExecutor(8) as executor:
        new = [done for _, done in executor.map(lambda content: put(session, content), contents * 16)]
    assert sum(new) == len(contents)
    commit(session)
    session.close()
    fresh = small.open()
    assert all(len(list(fresh.index.places(session.writer.data_id(one)))) <= 1 for one in contents)
    assert [fresh.reader().get_data(session.writer.data_id(one)) for one in contents] == contents
    fresh.close()


def test_equal_nodes_are_stored_once(small: SmallRepository, repository: Repository):
    from lamina.model.entries import Position

    chunk, _ = put(session := begin(repository, small), b"x")
    node = FixedNode(1, ((Position.DATA, chunk),) * 5).encode()
    ids = {session.writer.put_node(BlobKind.FIXED_NODE, node) for _ in range(3)}
    session.writer.flush()
    ((_, rows),) = [pack for pack in session.writer.take_stored() if pack[0].meta]
    assert [row.id for row in rows] == list(ids)
    session.close()


def test_a_pack_that_fails_while_others_are_looked_at_is_not_forgotten(small: SmallRepository, repository: Repository):
    class FailsJustNow(Future[None]):
        """Still under way when it is first asked, failed from then on."""

        asked = 0

        def done(self) -> bool:
            self.asked += 1
            return self.asked > 1

    late = FailsJustNow()
    late.set_exception(StorageFull("no space is left"))
    session = begin(repository, small)
    session.writer._uploads.append(late)
    put(session, RNG.randbytes(2000))
    with pytest.raises(StorageFull):
        session.writer.flush()
    session.close()


def test_full_packs_are_stored_while_more_is_put(small: SmallRepository, repository: Repository):
    small_packs = msgspec.structs.replace(repository.access.format, data_pack=3 * CHUNK)
    object.__setattr__(repository.access, "format", small_packs)
    contents = [RNG.randbytes(CHUNK) for _ in range(20)]
    session = begin(repository, small)
    for content in contents:
        put(session, content)
    commit(session)
    session.close()
    assert len(list(small.storage.objects("data/"))) >= 6
    assert all(found.size < 5 * CHUNK for found in small.storage.objects("data/"))
    repository.reader()
    assert [repository.reader().get_data(session.writer.data_id(one)) for one in contents] == contents


def test_more_foreign_keys_than_a_key_table_holds_fill_another_pack(
    small: SmallRepository, repository: Repository, monkeypatch: pytest.MonkeyPatch
):
    """Only copying brings foreign keys, one a session; with the true limit this takes long."""
    monkeypatch.setattr("lamina.repository.packs.MAX_KEYS", 4)
    contents = [bytes([number + 1]) * 100 for number in range(9)]
    for content in contents:
        small.back_up(content, verify=VerifyMode.NONE)
    session = begin(repository, small)
    chunks = [session.writer.data_id(content) for content in contents]
    before = {found.name for found in small.storage.objects("data/")}
    for chunk in chunks:
        session.writer.copy(session.reader, next(repository.index.places(chunk)))
    session.writer.flush()
    session.give_up()
    session.close()
    packs = {found.name for found in small.storage.objects("data/")} - before
    assert len(packs) >= 3, "two are open at a time, and hold four keys each"
    fresh = small.open()
    assert [fresh.reader().get_data(chunk) for chunk in chunks] == contents
    fresh.close()


def test_healing_stores_what_is_damaged_once_more():
    damaged = SmallRepository()
    contents = [RNG.randbytes(3000) for _ in range(4)]
    repository = damaged.open()
    session = begin(repository, damaged)
    for content in contents:
        put(session, content)
    commit(session)
    session.close()
    repository.close()
    for found in list(damaged.storage.objects("data/")):
        flip_bit(damaged.storage, found.name, 2000)
    for heal in (False, True):
        repository = damaged.open()
        session = repository.begin(Process(), EncodingOptions(None, check=True, heal=heal), damaged.operation())
        new = [put(session, content)[1] for content in contents]
        assert any(new) is heal
        commit(session)
        session.close()
        repository.close()
    repository = damaged.open()
    assert [repository.reader().get_data(session.writer.data_id(one)) for one in contents] == contents
    repository.close()


def test_without_uploads_the_calling_thread_stores(small: SmallRepository):
    threads = set()

    class Watched(FaultyStorage):
        def put(self, name: str, parts: Parts) -> None:
            threads.add(threading.current_thread())
            super().put(name, parts)

    repository = small.open(storage=Watched(small.storage))
    serial = EncodingOptions(None, check=True, uploads=0)
    session = repository.begin(Process(), serial, small.operation())
    chunk, _ = put(session, b"x")
    commit(session)
    session.close()
    assert threads == {threading.current_thread()}
    assert small.open().reader().get_data(chunk) == b"x"
    repository.close()


def test_an_upload_that_fails_is_told_to_who_puts_or_flushes(small: SmallRepository):
    storage = FaultyStorage(small.storage, [Fault("put", prefix="data/", lasting=True, error=StorageFull)])
    repository = small.open(storage=storage)
    session = begin(repository, small)
    put(session, b"x")
    with pytest.raises(StorageFull):
        session.writer.flush()
    session.close()
    repository.close()
