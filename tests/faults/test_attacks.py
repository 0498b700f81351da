"""What somebody with a writer's key and the bare storage can do to others: be noticed."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime

import msgspec
import pytest

from lamina.crypto.keys import KeyBundle
from lamina.crypto.passphrases import new_root
from lamina.errors import (
    ChunkMissing,
    Damaged,
    LaminaError,
    NotPermitted,
    RecordForged,
    SessionAborted,
    WrongPassphrase,
)
from lamina.model.ids import ChunkId, SessionId
from lamina.model.process import Process
from lamina.model.secret import Secret
from lamina.model.snapshots import Role, Snapshot, Trust
from lamina.repository.birth import new_birth
from lamina.repository.blobs import Node
from lamina.repository.format import BlobKind, Kind
from lamina.repository.index_records import encode_index
from lamina.repository.object_names import ATTRIBUTES, REMOVALS, delta_name, numbered, session_folder, snapshot_name
from lamina.repository.records import (
    AbortRecord,
    AttributesRecord,
    GenerationClosedRecord,
    GenerationOpenRecord,
    ManifestRecord,
    PackRow,
    RemovalRecord,
    SlotRecord,
    to_us,
)
from lamina.repository.repository import Repository
from lamina.repository.session_keys import Purpose
from lamina.repository.sessions import Session, SnapshotFacts
from lamina.repository.streams import FixedNode, decode_fixed_node
from lamina.repository.trees import children, get_entry, put_tree
from lamina.repository.writer import EncodingOptions
from lamina.testing.damage import replace_object, swap_objects
from lamina.testing.repositories import CHUNK, SmallRepository

CONTENT = random.Random(1).randbytes(4 * CHUNK + 9)
ENCODING = EncodingOptions(level=3, check=True)


@pytest.fixture
def owned(small: SmallRepository) -> SmallRepository:
    """A repository with a snapshot of the owner's."""
    small.back_up(CONTENT, tags=frozenset({"keep"}))
    return small


@pytest.fixture
def attacked() -> SmallRepository:
    """The same, where what the attacker leaves behind is to be found by `verify`."""
    repository = SmallRepository()
    repository.back_up(CONTENT, tags=frozenset({"keep"}))
    return repository


@pytest.fixture
def thief(attacked: SmallRepository) -> Iterator[Repository]:
    """Somebody who holds a writer's key, and all of our code."""
    repository = attacked.open("writer")
    yield repository
    repository.close()


def only(repository: SmallRepository, *, removed: bool = False) -> Snapshot:
    (snapshot,) = repository.snapshots(removed=removed)
    return snapshot


def forge(thief: Repository, kind: Kind, name: str, record: msgspec.Struct) -> str:
    """Put a record under a name, signed with the thief's own key."""
    thief.access.control.write(kind, name, record)
    return name


def check_ignored(attacked: SmallRepository, *forged: str) -> None:
    """The snapshot is as it was, restores, can be added to, and `verify` names each forged object."""
    snapshot = only(attacked)
    assert (snapshot.tags, snapshot.protected, snapshot.expires) == ({"keep"}, False, None)
    assert attacked.restore(snapshot.id.hex()) == CONTENT
    attacked.back_up(CONTENT)
    assert attacked.restore("latest") == CONTENT
    assert {problem.object for problem in attacked.verify().problems} == set(forged)


FAR = to_us(datetime(2000, 1, 1, tzinfo=UTC))


@pytest.mark.parametrize(
    ("kind", "name", "record"),
    [
        (Kind.REMOVAL, "removed/{}/00000001", RemovalRecord(True, FAR)),
        (Kind.ATTRIBUTES, "attributes/{}/00000002", AttributesRecord("distrusted", FAR, False, [])),
        (Kind.ATTRIBUTES, "attributes/{}/99999999", AttributesRecord("fresh", FAR, True, [])),
        (Kind.MANIFEST, "index/manifest/00000001", ManifestRecord(1, bytes(32), [], [])),
        (Kind.ABORT, "snapshots/00000000000000000000000000000000", AbortRecord(1, "so")),
    ],
    ids=["tombstone", "attributes", "last-attributes", "manifest", "abort"],
)
def test_a_forged_record_is_ignored(attacked: SmallRepository, thief: Repository, kind, name, record):
    forged = forge(thief, kind, name.format(only(attacked).id.hex()), record)
    if kind is Kind.ATTRIBUTES:  # a writer may sign these, so nothing is wrong with the object; it only does not count
        check_ignored(attacked)
    else:
        check_ignored(attacked, forged)


def test_a_forged_manifest_that_folds_all_deltas_hides_nothing(attacked: SmallRepository, thief: Repository):
    deltas = [found.name for found in attacked.storage.objects("index/delta/")]
    check_ignored(
        attacked, forge(thief, Kind.MANIFEST, "index/manifest/00000009", ManifestRecord(9, bytes(32), [], deltas))
    )


def test_forged_generations_neither_condemn_nor_bury(attacked: SmallRepository, thief: Repository):
    session = only(attacked).id
    packs = [bytes.fromhex(found.name[5:]) for found in attacked.storage.objects("data/")]
    opened = GenerationOpenRecord([], [session], [session], packs, "")
    forged = [
        forge(thief, Kind.GENERATION_OPEN, "generations/00000001/open", opened),
        forge(thief, Kind.GENERATION_CLOSED, "generations/00000001/closed", GenerationClosedRecord([session], [])),
    ]
    assert attacked.back_up(CONTENT).statistics.new < CHUNK, "the packs are not avoided"
    repository = attacked.open()
    repository.forget(repository.snapshots()[0])
    repository.unforget(repository.snapshots(removed=True)[0])
    assert len(repository.snapshots()) == 2
    repository.close()
    assert {problem.object for problem in attacked.verify().problems} == set(forged)


def test_a_writers_edit_of_anothers_snapshot_is_refused_and_forged_it_is_not_believed(
    attacked: SmallRepository, thief: Repository
):
    snapshot = thief.find_snapshot("latest")
    with pytest.raises(NotPermitted):
        thief.edit(snapshot, trust=Trust.DISTRUSTED)
    with pytest.raises(NotPermitted):
        thief.forget(snapshot)
    with pytest.raises(NotPermitted):
        thief.unforget(snapshot)
    name = numbered(session_folder(ATTRIBUTES, snapshot.id), 2)
    forge(thief, Kind.ATTRIBUTES, name, AttributesRecord("distrusted", None, False, []))
    assert only(attacked).trust is Trust.VERIFIED


def test_a_writer_may_mark_its_own_fresh_snapshot_once_and_never_cost_it_its_life(small: SmallRepository):
    small.back_up(CONTENT, holder="writer", tags=frozenset({"keep"}), expires=datetime(2030, 1, 1, tzinfo=UTC))
    before = only(small)
    assert before.trust is Trust.VERIFIED, "its own first record says what came of the comparison"
    writer = small.open("writer")
    record = AttributesRecord("distrusted", FAR, False, [])
    writer.access.control.write(Kind.ATTRIBUTES, numbered(session_folder(ATTRIBUTES, before.id), 2), record)
    with pytest.raises(NotPermitted):
        writer.edit(writer.find_snapshot("latest"), add_tags=["late"])
    writer.close()
    assert only(small) == before


def test_a_writers_first_record_cannot_expire_unprotect_or_untag(small: SmallRepository):
    expires = datetime(2030, 1, 1, tzinfo=UTC)
    small.back_up(CONTENT, holder="writer", tags=frozenset({"keep"}), expires=expires, verify=verify_none())
    snapshot = only(small)
    writer = small.open("writer")
    record = AttributesRecord("verified", FAR, False, [])
    writer.access.control.write(Kind.ATTRIBUTES, numbered(session_folder(ATTRIBUTES, snapshot.id), 1), record)
    writer.close()
    now = only(small)
    assert (now.tags, now.expires, now.trust) == ({"keep"}, expires, Trust.FRESH)


def verify_none():
    from lamina.engine.backup import VerifyMode

    return VerifyMode.NONE


def test_another_writers_first_record_does_not_count(small: SmallRepository):
    small.back_up(CONTENT, holder="writer", verify=verify_none())
    snapshot = only(small)
    other = small.open("other")
    record = AttributesRecord("distrusted", FAR, False, [])
    other.access.control.write(Kind.ATTRIBUTES, numbered(session_folder(ATTRIBUTES, snapshot.id), 1), record)
    other.close()
    assert only(small).trust is Trust.FRESH


def test_a_tombstone_of_one_snapshot_is_none_for_another(attacked: SmallRepository):
    attacked.back_up(CONTENT)
    repository = attacked.open()
    first, second = repository.snapshots()
    repository.forget(first)
    copied = numbered(session_folder(REMOVALS, second.id), 1)
    attacked.storage.put(copied, [attacked.storage.get(numbered(session_folder(REMOVALS, first.id), 1))])
    assert [one.id for one in repository.snapshots()] == [second.id]
    repository.close()
    assert [problem.object for problem in attacked.verify().problems] == [copied]


def test_a_tombstone_that_was_undone_cannot_be_played_again(attacked: SmallRepository):
    repository = attacked.open()
    snapshot = repository.find_snapshot("latest")
    repository.forget(snapshot)
    repository.unforget(snapshot)
    again = numbered(session_folder(REMOVALS, snapshot.id), 3)
    attacked.storage.put(again, [attacked.storage.get(numbered(session_folder(REMOVALS, snapshot.id), 1))])
    repository.close()
    check_ignored(attacked, again)


def test_a_snapshot_copied_under_another_name_is_not_one(attacked: SmallRepository):
    copied = "snapshots/" + "ab" * 16
    attacked.storage.put(copied, [attacked.storage.get(snapshot_name(only(attacked).id))])
    check_ignored(attacked, copied)


def test_two_snapshots_that_changed_places_are_both_refused(attacked: SmallRepository):
    attacked.back_up(CONTENT)
    names = [found.name for found in attacked.storage.objects("snapshots/")]
    swap_objects(attacked.storage, *names)
    assert attacked.snapshots() == []
    assert set(names) <= {problem.object for problem in attacked.verify().problems}


def begin(repository: Repository, small: SmallRepository) -> Session:
    return repository.begin(Process(), ENCODING, small.operation())


def test_a_delta_for_anothers_session_is_ignored(attacked: SmallRepository, thief: Repository):
    """A lie in the index would make others refer to what is not there."""
    lie = ChunkId(b"x" * 32)
    pack, size = bytes.fromhex(next(iter(attacked.storage.objects("data/"))).name[5:]), 1000
    row = msgspec.structs.replace(PackRow(pack, size, False, 0))
    from lamina.repository.format import BlobRow

    record = encode_index([(row, [BlobRow(lie, BlobKind.DATA, 0, 88, 100, 100)])])
    forged = forge(thief, Kind.DELTA, delta_name(only(attacked).id, 5), record)
    repository = attacked.open()
    repository.reader()
    assert repository.index.find(lie) is None
    repository.close()
    check_ignored(attacked, forged)


def test_a_delta_without_a_session_is_ignored(attacked: SmallRepository, thief: Repository):
    forged = forge(thief, Kind.DELTA, delta_name(SessionId(b"n" * 16), 0), encode_index([]))
    check_ignored(attacked, forged)


def test_a_snapshot_under_the_id_of_anothers_session_only_makes_that_run_fail(small: SmallRepository):
    owner, other = small.open(), small.open("other")
    session = begin(owner, small)
    stranger = begin(other, small)
    put_one(stranger)
    record = stranger._record(facts(stranger))
    other.access.control.write(Kind.SNAPSHOT, snapshot_name(session.id), record)
    put_one(session)
    with pytest.raises(SessionAborted, match="another snapshot"):
        session.commit(facts(session))
    for one in (session, stranger):
        one.close()
    small.storage.delete(snapshot_name(session.id))
    small.back_up(CONTENT)
    assert small.restore("latest") == CONTENT


def put_one(session: Session) -> ChunkId:
    content = b"something"
    chunk = session.writer.data_id(content)
    session.writer.put_data(chunk, content)
    return chunk


def facts(session: Session) -> SnapshotFacts:
    root = put_tree(session.writer, {})
    return SnapshotFacts(root, 0, 0, False, "vm", "", "", (), frozenset(), None)


def poison(small: SmallRepository, victim: bytes, *, session_of: str = "writer") -> ChunkId:
    """A blob that says it is *victim*'s chunk and holds something else, published in the thief's own session."""
    repository = small.open(session_of)
    session = begin(repository, small)
    writer = session.writer
    chunk = writer.data_id(victim)
    lie = b"not at all".ljust(len(victim), b"!")
    sealed = repository.access.sealer.seal_data(chunk, lie, session_key=writer.keys.content, level=3)
    writer._claimed.add(chunk)
    writer._add(sealed, writer.keys.content_entry)
    writer.flush()
    session.give_up()
    session.close()
    repository.close()
    return chunk


def test_poisoned_deduplication_is_found_by_the_backup_itself_and_healed_by_the_next():
    attacked = SmallRepository()
    poison(attacked, CONTENT[:CHUNK])
    report = attacked.back_up(CONTENT)
    assert [difference.offset for difference in report.coverage.differences] == [0]
    assert only(attacked).trust is Trust.DISTRUSTED
    with pytest.raises(Damaged):
        attacked.restore("latest")
    found = attacked.verify()
    assert any("lied" in problem.what and problem.snapshots for problem in found.problems)
    assert attacked.back_up(CONTENT).coverage.differences == ()
    assert attacked.restore("latest") == CONTENT


def poison_node(small: SmallRepository, kind: BlobKind, chunk: ChunkId, links: bytes) -> None:
    """A blob that says it is a node of others and links elsewhere, published in the thief's own session."""
    repository = small.open("writer")
    session = begin(repository, small)
    writer = session.writer
    sealed = repository.access.sealer.seal_node(kind, chunk, Node(links, b""), session_key=writer.keys.metadata)
    writer._claimed.add(chunk)
    writer._add(sealed, writer.keys.metadata_entry)
    writer.flush()
    session.give_up()
    session.close()
    repository.close()


def test_a_poisoned_copy_of_a_node_changes_nothing_that_is_restored(attacked: SmallRepository):
    """Nodes of streams have links only, and these the thief can read and seal: their id must be looked at as well."""
    repository = attacked.open()
    content = get_entry(repository.reader(), only(attacked).root, only(attacked).paths[0]).content
    node = decode_fixed_node(repository.reader().get_links(BlobKind.FIXED_NODE, content.id), name="node")
    repository.close()
    lie = FixedNode(1, (node.slots[1], node.slots[0], *node.slots[2:])).encode()
    for _ in range(6):  # which copy is looked at first depends on where they lie
        poison_node(attacked, BlobKind.FIXED_NODE, content.id, lie.links)
    assert attacked.restore("latest") == CONTENT
    assert attacked.back_up(CONTENT).coverage.differences == ()
    assert attacked.restore("latest") == CONTENT
    problems = attacked.verify().problems
    assert len(problems) == 6
    assert all(content.id.hex() in problem.what and problem.snapshots == () for problem in problems)


def test_a_poisoned_copy_of_a_directory_hides_nothing_from_a_session_that_catches_up():
    attacked = SmallRepository()
    attacked.back_up(CONTENT)
    root = only(attacked).root
    repository = attacked.open()
    needed = references(repository)
    repository.close()
    for _ in range(6):
        poison_node(attacked, BlobKind.DIRECTORY, root, b"")
    repository = attacked.open()
    session = begin(repository, attacked)
    session._use_all(root)
    assert set(session.writer.used()) == needed
    session.close()
    repository.close()


def references(repository: Repository) -> set[ChunkId]:
    """Every chunk that the only snapshot needs."""
    reader = repository.reader()
    (snapshot,) = repository.snapshots()
    todo, found = [(BlobKind.DIRECTORY, snapshot.root)], set()
    while todo:
        kind, chunk = todo.pop()
        found.add(chunk)
        if kind is not BlobKind.DATA:
            todo += children(kind, reader.get_node(kind, chunk).links, name="node")
    return found


def test_a_poisoned_copy_of_what_is_there_harms_nobody(attacked: SmallRepository):
    chunk = poison(attacked, CONTENT[:CHUNK])
    assert attacked.restore("latest") == CONTENT
    attacked.back_up(CONTENT)
    assert attacked.restore("latest") == CONTENT
    problems = attacked.verify().problems
    assert len(problems) == 1
    assert chunk.hex() in problems[0].what
    assert problems[0].snapshots == ()


def test_an_index_that_lies_about_an_intact_pack_is_found_by_verify():
    """The pack is whole and holds one blob, the index lists one blob for it: but another."""
    attacked = SmallRepository()
    repository = attacked.open("writer")
    session = begin(repository, attacked)
    put_one(session)
    session.writer.flush()
    ((pack, rows),) = session.writer.take_stored()
    victim = session.writer.data_id(CONTENT[:CHUNK])
    lie = (
        msgspec.structs.replace(pack),
        [type(rows[0])(victim, BlobKind.DATA, 0, rows[0].offset, rows[0].stored_size, CHUNK)],
    )
    repository.access.control.write(Kind.DELTA, delta_name(session.id, 0), encode_index([lie]))
    session.close()
    repository.close()
    attacked.back_up(CONTENT, verify=verify_none())
    with pytest.raises(ChunkMissing):
        attacked.restore("latest")
    found = attacked.verify().problems
    assert found
    assert any(problem.snapshots == (only(attacked).id.hex(),) for problem in found)


def test_a_replaced_key_slot_is_no_way_in(attacked: SmallRepository):
    """The thief wraps a bundle of his own with a passphrase he knows; nobody certified it as an owner's."""
    slots = [found.name for found in attacked.storage.objects("keys/") if "epoch" not in found.name]
    foreign = make_foreign()
    for number, name in enumerate(slots):
        replace_object(attacked.storage, name, foreign[number % len(foreign)])
    with pytest.raises(WrongPassphrase):
        Repository.open(attacked.storage, Secret(b"foreign"), attacked.operation())
    key = Secret(attacked.recovery_key.encode())
    Repository.open(attacked.storage, key, attacked.operation()).close()
    assert set(slots) <= {problem.object for problem in attacked.verify().problems}


def make_foreign() -> list[bytes]:
    """The key slots of another repository that opens with `foreign`."""
    from lamina.repository.repository import CreateOptions
    from lamina.testing.storages import MemoryStorage

    storage = MemoryStorage()
    repository, _ = Repository.create(storage, Secret(b"foreign"), CreateOptions(CHUNK), SmallRepository().operation())
    repository.close()
    return [storage.get(found.name) for found in storage.objects("keys/") if "epoch" not in found.name]


@pytest.mark.parametrize(
    "cost", [{"lanes": 0}, {"iterations": 0}, {"memory_kib": 0}, {"memory_kib": 2**31}, {"kdf": 2}, {"salt": b""}]
)
def test_a_slot_that_asks_for_an_impossible_derivation_stops_nobody(attacked: SmallRepository, cost: dict[str, object]):
    """A writer signs its own slot again with other costs; everybody who unlocks meets it."""
    from lamina.repository.format import decode_object, decode_record, encode_object, encode_record

    thief = attacked.open("writer")
    for found in thief._keyring.slots(print):
        if found.record.label == "writer":
            mine = found
    _, payload = decode_object(attacked.storage.get(mine.name), Kind.KEY_SLOT, name="it")
    record = decode_record(bytes(payload[:-64]), SlotRecord, name="it")
    encoded = encode_record(msgspec.structs.replace(record, **cost))
    signature = thief.access.control.signer.key.sign(thief._keyring._message(encoded))
    attacked.storage.put("keys/" + "0" * 16, [encode_object(Kind.KEY_SLOT, encoded + signature)])
    Repository.open(attacked.storage, Secret(b"owner"), attacked.operation()).close()
    with pytest.raises(LaminaError):
        Repository.open(attacked.storage, Secret(b"nobody's"), attacked.operation())


def test_a_replaced_lamina_json_is_noticed(attacked: SmallRepository):
    stranger = KeyBundle.from_root(new_root())
    replace_object(
        attacked.storage, "lamina.json", new_birth(stranger.structure_key, stranger.signing_key().public).encode()
    )
    for credential in (b"owner", b"writer", attacked.recovery_key.encode()):
        with pytest.raises((WrongPassphrase, Damaged)):
            Repository.open(attacked.storage, Secret(credential), attacked.operation())


def test_another_owner_in_lamina_json_is_noticed_even_with_a_right_mac(attacked: SmallRepository, thief: Repository):
    """The thief has the structure key, so the MAC is no obstacle; the owner's own key is."""
    from dataclasses import replace

    from lamina.repository.birth import birth_mac, decode_birth

    mine = KeyBundle.from_root(new_root()).signing_key().public
    birth = decode_birth(attacked.storage.get("lamina.json"))
    mac = birth_mac(thief.access.structure_key, birth.repository, mine)
    replace_object(attacked.storage, "lamina.json", replace(birth, owner_verify_key=mine, mac=mac).encode())
    for credential in (b"owner", attacked.recovery_key.encode()):
        with pytest.raises(WrongPassphrase):
            Repository.open(attacked.storage, Secret(credential), attacked.operation())


def test_the_certificate_of_another_repository_counts_for_nothing(attacked: SmallRepository, thief: Repository):
    """The owner of another repository signs with his own certificate."""
    from lamina.crypto.certificates import owner_certificate
    from lamina.repository.control import ControlRecords, Signer

    stranger = KeyBundle.from_root(new_root())
    signing = stranger.signing_key()
    certificate = owner_certificate(signing.public).encode(thief.id, signing)
    control = ControlRecords(
        attacked.storage, thief.id, thief.access.structure_key, signing.public,
        Signer(certificate, signing, bytes(8), Role.OWNER),
    )  # fmt: skip
    name = numbered(session_folder(REMOVALS, only(attacked).id), 1)
    control.write(Kind.REMOVAL, name, RemovalRecord(True, 0))
    check_ignored(attacked, name)


def test_a_record_with_the_owners_certificate_needs_the_owners_signature(attacked: SmallRepository, thief: Repository):
    """Certificates lie open in every record; the key behind them does not."""
    from lamina.repository.control import ControlRecords, Signer

    owner = attacked.open()
    signer = Signer(owner.access.control.signer.certificate, thief.access.control.signer.key, bytes(8), Role.OWNER)
    owner.close()
    verify_key = thief._keyring._owner_verify_key
    control = ControlRecords(attacked.storage, thief.id, thief.access.structure_key, verify_key, signer)
    name = numbered(session_folder(REMOVALS, only(attacked).id), 1)
    control.write(Kind.REMOVAL, name, RemovalRecord(True, 0))
    with pytest.raises(RecordForged):
        thief.access.control.read(name, Kind.REMOVAL, RemovalRecord)
    check_ignored(attacked, name)


def test_a_writer_reads_no_content_not_even_its_own(owned: SmallRepository):
    owned.back_up(CONTENT[CHUNK:], holder="writer")
    writer = owned.open("writer")
    reader = writer.reader()
    for content in (CONTENT[:CHUNK], CONTENT[CHUNK:][:CHUNK]):
        chunk = writer.access.namer().data_id(content)
        with pytest.raises(NotPermitted):
            reader.get_data(chunk)
        header, _, entry = reader.get_blob(next(writer.index.places(chunk)))
        assert header.kind is BlobKind.DATA
        assert writer.access.opener.find_key(entry, Purpose.CONTENT) is None
    writer.close()
    with pytest.raises(NotPermitted):
        from lamina.testing.repositories import restore_bytes

        writer = owned.open("writer")
        restore_bytes(writer, writer.find_snapshot("latest"), None, owned.operation())


def test_a_writer_reads_its_own_names_and_nobody_elses(owned: SmallRepository):
    owned.back_up(CONTENT, holder="writer", name="mine")
    owned.back_up(CONTENT, holder="other", name="theirs")
    assert [one.name for one in owned.snapshots("writer")] == [None, "mine", None]
    assert [one.name for one in owned.snapshots("other")] == [None, None, "theirs"]
    assert [one.name for one in owned.snapshots()] == ["vm", "mine", "theirs"]
    assert [(one.name, one.paths, one.tags) for one in owned.snapshots("steward")] == [(None, (), frozenset())] * 3


def test_a_writer_builds_on_its_own_snapshots_and_the_owner_restores_them(owned: SmallRepository):
    owned.back_up(CONTENT, holder="writer", name="mine")
    changed = bytes(CHUNK) + CONTENT[CHUNK:]
    report = owned.back_up(changed, holder="writer", name="mine")
    assert report.parent is not None
    assert report.notes == ()
    assert report.statistics.new < CHUNK
    assert owned.restore("mine@latest") == changed
    assert owned.restore("mine@latest~1") == CONTENT


def test_a_steward_checks_structure_and_forgets_but_reads_and_writes_nothing(owned: SmallRepository):
    assert owned.verify("steward").problems == ()
    assert owned.verify("writer").problems == ()
    steward = owned.open("steward")
    snapshot = steward.find_snapshot("latest")
    with pytest.raises(NotPermitted):
        owned.back_up(CONTENT, holder="steward")
    with pytest.raises(NotPermitted):
        steward.reader().get_node(BlobKind.DIRECTORY, snapshot.root)
    with pytest.raises(NotPermitted):
        steward.add_key(Role.OWNER, Secret(b"x"))
    with pytest.raises(NotPermitted):
        steward.export_key()
    steward.forget(snapshot)
    assert steward.snapshots() == []
    steward.unforget(snapshot)
    assert len(steward.snapshots()) == 1
    steward.close()


def test_a_writer_manages_no_keys(owned: SmallRepository):
    writer = owned.open("writer")
    for act in (
        lambda: writer.add_key(Role.OWNER, Secret(b"x")),
        lambda: writer.remove_key(writer.keys()[0].id),
        writer.export_key,
    ):
        with pytest.raises(NotPermitted):
            act()
    writer.close()


@pytest.mark.parametrize("name", ["removed/{}/00000001", "attributes/{}/00000002", "attributes/{}/00000009"])
def test_rubbish_among_the_records_of_a_snapshot_is_told_and_named(attacked: SmallRepository, name: str):
    """Not signed by anybody: it may be damage, so it is not passed over in silence."""
    name = name.format(only(attacked).id.hex())
    attacked.storage.put(name, [b"rubbish"])
    attacked.snapshots()
    assert any(name in message for message in attacked.progress.messages)
    assert name in {problem.object for problem in attacked.verify().problems}
