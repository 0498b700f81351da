"""Directories."""

from __future__ import annotations

import hashlib
import zlib

import msgspec
import pytest

from lamina.errors import Damaged, EntryMissing, FormatUnknown
from lamina.model.entries import (
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
from lamina.model.ids import ChunkId
from lamina.repository import trees
from lamina.repository.blobs import Node
from lamina.repository.directories import PartOf, decode_directory, encode_directory, encode_parts
from lamina.repository.format import BlobKind
from lamina.repository.trees import (
    MAX_EXTRA,
    MAX_PART,
    DirectoryWriter,
    children,
    directory_nodes,
    find_entry,
    get_entry,
    put_tree,
    read_directory,
    walk_tree,
)
from tests.chunk_store import ChunkStore

NODE = ChunkId(b"n" * 32)
ENTRIES = [
    Entry(b"big", EntryType.FILE, content=FixedContent(65537, 65536, Position.DATA, ChunkId(b"b" * 32))),
    Entry(b"dir", EntryType.DIRECTORY, child=ChunkId(b"d" * 32)),
    Entry(b"small", EntryType.FILE, content=FixedContent(65536, 65536, Position.DATA, ChunkId(b"s" * 32))),
    Entry(b"zero", EntryType.FILE, content=FixedContent(9, 65536, Position.ZERO, None)),
    Entry(b"\xff not utf-8", EntryType.FILE, Metadata(0o600, 1, 2, -5), FixedContent(0, 65536, Position.HOLE, None)),
]


def test_entries_come_back():
    assert list(decode_directory(encode_directory(ENTRIES), NODE).entries()) == ENTRIES


def test_links_alone_say_what_is_referred_to():
    links = encode_directory(ENTRIES).links
    assert list(children(BlobKind.DIRECTORY, links, name="it")) == [
        (BlobKind.FIXED_NODE, b"b" * 32),
        (BlobKind.DIRECTORY, b"d" * 32),
        (BlobKind.DATA, b"s" * 32),
    ]


@pytest.mark.parametrize(
    "node",
    [
        Node(b"", encode_directory(ENTRIES).body),
        Node(encode_directory(ENTRIES).links[:-1], encode_directory(ENTRIES).body),
        Node(encode_directory(ENTRIES).links, b""),
        Node(encode_directory(ENTRIES).links, encode_directory(ENTRIES).body[:-1]),
    ],
    ids=["links-gone", "links-cut", "body-gone", "body-cut"],
)
def test_a_directory_that_makes_no_sense_is_damage(node: Node):
    with pytest.raises(Damaged, match=NODE.hex()):
        list(decode_directory(node, NODE).entries())


@pytest.mark.parametrize(
    "node",
    [
        Node(b"\x63" + bytes(36), b"\x90"),
        Node(b"", b"\x91\x9b\xc4\x01a\x09\x00\x00\x00\x00\xff\x00\x00\x00\x00"),
        Node(b"", b"\x91\x9b\xc4\x01a\x02\x00\x00\x00\x00\xff\x05\x00\x00\x00"),
    ],
    ids=["unknown-link", "unknown-type", "unknown-form"],
)
def test_what_a_later_release_stores_asks_for_an_upgrade(node: Node):
    with pytest.raises(FormatUnknown):
        list(decode_directory(node, NODE).entries())


@pytest.fixture(scope="module")
def store():
    made = ChunkStore()
    yield made
    made.close()


def file(name: bytes, size: int = 1, **fields) -> Entry:
    chunk = ChunkId(hashlib.sha256(name).digest())
    content = SlicedContent(size, (Slice(chunk, 0, size),) if size else ())
    return Entry(name, EntryType.FILE, Metadata(0o644, mtime_ns=1), content, **fields)


def many(count: int) -> list[Entry]:
    return [file(b"file-%08d" % number) for number in range(count)]


def written(store: ChunkStore, entries: list[Entry]) -> tuple[ChunkId, Totals]:
    writer = DirectoryWriter(store)
    for entry in entries:
        writer.add(entry)
    return writer.finish()


def nodes_of(store: ChunkStore, directory: ChunkId) -> list:
    return list(directory_nodes(store.reader(), directory))


def kept(store: ChunkStore, directory: ChunkId, instead: dict[bytes, Entry | None]) -> ChunkId:
    """A directory written again as a backup does: entries stay as they are, but those in *instead*."""
    writer = DirectoryWriter(store)
    for node in nodes_of(store, directory):
        for number, record in enumerate(node.records):
            if record.name not in instead:
                writer.keep(node, number)
                continue
            entry = instead[record.name]
            if entry is not None:
                writer.add(entry)
    return writer.finish()[0]


@pytest.mark.parametrize("count", [0, 1, 255, 256, MAX_PART, 10_000])
def test_a_directory_of_any_length_comes_back(store: ChunkStore, count: int):
    entries = many(count)
    root, totals = written(store, entries)
    assert list(read_directory(store.reader(), root)) == entries
    assert totals == (count, count, 0)


def test_parts_of_parts_come_back(store: ChunkStore, monkeypatch: pytest.MonkeyPatch):
    """As in a directory of millions; smaller parts make the levels."""
    monkeypatch.setattr(trees, "MIN_PART", 2)
    monkeypatch.setattr(trees, "MAX_PART", 8)
    entries = many(3000)
    root, totals = written(store, entries)
    assert list(read_directory(store.reader(), root)) == entries
    assert totals == (3000, 3000, 0)
    reader = store.reader()
    assert find_entry(reader, root, entries[1234].name) == entries[1234]
    assert len(reader.asked) >= 4
    store.new.clear()
    assert kept(store, root, {}) == root
    kept(store, root, {entries[1234].name: file(entries[1234].name, size=9)})
    assert len(store.new) <= 2 * len(reader.asked)


def test_a_long_directory_has_parts_of_sensible_sizes(store: ChunkStore):
    root, _ = written(store, many(10_000))
    sizes = [len(node.records) for node in nodes_of(store, root)]
    assert 4 < len(sizes) < 40
    assert max(sizes) <= MAX_PART
    assert min(sizes[:-1]) >= 256


def test_names_that_never_cut_are_cut_by_their_number(store: ChunkStore):
    """Somebody who knows the rule may choose such names; a node stays bounded all the same."""
    names = [b"%08d" % number for number in range(12_000) if zlib.crc32(b"%08d" % number) & 511]
    root, _ = written(store, [file(name) for name in names])
    sizes = [len(node.records) for node in nodes_of(store, root)]
    assert sizes[:-1] == [MAX_PART] * (len(sizes) - 1)


def test_long_attributes_make_short_parts(store: ChunkStore):
    def heavy(name: bytes) -> Entry:
        return file(name)._replace(metadata=Metadata(xattrs=((b"user.a", bytes(64 << 10)),)))

    root, _ = written(store, [heavy(b"%04d" % number) for number in range(200)])
    sizes = [len(node.records) for node in nodes_of(store, root)]
    assert len(sizes) == 4
    assert max(sizes) * (64 << 10) <= MAX_EXTRA


@pytest.mark.parametrize("name", [b"file-00000000", b"file-00005000", b"file-00009999"])
def test_changing_one_entry_of_many_writes_few_nodes(store: ChunkStore, name: bytes):
    root, _ = written(store, many(10_000))
    for instead in (file(name, size=7), None):
        store.new.clear()
        changed = kept(store, root, {name: instead})
        assert 2 <= len(store.new) <= 4
        expected = [one for one in many(10_000) if one.name != name or instead]
        assert [one.name for one in read_directory(store.reader(), changed)] == [one.name for one in expected]


def test_inserting_one_entry_writes_few_nodes(store: ChunkStore):
    entries = many(10_000)
    written(store, entries)
    store.new.clear()
    written(store, sorted([*entries, file(b"file-00005000x")], key=lambda entry: entry.name))
    assert 2 <= len(store.new) <= 4


@pytest.mark.parametrize("count", [1, 300, 10_000])
def test_what_is_kept_whole_has_the_same_node_and_is_not_even_encoded(store: ChunkStore, count: int):
    root, _ = written(store, many(count))
    put: list[ChunkId] = []

    class Watching:
        """Hands on what it is given."""

        def put_node(self, kind: BlobKind, node: Node) -> ChunkId:
            put.append(store.put_node(kind, node))
            return put[-1]

    writer = DirectoryWriter(Watching())
    for node in nodes_of(store, root):
        for number in range(len(node.records)):
            writer.keep(node, number)
    assert writer.finish()[0] == root
    assert put == ([root] if count == 10_000 else []), "only the node above the parts is made"


def test_totals_count_what_is_below_and_what_is_not_whole(store: ChunkStore):
    states = [EntryState.WHOLE, EntryState.FRESH, EntryState.CHANGED, EntryState.KEPT]
    inner = [file(b"%d" % state, size=10, state=state) for state in states]
    inner.append(Entry(b"9", EntryType.UNKNOWN, state=EntryState.UNREAD, error="why"))
    child, totals = written(store, inner)
    assert totals == (5, 40, 3)
    directory = Entry(b"d", EntryType.DIRECTORY, child=child, totals=totals)
    root, above = written(store, [directory, file(b"e", size=2)])
    assert above == (7, 42, 3)
    (node,) = nodes_of(store, root)
    writer = DirectoryWriter(store)
    writer.keep(node, 0)
    writer.keep(node, 1)
    assert writer.finish() == (root, above), "what is kept counts as much as what is new"


def test_totals_of_parts_add_up(store: ChunkStore):
    entries = [file(b"%06d" % number, size=number, state=EntryState(number % 3)) for number in range(5000)]
    root, totals = written(store, entries)
    top = decode_directory(store.reader().get_node(BlobKind.DIRECTORY, root), root)
    assert top.has_parts
    assert [sum(column) for column in zip(*(record.totals for record in top.records), strict=True)] == list(totals)


def test_finding_one_of_many_reads_few_nodes(store: ChunkStore):
    entries = many(10_000)
    root, _ = written(store, entries)
    reader = store.reader()
    for entry in (entries[0], entries[5123], entries[-1]):
        reader.asked.clear()
        assert find_entry(reader, root, entry.name) == entry
        assert len(reader.asked) == 2
    for name in (b"a", b"file-00005000x", b"z"):
        reader.asked.clear()
        assert find_entry(reader, root, name) is None
        assert len(reader.asked) <= 2


def put_parts(store: ChunkStore, parts: list[tuple[bytes, list[Entry]]]) -> ChunkId:
    made = [PartOf(name, written(store, entries)[0], Totals()) for name, entries in parts]
    return store.put_node(BlobKind.DIRECTORY, encode_parts(made))


A, B, C = (file(name) for name in (b"a", b"b", b"c"))


@pytest.mark.parametrize(
    "parts",
    [[(b"a", [B]), (b"b", [A])], [(b"a", [A, B]), (b"b", [B, C])], [(b"a", [A]), (b"b", [A])]],
    ids=["wrong-order", "overlap", "twice"],
)
def test_parts_in_the_wrong_place_are_damage(store: ChunkStore, parts: list):
    root = put_parts(store, parts)
    with pytest.raises(Damaged, match="in the wrong place"):
        list(read_directory(store.reader(), root))


def test_a_node_of_entries_and_parts_is_damage(store: ChunkStore):
    inner = written(store, [A])[0]
    mixed = encode_parts([PartOf(b"b", inner, Totals())])
    directory = Entry(b"c", EntryType.DIRECTORY, child=inner)
    records = [*msgspec.msgpack.decode(mixed.body), *msgspec.msgpack.decode(encode_directory([directory]).body)]
    root = store.put_node(BlobKind.DIRECTORY, Node(mixed.links, msgspec.msgpack.encode(records)))
    with pytest.raises(Damaged, match="mixes entries and parts"):
        list(read_directory(store.reader(), root))
    root = store.put_node(BlobKind.DIRECTORY, Node(mixed.links, msgspec.msgpack.encode(records[::-1])))
    with pytest.raises(Damaged):
        list(read_directory(store.reader(), root))


def test_a_tree_is_put_with_the_directories_above_its_sources(store: ChunkStore):
    inner, totals = written(store, [A])
    home = Metadata(0o755, 1, 2, 3)
    root = put_tree(
        store,
        {
            "home/u": Entry(b"u", EntryType.DIRECTORY, Metadata(0o700), child=inner, totals=totals),
            "home/\udcff": file(b"\xff"),
            "etc/deep/c": C,
        },
        {"home": home},
    )
    found = dict(walk_tree(store.reader(), root))
    assert list(found) == ["etc", "etc/deep", "etc/deep/c", "home", "home/u", "home/u/a", "home/\udcff"]
    assert (found["home"].metadata, found["home"].totals) == (home, Totals(3, 2, 0))
    assert found["etc"].metadata.is_implied
    assert get_entry(store.reader(), root, "home/u/a") == A
    for missing in ("home/u/b", "etc/deep/c/below"):
        with pytest.raises(EntryMissing):
            get_entry(store.reader(), root, missing)


def test_a_source_that_is_the_root_is_the_tree(store: ChunkStore):
    inner, totals = written(store, [A])
    assert put_tree(store, {"": Entry(b"", EntryType.DIRECTORY, child=inner, totals=totals)}) == inner


def test_a_tree_deeper_than_pythons_stack_is_walked(store: ChunkStore):
    entry = A
    for _ in range(3000):
        child, totals = written(store, [entry])
        entry = Entry(b"d", EntryType.DIRECTORY, child=child, totals=totals)
    root, totals = written(store, [entry])
    paths = [path for path, _ in walk_tree(store.reader(), root)]
    assert len(paths) == totals.entries == 3001
    assert paths[-1] == "d/" * 3000 + "a"
