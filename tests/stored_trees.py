"""Directories of this machine as snapshots, stored without the code that walks them in a backup."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

from lamina.model.entries import (
    Content,
    Entry,
    EntryType,
    FixedContent,
    Metadata,
    Position,
    Slice,
    SlicedContent,
)
from lamina.model.process import Process
from lamina.model.snapshots import Snapshot
from lamina.repository.cut_streams import CutStreamWriter
from lamina.repository.sessions import SnapshotFacts
from lamina.repository.streams import FANOUT, FixedMapWriter
from lamina.repository.trees import DirectoryWriter
from lamina.repository.writer import EncodingOptions
from lamina.sources.inodes import complete, complete_by_path, found_of
from lamina.testing.repositories import CHUNK, SmallRepository

Change = Callable[[Entry], Entry]
CUT_FROM = 4 * CHUNK  # longer files are cut streams here


class Storer:
    """Stores objects into one session of a repository."""

    def __init__(self, small: SmallRepository, change: Change = lambda entry: entry) -> None:
        self.small = small
        self.opened = small.open()
        self.session = self.opened.begin(Process(), EncodingOptions(3, check=True), small.operation())
        self.writer = self.session.writer
        self.change = change
        self.devices: dict[int, int] = {}

    def commit(self, root: bytes, name: str = "tree", *, partial: bool = False) -> Snapshot:
        facts = SnapshotFacts(root, 0, 0, partial, name, "", "", (), frozenset(), None)  # type: ignore[arg-type]
        self.session.commit(facts)
        self.session.close()
        snapshot = self.opened.find_snapshot(f"{name}@latest")
        self.opened.close()
        return snapshot

    def directory(self, path: bytes) -> bytes:
        """The node of a directory, and of all in it."""
        writer = DirectoryWriter(self.writer)
        for name in sorted(os.listdir(path)):
            writer.add(self.change(self.entry(os.path.join(path, name), name)))
        return writer.finish()[0]

    def entry(self, path: bytes, name: bytes) -> Entry:
        status = os.lstat(path)
        found = found_of(name, status, self.devices)
        fd = os.open(path, os.O_PATH | os.O_NOFOLLOW)
        metadata = complete_by_path(found.metadata, fd)
        os.close(fd)
        entry = Entry(name, found.type, metadata, special=found.special)
        if found.type in {EntryType.FILE, EntryType.DIRECTORY}:
            fd = os.open(path, os.O_RDONLY)
            entry = entry._replace(metadata=complete(found.metadata, fd))
            os.close(fd)
        if found.type is EntryType.FILE:
            return entry._replace(content=self.content(path, status))
        if found.type is EntryType.SYMLINK:
            return entry._replace(target=os.readlink(path))
        if found.type is EntryType.DIRECTORY:
            writer = DirectoryWriter(self.writer)
            for below in sorted(os.listdir(path)):
                writer.add(self.change(self.entry(os.path.join(path, below), below)))
            child, totals = writer.finish()
            return entry._replace(child=child, totals=totals)
        return entry

    def content(self, path: bytes, status: os.stat_result) -> Content:
        if status.st_blocks * 512 < status.st_size:
            return self.fixed(path, status.st_size)
        data = Path(os.fsdecode(path)).read_bytes()
        return self.cut(data) if len(data) > CUT_FROM else self.sliced(data)

    def put(self, data: bytes) -> bytes:
        chunk = self.writer.data_id(data)
        self.writer.put_data(chunk, data)
        return chunk

    def sliced(self, data: bytes) -> SlicedContent:
        """With something before and behind it in each chunk, as in a bundle."""
        slices = []
        for at in range(0, len(data), CHUNK // 2):
            piece = data[at : at + CHUNK // 2]
            slices.append(Slice(self.put(b"before" + piece + b"behind"), 6, len(piece)))  # type: ignore[arg-type]
        return SlicedContent(len(data), tuple(slices))

    def cut(self, data: bytes) -> Content:
        stream = CutStreamWriter(self.writer)
        for at in range(0, len(data), CHUNK):
            piece = data[at : at + CHUNK]
            stream.add(self.put(piece), len(piece))  # type: ignore[arg-type]
        return stream.finish()

    def fixed(self, path: bytes, size: int) -> FixedContent:
        chunk_size = 1 << 20
        while size // chunk_size > 1 << 16 and chunk_size < 16 << 20:
            chunk_size *= 2
        stream = FixedMapWriter(self.writer, chunk_size)
        count = -(-size // chunk_size)
        with open(path, "rb") as file:
            for first in range(0, count, FANOUT):
                slots = []
                for number in range(first, min(first + FANOUT, count)):
                    slots.append(
                        self.slot(file.fileno(), number * chunk_size, min(chunk_size, size - number * chunk_size))
                    )
                kinds = {kind for kind, _ in slots}
                if kinds == {Position.HOLE}:
                    stream.add_slot(slots[0])
                else:
                    stream.add_leaf(slots)
        return stream.finish(size)

    def slot(self, fd: int, offset: int, length: int):
        try:
            if os.lseek(fd, offset, os.SEEK_DATA) >= offset + length:
                return (Position.HOLE, None)
        except OSError:
            return (Position.HOLE, None)
        return (Position.DATA, self.put(os.pread(fd, length, offset)))


def store_tree(
    small: SmallRepository, directory: Path, name: str = "tree", change: Change = lambda entry: entry
) -> Snapshot:
    """What lies in *directory* as a snapshot whose root it is; *change* may edit every entry."""
    storer = Storer(small, change)
    return storer.commit(storer.directory(os.fsencode(directory)), name)


def store_entries(small: SmallRepository, entries: list[Entry], name: str = "tree") -> Snapshot:
    """Entries that no file system has."""
    storer = Storer(small)
    writer = DirectoryWriter(storer.writer)
    for entry in entries:
        writer.add(entry)
    return storer.commit(writer.finish()[0], name)


def plain(mode: int = 0o644, mtime_ns: int = 10**18, **more: int) -> Metadata:
    """Metadata of something that was found in a file system by us."""
    return Metadata(mode, os.geteuid(), os.getegid(), mtime_ns, inode=more.pop("inode", 7), **more)  # type: ignore[arg-type]


def is_directory(path: Path) -> bool:
    return stat.S_ISDIR(os.lstat(path).st_mode)
