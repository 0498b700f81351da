"""Read the files of a tree: metadata, content, and what becomes of those that change or cannot be read."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from lamina.engine.saving.cutting import ContentStorer
from lamina.engine.saving.watched import Watch
from lamina.errors import SourceMissing, SourceUnreadable
from lamina.model.entries import Content, Entry, EntryState, EntryType, Metadata, SlicedContent
from lamina.model.operation import Operation
from lamina.repository.directories import BUNDLED
from lamina.sources.source import FileSource, Folder, Found, OpenFile

TRIES = 3  # at a file that changes while it is read
TICK_NS = 50_000_000  # times of files are those of a kernel's last tick: 1 to 10 ms old, and clocks are read one after the other
COARSE_TICK_NS = 2_000_000_000  # where times have no fraction of a second: FAT counts in two seconds
_SECOND_NS = 1_000_000_000
_NOT_YET = SlicedContent(0)
_CHANGED = f"it changed while it was read, {TRIES} times in a row"


class ToRead(NamedTuple):
    """One object that has to be opened, or at least to be looked at closely."""

    folder: Folder
    found: Found
    known: Content | None = None  # content that needs no reading: only the metadata changed


@dataclass(slots=True)
class _Bundle:
    """Small files of one directory, read and not yet stored."""

    folder: Folder | None = None
    numbers: list[int] = field(default_factory=list)
    contents: list[bytes] = field(default_factory=list)


class _Read(NamedTuple):
    """What was read of a regular file."""

    metadata: Metadata
    content: Content | bytes  # bytes: it is small, and to be bundled
    state: EntryState
    error: str = ""


class FileReader:
    """Turns objects of a tree into entries; for any number of threads."""

    def __init__(self, source: FileSource, storer: ContentStorer, chunk_size: int, operation: Operation) -> None:
        """*chunk_size*: of files with holes."""
        self._source = source
        self._storer = storer
        self._chunk_size = chunk_size
        self._operation = operation
        self._local = threading.local()

    def read(self, objects: Sequence[ToRead], hung: Mapping[int, str], watch: Watch) -> list[Entry | None]:
        """The entry of each object, None for one that vanished; those in *hung* are not touched again.

        Small files that follow each other and lie in one directory are bundled. Raises: StorageError, Stopped.
        """
        self._operation.check_stop()
        self._local.watch = watch
        now_ns = int(self._operation.clock.now().timestamp() * _SECOND_NS)
        entries: list[Entry | None] = []
        bundle = _Bundle()
        for number, one in enumerate(objects):
            if one.folder is not bundle.folder:
                watch.end_steps()
                self._store(bundle, entries)
                bundle = _Bundle(one.folder)
            watch.begin_step()
            if number in hung:
                entries.append(unread(one.found, hung[number]))
                continue
            try:
                if one.found.type is EntryType.FILE and one.known is None:
                    entries.append(self._read_file(one, bundle, number, now_ns))
                    continue
                entry = self._describe(one, now_ns)
                if one.known is not None and _has_changed(entry.metadata, one.found.metadata):
                    entry = self._read_file(one, bundle, number, now_ns)
                entries.append(entry)
            except SourceMissing:
                entries.append(None)
            except SourceUnreadable as error:
                entries.append(unread(one.found, error.message))
        watch.end_steps()
        self._store(bundle, entries)
        return entries

    def _describe(self, one: ToRead, now_ns: int) -> Entry:
        found = one.found
        metadata, target = self._source.describe(one.folder, found)
        state = EntryState.FRESH if _is_fresh(metadata, now_ns) else EntryState.WHOLE  # links and attributes change too
        return Entry(found.name, found.type, metadata, one.known, target=target, special=found.special, state=state)

    def _read_file(self, one: ToRead, bundle: _Bundle, number: int, now_ns: int) -> Entry:
        """The entry of a regular file; that of a small one gets its content with its bundle."""
        if one.found.size <= BUNDLED:
            small = self._source.read_small(one.folder, one.found)
            if small is not None:
                bundle.numbers.append(number)
                bundle.contents.append(small[1])
                state = EntryState.FRESH if _is_fresh(small[0], now_ns) else EntryState.WHOLE
                return Entry(one.found.name, EntryType.FILE, small[0], _NOT_YET, state=state)
        read = self._try(one)
        tries = 1
        while read is None and tries < TRIES:
            tries += 1
            read = self._try(one, is_last=tries == TRIES)
        assert read is not None  # noqa: S101 - the last try gives what it has
        metadata, content, state, error = read
        if state is EntryState.WHOLE and _is_fresh(metadata, now_ns):
            state = EntryState.FRESH
        if isinstance(content, bytes):
            bundle.numbers.append(number)
            bundle.contents.append(content)
            content = _NOT_YET
        return Entry(one.found.name, EntryType.FILE, metadata, content, None, None, b"", None, state, error)

    def _try(self, one: ToRead, *, is_last: bool = False) -> _Read | None:
        """Read a file once; None if it changed meanwhile, unless this is the last try."""
        file = self._source.open(one.folder, one.found)
        try:
            metadata = file.metadata()
            try:
                content = self._content(file)
            except SourceUnreadable:
                if not is_last and file.changed():
                    return None
                raise
            if not file.changed():
                return _Read(metadata, content, EntryState.WHOLE)
            return _Read(metadata, content, EntryState.CHANGED, _CHANGED) if is_last else None
        finally:
            file.close()

    def _content(self, file: OpenFile) -> Content | bytes:
        """What a file holds: bytes if it is small, otherwise stored already."""
        size = file.found.size
        if size > BUNDLED:
            return self._long_content(file)
        buffer = self._buffer()
        got = file.read_into(buffer[: size or BUNDLED])  # a size of zero may be a lie: of a file in /proc, say
        content = bytes(buffer[:got])
        return self._long_content(file, content) if not size and got == BUNDLED else content

    def _long_content(self, file: OpenFile, begun: bytes = b"") -> Content:
        """Store a long file, of which *begun* was read. Each read may take as long as a step, storing as long as it takes."""
        watch: Watch = self._local.watch
        first = deque([begun] if begun else ())

        def read_into(buffer: memoryview) -> int:
            if first:
                piece = first.popleft()
                buffer[: len(piece)] = piece
                return len(piece)
            with watch.asking():
                return file.read_into(buffer)

        if not begun and file.has_holes():
            content: Content = self._storer.store_image(file.image(), self._chunk_size, watch.asking)
        else:
            content = self._storer.store_stream(read_into)
        watch.go_on()
        return content

    def _store(self, bundle: _Bundle, entries: list[Entry | None]) -> None:
        contents = self._storer.store_bundle(bundle.contents)
        for number, content in zip(bundle.numbers, contents, strict=True):
            entry = entries[number]
            assert entry is not None  # noqa: S101 - a bundled file was read
            entries[number] = Entry(entry.name, entry.type, entry.metadata, content, *entry[4:])

    def _buffer(self) -> memoryview:
        """This thread's buffer for small files."""
        buffer: memoryview | None = getattr(self._local, "buffer", None)
        if buffer is None:
            buffer = self._local.buffer = memoryview(bytearray(BUNDLED))
        return buffer


def _has_changed(now: Metadata, found: Metadata) -> bool:
    """Whether a file, or which file it is, changed since the walk met it."""
    return (now.mtime_ns, now.ctime_ns, now.inode) != (found.mtime_ns, found.ctime_ns, found.inode)


def _is_fresh(metadata: Metadata, now_ns: int) -> bool:
    """Whether a change after now_ns might leave the times of a file as they are.

    A time of modification in the future was set by somebody, and the next change ends it; the other time nobody can set.
    """
    is_set = metadata.mtime_ns > now_ns + COARSE_TICK_NS
    changed_ns = metadata.ctime_ns if is_set else max(metadata.mtime_ns, metadata.ctime_ns)
    return changed_ns + (TICK_NS if metadata.ctime_ns % _SECOND_NS else COARSE_TICK_NS) >= now_ns


def unread(found: Found, reason: str) -> Entry:
    """The entry of what could not be read."""
    return Entry(found.name, found.type, found.metadata, special=found.special, state=EntryState.UNREAD, error=reason)
