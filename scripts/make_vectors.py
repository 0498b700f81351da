"""Make docs/spec/vectors.json: fixed inputs and the bytes that the format makes of them.

    python scripts/make_vectors.py FILE

Sealing takes random salts, so the examples under "sealed" differ from run to run: they are checked by opening them. If FILE
exists, it keeps those that it has.
"""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from lamina.crypto.certificates import Certificate, owner_certificate
from lamina.crypto.envelope import seal_to
from lamina.crypto.hashing import derive, public_hash
from lamina.crypto.keys import OWNER_SLOT, KeyBundle
from lamina.crypto.passphrases import format_recovery_key
from lamina.filters.pipeline import seal_part
from lamina.model.entries import (
    CutContent,
    Entry,
    EntryState,
    EntryType,
    FixedContent,
    Metadata,
    Position,
    Slice,
    SlicedContent,
    Totals,
)
from lamina.model.ids import ChunkId, PackId, RepositoryId, SessionId
from lamina.model.secret import Secret
from lamina.model.snapshots import Role
from lamina.repository.birth import Birth, birth_mac, first_epoch, first_format
from lamina.repository.blobs import BlobSealer, ChunkNamer, Node
from lamina.repository.control import ControlRecords, Signer, seal_body
from lamina.repository.cut_streams import Child, encode_cut_node
from lamina.repository.directories import PartOf, encode_directory, encode_parts
from lamina.repository.format import (
    BlobHeader,
    BlobKind,
    BlobRow,
    Kind,
    PackHeader,
    encode_footer,
    encode_header,
    encode_object,
    encode_record,
    encode_trailer,
)
from lamina.repository.index_records import encode_index
from lamina.repository.keyring import Keyring
from lamina.repository.packs import PackWriter
from lamina.repository.records import (
    AbortRecord,
    AttributesBody,
    AttributesRecord,
    CaughtUpRecord,
    CheckedPacks,
    CoverageRecord,
    FinishedRun,
    GenerationClosedRecord,
    GenerationOpenRecord,
    ManifestRecord,
    PackRow,
    RemovalRecord,
    SnapshotBody,
    StartRecord,
)
from lamina.repository.session_keys import make_session_keys
from lamina.repository.streams import FixedNode
from lamina.storage.backends.memory import MemoryStorage

ROOT = bytes(32)
REPOSITORY = RepositoryId(bytes(range(16)))
SESSION = SessionId(bytes(range(16, 32)))
OWNER = KeyBundle.from_root(ROOT)
SIGNING = OWNER.signing_key()
SLOT_SECRET = b"\2" * 32
WRITER = OWNER.narrowed(Role.WRITER, SLOT_SECRET)
CONTENT = b"the content of a chunk"
PASSPHRASE = "vector passphrase"
ONE, TWO = ChunkId(b"\x11" * 32), ChunkId(b"\x22" * 32)
NODE = FixedNode(
    1,
    (
        (Position.DATA, ONE),
        (Position.ZERO, None),
        (Position.HOLE, None),
        (Position.UNREAD, None),
        (Position.UNREAD_KEPT, TWO),
    ),
)
ENTRIES = [
    Entry(b"disk.img", EntryType.FILE, Metadata(0o640, 1, 2, -5), FixedContent(200000, 65536, Position.DATA, ONE)),
    Entry(b"vm", EntryType.DIRECTORY, child=TWO),
    Entry(b"zeros", EntryType.FILE, content=FixedContent(10, 65536, Position.ZERO, None)),
]
CHILDREN = [Child(300_000, ONE), Child(1, TWO), Child(2**40, ONE)]
EVERYTHING = Metadata(
    0o4755, 1000, 1001, 1_600_000_000_123_456_789, 1_600_000_001_000_000_001, 4711, 2, 1, -1, 0x50,
    ((b"user.\xff", b"\0"), (b"user.a", b"")),
)  # fmt: skip
TREE = [  # every type, form and state
    Entry(b"block", EntryType.BLOCK_DEVICE, Metadata(0o660), special=(8, 17)),
    Entry(b"bundled", EntryType.FILE, Metadata(0o644), SlicedContent(30, (Slice(ONE, 100, 20), Slice(TWO, 0, 10)))),
    Entry(b"bundled-too", EntryType.FILE, content=SlicedContent(7, (Slice(ONE, 120, 7),)), state=EntryState.FRESH),
    Entry(b"character", EntryType.CHARACTER_DEVICE, special=(1, 3)),
    Entry(b"cut", EntryType.FILE, content=CutContent(5_000_000, TWO), state=EntryState.CHANGED, error="it changed"),
    Entry(b"directory", EntryType.DIRECTORY, Metadata(0o755), child=ONE, totals=Totals(3, 100, 1)),
    Entry(b"empty", EntryType.FILE, content=SlicedContent(0)),
    Entry(b"everything", EntryType.FILE, EVERYTHING, SlicedContent(200_000, (Slice(TWO, 0, 200_000),))),
    Entry(b"fifo", EntryType.FIFO),
    Entry(b"kept", EntryType.FILE, content=SlicedContent(9, (Slice(ONE, 0, 9),)), state=EntryState.KEPT, error="EIO"),
    Entry(b"not-utf-8-\xff", EntryType.SYMLINK, target=b"../\xff"),
    Entry(b"socket", EntryType.SOCKET),
    Entry(b"sparse", EntryType.FILE, content=FixedContent(65536 * 9, 65536, Position.DATA, ONE)),
    Entry(b"unread", EntryType.FILE, Metadata(0o600), state=EntryState.UNREAD, error="Permission denied"),
    Entry(b"unread-directory", EntryType.DIRECTORY, state=EntryState.UNREAD, error="Permission denied"),
    Entry(b"unseen", EntryType.UNKNOWN, state=EntryState.UNREAD, error="Input/output error"),
]
PARTS = [PartOf(b"a", ONE, Totals(256, 1000, 0)), PartOf(b"m", TWO, Totals(300, 5, 2))]
OWNERS = SnapshotBody(
    "name", "host", [b"srv", b"\xff"], ["tag"], 10, 5, "program", [(0, b"root"), (1000, b"\xff")], [(0, b"root")],
    bytes(range(32)),
)  # fmt: skip
TIME = 1_767_225_600_000_000
RECORDS: dict[str, msgspec.Struct] = {  # structures that no other vector has, with every field
    "start": StartRecord(3, 1, TIME, b"h" * 16, b"b" * 16, 4711, 123_456, [ONE, TWO], b"n" * 16),
    "caught_up": CaughtUpRecord(4),
    "abort": AbortRecord(4, "no sign of life"),
    "removal": RemovalRecord(removed=True, time=TIME),
    "generation_open": GenerationOpenRecord([SESSION, b"r" * 16], [b"r" * 16], [b"r" * 16], [ONE, TWO], "role=owner"),
    "generation_closed": GenerationClosedRecord([b"r" * 16], ["data/" + "11" * 32], [b"o" * 16]),
    "manifest": ManifestRecord(
        2, ONE, ["index/segment/" + "22" * 32], ["index/delta/" + "33" * 16 + "-00000000"], 4, [b"r" * 16], [TWO]
    ),
    "coverage": CoverageRecord(3, [CheckedPacks(TIME, 2, bytes(range(16)))], [FinishedRun(TIME, 2, 1, 7)]),
    "attributes": AttributesRecord("distrusted", None, True, [], 2),  # noqa: FBT003 - as in the record
}


def main(arguments: list[str]) -> int:
    if len(arguments) != 1:
        print(__doc__, file=sys.stderr)
        return 2
    file = Path(arguments[0])
    sealed = json.loads(file.read_text())["sealed"] if file.exists() else _sealed()
    vectors = {**_keys(), **_bytes(), **_nodes(), **_records(), "sealed": sealed}
    file.write_text(json.dumps(_hex(vectors), indent=1) + "\n")
    return 0


def _keys() -> dict[str, Any]:
    slot = bytes(range(8))
    envelope = WRITER.envelope_key().public
    certificate = Certificate(slot, Role.WRITER, WRITER.signing_key().public, public_hash([envelope]))
    return {
        "root": ROOT,
        "repository": REPOSITORY,
        "session": SESSION,
        "derive": [
            {"key": ROOT, "purpose": "lamina/1 data", "fields": [], "out": derive(ROOT, "lamina/1 data")},
            {"key": b"\1" * 32, "purpose": "lamina/1 blob", "fields": [b"\1", bytes(32), bytes(16), b"\0"],
             "out": derive(b"\1" * 32, "lamina/1 blob", b"\1", bytes(32), bytes(16), b"\0")},
        ],
        "owner": {
            "structure_key": OWNER.structure_key,
            "id_key": OWNER.id_key,
            "chunker_key": OWNER.chunker_key,
            "verify_key": SIGNING.public,
            "epoch_0_seed": derive(ROOT, "lamina/1 epoch key", bytes(4)),
            "epoch_0_public": OWNER.envelope_key(0).public,
            "certificate": owner_certificate(SIGNING.public).encode(REPOSITORY, SIGNING),
        },
        "writer": {
            "slot": slot,
            "slot_secret": SLOT_SECRET,
            "verify_key": WRITER.signing_key().public,
            "envelope_seed": derive(SLOT_SECRET, "lamina/1 slot envelope key"),
            "envelope_public": envelope,
            "certificate": certificate.encode(REPOSITORY, SIGNING),
        },
        "recovery_keys": [
            {"root": root, "text": format_recovery_key(root)} for root in (ROOT, bytes(range(32)), b"\xff" * 32)
        ],
    }  # fmt: skip


def _bytes() -> dict[str, Any]:
    pack = PackHeader(REPOSITORY, SESSION, b"\3" * 32)
    blob = BlobHeader(BlobKind.DATA, 5, ONE, b"\4" * 16, 0, 1000)
    row = BlobRow(ONE, BlobKind.DATA, 5, 88, blob.stored_size, 2000)
    mac = birth_mac(OWNER.structure_key, REPOSITORY, SIGNING.public)
    return {
        "headers": {kind.name: encode_header(kind) for kind in Kind},
        "object": {"kind": int(Kind.DELTA), "payload": b"payload", "bytes": encode_object(Kind.DELTA, b"payload")},
        "lamina.json": Birth(REPOSITORY, SIGNING.public, mac).encode().decode(),
        "pack_header": {"salt": pack.salt, "bytes": pack.encode()},
        "blob_header": {
            "kind": 1, "key": 5, "id": ONE, "salt": blob.salt, "links_size": 0, "body_size": 1000, "bytes": blob.encode()
        },
        "footer_row": {
            "id": ONE, "kind": 1, "key": 5, "offset": 88, "stored_size": 1068, "plain_size": 2000,
            "bytes": encode_footer([row]),
        },
        "trailer": {"keys_size": 300, "footer_size": 400, "blobs": 7, "bytes": encode_trailer(keys_size=300, footer_size=400, blobs=7)},
        "index": {"pack": TWO, "pack_size": 5000, "bytes": encode_record(encode_index([(PackRow(PackId(TWO), 5000, meta=False, retention=0), [row])]))},
    }  # fmt: skip


def _nodes() -> dict[str, Any]:
    assert OWNER.id_key is not None
    namer = ChunkNamer(OWNER.id_key)
    fixed, directory = NODE.encode(), _first_directory()
    return {
        "chunk_id": {"content": CONTENT, "id": namer.data_id(CONTENT)},
        "fixed_node": {
            "level": 1,
            "slots": [[int(kind), chunk or b""] for kind, chunk in NODE.slots],
            "links": fixed.links,
            "id": namer.node_id(BlobKind.FIXED_NODE, fixed),
        },
        "directory": {
            "entries": "see §7.4, worked example",
            "links": directory.links,
            "body": directory.body,
            "id": namer.node_id(BlobKind.DIRECTORY, directory),
            "writers_id": namer.node_id(BlobKind.DIRECTORY, directory, bytes(range(8))),
        },
        **_tree_nodes(namer),
    }


def _tree_nodes(namer: ChunkNamer) -> dict[str, Any]:
    """What came with file trees."""
    cut, tree, parts = encode_cut_node(2, CHILDREN), encode_directory(TREE), encode_parts(PARTS)
    return {
        "cut_node": {
            "level": 2,
            "children": [[child.size, child.id] for child in CHILDREN],
            "links": cut.links,
            "id": namer.node_id(BlobKind.CUT_NODE, cut),
        },
        "tree": _directory(tree, namer),
        "parts": _directory(parts, namer),
        "snapshot_body": {
            "values": msgspec.msgpack.decode(encode_record(OWNERS)),
            "bytes": encode_record(OWNERS),
        },
    }


def _records() -> dict[str, Any]:
    encoded = {name: encode_record(record) for name, record in RECORDS.items()}
    return {name: {"values": msgspec.msgpack.decode(data), "bytes": data} for name, data in encoded.items()}


def _directory(node: Node, namer: ChunkNamer) -> dict[str, Any]:
    return {
        "records": msgspec.msgpack.decode(node.body),
        "links": node.links,
        "body": node.body,
        "id": namer.node_id(BlobKind.DIRECTORY, node),
    }


def _first_directory() -> Node:
    """A directory as programs wrote it before there were file trees: its entries have eleven fields."""
    node = encode_directory(ENTRIES)
    return Node(node.links, msgspec.msgpack.encode([record[:11] for record in msgspec.msgpack.decode(node.body)]))


def _sealed() -> dict[str, Any]:
    key, aad = b"\5" * 32, b"additional data"
    plain = b"compressible " * 10
    info = b"lamina/1" + REPOSITORY + SESSION + b"\1" + bytes(4)
    signer = Signer(owner_certificate(SIGNING.public).encode(REPOSITORY, SIGNING), SIGNING, OWNER_SLOT, Role.OWNER)
    control = ControlRecords(MemoryStorage(), REPOSITORY, OWNER.structure_key, SIGNING.public, signer)
    storage = MemoryStorage()
    Keyring(storage, REPOSITORY, SIGNING.public).add(
        OWNER, Role.OWNER, Secret(PASSPHRASE.encode()), label="vector", now=datetime(2026, 1, 1, tzinfo=UTC)
    )
    return {
        "part_raw": {"key": key, "aad": aad, "content": CONTENT, "bytes": seal_part(CONTENT, level=None, key=key, aad=aad)},
        "part_zstd": {"key": key, "aad": aad, "content": plain, "bytes": seal_part(plain, level=3, key=key, aad=aad)},
        "envelope": {
            "seed": derive(ROOT, "lamina/1 epoch key", bytes(4)), "info": info, "secret": b"\6" * 32,
            "bytes": seal_to(OWNER.envelope_key(0).public, b"\6" * 32, info),
        },
        "record": {
            "name": "format/00000001", "kind": int(Kind.FORMAT), "structure": encode_record(first_format(1000000, 65536)),
            "bytes": control.encode(Kind.FORMAT, "format/00000001", first_format(1000000, 65536)),
        },
        "body": {
            "metadata_key": b"\7" * 32, "content": encode_record(AttributesBody(["tag"], "note")),
            "bytes": seal_body(b"\7" * 32, SESSION, AttributesBody(["tag"], "note"), REPOSITORY),
        },
        "slot": {"passphrase": PASSPHRASE, "root": ROOT, "bytes": next(storage.get(one.name) for one in storage.objects())},
        "pack": _pack(),
    }  # fmt: skip


def _pack() -> dict[str, Any]:
    """A whole pack with one blob of each kind (a real one holds data or metadata, never both)."""
    assert OWNER.id_key is not None
    namer, sealer = ChunkNamer(OWNER.id_key), BlobSealer(REPOSITORY, OWNER.structure_key)
    keys = make_session_keys(REPOSITORY, SESSION, first_epoch(OWNER.envelope_key(0).public), None)
    writer = PackWriter(REPOSITORY, SESSION, OWNER.structure_key, meta=True)
    data = sealer.seal_data(namer.data_id(CONTENT), CONTENT, session_key=keys.content, level=None)
    blobs = [(data, keys.content_entry)]
    nodes: list[tuple[BlobKind, Node]] = [
        (BlobKind.FIXED_NODE, NODE.encode()),
        (BlobKind.DIRECTORY, _first_directory()),
    ]
    for kind, node in nodes:
        sealed = sealer.seal_node(kind, namer.node_id(kind, node), node, session_key=keys.metadata)
        blobs.append((sealed, keys.metadata_entry))
    for blob, entry in blobs:
        header = BlobHeader(
            blob.header.kind, writer.find_key(entry) or 0, blob.header.id, blob.header.salt,
            blob.header.links_size, blob.header.body_size,
        )  # fmt: skip
        writer.add(header, blob.links, blob.body, plain_size=blob.plain_size)
    pack = writer.finish()
    return {
        "id": pack.id,
        "content_key": keys.content,
        "metadata_key": keys.metadata,
        "chunks": [[int(blob.header.kind), blob.header.id] for blob, _ in blobs],
        "bytes": b"".join(pack.parts),
    }


def _hex(value: Any) -> Any:
    """*value* as JSON can hold it: bytes in hex."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dict):
        return {key: _hex(one) for key, one in value.items()}
    return [_hex(one) for one in value] if isinstance(value, list) else value


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
