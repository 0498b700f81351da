"""Single nodes of directories: every field comes back, and nothing that no directory has is believed."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamina.errors import Damaged, FormatUnknown
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
from lamina.model.ids import ChunkId
from lamina.repository.blobs import Node
from lamina.repository.directories import (
    BUNDLED,
    LINK,
    PART,
    EntryRecord,
    PartOf,
    decode_directory,
    encode_directory,
    encode_parts,
)
from lamina.repository.format import BlobKind

NODE = ChunkId(b"n" * 32)
CHUNK = ChunkId(b"c" * 32)

ids = st.integers(0, 255).map(lambda number: ChunkId(bytes([number]) * 32))
numbers = st.integers(0, 2**32 - 1)
times = st.integers(-(2**63), 2**63 - 1)
names = st.binary(min_size=1, max_size=8).filter(lambda name: name not in {b".", b".."} and not set(name) & set(b"/\0"))
metadata = st.builds(
    Metadata,
    mode=st.integers(0, 0o7777), uid=numbers, gid=numbers, mtime_ns=times, ctime_ns=times,
    inode=st.integers(0, 2**64 - 1), links=numbers, device=numbers, birth_ns=st.none() | times, flags=numbers,
    xattrs=st.lists(st.tuples(st.binary(min_size=1, max_size=8), st.binary(max_size=20)), max_size=3).map(tuple),
)  # fmt: skip
slices = st.lists(st.builds(Slice, ids, st.integers(0, 2**32), st.integers(1, 2**20)), max_size=4)
contents = st.one_of(
    slices.map(lambda some: SlicedContent(sum(one.length for one in some), tuple(some))),
    st.builds(CutContent, st.integers(1, 2**62), ids),
    st.builds(lambda size, chunk: FixedContent(size, 1 << 16, Position.DATA, chunk), st.integers(1, 2**40), ids),
    st.builds(lambda size: FixedContent(size, 1 << 16, Position.HOLE, None), st.integers(0, 2**40)),
)
states = st.sampled_from([EntryState.WHOLE, EntryState.FRESH, EntryState.CHANGED, EntryState.KEPT])


def entries_of(*types: EntryType, **fields: st.SearchStrategy) -> st.SearchStrategy[Entry]:
    """Entries with these fields and no others: hypothesis would fill all that have a type."""
    some = st.fixed_dictionaries({"name": names, "type": st.sampled_from(types), "metadata": metadata, **fields})
    return some.map(lambda given: Entry(**given))


files = entries_of(EntryType.FILE, content=contents, state=states, error=st.sampled_from(["", "it changed: ä"]))
totals = st.none() | st.tuples(numbers, numbers, numbers).map(lambda some: Totals(*some))
directories = entries_of(EntryType.DIRECTORY, child=ids, totals=totals)
symlinks = entries_of(EntryType.SYMLINK, target=st.binary(max_size=20))
devices = entries_of(EntryType.CHARACTER_DEVICE, EntryType.BLOCK_DEVICE, special=st.tuples(numbers, numbers))
unread = entries_of(*EntryType, state=st.just(EntryState.UNREAD), error=st.just("why"))
entries = st.one_of(files, directories, symlinks, devices, unread)


@given(st.lists(entries, max_size=4, unique_by=lambda entry: entry.name))
def test_whatever_an_entry_is_comes_back(some: list[Entry]):
    some.sort(key=lambda entry: entry.name)
    assert list(decode_directory(encode_directory(some), NODE).entries()) == some


def test_a_message_that_quotes_a_name_in_no_encoding_can_be_stored():
    entry = Entry(b"a", EntryType.FILE, state=EntryState.UNREAD, error="cannot read \udcff\udc80")
    (found,) = decode_directory(encode_directory([entry]), NODE).entries()
    assert found.error == "cannot read \\udcff\\udc80"


def bundled(name: bytes, offset: int, length: int, chunk: ChunkId = CHUNK) -> Entry:
    return Entry(name, EntryType.FILE, content=SlicedContent(length, (Slice(chunk, offset, length),)))


def test_a_chunk_is_linked_to_once_with_all_that_is_used_of_it():
    node = encode_directory([bundled(b"a", 0, 10), bundled(b"b", 10, 5), bundled(b"c", 0, 7, NODE)])
    assert list(LINK.iter_unpack(node.links)) == [(BlobKind.DATA, 15, CHUNK), (BlobKind.DATA, 7, NODE)]
    assert decode_directory(node, NODE).used == [(CHUNK, 15), (NODE, 7)]


def test_a_chunk_that_a_long_file_uses_counts_as_used_whole():
    whole = Entry(b"z", EntryType.FILE, content=SlicedContent(BUNDLED + 1, (Slice(CHUNK, 0, BUNDLED + 1),)))
    for some in ([bundled(b"a", 0, 10), whole], [whole._replace(name=b"A"), bundled(b"b", 0, 10)]):
        assert list(LINK.iter_unpack(encode_directory(some).links)) == [(BlobKind.DATA, 0, CHUNK)]


def test_more_use_than_a_number_holds_is_the_largest_number():
    """A writer that lies about lengths makes no other field of a link overflow."""
    huge = SlicedContent(10, (Slice(CHUNK, 0, 2**32), Slice(CHUNK, 0, 2**32)))
    node = encode_directory([Entry(b"a", EntryType.FILE, content=huge)])
    assert list(LINK.iter_unpack(node.links)) in (
        [(BlobKind.DATA, 2**32 - 1, CHUNK)],
        [(BlobKind.DATA, 0, CHUNK)],
    )


def body(*records: EntryRecord) -> bytes:
    return msgspec.msgpack.encode(records)


def record(name: bytes = b"a", kind: int = EntryType.FILE, **fields) -> EntryRecord:
    base = EntryRecord(name, kind, 0, 0, 0, 0, -1, 2, 0, 0, 0)
    return msgspec.structs.replace(base, **fields)


DATA_LINK = LINK.pack(BlobKind.DATA, 5, CHUNK)
DIRECTORY_LINK = LINK.pack(BlobKind.DIRECTORY, 0, CHUNK)


@pytest.mark.parametrize(
    ("links", "fields"),
    [
        (DATA_LINK, {"size": 5, "slices": (0, 0)}),
        (DATA_LINK, {"size": 5, "slices": (0, 0, 4)}),
        (DATA_LINK, {"size": 5, "slices": (0, -1, 5)}),
        (DATA_LINK, {"size": 0, "slices": (0, 0, 0)}),
        (DATA_LINK, {"size": 0, "slices": (0, 0, 5, 0, 5, -5)}),
        (DATA_LINK, {"size": 5, "slices": (1, 0, 5)}),
        (DATA_LINK, {"size": 5, "slices": (-1, 0, 5)}),
        (DATA_LINK, {"size": 5, "slices": (0, 0, 5), "link": 0}),
        (DIRECTORY_LINK, {"size": 5, "slices": (0, 0, 5)}),
        (DATA_LINK, {"form": 3, "size": 5, "link": 0}),
        (LINK.pack(BlobKind.CUT_NODE, 0, CHUNK), {"form": 3, "size": 0, "link": 0}),
        (LINK.pack(BlobKind.CUT_NODE, 0, CHUNK), {"form": 3, "size": -1, "link": 0}),
        (LINK.pack(BlobKind.CUT_NODE, 0, CHUNK), {"form": 3, "size": 1, "link": 1}),
        (LINK.pack(BlobKind.CUT_NODE, 0, CHUNK), {"form": 3, "size": 1, "link": -1}),
        (DIRECTORY_LINK, {"form": 1, "size": 1, "chunk_size": 1 << 16, "link": 0}),
        (DATA_LINK, {"form": 1, "size": 1, "chunk_size": 0, "link": 0}),
        (DATA_LINK, {"form": 1, "size": 1, "chunk_size": 1 << 16, "link": -1}),
        (DATA_LINK, {"form": 0, "kind": EntryType.DIRECTORY, "link": 0}),
        (DIRECTORY_LINK, {"form": 0, "kind": EntryType.DIRECTORY, "link": 1}),
        (DIRECTORY_LINK, {"form": 0, "kind": EntryType.DIRECTORY, "link": -1}),
    ],
    ids=[
        "two-numbers", "too-short", "before-the-chunk", "empty-slice", "negative-length", "no-such-link", "link--1",
        "slices-and-link", "slice-of-a-node", "stream-of-data", "empty-stream", "negative-stream", "stream-link-missing",
        "stream-without-link", "image-of-a-node", "chunks-of-nothing", "image-without-chunk", "directory-of-data",
        "directory-link-missing", "directory-without-node",
    ],
)  # fmt: skip
def test_an_entry_that_makes_no_sense_is_damage(links: bytes, fields: dict):
    node = decode_directory(Node(links, body(record(**fields))), NODE)
    with pytest.raises(Damaged, match=f"{NODE.hex()}.*b'a'"):
        node.entry(0)


@pytest.mark.parametrize("fields", [{"kind": 99}, {"state": 99}, {"form": 99}, {"form": 0}], ids=str)
def test_what_a_later_release_stores_asks_for_an_upgrade(fields: dict):
    with pytest.raises(FormatUnknown):
        decode_directory(Node(b"", body(record(**fields))), NODE).entry(0)


@pytest.mark.parametrize(
    "some",
    [[b""], [b"."], [b".."], [b"a/b"], [b"/"], [b"a\0"], [b"a", b"a"], [b"b", b"a"], [b"a", b"b", b"a"]],
    ids=repr,
)
def test_names_that_no_directory_has_are_damage(some: list[bytes]):
    with pytest.raises(Damaged, match=NODE.hex()):
        decode_directory(Node(b"", body(*(record(name) for name in some))), NODE)


def test_parts_are_listed_with_their_first_names_and_totals():
    parts = [PartOf(b"a", CHUNK, Totals(3, 10, 1)), PartOf(b"m", NODE, Totals(4, 20, 0))]
    node = decode_directory(encode_parts(parts), NODE)
    assert node.has_parts
    assert [(one.name, node.part(at), Totals(*one.totals)) for at, one in enumerate(node.records)] == parts


@pytest.mark.parametrize(
    ("links", "fields"),
    [
        (DATA_LINK, {"link": 0}),
        (DIRECTORY_LINK, {"link": 1}),
        (DIRECTORY_LINK, {"link": -1}),
        (DIRECTORY_LINK, {"link": 0, "kind": EntryType.FILE}),
    ],
    ids=["data", "missing", "none", "an-entry"],
)
def test_a_part_that_leads_nowhere_is_damage(links: bytes, fields: dict):
    node = decode_directory(Node(links, body(record(**{"kind": PART, "form": 0, **fields}))), NODE)
    with pytest.raises(Damaged, match="mixes entries and parts, or a part leads nowhere"):
        node.part(0)


def test_a_part_is_no_entry():
    node = decode_directory(Node(DIRECTORY_LINK, body(record(kind=PART, form=0, link=0))), NODE)
    with pytest.raises((Damaged, FormatUnknown)):
        node.entry(0)


@pytest.mark.parametrize("some", [b"", b"\x00", b"\x91\x91\x01", msgspec.msgpack.encode([[b"a"]])], ids=repr)
def test_a_body_that_is_no_list_of_records_is_damage(some: bytes):
    with pytest.raises(Damaged):
        decode_directory(Node(b"", some), NODE)
