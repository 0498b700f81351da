"""The contract of sources of files, as tests.

Subclass `FileSourceContract` in a test module under a name that begins with `Test`, and give it the fixture `place`.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import pytest

from lamina.errors import SourceMissing, SourceUnreadable
from lamina.model.entries import EntryType, Metadata
from lamina.sources.source import (
    MEMBERS,
    Begin,
    End,
    FileSource,
    Folder,
    Found,
    Members,
    OpenFile,
    Resume,
    Step,
    Unchanged,
)

Event = tuple[str, bytes]  # "begin", "member" or "end", and the path

CONTENTS = {
    b"a": b"",
    b"a.txt": b"first",
    b"dir/one": b"1",
    b"dir/sub/deep/file": b"far below",
    b"dir/sub/x": b"x" * 5000,
    b"dir/two": b"22",
    b"dir.d/file": b"after dir, as . is behind nothing and before /",
    b"new\nline": b"\n",
    b"not-utf-8-\xff\xfe": b"bytes",
    b"z": b"last",
}


class FilePlace(Protocol):
    """What the source under test reads, seen from outside; at first an empty directory.

    - `put` makes a regular file, and what leads to it; `make_directory` and `make_link` make these; each replaces what is there;
    - `remove` removes an object and all below it;
    - `open` opens the whole as a source.
    """

    def put(self, path: bytes, content: bytes) -> None: ...

    def make_directory(self, path: bytes) -> None: ...

    def make_link(self, path: bytes, target: bytes) -> None: ...

    def remove(self, path: bytes) -> None: ...

    def open(self) -> FileSource: ...


class KnownLooks:
    """Looks of directories: every one is known, or none is."""

    is_empty = False

    def __init__(self, knows_all: bool) -> None:
        self._knows_all = knows_all

    def place(self, above: bytes, name: bytes) -> bytes:
        return above + b"/" + name

    def recall(self, place: bytes, look: bytes) -> bytes | None:
        return place + look if self._knows_all else None


def events(steps: Iterator[Step]) -> list[Event]:
    """What the steps say, with paths: each directory when it begins and ends, all else once."""
    found: list[Event] = []
    inside: list[bytes] = []
    for step in steps:
        if isinstance(step, Begin):
            inside.append(step.found.name)
            found.append(("begin", b"/".join(inside[1:])))
        elif isinstance(step, End):
            found.append(("end", b"/".join(inside[1:])))
            inside.pop()
        elif isinstance(step, Members):
            found += (("member", b"/".join([*inside[1:], member.name])) for member in step.found)
    return found


def find(source: FileSource, path: bytes) -> tuple[Folder, Found]:
    """One object by its path, with its folder held."""
    return source.look(path.split(b"/"))


def read_all(file: OpenFile, piece: int = 1000) -> bytes:
    """All of a file, in pieces."""
    content = b""
    buffer = bytearray(piece)
    while count := file.read_into(memoryview(buffer)):
        content += buffer[:count]
    return content


class FileSourceContract:
    """What every `FileSource` promises."""

    has_links = True  # whether there are symbolic links

    @pytest.fixture
    def place(self) -> Iterator[FilePlace]:
        """Give a place that holds nothing; clean up afterwards."""
        raise NotImplementedError

    @pytest.fixture
    def source(self, place: FilePlace) -> Iterator[FileSource]:
        """Give a source that holds `CONTENTS` and an empty directory."""
        for path, content in CONTENTS.items():
            place.put(path, content)
        place.make_directory(b"empty")
        source = place.open()
        yield source
        source.close()

    def test_everything_is_met_once_in_the_order_of_names(self, source: FileSource) -> None:
        got = events(source.walk())
        assert sorted(path for kind, path in got if kind == "member") == sorted(CONTENTS)
        directories = [path for kind, path in got if kind == "begin"]
        assert directories == [b"", b"dir", b"dir/sub", b"dir/sub/deep", b"dir.d", b"empty"]
        met = [path.split(b"/") for kind, path in got if kind != "end" and path]
        assert met == sorted(met)  # which puts a directory before what is in it as well

    def test_steps_nest_and_name_the_directory_they_are_in(self, source: FileSource) -> None:
        inside: list[Folder] = []
        for step in source.walk():
            assert not isinstance(step, Unchanged)
            if isinstance(step, Begin):
                inside.append(step.folder)
            else:
                assert step.folder is inside[-1]
            if isinstance(step, End):
                inside.pop()
        assert not inside

    @pytest.mark.parametrize("knows_all", [True, False])
    def test_what_is_passed_over_is_named(self, source: FileSource, knows_all: bool) -> None:
        inside: list[bytes] = []
        found: list[bytes] = []
        for step in source.walk(None, frozenset(), KnownLooks(knows_all)):
            names: Sequence[bytes] = ()
            if isinstance(step, Begin | Unchanged):
                inside.append(step.found.name)
                names = step.same.names if step.same is not None else ()
                assert knows_all or step.same is None
            elif isinstance(step, Members):
                names = [one.name for one in step.found]
            found += (b"/".join([*inside[1:], name]) for name in names)
            if isinstance(step, End | Unchanged):
                inside.pop()
        assert sorted(found) == sorted(CONTENTS)
        assert not inside

    def test_types_and_sizes_are_known_before_a_file_is_opened(self, source: FileSource) -> None:
        for path, content in CONTENTS.items():
            _, found = find(source, path)
            assert (found.type, found.size, found.error) == (EntryType.FILE, len(content), "")
        assert all(step.found.type is EntryType.DIRECTORY for step in source.walk() if isinstance(step, Begin))

    def test_a_step_has_no_more_members_than_promised(self, place: FilePlace) -> None:
        names = [b"%05d" % number for number in range(2 * MEMBERS + 5)]
        for name in names:
            place.put(name, b"")
        source = place.open()
        steps = [step for step in source.walk() if isinstance(step, Members)]
        source.close()
        assert [found.name for step in steps for found in step.found] == names
        assert all(0 < len(step.found) <= MEMBERS for step in steps)

    def test_content_is_what_was_put_there(self, source: FileSource) -> None:
        for step in source.walk():
            if isinstance(step, Members):
                for found in step.found:
                    file = source.open(step.folder, found)
                    path = b"/".join([*step.folder.path.split(b"/"), found.name])
                    expected = [content for end, content in CONTENTS.items() if path.endswith(b"/" + end)]
                    assert read_all(file) in expected
                    assert not file.changed()
                    file.close()

    def test_a_read_fills_the_buffer_until_the_file_ends(self, place: FilePlace) -> None:
        content = random.Random(1).randbytes(10 << 20)  # noqa: S311  # the same in every run, and no secret
        place.put(b"long", content)
        source = place.open()
        file = source.open(*find(source, b"long"))
        buffer = memoryview(bytearray(3 << 20))
        pieces = [bytes(buffer[: file.read_into(buffer)]) for _ in range(5)]
        file.close()
        source.close()
        assert [len(piece) for piece in pieces] == [3 << 20, 3 << 20, 3 << 20, 1 << 20, 0]
        assert b"".join(pieces) == content

    def test_an_open_file_says_all_that_describe_says(self, source: FileSource) -> None:
        folder, found = find(source, b"dir/sub/x")
        file = source.open(folder, found)
        assert file.found == found
        assert source.describe(folder, found) == (file.metadata(), b"")
        assert file.metadata()._replace(birth_ns=None, flags=0, xattrs=()) == found.metadata
        file.close()

    def test_a_file_is_an_image_as_well(self, source: FileSource) -> None:
        file = source.open(*find(source, b"dir/sub/x"))
        image = file.image()
        buffer = bytearray(10)
        assert (image.size, image.read_into(4995, memoryview(buffer))) == (5000, 5)
        assert sum(extent.length for extent in image.extents()) == 5000
        assert read_all(file) == CONTENTS[b"dir/sub/x"]  # from its beginning, whatever was read of the image
        file.close()

    def test_a_link_is_described_and_not_followed(self, place: FilePlace) -> None:
        if not self.has_links:
            pytest.skip("has no symbolic links")
        place.make_directory(b"there")
        place.make_link(b"link", b"there")
        source = place.open()
        assert [path for kind, path in events(source.walk()) if kind == "begin"] == [b"", b"there"]
        folder, found = find(source, b"link")
        assert found.type is EntryType.SYMLINK
        metadata, target = source.describe(folder, found)
        assert target == b"there"
        assert metadata.inode == found.metadata.inode
        with pytest.raises(SourceUnreadable):
            source.open(folder, found)
        source.close()

    def test_a_directory_is_described_by_its_own_folder(self, source: FileSource) -> None:
        for step in source.walk():
            if isinstance(step, Begin):
                metadata, target = source.describe(step.folder, step.found)
                assert metadata._replace(birth_ns=None, flags=0, xattrs=()) == step.found.metadata
                assert target == b""

    def test_what_vanished_is_missing(self, place: FilePlace, source: FileSource) -> None:
        folder, found = find(source, b"dir/one")
        place.remove(b"dir/one")
        with pytest.raises(SourceMissing):
            source.open(folder, found)
        with pytest.raises(SourceMissing):
            source.describe(folder, found)
        with pytest.raises(SourceMissing):
            find(source, b"dir/one")

    def test_what_is_no_regular_file_any_more_cannot_be_read(self, place: FilePlace, source: FileSource) -> None:
        folder, found = find(source, b"dir/one")
        place.make_directory(b"dir/one")
        with pytest.raises(SourceUnreadable) as raised:
            source.open(folder, found)
        assert raised.value.hint
        if self.has_links:
            place.make_link(b"dir/one", b"two")
            with pytest.raises(SourceUnreadable):
                source.open(folder, found)

    def test_a_change_since_a_file_was_opened_is_seen(self, place: FilePlace, source: FileSource) -> None:
        file = source.open(*find(source, b"z"))
        place.put(b"z", b"something else")
        assert file.changed()
        file.close()

    def test_a_held_folder_can_be_read_from_after_its_end(self, source: FileSource) -> None:
        held: list[tuple[Folder, Found]] = []
        for step in source.walk():
            if isinstance(step, Members):
                for found in step.found:
                    step.folder.hold()
                    held.append((step.folder, found))

        def read(one: tuple[Folder, Found]) -> bytes:
            file = source.open(*one)
            try:
                return read_all(file)
            finally:
                file.close()
                one[0].release()

        with ThreadPoolExecutor(8) as pool:
            assert sorted(pool.map(read, held)) == sorted(CONTENTS.values())

    def test_a_walk_goes_on_where_another_was(self, source: FileSource) -> None:
        whole = events(source.walk())
        for done in range(1, len(whole)):
            assert events_from(source, whole, done) == whole[done:], whole[done - 1]

    def test_a_walk_goes_on_behind_what_vanished(self, place: FilePlace, source: FileSource) -> None:
        whole = events(source.walk())
        place.remove(b"dir/sub")
        got = events_from(source, whole, whole.index(("begin", b"dir/sub/deep")))
        assert got == whole[whole.index(("end", b"dir/sub")) :]

    def test_what_is_to_be_avoided_is_yielded_with_an_error(self, source: FileSource) -> None:
        avoid = frozenset({(b"dir", b"sub"), (b"z",)})
        failed = [found for step in source.walk(None, avoid) if isinstance(step, Members) for found in step.found]
        failed = [found for found in failed if found.error]
        assert [(found.name, found.type) for found in failed] == [
            (b"sub", EntryType.UNKNOWN),
            (b"z", EntryType.UNKNOWN),
        ]
        paths = [path for _, path in events(source.walk(None, avoid))]
        assert sorted({*CONTENTS} - {*paths}) == [b"dir/sub/deep/file", b"dir/sub/x"]

    def test_a_watcher_can_tell_that_a_walk_goes_on(self, source: FileSource) -> None:
        seen: list[tuple[bytes, ...]] = []
        for step in source.walk():
            if isinstance(step, Members):
                assert source.looking_at is source.looking_at
                assert not any(source.looking_at is one for one in seen)
                seen.append(source.looking_at)
        names = {
            tuple(path.split(b"/")) for path in (*CONTENTS, b"dir", b"dir/sub", b"dir/sub/deep", b"dir.d", b"empty")
        }
        assert len(seen) > 5
        assert names.issuperset(seen)

    def test_an_object_is_found_by_its_names(self, source: FileSource) -> None:
        folder, found = source.look(())
        assert (found.name, found.type) == (b"", EntryType.DIRECTORY)
        folder.release()
        folder, found = find(source, b"dir/sub")
        assert (found.name, found.type) == (b"sub", EntryType.DIRECTORY)
        assert source.describe(folder, found)[0].inode == found.metadata.inode
        folder.release()
        for path in (b"nowhere", b"nowhere/file", b"a.txt/file"):
            with pytest.raises(SourceMissing):
                find(source, path)

    def test_closing_twice_is_harmless(self, source: FileSource) -> None:
        source.close()
        source.close()


def events_from(source: FileSource, whole: Sequence[Event], done: int) -> list[Event]:
    """What a walk yields that goes on behind the first *done* events."""
    inside: list[bytes] = []
    after: bytes | None = None
    for kind, path in whole[:done]:
        if kind == "begin":
            inside.append(path)
            after = None
        else:
            after = (inside.pop() if kind == "end" else path).rpartition(b"/")[2]
    names = tuple(path.rpartition(b"/")[2] for path in inside[1:])
    steps = source.walk(Resume(names, after))
    return events(_beginning(steps, [b"", *names]))[len(inside) :]


def _beginning(steps: Iterator[Step], names: Sequence[bytes]) -> Iterator[Step]:
    """The steps, behind those that another walk yielded before."""
    first = next(steps)
    assert not isinstance(first, Unchanged)
    for name in names:
        yield Begin(first.folder, Found(name, EntryType.DIRECTORY, Metadata()))
    yield first
    yield from steps
