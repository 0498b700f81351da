"""What counts as unchanged since the parent snapshot."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lamina.engine.saving.known import Compare, KnownEntry, TreeComparison
from lamina.model.entries import Entry, EntryState, EntryType, Metadata, Slice, SlicedContent
from lamina.model.ids import ChunkId
from lamina.repository.directories import BUNDLED, decode_directory, encode_directory
from lamina.repository.trees import DirectoryWriter, get_entry
from lamina.sources.source import Found
from tests.chunk_store import ChunkStore

DATA = Metadata(mode=0o644, uid=1, gid=2, mtime_ns=3, ctime_ns=4, inode=5, links=1, device=0)
SLICE = Slice(ChunkId(b"c" * 32), 0, 10)
FILE = Entry(b"a", EntryType.FILE, DATA, SlicedContent(10, (SLICE,)))
FOUND = Found(b"a", EntryType.FILE, DATA, 10)
ALL = frozenset(Compare)


@pytest.fixture(scope="module")
def store() -> Iterator[ChunkStore]:
    made = ChunkStore()
    yield made
    made.close()


def known(entry: Entry = FILE, *, is_wasteful: bool = False) -> KnownEntry:
    return KnownEntry(decode_directory(encode_directory([entry]), ChunkId(b"n" * 32)), 0, is_wasteful)


def comparison(store: ChunkStore, fields: frozenset[Compare] | None = ALL) -> TreeComparison:
    return TreeComparison(store.repository, fields, pytest.fail)


def changed(**fields: int) -> Found:
    return FOUND._replace(metadata=DATA._replace(**fields))


def test_the_same_is_the_same(store: ChunkStore):
    for fields in (ALL, frozenset(), frozenset({Compare.MTIME})):
        assert comparison(store, fields).is_same(known(), FOUND)
        assert comparison(store, fields).has_same_content(known(), FOUND)


@pytest.mark.parametrize(
    "found",
    [
        changed(mode=0o600), changed(uid=9), changed(gid=9), changed(mtime_ns=9), changed(ctime_ns=9), changed(inode=9),
        changed(links=9), changed(device=9), FOUND._replace(size=9), FOUND._replace(type=EntryType.FIFO),
        FOUND._replace(special=(1, 2)),
    ],
    ids=["mode", "uid", "gid", "mtime", "ctime", "inode", "links", "device", "size", "type", "special"],
)  # fmt: skip
def test_any_other_field_makes_it_another(store: ChunkStore, found: Found):
    assert not comparison(store).is_same(known(), found)


@pytest.mark.parametrize(
    "fields", [frozenset(), *(frozenset({one}) for one in Compare), ALL], ids=lambda some: str(sorted(some, key=str))
)
@pytest.mark.parametrize("one", Compare)
def test_content_counts_as_the_same_if_what_is_to_be_compared_is(
    store: ChunkStore, fields: frozenset[Compare], one: Compare
):
    name = {Compare.MTIME: "mtime_ns", Compare.CTIME: "ctime_ns", Compare.INODE: "inode"}[one]
    assert comparison(store, fields).has_same_content(known(), changed(**{name: 9})) == (one not in fields)


def test_another_size_is_another_content_whatever_is_compared(store: ChunkStore):
    assert not comparison(store, frozenset()).has_same_content(known(), FOUND._replace(size=9))


@pytest.mark.parametrize("state", [one for one in EntryState if one is not EntryState.WHOLE])
def test_what_is_not_whole_is_read_again(store: ChunkStore, state: EntryState):
    entry = FILE._replace(state=state)
    assert not comparison(store).is_same(known(entry), FOUND)
    assert not comparison(store, frozenset()).has_same_content(known(entry), FOUND)


def test_without_fields_files_are_read_and_nothing_else_is(store: ChunkStore):
    assert not comparison(store, None).is_same(known(), FOUND)
    assert not comparison(store, None).has_same_content(known(), FOUND)
    pipe = Entry(b"a", EntryType.FIFO, DATA)
    assert comparison(store, None).is_same(known(pipe), FOUND._replace(type=EntryType.FIFO, size=0))


def test_what_lies_in_a_half_empty_bundle_is_read_again(store: ChunkStore):
    wasteful = known(is_wasteful=True)
    assert not comparison(store).is_same(wasteful, FOUND)
    assert not comparison(store, frozenset()).has_same_content(wasteful, FOUND)


def directory(store: ChunkStore, entries: list[Entry]) -> KnownEntry:
    writer = DirectoryWriter(store)
    for entry in entries:
        writer.add(entry)
    child, totals = writer.finish()
    store.reader()
    return known(Entry(b"d", EntryType.DIRECTORY, DATA, child=child, totals=totals))


def bundled(store: ChunkStore, number: int, of: int, size: int = 100, **fields: int) -> Entry:
    chunk = store.put(bytes([of % 256]) * of * size)
    content = SlicedContent(size, (Slice(chunk, number * size, size),))
    return Entry(b"%04d" % number, EntryType.FILE, DATA._replace(**fields), content)


@pytest.mark.parametrize(("left", "wasteful"), [(10, False), (5, False), (4, True), (1, True)])
def test_a_bundle_is_wasteful_if_less_than_half_of_it_is_used(store: ChunkStore, left: int, wasteful: bool):
    entries = [bundled(store, number, 10) for number in range(left)]
    opened = comparison(store).open(directory(store, entries))
    assert [opened.take(entry.name).is_wasteful for entry in entries] == [wasteful] * left


def test_only_what_lies_in_the_wasteful_bundle_is_read_again(store: ChunkStore):
    entries = [
        bundled(store, 0, 10),
        bundled(store, 1, 9, links=2),
        bundled(store, 2, 3),
        bundled(store, 1, 3)._replace(name=b"0003"),
    ]
    large = store.put(bytes(BUNDLED + 1))
    entries.append(Entry(b"z", EntryType.FILE, DATA, SlicedContent(BUNDLED + 1, (Slice(large, 0, BUNDLED + 1),))))
    opened = comparison(store).open(directory(store, entries))
    found = {entry.name: opened.take(entry.name).is_wasteful for entry in entries}
    assert found == {b"0000": True, b"0001": False, b"0002": False, b"0003": False, b"z": False}


def test_waste_is_counted_over_all_parts_of_a_long_directory(store: ChunkStore):
    entries = [bundled(store, number, 3000, size=2) for number in range(3000)]
    opened = comparison(store).open(directory(store, entries))
    assert not any(opened.take(entry.name).is_wasteful for entry in entries)
    opened = comparison(store).open(directory(store, entries[:1400]))
    assert all(opened.take(entry.name).is_wasteful for entry in entries[:1400])


def test_entries_are_taken_in_the_order_of_names(store: ChunkStore):
    names = [b"a", b"c", b"d", b"f"]
    opened = comparison(store).open(directory(store, [FILE._replace(name=name) for name in names]))
    taken = [(name, opened.take(name)) for name in (b"0", b"a", b"b", b"d", b"e", b"g", b"h")]
    assert [name for name, one in taken if one is not None] == [b"a", b"d"]
    assert [one.entry().name for _, one in taken if one is not None] == [b"a", b"d"]


@pytest.mark.parametrize("entry", [None, FILE], ids=["nothing", "a-file"])
def test_what_was_no_directory_has_nothing_in_it(store: ChunkStore, entry: Entry | None):
    opened = comparison(store).open(None if entry is None else known(entry))
    assert opened.take(b"a") is None


def test_a_parent_that_cannot_be_read_only_costs_reading(store: ChunkStore):
    said: list[str] = []
    lost = known(Entry(b"d", EntryType.DIRECTORY, DATA, child=ChunkId(b"?" * 32)))
    opened = TreeComparison(store.repository, ALL, said.append).open(lost)
    assert opened.take(b"a") is None
    assert len(said) == 1


def test_an_entry_comes_with_all_of_it(store: ChunkStore):
    above = directory(store, [FILE])
    opened = comparison(store).open(above)
    one = opened.take(b"a")
    assert (one.entry(), one.metadata(), one.content()) == (FILE, DATA, FILE.content)
    assert get_entry(store.reader(), above.entry().child, "a") == FILE
