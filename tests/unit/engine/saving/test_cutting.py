"""Bytes become chunks: streams, bundles, files with holes."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamina.engine.saving.cutting import MAX_SLICES, READ_BYTES, ContentStorer, GatedPutter
from lamina.errors import SourceUnreadable, Stopped, StorageUnavailable
from lamina.model.entries import Content, CutContent, FixedContent, SlicedContent
from lamina.model.operation import Operation
from lamina.repository.contents import cut_part, iter_parts
from lamina.testing.images import MemoryImage
from lamina.testing.repositories import CHUNK
from tests.chunk_store import ChunkStore

NOISE = random.Random(5).randbytes(12 << 20)


@pytest.fixture(scope="module")
def store() -> Iterator[ChunkStore]:
    made = ChunkStore()
    yield made
    made.close()


@pytest.fixture(scope="module")
def sealers() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as threads:
        yield threads


@pytest.fixture(scope="module")
def storer(store: ChunkStore, sealers: ThreadPoolExecutor) -> ContentStorer:
    return ContentStorer(store, store.repository.access.chunker(), sealers, Operation())


MIN, MAX = 256 << 10, 8 << 20


def reading(content: bytes, steps: Callable[[], int] = lambda: READ_BYTES) -> Callable[[memoryview], int]:
    """Gives *content* in pieces of at most so many bytes."""
    at = 0

    def read_into(buffer: memoryview) -> int:
        nonlocal at
        piece = content[at : at + min(len(buffer), steps())]
        buffer[: len(piece)] = piece
        at += len(piece)
        return len(piece)

    return read_into


def content_of(store: ChunkStore, content: Content) -> bytes:
    reader = store.reader()
    pieces = []
    for part in iter_parts(reader, content):
        pieces.append(bytes(part.length) if part.chunk is None else cut_part(part, reader.get_data(part.chunk)))
    return b"".join(pieces)


def test_the_sizes_here_are_those_of_the_repository(store: ChunkStore):
    chunker = store.repository.access.chunker()
    assert (chunker.min_size, chunker.max_size) == (MIN, MAX)


@pytest.mark.parametrize(
    "size", [0, 1, MIN - 1, MIN, MIN + 1, MAX - 1, MAX, MAX + 1, MAX + READ_BYTES, 2 * MAX + READ_BYTES + 1]
)
@pytest.mark.parametrize("fill", ["noise", "zeros"])
def test_streams_of_every_size_come_back(store: ChunkStore, storer: ContentStorer, size: int, fill: str):
    content = NOISE[:size].ljust(size, b"x") if fill == "noise" else bytes(size)
    stored = storer.store_stream(reading(content))
    assert stored.size == size
    assert content_of(store, stored) == content


def test_chunks_are_the_same_however_the_reads_are_cut(store: ChunkStore, storer: ContentStorer):
    rng = random.Random(1)
    content = NOISE[: 10 << 20]
    whole = storer.store_stream(reading(content))
    assert storer.store_stream(reading(content, lambda: rng.randrange(1, READ_BYTES))) == whole
    assert storer.store_stream(reading(content, lambda: (1 << 20) + 1)) == whole


def test_an_insertion_leaves_most_chunks_as_they_were(store: ChunkStore, storer: ContentStorer):
    def chunks(content: bytes) -> set:
        return {part.chunk for part in iter_parts(store.reader(), storer.store_stream(reading(content)))}

    before, after = chunks(NOISE), chunks(NOISE[: 1 << 20] + b"inserted" + NOISE[1 << 20 :])
    assert len(after & before) >= 2
    assert len(after - before) <= 3


def test_a_long_stream_is_a_tree_and_a_short_one_a_list(store: ChunkStore, storer: ContentStorer):
    short, long = storer.store_stream(reading(NOISE[: 2 << 20])), storer.store_stream(reading(NOISE * 4))
    assert isinstance(short, SlicedContent)
    assert len(short.slices) <= MAX_SLICES
    assert isinstance(long, CutContent)
    assert len(list(iter_parts(store.reader(), long))) > MAX_SLICES


@given(
    sizes=st.lists(st.one_of(st.integers(0, 300), st.sampled_from([0, 65_536, 131_072])), max_size=60),
    seed=st.integers(0, 5),
)
def test_bundled_contents_come_back(store: ChunkStore, storer: ContentStorer, sizes: list[int], seed: int):
    contents = [random.Random(seed + number).randbytes(size) for number, size in enumerate(sizes)]
    store.sizes.clear()
    stored = storer.store_bundle(contents)
    assert [content_of(store, one) for one in stored] == contents
    assert sum(store.sizes) == sum(sizes), "every byte of a bundle belongs to one file"
    assert all(one.slices == () for one, content in zip(stored, contents, strict=True) if not content)


def test_a_bundle_is_cut_where_its_content_says(store: ChunkStore, storer: ContentStorer):
    """So the files of two releases of one directory share chunks, although some were added in front."""
    contents = [NOISE[at : at + 100_000] for at in range(0, 12_000_000, 100_000)]
    chunks = [
        {part.id for one in storer.store_bundle(some) for part in one.slices}
        for some in (contents, [b"new" * 500, *contents])
    ]
    assert len(chunks[0] & chunks[1]) >= 2
    assert len(chunks[1] - chunks[0]) <= 3


@pytest.mark.parametrize("size", [1, CHUNK, 5 * CHUNK + 3, 1100 * CHUNK + 1])
def test_files_with_holes_come_back_and_holes_are_not_read(store: ChunkStore, storer: ContentStorer, size: int):
    image = MemoryImage(bytes(size), holes=[(size // 4, size - 1)] if size > 1 else [])
    image.content[0], image.content[-1] = 1, 2
    stored = storer.store_image(image, CHUNK)
    assert isinstance(stored, FixedContent)
    assert content_of(store, stored) == bytes(image.content)
    assert sum(end - start for start, end in image.read) <= size // 4 + 2 * CHUNK


def test_a_file_that_is_one_hole_reads_nothing(store: ChunkStore, storer: ContentStorer):
    image = MemoryImage(bytes(3000 * CHUNK), holes=[(0, 3000 * CHUNK)])
    stored = storer.store_image(image, CHUNK)
    assert (stored.id, stored.size, image.read) == (None, 3000 * CHUNK, [])


def test_a_file_with_holes_that_shrinks_is_unreadable(storer: ContentStorer):
    image = MemoryImage(bytes(3 * CHUNK))
    del image.content[2 * CHUNK + 5 :]
    with pytest.raises(SourceUnreadable, match=f"shrank to {2 * CHUNK + 5} bytes"):
        storer.store_image(image, CHUNK)


def test_what_was_read_is_counted(store: ChunkStore, sealers: ThreadPoolExecutor):
    counted = ContentStorer(store, store.repository.access.chunker(), sealers, Operation())
    counted.store_stream(reading(NOISE[:100_000]))
    counted.store_bundle([b"a" * 10, b"b" * 7])
    counted.store_image(MemoryImage(bytes(3 * CHUNK), holes=[(CHUNK, 3 * CHUNK)]), CHUNK)
    assert counted.read == 100_000 + 17 + CHUNK


def test_a_fault_of_the_source_and_of_the_storage_end_a_stream(store: ChunkStore, sealers: ThreadPoolExecutor):
    class Full:
        """Takes nothing."""

        def data_id(self, content):
            return store.data_id(content)

        def put_data(self, chunk, content):
            raise StorageUnavailable("no")

    def failing(buffer: memoryview) -> int:
        raise SourceUnreadable("broken")

    chunker = store.repository.access.chunker()
    with pytest.raises(SourceUnreadable):
        ContentStorer(store, chunker, sealers, Operation()).store_stream(failing)
    with pytest.raises(StorageUnavailable):
        ContentStorer(Full(), chunker, sealers, Operation()).store_stream(reading(NOISE))


def test_the_stop_button_ends_a_stream(store: ChunkStore, sealers: ThreadPoolExecutor):
    operation = Operation()
    storer = ContentStorer(store, store.repository.access.chunker(), sealers, operation)

    def endless(buffer: memoryview) -> int:
        operation.stop.set()
        return len(buffer)

    with pytest.raises(Stopped):
        storer.store_stream(endless)


def test_nobody_puts_while_the_gate_is_closed(store: ChunkStore):
    """The gate closes behind who is inside, and opens for who came meanwhile."""
    inside, may_go = threading.Event(), threading.Event()
    done: list[str] = []

    class Slow:
        """Puts when it is allowed to."""

        def put_data(self, chunk, content):
            inside.set()
            may_go.wait(20)
            done.append(content)
            return True

    gate = GatedPutter(Slow())
    first = threading.Thread(target=gate.put_data, args=("id", "first"))
    first.start()
    assert inside.wait(20)
    closed, may_open = threading.Event(), threading.Event()

    def close() -> None:
        with gate.closed():
            done.append("closed")
            closed.set()
            may_open.wait(20)
            done.append("opens")

    closer = threading.Thread(target=close)
    closer.start()
    assert not closed.wait(0.05), "somebody is inside"
    may_go.set()
    assert closed.wait(20)
    second = threading.Thread(target=gate.put_data, args=("id", "second"))
    second.start()
    second.join(0.05)
    assert second.is_alive(), "the gate is closed"
    may_open.set()
    for thread in (first, closer, second):
        thread.join(20)
    assert done == ["first", "closed", "opens", "second"]


def test_the_gate_opens_again_after_a_fault(store: ChunkStore):
    gate = GatedPutter(store)
    with pytest.raises(StorageUnavailable), gate.closed():
        raise StorageUnavailable("no")
    content = b"goes through"
    assert gate.put_data(gate.data_id(content), content)
