"""Every decoder of stored bytes, given bytes that are nearly right: it gives a value or one of our errors, and soon."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from functools import cache
from typing import Any

import msgspec
import pytest

from lamina.crypto import aead
from lamina.crypto.certificates import decode_certificate
from lamina.crypto.hashing import public_hash
from lamina.filters import zstd
from lamina.filters.pipeline import unseal_part
from lamina.model.entries import CutContent, Entry, EntryType, FixedContent, Metadata, Position, Slice, SlicedContent
from lamina.model.ids import ChunkId, PackId, RepositoryId
from lamina.repository import records
from lamina.repository.access import Access
from lamina.repository.birth import Birth, decode_birth
from lamina.repository.blobs import Node
from lamina.repository.cut_streams import Child, decode_cut_node, encode_cut_node
from lamina.repository.directories import PartOf, Totals, decode_directory, decode_links, encode_directory, encode_parts
from lamina.repository.format import (
    BlobHeader,
    BlobKind,
    BlobRow,
    Kind,
    decode_blob_header,
    decode_footer,
    decode_header,
    decode_object,
    decode_pack_header,
    decode_record,
    decode_trailer,
    encode_footer,
    encode_object,
    encode_record,
    encode_trailer,
)
from lamina.repository.index_records import check_index
from lamina.repository.packs import _footer_aad, _footer_key, check_pack, decode_tail
from lamina.repository.session_keys import Purpose
from lamina.repository.streams import FixedNode, decode_fixed_node
from lamina.repository.tables import ROW, Pack, Table, write_table
from lamina.repository.trees import children
from lamina.testing.damage import replace_object
from lamina.testing.eventful import Eventful, make_eventful
from tests.fuzz.mutations import BATCH, MANY, SOME, check, near, near_one, seeds
from tests.fuzz.values import make_record, tame, wild

KEY = bytes(32)
ID = ChunkId(b"i" * 32)
NAME = "it"


@cache
def eventful() -> Eventful:
    return make_eventful()


def access() -> Access:
    return eventful().repository.open().access


def stored(prefix: str) -> list[bytes]:
    """The objects of a repository to which everything has happened, below *prefix*."""
    storage = eventful().repository.storage
    return [storage.get(item.name) for item in storage.objects() if item.name.startswith(prefix)]


FIXED = FixedNode(1, ((Position.DATA, ID), (Position.ZERO, None), (Position.HOLE, None), (Position.UNREAD_KEPT, ID)))
HEADER = BlobHeader(BlobKind.DATA, 0, ID, bytes(16), 0, 100)
ROWS = [BlobRow(ID, BlobKind.DATA, 0, 88, 168, 100), BlobRow(ID, BlobKind.DIRECTORY, 1, 256, 168, 100)]
BIRTH = Birth(RepositoryId(bytes(16)), bytes(32), bytes(32))
INDEX = records.IndexRecord(
    [records.PackRow(ID, 1000, False, 0)], b"".join(ROW.pack(bytes([n]) * 32, 0, 88, 100, 90) for n in range(3))
)

PURE: dict[str, tuple[Callable[[bytes], object], list[bytes]]] = {
    "header": (lambda data: decode_header(data, name=NAME), [encode_object(Kind.START, b"")]),
    "blob-header": (lambda data: decode_blob_header(data, name=NAME), [HEADER.encode()]),
    "footer": (lambda data: decode_footer(data, name=NAME), [encode_footer(ROWS)]),
    "trailer": (
        lambda data: decode_trailer(data, name=NAME),
        [encode_trailer(keys_size=100, footer_size=144, blobs=2)],
    ),
    "birth": (decode_birth, [BIRTH.encode(), BIRTH.encode().replace(b'"version": 1', b'"version": 2')]),
    "certificate": (
        lambda data: decode_certificate(data, repository=bytes(16), owner_verify_key=bytes(32)),
        [bytes(137)],
    ),
    "fixed-node": (lambda data: decode_fixed_node(data, name=NAME), [FIXED.encode().links]),
    "cut-node": (
        lambda data: decode_cut_node(data, name=NAME),
        [encode_cut_node(1, [Child(5, ID), Child(7, ID)]).links],
    ),
    "links": (lambda data: decode_links(data, name=NAME), [b"\1\0\0\0\0" + ID]),
}


@pytest.mark.parametrize("what", PURE)
@MANY
@seeds
def test_clear_structures(what: str, seed: int):
    decode, valid = PURE[what]
    for data in near(seed, *valid):
        check(decode, data)


@pytest.mark.parametrize("kind", [BlobKind.FIXED_NODE, BlobKind.CUT_NODE, BlobKind.DIRECTORY])
@MANY
@seeds
def test_links_as_a_prune_follows_them(kind: BlobKind, seed: int):
    for data in near(seed, *(PURE[name][1][0] for name in ("fixed-node", "cut-node", "links"))):
        check(lambda links: list(children(kind, links, name=NAME)), data)


def example(kind: Any) -> bytes:
    """A record of some kind with something in every field."""
    return msgspec.msgpack.encode(make_record(kind, tame))


RECORDS = [
    kind for name, kind in sorted(vars(records).items()) if name[0] != "_" and hasattr(kind, "__struct_fields__")
]


@pytest.mark.parametrize("kind", RECORDS, ids=lambda kind: kind.__name__)
@MANY
@seeds
def test_records(kind: Any, seed: int):
    for data in near(seed, example(kind)):
        check(lambda encoded: decode_record(encoded, kind, name=NAME), data)


@MANY
@seeds
def test_rows_of_the_index(seed: int):
    for data in near(seed, example(records.IndexRecord)):
        check(lambda encoded: check_index(decode_record(encoded, records.IndexRecord, name=NAME), NAME), data)
    for rows in near(seed, INDEX.rows):
        check(lambda rows: check_index(records.IndexRecord(INDEX.packs, rows), NAME), rows)


def entries() -> list[Entry]:
    """One of every form."""
    metadata = Metadata(mode=0o644, uid=1, gid=2, mtime_ns=3, ctime_ns=4, inode=5, xattrs=((b"user.a", b"b"),))
    contents = [
        FixedContent(3 << 16, 1 << 16, Position.DATA, ID),
        SlicedContent(9, (Slice(ID, 4, 5), Slice(ID, 0, 4))),
        CutContent(1 << 40, ID),
    ]
    files = [Entry(b"%d" % number, EntryType.FILE, metadata, content) for number, content in enumerate(contents)]
    return [
        *files,
        Entry(b"d", EntryType.DIRECTORY, metadata, None, ID),
        Entry(b"l", EntryType.SYMLINK, metadata, target=b"x"),
    ]


DIRECTORIES = [
    encode_directory(entries()),
    encode_parts([PartOf(b"a", ID, Totals(1, 2, 3)), PartOf(b"b", ID, Totals(1, 2, 3))]),
]


@MANY
@seeds
def test_directories(seed: int):
    rng = random.Random(seed)

    def read(body: bytes) -> None:
        links = DIRECTORIES[0].links
        if rng.random() < 0.3:
            links = near_one(rng, links)
        node = decode_directory(Node(links, body), ID)
        for number in range(len(node.records)):
            check(lambda _, number=number: node.part(number) if node.has_parts else node.entry(number), body)

    for body in near(seed, *(node.body for node in DIRECTORIES)):
        check(read, body)


PART = b"\1" + struct.pack("<II", 1000, 17) + zstd.compress(bytes(1000), 3)
RAW_PART = b"\0" + struct.pack("<II", 5, 5) + b"hello"


@MANY
@seeds
def test_sealed_parts(seed: int):
    for plain in near(seed, PART, RAW_PART):
        check(lambda data: unseal_part(data, key=KEY, aad=b"", what=NAME), aead.seal(KEY, plain, b""))


@SOME
@seeds
def test_packs(seed: int):
    """Every byte of a pack is covered by its name; whoever writes one can give it any."""
    key = access().structure_key
    for pack in near(seed, *stored("meta/"), min(stored("data/"), key=len)):
        check(lambda changed: check_pack(changed, PackId(public_hash([changed])), key, name=NAME), pack)
        check(lambda changed: decode_tail(changed, decode_pack_header(changed, name=NAME), key, name=NAME), pack)


@SOME
@seeds
def test_footers_and_key_tables_by_somebody_with_a_key(seed: int):
    key, pack, rng = access().structure_key, stored("meta/")[0], random.Random(seed)
    header = decode_pack_header(pack, name=NAME)
    for rows in near(seed, encode_footer(ROWS)):
        footer = bytes(32) + aead.seal(_footer_key(key, bytes(32)), rows, _footer_aad(header))
        keys = near_one(rng, msgspec.msgpack.encode([records.KeyEntry(bytes(16), 1, [])]))
        blobs = rng.choice([0, len(rows) // 48, 0xFFFFFFFF])
        end = keys + footer + encode_trailer(keys_size=len(keys), footer_size=len(footer), blobs=blobs)
        check(lambda end: decode_tail(end, header, key, name=NAME), end)
        check(lambda whole: check_pack(whole, PackId(public_hash([whole])), key, name=NAME), pack[:300] + end)


@SOME
@seeds
def test_control_objects_whose_hash_is_right(seed: int):
    control, kinds = access().control, {Kind.START: records.StartRecord}
    for payload in near(seed, *(item[16:-32] for item in stored("sessions/"))):
        check(lambda changed: control.decode(encode_object(Kind.START, changed), NAME, kinds), payload)
    for whole in near(seed, *stored("sessions/")):
        check(lambda changed: decode_object(changed, Kind.START, name=NAME), whole)


@SOME
@seeds
def test_key_entries(seed: int):
    """They are in clear in packs, and whoever writes a pack can say anything in them."""
    opener = access().opener

    def open_entry(encoded: bytes) -> None:
        entry = decode_record(encoded, records.KeyEntry, name=NAME)
        for purpose in Purpose:
            opener.find_key(entry, purpose)

    for data in near(seed, example(records.KeyEntry)):
        check(open_entry, data)
    rng = random.Random(seed)
    for _ in range(BATCH):
        entry = make_record(records.KeyEntry, wild(rng), rng)
        recipients = [msgspec.structs.replace(one, slot=bytes(8)) for one in entry.recipients]
        changed = msgspec.structs.replace(entry, purpose=1, recipients=recipients)
        check(open_entry, encode_record(changed))


@SOME
@seeds
def test_key_slots(seed: int):
    """Anybody who can write to the storage can put one there: it must not keep the others from opening."""
    small = eventful().repository.copy()
    opened = small.open()
    name, *others = [item.name for item in small.storage.objects("keys/") if "epoch" not in item.name]
    payload = small.storage.get(name)[16:-32]
    for changed in near(seed, payload):
        replace_object(small.storage, name, encode_object(Kind.KEY_SLOT, changed))
        check(lambda _: opened.check_slot(name), changed)
        assert len(opened.keys()) >= len(others)


@SOME
@seeds
def test_tables_of_the_cache(seed: int, tmp_path_factory: pytest.TempPathFactory):
    """A cache that is not what it was is dropped: `ValueError` says so. One whose hash is right was made by ourselves."""
    rows = [ROW.pack(bytes([n]) * 32, 0, 88, 100, 90) for n in range(3)]
    folder = tmp_path_factory.mktemp("cache")
    table = write_table(folder, "a.table", ["index/delta/x"], [Pack(PackId(ID), 1000, meta=False)], rows, 3)
    whole = table.path.read_bytes()
    for changed in near(seed, whole):
        table.path.write_bytes(changed)
        if changed != whole:
            with pytest.raises((ValueError, OSError)):
                Table(table.path)
