"""The vectors of the specification hold for the code and for the independent reader."""

from __future__ import annotations

import hashlib
import hmac
import json
from pathlib import Path
from typing import Any

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
from lamina.errors import Damaged
from lamina.filters.pipeline import unseal_part
from lamina.model.entries import Position
from lamina.model.ids import ChunkId, PackId, RepositoryId, SessionId
from lamina.model.secret import Secret
from lamina.model.snapshots import Role
from lamina.repository.birth import Birth, birth_mac, decode_birth
from lamina.repository.blobs import BlobSealer, ChunkNamer, Node
from lamina.repository.control import ControlRecords, Signer, unseal_body
from lamina.repository.directories import decode_directory, encode_directory
from lamina.repository.format import (
    BlobHeader,
    BlobKind,
    BlobRow,
    Kind,
    PackHeader,
    decode_blob_header,
    decode_trailer,
    encode_footer,
    encode_header,
    encode_object,
    encode_record,
    encode_trailer,
)
from lamina.repository.index import encode_index
from lamina.repository.keyring import Keyring
from lamina.repository.packs import check_pack
from lamina.repository.records import AttributesBody, FormatRecord, PackRow
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


VECTORS = _bytes(json.loads((SPEC / "vectors.json").read_text()))
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
    id_key = VECTORS["owner"]["id_key"]
    repository.id_keys = {1: READER.derive(id_key, "lamina/1 data")}
    repository.id_keys |= {kind: READER.derive(id_key, "lamina/1 node", bytes([kind])) for kind in (2, 3)}
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
    directory = VECTORS["directory"]
    node = Node(directory["links"], directory["body"])
    assert namer.node_id(BlobKind.DIRECTORY, node) == directory["id"]
    assert namer.node_id(BlobKind.DIRECTORY, node, VECTORS["writer"]["slot"]) == directory["writers_id"]


def test_a_fixed_node():
    vector = VECTORS["fixed_node"]
    slots = [(kind, chunk) for kind, chunk in vector["slots"]]
    node = FixedNode(
        vector["level"], tuple((Position(kind), ChunkId(chunk) if chunk else None) for kind, chunk in slots)
    )
    assert node.encode() == Node(vector["links"], b"")
    assert decode_fixed_node(vector["links"], name="vector") == node
    assert READER.read_fixed_node(vector["links"]) == (vector["level"], slots)


@pytest.mark.parametrize("damage", [lambda links: links[:-1], lambda links: links + b"\0", lambda links: links[:2]])
def test_a_fixed_node_of_another_length_is_refused(damage):
    links = damage(VECTORS["fixed_node"]["links"])
    with pytest.raises(READER.BAD):
        READER.read_fixed_node(links)
    with pytest.raises(Damaged):
        decode_fixed_node(links, name="vector")


def test_a_directory_node(reader_repository):
    vector = VECTORS["directory"]
    entries = list(decode_directory(Node(vector["links"], vector["body"]), ChunkId(bytes(32))).entries())
    assert encode_directory(entries) == Node(vector["links"], vector["body"])
    image, folder, zeros = READER.unpack(vector["body"])
    assert image == [b"disk.img", 2, 0o640, 1, 2, -5, 0, 1, 200000, 65536, 0]
    assert folder == [b"vm", 1, 0, 0, 0, 0, 1, 0, 0, 0, 0]
    assert zeros == [b"zeros", 2, 0, 0, 0, 0, -1, 1, 10, 65536, 1]
    assert vector["links"] == b"\x02" + bytes(4) + b"\x11" * 32 + b"\x03" + bytes(4) + b"\x22" * 32


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
    import msgspec

    assert READER.unpack(msgspec.msgpack.encode(value)) == value
