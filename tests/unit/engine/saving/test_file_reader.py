"""Objects become entries: one by one, in bundles, in spite of everything."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from lamina.engine.saving.cutting import ContentStorer
from lamina.engine.saving.file_reader import COARSE_TICK_NS, TICK_NS, FileReader, ToRead, _is_fresh
from lamina.engine.saving.watched import Watch
from lamina.errors import SourceUnreadable
from lamina.model.entries import CutContent, Entry, EntryState, EntryType, FixedContent, Metadata, SlicedContent
from lamina.model.operation import Operation
from lamina.repository.contents import cut_part, iter_parts
from lamina.repository.directories import BUNDLED
from lamina.sources.source import Begin, End, Members
from lamina.testing.clocks import FrozenClock
from lamina.testing.moody_files import MoodyFiles
from lamina.testing.repositories import CHUNK
from tests.chunk_store import ChunkStore
from tests.unit.engine.tree_backups import LATER, NOISE, make


@pytest.fixture(scope="module")
def store() -> Iterator[ChunkStore]:
    made = ChunkStore()
    yield made
    made.close()


@pytest.fixture(scope="module")
def sealers() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as threads:
        yield threads


class Reading:
    """A tree about to be read."""

    def __init__(self, store: ChunkStore, sealers: ThreadPoolExecutor, clock: FrozenClock | None = None) -> None:
        self.store = store
        self.clock = clock or FrozenClock(LATER)
        operation = Operation(self.clock)
        self.storer = ContentStorer(store, store.repository.access.chunker(), sealers, operation)
        self.operation = operation

    def objects(self, files: MoodyFiles) -> list[ToRead]:
        found: list[ToRead] = []
        for step in files.walk():
            if isinstance(step, Members):
                for one in step.found:
                    step.folder.hold()
                    found.append(ToRead(step.folder, one))
            else:
                assert isinstance(step, Begin | End)
        return found

    def read(self, files: MoodyFiles, objects: list[ToRead], hung: dict[int, str] | None = None) -> list[Entry | None]:
        self.watch = Watch(self.clock)
        return FileReader(files, self.storer, CHUNK, self.operation).read(objects, hung or {}, self.watch)

    def content(self, entry: Entry) -> bytes:
        reader = self.store.reader()
        return b"".join(
            bytes(part.length) if part.chunk is None else bytes(cut_part(part, reader.get_data(part.chunk)))
            for part in iter_parts(reader, entry.content)
        )


@pytest.fixture
def reading(store: ChunkStore, sealers: ThreadPoolExecutor) -> Reading:
    return Reading(store, sealers)


def test_files_of_every_size_have_the_right_form(reading: Reading, tmp_path: Path):
    contents = {
        "0": b"", "1": b"1", "bundled": NOISE[:BUNDLED], "sliced": NOISE[: BUNDLED + 1], "z-long": random.Random(7).randbytes(40 << 20),
    }  # fmt: skip
    files = MoodyFiles(make(tmp_path / "t", contents))
    with (tmp_path / "t" / "sparse").open("wb") as file:
        file.write(b"begin")
        file.truncate(10 * CHUNK)
    entries = reading.read(files, reading.objects(files))
    forms = [type(one.content) for one in entries]
    assert forms == [SlicedContent] * 4 + [FixedContent, CutContent]
    for one in entries:
        assert reading.content(one) == (tmp_path / "t" / os.fsdecode(one.name)).read_bytes()
        assert one.state is EntryState.WHOLE
    files.close()


def test_small_files_of_one_directory_share_a_chunk_and_others_do_not(reading: Reading, tmp_path: Path):
    files = MoodyFiles(make(tmp_path / "t", {"a/1": b"one", "a/2": b"two", "b/3": b"three"}))
    entries = reading.read(files, reading.objects(files))
    chunks = [one.content.slices[0].id for one in entries]
    assert chunks[0] == chunks[1] != chunks[2]
    files.close()


def test_what_is_no_file_is_described(reading: Reading, tmp_path: Path):
    tree = make(tmp_path / "t", {})
    tree.mkdir()
    os.symlink("target", tree / "link")
    os.mkfifo(tree / "pipe")
    files = MoodyFiles(tree)
    link, pipe = reading.read(files, reading.objects(files))
    assert (link.type, link.target, link.content) == (EntryType.SYMLINK, b"target", None)
    assert (pipe.type, pipe.target, pipe.content) == (EntryType.FIFO, b"", None)
    files.close()


def test_known_content_is_taken_over_unread(reading: Reading, tmp_path: Path):
    files = MoodyFiles(make(tmp_path / "t", {"a": b"content"}))
    (one,) = reading.objects(files)
    known = SlicedContent(0)
    (entry,) = reading.read(files, [one._replace(known=known)])
    assert entry.content is known
    assert files.done("read") == []
    files.close()


def test_known_content_is_not_believed_of_a_file_that_changed_since(reading: Reading, tmp_path: Path):
    files = MoodyFiles(make(tmp_path / "t", {"a": b"content"}))
    (one,) = reading.objects(files)
    (tmp_path / "t" / "a").write_bytes(b"CONTENT")
    os.utime(tmp_path / "t" / "a", ns=(0, 1))
    (entry,) = reading.read(files, [one._replace(known=SlicedContent(0))])
    assert reading.content(entry) == b"CONTENT"
    files.close()


def test_what_vanished_and_what_hung_and_what_is_broken_keep_their_places(reading: Reading, tmp_path: Path):
    def broken() -> None:
        raise SourceUnreadable("broken")

    tree = make(tmp_path / "t", {name: name.encode() for name in "abcde"})
    files = MoodyFiles(tree, {("open", b"c"): broken})
    objects = reading.objects(files)
    (tree / "b").unlink()
    first, vanished, unreadable, hung, last = reading.read(files, objects, {3: "no answer"})
    assert vanished is None
    assert [(one.state, one.error, one.content) for one in (unreadable, hung)] == [
        (EntryState.UNREAD, "broken", None),
        (EntryState.UNREAD, "no answer", None),
    ]
    assert [reading.content(one) for one in (first, last)] == [b"a", b"e"]
    assert reading.watch.step == 5, "so that whoever watches knows which one hangs"
    assert b"d" not in files.done("read")
    files.close()


@pytest.mark.parametrize("becomes", ["directory", "symlink", "pipe"])
def test_a_file_that_became_something_else_is_unread(reading: Reading, tmp_path: Path, becomes: str):
    files = MoodyFiles(make(tmp_path / "t", {"a": b"content"}))
    objects = reading.objects(files)
    path = tmp_path / "t" / "a"
    path.unlink()
    {"directory": path.mkdir, "symlink": lambda: path.symlink_to("/etc/passwd"), "pipe": lambda: os.mkfifo(path)}[
        becomes
    ]()
    (entry,) = reading.read(files, objects)
    assert (entry.state, entry.content) == (EntryState.UNREAD, None)
    assert "replaced" in entry.error or "no regular file" in entry.error
    files.close()


@pytest.mark.parametrize(("grow", "to"), [(True, 200_000), (False, 10)])
def test_a_file_that_grew_or_shrank_since_the_walk_is_read_as_it_is(
    reading: Reading, tmp_path: Path, grow: bool, to: int
):
    """Small becomes large and the other way round."""
    files = MoodyFiles(make(tmp_path / "t", {"a": NOISE[: 100 if grow else 300_000]}))
    objects = reading.objects(files)
    (tmp_path / "t" / "a").write_bytes(NOISE[:to])
    (entry,) = reading.read(files, objects)
    assert (reading.content(entry), entry.state) == (NOISE[:to], EntryState.WHOLE)
    files.close()


def test_a_sparse_file_that_shrinks_while_it_is_read_is_read_again(reading: Reading, tmp_path: Path):
    tree = make(tmp_path / "t", {})
    tree.mkdir()
    with (tree / "a").open("wb") as file:
        file.write(NOISE[: 4 * CHUNK])
        file.truncate(9 * CHUNK)
    files = MoodyFiles(tree, {("open", b"z"): lambda: None})
    objects = reading.objects(files)
    real, shrunk = files.open, False

    def opened(folder, found):
        nonlocal shrunk
        file = real(folder, found)
        if not shrunk:
            shrunk = True
            os.truncate(tree / "a", 2 * CHUNK + 5)
        return file

    files.open = opened
    (entry,) = reading.read(files, objects)
    assert (reading.content(entry), entry.state) == (NOISE[: 2 * CHUNK + 5], EntryState.WHOLE)
    files.close()


@pytest.mark.skipif(not Path("/proc/kallsyms").exists(), reason="needs a long file in /proc")
def test_a_long_file_without_a_size_is_read_to_its_end(reading: Reading):
    """Files in /proc say that they are empty."""
    wanted = Path("/proc/kallsyms").read_bytes()
    if len(wanted) <= BUNDLED:
        pytest.skip("it is short here")
    files = MoodyFiles(Path("/proc"))
    folder, found = files.look([b"kallsyms"])
    assert found.size == 0
    (entry,) = reading.read(files, [ToRead(folder, found)])
    assert entry.content.size == len(wanted)
    assert reading.content(entry) == wanted
    folder.release()
    files.close()


@pytest.mark.parametrize(
    ("age_ns", "fraction_ns", "fresh"),
    [
        (0, 1, True),
        (TICK_NS, 1, True),
        (TICK_NS + 1, 1, False),
        (-TICK_NS, 1, True),
        (TICK_NS + 1, 0, True),
        (COARSE_TICK_NS, 0, True),
        (COARSE_TICK_NS + 1, 0, False),
    ],
)
def test_a_file_is_fresh_if_its_next_change_might_leave_no_trace(age_ns: int, fraction_ns: int, fresh: bool):
    """Times without a fraction come from a file system that counts in seconds."""
    changed = 1_700_000_000_000_000_000 + fraction_ns
    assert _is_fresh(Metadata(mtime_ns=changed - 10**12, ctime_ns=changed), changed + age_ns) == fresh


def test_the_clock_is_read_before_the_file(store: ChunkStore, sealers: ThreadPoolExecutor, tmp_path: Path):
    """What is written after the reading began is fresh, however long the reading takes."""
    tree = make(tmp_path / "t", {"a": b"a", "b": b"b"})
    changed = datetime.fromtimestamp((tree / "b").stat().st_ctime, UTC)
    reading = Reading(store, sealers, FrozenClock(changed))
    files = MoodyFiles(tree, {("open", b"a"): lambda: reading.clock.advance(timedelta(hours=1))})
    entries = reading.read(files, reading.objects(files))
    assert [one.state for one in entries] == [EntryState.FRESH] * 2
    files.close()


def test_a_link_made_just_now_is_fresh(store: ChunkStore, sealers: ThreadPoolExecutor, tmp_path: Path):
    """Another may take its place, and its inode, before the kernel's clock ticks."""
    (tmp_path / "link").symlink_to("target")
    reading = Reading(store, sealers, FrozenClock(datetime.fromtimestamp((tmp_path / "link").lstat().st_ctime, UTC)))
    files = MoodyFiles(tmp_path)
    (before,) = reading.read(files, reading.objects(files))
    reading.clock.advance(timedelta(seconds=10))
    (after,) = reading.read(files, reading.objects(files))
    assert (before.state, after.state) == (EntryState.FRESH, EntryState.WHOLE)
    files.close()
