"""What somebody with a writer's key, bit rot, or a storage that forgets can do to a prune: stop it, never make it lose anything."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

import pytest

from lamina.crypto.hashing import public_hash
from lamina.engine.prune import PruneOptions
from lamina.errors import PruneRefused
from lamina.model.entries import FixedContent
from lamina.model.ids import ChunkId
from lamina.model.process import Process
from lamina.repository.format import BlobKind
from lamina.repository.object_names import snapshot_name
from lamina.repository.repository import Repository
from lamina.repository.sessions import SnapshotFacts
from lamina.repository.streams import FixedNode, decode_fixed_node
from lamina.repository.trees import get_entry
from lamina.repository.writer import EncodingOptions
from lamina.storage.storage import StoredObject
from lamina.testing.damage import flip_bit
from lamina.testing.repositories import CHUNK, SmallRepository
from lamina.testing.storages import FaultyStorage
from tests.faults.test_attacks import poison, poison_node
from tests.unit.engine.test_prune import NOW, forget, names, run_prune
from tests.unit.engine.test_prune_beside import is_open, run_when

KEPT = random.Random(1).randbytes(6 * CHUNK)
JUNK = random.Random(2).randbytes(20 * CHUNK)  # in both data packs: each is worth rewriting
EAGER = replace(NOW, threshold=1.0)  # rewrites every pack in which anything is dead
HOLDERS = ["owner", "steward"]


@pytest.fixture
def hurt() -> SmallRepository:
    """A snapshot, and one that was forgotten and lies in the same packs; nobody checks it at the end."""
    small = SmallRepository()
    small.back_up(KEPT + JUNK, name="junk")
    small.back_up(KEPT, name="kept")
    forget(small, "junk@latest")
    return small


def stream(small: SmallRepository) -> FixedContent:
    repository = small.open()
    snapshot = repository.find_snapshot("kept@latest")
    content = get_entry(repository.reader(), snapshot.root, snapshot.paths[0]).content
    repository.close()
    assert isinstance(content, FixedContent)
    return content


def place_of(small: SmallRepository, chunk: ChunkId) -> tuple[str, int]:
    """The pack a chunk lies in, and where."""
    repository = small.open()
    repository.reader()
    (place,) = repository.index.places(chunk)
    repository.close()
    return place.pack_name, place.offset


@pytest.mark.parametrize("holder", HOLDERS)
def test_a_poisoned_copy_of_a_node_with_fewer_links_costs_no_chunk(hurt: SmallRepository, holder: str):
    content = stream(hurt)
    assert content.id is not None
    repository = hurt.open()
    node = decode_fixed_node(repository.reader().get_links(BlobKind.FIXED_NODE, content.id), name="node")
    repository.close()
    lie = FixedNode(1, node.slots[:1] * len(node.slots)).encode()
    for _ in range(6):  # which copy is looked at first depends on where they lie
        poison_node(hurt, BlobKind.FIXED_NODE, content.id, lie.links)
    for _ in range(2):
        hurt.clock.advance(PruneOptions().abort_after * 2)
        assert run_prune(hurt, EAGER, holder=holder).finished
    assert hurt.restore("kept@latest") == KEPT


@pytest.mark.parametrize("holder", HOLDERS)
def test_a_poisoned_copy_of_a_chunk_never_stands_in_for_the_true_one(hurt: SmallRepository, holder: str):
    for number in range(6):
        poison(hurt, KEPT[number * CHUNK : (number + 1) * CHUNK])
    for _ in range(3):
        hurt.clock.advance(PruneOptions().abort_after * 2)
        assert run_prune(hurt, EAGER, holder=holder).finished
    assert hurt.restore("kept@latest") == KEPT


@pytest.mark.parametrize("holder", HOLDERS)
def test_a_damaged_pack_that_is_needed_stays_and_is_named(hurt: SmallRepository, holder: str):
    repository = hurt.open()
    chunk = repository.access.namer().data_id(KEPT[:CHUNK])
    repository.close()
    name, offset = place_of(hurt, chunk)
    flip_bit(hurt.storage, name, offset + 1000)
    report = run_prune(hurt, EAGER, holder=holder)
    assert report.finished
    assert any(name.rpartition("/")[2] in problem for problem in report.problems), report
    assert name in names(hurt.storage, "data/")
    assert {problem.object for problem in hurt.verify().problems if problem.object.startswith("data/")} == {name}


@pytest.mark.parametrize("holder", HOLDERS)
def test_metadata_that_cannot_be_read_stops_a_prune(hurt: SmallRepository, holder: str):
    content = stream(hurt)
    assert content.id is not None
    name, offset = place_of(hurt, content.id)
    flip_bit(hurt.storage, name, offset + 80)
    before = names(hurt.storage, "")
    with pytest.raises(PruneRefused, match="nobody knows what it needs"):
        run_prune(hurt, EAGER, holder=holder)
    assert names(hurt.storage, "") == before


def test_a_snapshot_that_is_gone_stops_a_prune(hurt: SmallRepository):
    run_prune(hurt)
    hurt.back_up(JUNK, name="more")
    forget(hurt, "more@latest")
    repository = hurt.open()
    kept = repository.find_snapshot("kept@latest").id
    repository.close()
    hurt.storage.delete(snapshot_name(kept))
    with pytest.raises(PruneRefused, match=kept.hex()[:16]):
        run_prune(hurt)
    assert len(names(hurt.storage, "generations/")) == 2


def test_a_session_that_others_call_committed_is_never_given_up(hurt: SmallRepository):
    """The record of the newest snapshot is lost; what was said of it later is not."""
    repository = hurt.open()
    kept = repository.find_snapshot("kept@latest").id
    repository.close()
    record = hurt.storage.get(snapshot_name(kept))
    hurt.storage.delete(snapshot_name(kept))
    hurt.clock.advance(PruneOptions().abort_after * 2)
    with pytest.raises(PruneRefused, match=f"attributes/{kept.hex()}"):
        run_prune(hurt)
    hurt.storage.put(snapshot_name(kept), [record])
    assert run_prune(hurt).finished
    assert hurt.restore("kept@latest") == KEPT


class Forgetful(FaultyStorage):
    """Lists everything but one object."""

    hidden = ""

    def objects(self, prefix: str = ""):
        found: list[StoredObject] = [one for one in super().objects(prefix) if one.name != self.hidden]
        return iter(found)


@pytest.mark.parametrize("folder", ["snapshots/", "data/", "generations/"])
def test_a_list_that_leaves_something_out_deletes_nothing(hurt: SmallRepository, folder: str):
    run_prune(hurt)
    hurt.back_up(JUNK, name="more")
    forget(hurt, "more@latest")
    repository = hurt.open()
    kept = snapshot_name(repository.find_snapshot("kept@latest").id)
    chunk = repository.access.namer().data_id(KEPT[:CHUNK])
    repository.close()
    storage = Forgetful(hurt.storage)
    storage.hidden = {
        "snapshots/": kept,
        "data/": place_of(hurt, chunk)[0],
        "generations/": "generations/00000001/open",
    }[folder]
    with pytest.raises(PruneRefused):
        run_prune(hurt, storage=storage)
    run_prune(hurt)
    assert hurt.restore("kept@latest") == KEPT


def test_a_snapshot_of_what_is_nowhere_stops_a_prune_until_it_is_forgotten(hurt: SmallRepository):
    commit_nothing(hurt, "writer")
    with pytest.raises(PruneRefused, match="is in no pack") as refused:
        run_prune(hurt)
    assert "snapshot" in refused.value.message
    forget(hurt, "bogus@latest")
    assert run_prune(hurt).finished
    assert hurt.restore("kept@latest") == KEPT


@pytest.mark.parametrize("moment", [is_open, lambda call, name: call == "put" and name.startswith("data/")])
def test_a_bogus_snapshot_that_comes_in_between_does_not_stop_prunes_for_ever(
    hurt: SmallRepository, moment: Callable[[str, str], bool]
):
    """The generation cannot bury it, for it was not there at the beginning: it is called off, and the next one can."""
    if moment is is_open:
        with pytest.raises(PruneRefused):
            run_when(hurt, moment, lambda: commit_nothing(hurt, "writer"))
        closed = names(hurt.storage, "generations/")
        assert closed == ["generations/00000001/closed", "generations/00000001/open"]
        assert hurt.restore("junk@latest") == KEPT + JUNK
    else:
        run_when(hurt, moment, lambda: commit_nothing(hurt, "writer"))
    forget(hurt, "bogus@latest")
    assert run_prune(hurt).finished
    assert hurt.restore("kept@latest") == KEPT


def commit_nothing(small: SmallRepository, holder: str) -> None:
    """A snapshot whose root is in no pack."""
    repository: Repository = small.open(holder)
    session = repository.begin(Process(), EncodingOptions(None, check=True), small.operation())
    root = ChunkId(public_hash([b"nothing"]))
    session.commit(SnapshotFacts(root, 0, 0, False, "bogus", "", "", (), frozenset(), None))
    session.close()
    repository.close()


def test_a_forged_generation_is_stepped_over(hurt: SmallRepository):
    from lamina.repository.format import Kind
    from lamina.repository.records import GenerationOpenRecord, ManifestRecord

    thief = hurt.open("writer")
    thief.access.control.write(
        Kind.GENERATION_OPEN, "generations/00000001/open", GenerationOpenRecord([], [], [], [], "")
    )
    thief.access.control.write(Kind.MANIFEST, "index/manifest/00000002", ManifestRecord(2, bytes(32), [], []))
    thief.close()
    report = run_prune(hurt)
    assert (report.finished, report.generation) == (True, 2)
    assert "index/manifest/00000003" in names(hurt.storage, "index/manifest/")
    assert hurt.restore("kept@latest") == KEPT


def test_an_owners_prune_removes_a_damaged_pack_once_all_of_it_is_stored_again():
    """The copy that is kept is the younger one; it is opened before the damaged pack goes."""
    small = SmallRepository()
    small.back_up(KEPT, name="kept")
    repository = small.open()
    name, offset = place_of(small, repository.access.namer().data_id(KEPT[:CHUNK]))
    flip_bit(small.storage, name, offset + 1000)
    session = repository.begin(Process(), EncodingOptions(None, check=True, heal=True), small.operation())
    for at in range(0, len(KEPT), CHUNK):
        session.writer.put_data(session.writer.data_id(KEPT[at : at + CHUNK]), KEPT[at : at + CHUNK])
    session.writer.flush()
    session.give_up()
    session.close()
    repository.close()
    small.clock.advance(PruneOptions().abort_after * 2)
    for _ in range(2):  # what a session that was given up stored is believed from the next prune on
        run_prune(small, EAGER)
    assert name not in names(small.storage, "data/")
    assert small.restore("kept@latest") == KEPT
    assert small.verify().problems == ()
