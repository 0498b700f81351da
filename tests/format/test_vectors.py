"""The vectors of the specification hold for the code and for the independent reader."""

from __future__ import annotations

import hashlib
import hmac
import json
import struct
from pathlib import Path
from typing import Any

import msgspec
import pytest
from blake3 import blake3
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from lamina.crypto.certificates import Certificate, decode_certificate, owner_certificate
from lamina.crypto.hashing import derive, public_hash
from lamina.crypto.keys import OWNER_SLOT, KeyBundle
from lamina.crypto.passphrases import format_recovery_key, parse_recovery_key
from lamina.errors import Damaged, FormatUnknown
from lamina.filters.pipeline import unseal_part
from lamina.model.entries import CutContent, EntryState, EntryType, FixedContent, Position, SlicedContent, Totals
from lamina.model.ids import ChunkId, PackId, RepositoryId, SessionId
from lamina.model.secret import Secret
from lamina.model.snapshots import Role
from lamina.repository.birth import Birth, birth_mac, decode_birth
from lamina.repository.blobs import BlobSealer, ChunkNamer, Node
from lamina.repository.control import ControlRecords, Signer, unseal_body
from lamina.repository.cut_streams import Child, decode_cut_node, encode_cut_node
from lamina.repository.directories import PartOf, decode_directory, encode_directory, encode_parts
from lamina.repository.format import (
    BlobHeader,
    BlobKind,
    BlobRow,
    Kind,
    PackHeader,
    decode_blob_header,
    decode_record,
    decode_trailer,
    encode_footer,
    encode_header,
    encode_object,
    encode_record,
    encode_trailer,
)
from lamina.repository.index_records import encode_index
from lamina.repository.keyring import Keyring
from lamina.repository.packs import check_pack
from lamina.repository.records import (
    AbortRecord,
    AttributesBody,
    AttributesRecord,
    CaughtUpRecord,
    CoverageRecord,
    FormatRecord,
    GenerationClosedRecord,
    GenerationOpenRecord,
    ManifestRecord,
    PackRow,
    RemovalRecord,
    SnapshotBody,
    StartRecord,
)
from lamina.repository.session_keys import KeyOpener, Purpose
from lamina.repository.streams import FixedNode, decode_fixed_node
from lamina.storage.backends.memory import MemoryStorage
from tests.format.independent_reader import load_reader

SPEC = Path(__file__).parents[2] / "docs" / "spec"


def _bytes(value: Any) -> Any:
    """JSON with every string that is hex read as bytes."""
    if isinstance(value, dict):
        return {key: _bytes(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_bytes(one) for one in value]
    try:
        return bytes.fromhex(value) if isinstance(value, str) else value
    except ValueError:
        return value


def _json(value: Any) -> Any:
    """*value* as the vectors have it: bytes in hex."""
    if isinstance(value, list):
        return [_json(one) for one in value]
    return value.hex() if isinstance(value, bytes) else value


RAW = json.loads((SPEC / "vectors.json").read_text())
VECTORS = _bytes(RAW)
SEALED = VECTORS["sealed"]
ROOT, REPOSITORY, SESSION = VECTORS["root"], RepositoryId(VECTORS["repository"]), SessionId(VECTORS["session"])
OWNER = KeyBundle.from_root(ROOT)
VERIFY_KEY = VECTORS["owner"]["verify_key"]
READER = load_reader()


@pytest.fixture
def reader_repository():
    """The independent reader's repository, as if opened with the vectors' root."""
    repository = READER.Repository.__new__(READER.Repository)
    repository.id, repository.owner, repository.root = REPOSITORY, VERIFY_KEY, ROOT
    repository.structure_key = VECTORS["owner"]["structure_key"]
    repository.id_key = VECTORS["owner"]["id_key"]
    repository.places = {}
    return repository


def control() -> ControlRecords:
    signing = OWNER.signing_key()
    signer = Signer(VECTORS["owner"]["certificate"], signing, OWNER_SLOT, Role.OWNER)
    return ControlRecords(MemoryStorage(), REPOSITORY, OWNER.structure_key, VERIFY_KEY, signer)


@pytest.mark.parametrize("vector", VECTORS["derive"])
def test_derived_keys(vector):
    for function in (derive, READER.derive):
        assert function(vector["key"], vector["purpose"], *vector["fields"]) == vector["out"]


def test_the_owners_keys_come_from_the_root():
    owner = VECTORS["owner"]
    assert (OWNER.structure_key, OWNER.id_key, OWNER.chunker_key) == (
        owner["structure_key"], owner["id_key"], owner["chunker_key"],
    )  # fmt: skip
    assert OWNER.signing_key().public == owner["verify_key"]
    assert derive(ROOT, "lamina/1 epoch key", bytes(4)) == owner["epoch_0_seed"]
    assert OWNER.envelope_key(0).public == owner["epoch_0_public"]
    assert owner_certificate(VERIFY_KEY).encode(REPOSITORY, OWNER.signing_key()) == owner["certificate"]


def test_a_writers_keys_come_from_its_slot_secret():
    vector = VECTORS["writer"]
    writer = OWNER.narrowed(Role.WRITER, vector["slot_secret"])
    assert (writer.signing_key().public, writer.envelope_key().public) == (
        vector["verify_key"], vector["envelope_public"],
    )  # fmt: skip
    certificate = Certificate(
        vector["slot"], Role.WRITER, vector["verify_key"], public_hash([vector["envelope_public"]])
    )
    assert certificate.encode(REPOSITORY, OWNER.signing_key()) == vector["certificate"]
    found = decode_certificate(vector["certificate"], repository=REPOSITORY, owner_verify_key=VERIFY_KEY)
    assert found == certificate


def test_the_reader_believes_a_certificate_and_not_a_changed_one(reader_repository):
    vector = VECTORS["writer"]
    signer = Ed25519PrivateKey.from_private_bytes(derive(vector["slot_secret"], "lamina/1 slot signing key"))
    signature = signer.sign(b"message")
    assert reader_repository.signing_role(vector["certificate"], signature, b"message") == 2
    promoted = vector["certificate"][:8] + b"\1" + vector["certificate"][9:]
    with pytest.raises(READER.BAD):
        reader_repository.signing_role(promoted, signature, b"message")


@pytest.mark.parametrize("vector", VECTORS["recovery_keys"])
def test_recovery_keys(vector):
    assert format_recovery_key(vector["root"]) == vector["text"]
    for text in (vector["text"], vector["text"].lower().replace("-", " ").replace("lamina 1 ", "lamina-1-")):
        assert parse_recovery_key(Secret(text.encode())) == vector["root"]
        assert READER.recovery_root(text.encode()) == vector["root"]


def test_headers_of_every_kind():
    assert {kind.name: encode_header(kind) for kind in Kind} == VECTORS["headers"]


def test_an_object_ends_in_its_hash():
    vector = VECTORS["object"]
    assert encode_object(Kind(vector["kind"]), vector["payload"]) == vector["bytes"]
    assert READER.read_object(vector["bytes"], (vector["kind"],)) == (vector["kind"], vector["payload"])
    with pytest.raises(READER.BAD):
        READER.read_object(vector["bytes"][:-1] + b"\0", (vector["kind"],))


def test_lamina_json():
    data = VECTORS["lamina.json"].encode()
    birth = Birth(REPOSITORY, VERIFY_KEY, birth_mac(OWNER.structure_key, REPOSITORY, VERIFY_KEY))
    assert birth.encode() == data
    assert decode_birth(data) == birth


def test_the_parts_of_a_pack():
    pack, blob = VECTORS["pack_header"], VECTORS["blob_header"]
    assert PackHeader(REPOSITORY, SESSION, pack["salt"]).encode() == pack["bytes"]
    header = BlobHeader(
        BlobKind(blob["kind"]), blob["key"], ChunkId(blob["id"]), blob["salt"], blob["links_size"], blob["body_size"]
    )
    assert header.encode() == blob["bytes"]
    assert decode_blob_header(blob["bytes"], name="vector") == header
    row, trailer = VECTORS["footer_row"], VECTORS["trailer"]
    listed = BlobRow(
        ChunkId(row["id"]), BlobKind(row["kind"]), row["key"], row["offset"], row["stored_size"], row["plain_size"]
    )
    assert encode_footer([listed]) == row["bytes"]
    sizes = {name: trailer[name] for name in ("keys_size", "footer_size", "blobs")}
    assert encode_trailer(**sizes) == trailer["bytes"]
    assert decode_trailer(trailer["bytes"], name="vector") == tuple(sizes.values())
    index = VECTORS["index"]
    packs = [(PackRow(PackId(index["pack"]), index["pack_size"], meta=False, retention=0), [listed])]
    assert encode_record(encode_index(packs)) == index["bytes"]


def test_chunk_ids():
    namer = ChunkNamer(VECTORS["owner"]["id_key"])
    assert namer.data_id(VECTORS["chunk_id"]["content"]) == VECTORS["chunk_id"]["id"]
    node = VECTORS["fixed_node"]
    assert namer.node_id(BlobKind.FIXED_NODE, Node(node["links"], b"")) == node["id"]
    for kind, name in ((BlobKind.CUT_NODE, "cut_node"), (BlobKind.DIRECTORY, "tree"), (BlobKind.DIRECTORY, "parts")):
        vector = VECTORS[name]
        assert namer.node_id(kind, Node(vector["links"], vector.get("body", b""))) == vector["id"]
    directory = VECTORS["directory"]
    node = Node(directory["links"], directory["body"])
    assert namer.node_id(BlobKind.DIRECTORY, node) == directory["id"]
    assert namer.node_id(BlobKind.DIRECTORY, node, VECTORS["writer"]["slot"]) == directory["writers_id"]


@pytest.fixture
def reader_with(reader_repository, monkeypatch):
    """The independent reader over given chunks: id → links and body."""

    def make(chunks):
        monkeypatch.setattr(reader_repository, "get", lambda kind, chunk: chunks[kind, chunk], raising=False)
        return reader_repository

    return make


WHOLE = slice(None)


def test_a_fixed_node(reader_with):
    vector = VECTORS["fixed_node"]
    slots = [(kind, chunk) for kind, chunk in vector["slots"]]
    node = FixedNode(
        vector["level"], tuple((Position(kind), ChunkId(chunk) if chunk else None) for kind, chunk in slots)
    )
    assert node.encode() == Node(vector["links"], b"")
    assert decode_fixed_node(vector["links"], name="vector") == node
    reader = reader_with({(2, vector["id"]): (vector["links"], b"")})
    lengths = [65536, 65536, 65536, 65536, 7]
    found = list(reader.fixed(0, vector["id"], 1, 4 * 65536 + 7, 65536))
    assert found == [(chunk, length, WHOLE) for (_, chunk), length in zip(slots, lengths, strict=True)]


@pytest.mark.parametrize("damage", [lambda links: links[:-32], lambda links: links + b"\0", lambda links: links[:2]])
def test_a_fixed_node_of_another_length_is_refused(damage, reader_with):
    links = damage(VECTORS["fixed_node"]["links"])
    reader = reader_with({(2, b"node"): (links, b"")})
    with pytest.raises(READER.BAD):
        list(reader.fixed(0, b"node", 1, 5 * 65536, 65536))
    with pytest.raises(Damaged):
        decode_fixed_node(links, name="vector")


def test_a_fixed_node_does_not_stand_where_another_size_is_needed(reader_with):
    reader = reader_with({(2, b"node"): (VECTORS["fixed_node"]["links"], b"")})
    for level, size in ((1, 6 * 65536), (1, 4 * 65536), (2, 5 * 1024 * 65536)):
        with pytest.raises(READER.BAD):
            list(reader.fixed(0, b"node", level, size, 65536))


def test_a_cut_node(reader_with):
    vector = VECTORS["cut_node"]
    children = [Child(size, ChunkId(chunk)) for size, chunk in vector["children"]]
    assert encode_cut_node(vector["level"], children) == Node(vector["links"], b"")
    assert decode_cut_node(vector["links"], name="vector") == (vector["level"], children)
    leaves = {(4, chunk): (encode_cut_node(1, [Child(size, chunk)]).links, b"") for size, chunk in children[:2]}
    node = encode_cut_node(vector["level"], children[:2]).links
    reader = reader_with({**leaves, (4, vector["id"]): (node, b"")})
    assert list(reader.cut(vector["id"], 300_001)) == [(chunk, size, WHOLE) for size, chunk in children[:2]]


@pytest.mark.parametrize(
    "damage",
    [
        lambda links: links[:-1],
        lambda links: links[:-40],
        lambda links: links + b"\0" * 40,
        lambda links: b"\0" + links[1:],
        lambda links: b"\x09" + links[1:],
        lambda links: links[:2],
    ],
)
def test_a_cut_node_of_another_length_or_level_is_refused(damage, reader_with):
    links = damage(VECTORS["cut_node"]["links"])
    reader = reader_with({(4, b"node"): (links, b"")})
    with pytest.raises(READER.BAD):
        list(reader.cut(b"node", sum(size for size, _ in VECTORS["cut_node"]["children"])))
    with pytest.raises(Damaged):
        decode_cut_node(links, name="vector")


def test_a_directory_node_of_the_first_release(reader_with):
    vector = VECTORS["directory"]
    entries = list(decode_directory(Node(vector["links"], vector["body"]), ChunkId(bytes(32))).entries())
    assert [(one.name, one.size, one.state, one.metadata.links) for one in entries] == [
        (b"disk.img", 200000, EntryState.WHOLE, 1), (b"vm", 0, EntryState.WHOLE, 1), (b"zeros", 10, EntryState.WHOLE, 1),
    ]  # fmt: skip
    image, folder, zeros = READER.unpack(vector["body"])
    assert image == [b"disk.img", 2, 0o640, 1, 2, -5, 0, 1, 200000, 65536, 0]
    assert folder == [b"vm", 1, 0, 0, 0, 0, 1, 0, 0, 0, 0]
    assert zeros == [b"zeros", 2, 0, 0, 0, 0, -1, 1, 10, 65536, 1]
    assert vector["links"] == b"\x02" + bytes(4) + b"\x11" * 32 + b"\x03" + bytes(4) + b"\x22" * 32
    reader = reader_with({(3, b"directory"): (vector["links"], vector["body"])})
    found = list(reader.members(b"directory"))
    assert [(one.name, one.size, one.state, one.names, one.error) for one in found] == [
        (b"disk.img", 200000, 0, 1, ""), (b"vm", 0, 0, 1, ""), (b"zeros", 10, 0, 1, ""),
    ]  # fmt: skip


def test_a_directory_node_with_everything(reader_with):
    vector = VECTORS["tree"]
    node = Node(vector["links"], vector["body"])
    entries = list(decode_directory(node, ChunkId(bytes(32))).entries())
    assert encode_directory(entries) == node
    assert _json(READER.unpack(vector["body"])) == RAW["tree"]["records"]
    assert {one.type for one in entries} == set(EntryType)
    assert {one.state for one in entries} == set(EntryState)
    assert {type(one.content) for one in entries if one.content} == {FixedContent, SlicedContent, CutContent}
    reader = reader_with({(3, b"directory"): (vector["links"], vector["body"])})
    found = {one.name: one for one in reader.members(b"directory")}
    one, two = b"\x11" * 32, b"\x22" * 32
    assert list(reader.pieces(found[b"bundled"])) == [(one, 20, slice(100, 120)), (two, 10, slice(0, 10))]
    assert list(reader.pieces(found[b"empty"])) == []
    with pytest.raises(READER.BAD):
        list(reader.pieces(found[b"unread"]))


def test_the_links_of_a_directory_say_how_much_of_a_bundle_is_used():
    links = list(struct.iter_unpack("<BI32s", VECTORS["tree"]["links"]))
    used = {(kind, chunk[:1].hex()): length for kind, length, chunk in links}
    assert used == {
        (1, "11"): 20 + 7 + 9,  # three small files
        (1, "22"): 0,  # of a large file too, which needs all of it
        (4, "22"): 0,
        (3, "11"): 0,
        (2, "11"): 0,
    }


@pytest.mark.parametrize("field", [1, 7, 15])
def test_an_entry_of_an_unknown_type_form_or_state_is_refused(field, reader_with):
    vector = VECTORS["tree"]
    record = next(one for one in READER.unpack(vector["body"]) if one[0] == b"bundled")
    record[field] = 9
    body = msgspec.msgpack.encode([record])
    with pytest.raises(FormatUnknown):
        list(decode_directory(Node(vector["links"], body), ChunkId(bytes(32))).entries())
    reader = reader_with({(3, b"directory"): (vector["links"], body)})
    with pytest.raises(READER.BAD):
        [list(reader.pieces(one)) for one in reader.members(b"directory")]


def test_fields_of_a_later_release_are_ignored(reader_with):
    vector = VECTORS["tree"]
    body = msgspec.msgpack.encode([[*record, "later"] for record in READER.unpack(vector["body"])])
    node = decode_directory(Node(vector["links"], body), ChunkId(bytes(32)))
    known = decode_directory(Node(vector["links"], vector["body"]), ChunkId(bytes(32)))
    assert list(node.entries()) == list(known.entries())
    reader = reader_with({(3, b"directory"): (vector["links"], body)})
    assert [one.name for one in reader.members(b"directory")] == [one.name for one in known.entries()]


@pytest.mark.parametrize("names", [[b".."], [b"."], [b""], [b"a/b"], [b"a\0"], [b"b", b"a"], [b"a", b"a"]])
def test_impossible_names_are_refused(names, reader_with):
    records = [[name, 2, 0, 0, 0, 0, -1, 1, 10, 65536, 1] for name in names]
    with pytest.raises(Damaged):
        decode_directory(Node(b"", msgspec.msgpack.encode(records)), ChunkId(bytes(32)))
    reader = reader_with({(3, b"root"): (b"", msgspec.msgpack.encode(records))})
    with pytest.raises(READER.BAD):
        list(reader.entries(b"root"))


def parts_with(*names: bytes):
    """The vectors' two parts, whose chunks hold one file each."""
    bodies = [msgspec.msgpack.encode([[name, 2, 0, 0, 0, 0, -1, 1, 10, 65536, 1]]) for name in names]
    leaves = {(3, byte * 32): (b"", body) for byte, body in zip((b"\x11", b"\x22"), bodies, strict=True)}
    return {**leaves, (3, b"root"): (VECTORS["parts"]["links"], VECTORS["parts"]["body"])}


def test_a_directory_in_parts(reader_with):
    vector = VECTORS["parts"]
    node = decode_directory(Node(vector["links"], vector["body"]), ChunkId(bytes(32)))
    assert (node.has_parts, [node.part(0), node.part(1)]) == (True, [b"\x11" * 32, b"\x22" * 32])
    parts = [PartOf(one.name, node.part(at), Totals(*one.totals)) for at, one in enumerate(node.records)]
    assert encode_parts(parts) == Node(vector["links"], vector["body"])
    assert _json(READER.unpack(vector["body"])) == RAW["parts"]["records"]
    assert [path for path, _ in reader_with(parts_with(b"a", b"m")).entries(b"root")] == [b"a", b"m"]


def test_parts_in_the_wrong_order_are_refused(reader_with):
    with pytest.raises(READER.BAD):
        list(reader_with(parts_with(b"m", b"a")).entries(b"root"))


def test_the_body_of_a_snapshot_names_owners_and_what_it_is_a_copy_of():
    vector = VECTORS["snapshot_body"]
    body = decode_record(vector["bytes"], SnapshotBody, name="vector")
    assert (body.users, body.groups) == ([(0, b"root"), (1000, b"\xff")], [(0, b"root")])
    assert body.copied_from == bytes(range(32))
    assert encode_record(body) == vector["bytes"]
    assert _json(READER.unpack(vector["bytes"])) == RAW["snapshot_body"]["values"]
    old = decode_record(msgspec.msgpack.encode(READER.unpack(vector["bytes"])[:7]), SnapshotBody, name="old")
    assert (old.name, old.users, old.groups, old.copied_from) == ("name", [], [], b"")


STRUCTURES = {
    "start": StartRecord,
    "caught_up": CaughtUpRecord,
    "abort": AbortRecord,
    "removal": RemovalRecord,
    "generation_open": GenerationOpenRecord,
    "generation_closed": GenerationClosedRecord,
    "manifest": ManifestRecord,
    "coverage": CoverageRecord,
    "attributes": AttributesRecord,
}


@pytest.mark.parametrize(("name", "kind"), STRUCTURES.items())
def test_the_structure_of_a_record(name, kind):
    vector = VECTORS[name]
    record = decode_record(vector["bytes"], kind, name="vector")
    assert encode_record(record) == vector["bytes"]
    assert _json(READER.unpack(vector["bytes"])) == RAW[name]["values"]


@pytest.mark.parametrize(
    ("name", "fields", "later"),
    [
        ("start", 8, {"namespace": b""}),
        ("generation_closed", 2, {"buried_before": []}),
        ("manifest", 4, {"generation": 0, "buried": [], "kept": []}),
        ("attributes", 4, {"damaged": 0}),
    ],
)
def test_a_record_of_before_says_nothing_of_what_came_later(name, fields, later):
    values = READER.unpack(VECTORS[name]["bytes"])
    old = decode_record(msgspec.msgpack.encode(values[:fields]), STRUCTURES[name], name="old")
    assert list(msgspec.structs.astuple(old))[:fields] == values[:fields]
    assert {field: getattr(old, field) for field in later} == later


@pytest.mark.parametrize("name", ["part_raw", "part_zstd"])
def test_sealed_parts_open(name):
    vector = SEALED[name]
    opened = unseal_part(vector["bytes"], key=vector["key"], aad=vector["aad"], what="the vector")
    assert opened == vector["content"] == READER.unseal_part(vector["key"], vector["bytes"], vector["aad"])


def test_padding_behind_the_payload_is_left_out():
    key, content = b"\1" * 32, b"content"
    plain = b"\0" + len(content).to_bytes(4, "little") * 2 + content + bytes(500)
    sealed = AESGCM(key).encrypt(bytes(12), plain, b"aad")
    assert unseal_part(sealed, key=key, aad=b"aad", what="padded") == content
    assert READER.unseal_part(key, sealed, b"aad") == content


def open_by_hand(seed: bytes, envelope: bytes, info: bytes) -> bytes:
    """§3.5 spelt out: X-Wing and HPKE's key schedule from their parts, without a library for HPKE."""
    mlkem = MLKEM768PrivateKey.from_seed_bytes(derive(seed, "mlkem d") + derive(seed, "mlkem z"))
    x25519 = X25519PrivateKey.from_private_bytes(derive(seed, "x25519"))
    point = envelope[1088:1120]
    shared = mlkem.decapsulate(envelope[:1088]) + x25519.exchange(X25519PublicKey.from_public_bytes(point))
    label = bytes.fromhex("5c2e2f2f5e5c")
    secret = hashlib.sha3_256(shared + point + x25519.public_key().public_bytes_raw() + label).digest()
    suite = b"HPKE" + bytes.fromhex("647a00010002")

    def extract(salt: bytes, name: bytes, material: bytes) -> bytes:
        return hmac.digest(salt, b"HPKE-v1" + suite + name + material, "sha256")

    def expand(key: bytes, name: bytes, context: bytes, size: int) -> bytes:
        label = size.to_bytes(2, "big") + b"HPKE-v1" + suite + name + context
        return hmac.digest(key, label + b"\1", "sha256")[:size]

    context = b"\0" + extract(b"", b"psk_id_hash", b"") + extract(b"", b"info_hash", info)
    key = extract(secret, b"secret", b"")
    nonce = expand(key, b"base_nonce", context, 12)
    return AESGCM(expand(key, b"key", context, 32)).decrypt(nonce, envelope[1120:], b"")


def test_an_envelope_opens_as_the_specification_spells_it_out():
    vector = SEALED["envelope"]
    assert len(vector["bytes"]) == 1088 + 32 + 32 + 16
    assert open_by_hand(vector["seed"], vector["bytes"], vector["info"]) == vector["secret"]
    assert OWNER.envelope_key(0).unseal(vector["bytes"], vector["info"]) == vector["secret"]


def test_a_signed_record_opens(reader_repository, tmp_path: Path):
    vector = SEALED["record"]
    signed = control().decode(vector["bytes"], vector["name"], {Kind.FORMAT: FormatRecord})
    assert encode_record(signed.structure) == vector["structure"]
    (tmp_path / "record").write_bytes(vector["bytes"])
    reader_repository.paths = {vector["name"]: tmp_path / "record", "format/00000002": tmp_path / "record"}
    kind, structure, body = reader_repository.read_record(vector["name"], vector["kind"])
    assert (kind, structure, body) == (3, READER.unpack(vector["structure"]), b"")
    with pytest.raises(READER.BAD):
        reader_repository.read_record("format/00000002", vector["kind"])


def test_a_body_opens():
    vector = SEALED["body"]
    body = unseal_body(vector["metadata_key"], SESSION, vector["bytes"], AttributesBody, REPOSITORY)
    assert body == AttributesBody(["tag"], "note")
    key = blake3(b"\x0dlamina/1 body" + vector["bytes"][:32], key=vector["metadata_key"]).digest()
    plain = AESGCM(key).decrypt(bytes(12), vector["bytes"][32:], REPOSITORY + SESSION + b"body")
    assert plain == vector["content"]


def test_a_key_slot_opens(reader_repository, tmp_path: Path):
    vector = SEALED["slot"]
    storage = MemoryStorage()
    storage.put("keys/0011223344556677", [vector["bytes"]])
    unlocked = Keyring(storage, REPOSITORY, VERIFY_KEY).unlock(Secret(vector["passphrase"].encode()))
    assert unlocked.bundle.root == vector["root"]
    (tmp_path / "slot").write_bytes(vector["bytes"])
    reader_repository.paths = {"keys/0011223344556677": tmp_path / "slot"}
    assert reader_repository.unlock(vector["passphrase"].encode()) == vector["root"]


def test_a_whole_pack_opens(reader_repository, tmp_path: Path):
    vector = SEALED["pack"]
    header, tail = check_pack(vector["bytes"], PackId(vector["id"]), OWNER.structure_key, name="vector")
    assert (header.session, [[row.kind, row.id] for row in tail.rows]) == (SESSION, vector["chunks"])
    opener = KeyOpener(REPOSITORY, OWNER, OWNER_SLOT)
    assert [opener.find_key(entry, Purpose(entry.purpose)) for entry in tail.keys] == [
        vector["content_key"],
        vector["metadata_key"],
    ]
    row = tail.rows[0]
    blob = vector["bytes"][row.offset : row.offset + row.stored_size]
    data = BlobSealer(REPOSITORY, OWNER.structure_key).unseal_body(
        decode_blob_header(blob, name="vector"), blob, session_key=vector["content_key"]
    )
    assert data == VECTORS["chunk_id"]["content"]
    (tmp_path / "pack").write_bytes(vector["bytes"])
    reader_repository.read_footer(tmp_path / "pack")
    (_, content), (_, fixed), (_, directory) = vector["chunks"]
    assert reader_repository.get(1, content) == (b"", VECTORS["chunk_id"]["content"])
    assert reader_repository.get(2, fixed) == (VECTORS["fixed_node"]["links"], b"")
    assert reader_repository.get(3, directory) == (VECTORS["directory"]["links"], VECTORS["directory"]["body"])


@pytest.mark.parametrize(
    "value",
    [None, True, False, 0, 127, 128, 255, 256, 65535, 65536, 2 ** 32, 2 ** 63, -1, -32, -33, -128, -129, -2 ** 15, -2 ** 31, -2 ** 63, b"", b"x" * 255, b"x" * 256, b"x" * 65536, "", "x" * 31, "é" * 16, "x" * 255, "x" * 256, "x" * 65536, [], [1] * 15, [1] * 16, [[b"a"], "b"], [None] * 65536],
    ids=lambda value: f"{type(value).__name__}-{str(value)[:12]}-{len(value) if hasattr(value, '__len__') else ''}",
)  # fmt: skip
def test_the_reader_decodes_every_value_a_record_may_hold(value):
    assert READER.unpack(msgspec.msgpack.encode(value)) == value
