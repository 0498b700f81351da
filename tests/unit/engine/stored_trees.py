"""Snapshots of trees, made entry by entry, so that a test knows every number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from lamina.model.entries import (
    CutContent,
    Entry,
    EntryType,
    FixedContent,
    Metadata,
    Position,
    Slice,
    SlicedContent,
)
from lamina.model.ids import ChunkId
from lamina.model.process import Process
from lamina.model.snapshots import Snapshot
from lamina.repository.cut_streams import CutStreamWriter
from lamina.repository.sessions import SnapshotFacts
from lamina.repository.streams import FixedMapWriter
from lamina.repository.trees import put_tree
from lamina.repository.writer import ChunkWriter, EncodingOptions
from lamina.testing.repositories import CHUNK, SmallRepository

SECOND = 10**9
DAY = 86_400 * SECOND
SOME_DAY = 20_000 * DAY


class Bundle:
    """Small files that lie in one chunk."""

    def __init__(self, **files: bytes) -> None:
        self.files = files


class Cut:
    """A long stream of these chunks."""

    def __init__(self, *chunks: bytes) -> None:
        self.chunks = chunks


class Fixed:
    """A stream of chunks of `CHUNK` bytes; None is a hole, a `Position` what it says."""

    def __init__(self, *chunks: bytes | Position | None) -> None:
        self.chunks = chunks


Stored = bytes | Cut | Fixed | Entry


def save(
    small: SmallRepository,
    tree: Mapping[str, Stored],
    *,
    name: str = "vm",
    holder: str = "owner",
    parents: Mapping[str, Metadata] | None = None,
    bundles: Mapping[str, Sequence[tuple[str, bytes]]] | None = None,
) -> Snapshot:
    """Commit *tree* as a snapshot; *bundles*: directories whose small files share one chunk."""
    opened = small.open(holder)
    session = opened.begin(Process(), EncodingOptions(3, check=True), small.operation())
    entries = {path: stored_entry(session.writer, path, stored) for path, stored in tree.items()}
    for folder, files in (bundles or {}).items():
        chunk = put_chunk(session.writer, b"".join(content for _, content in files))
        offset = 0
        for file, content in files:
            path = f"{folder}/{file}" if folder else file
            sliced = SlicedContent(len(content), (Slice(chunk, offset, len(content)),))
            entries[path] = Entry(file.encode(), EntryType.FILE, FILE, sliced)
            offset += len(content)
    names = [path for path in entries if path]
    root = put_tree(session.writer, entries, parents)
    size = sum(entry.size for entry in entries.values())
    users, groups = {0: "root", 1000: "anna"}, {0: "root", 1000: "staff"}
    facts = SnapshotFacts(
        root, size, size, False, name, "host", "test", tuple(names[:3]), frozenset(), None, users, groups
    )
    snapshot = session.commit(facts)
    session.close()
    found = opened.get_snapshot(snapshot.id if isinstance(snapshot, Snapshot) else session.id)
    opened.close()
    return found


FILE = Metadata(0o644, 1000, 1000, SOME_DAY, SOME_DAY, inode=7)
FOLDER = Metadata(0o755, 0, 0, SOME_DAY, SOME_DAY, inode=8)


def stored_entry(writer: ChunkWriter, path: str, stored: Stored) -> Entry:
    """An entry whose content is stored."""
    name = path.rpartition("/")[2].encode("utf-8", "surrogateescape")
    if isinstance(stored, Entry):
        return stored._replace(name=name)
    return Entry(name, EntryType.FILE, FILE, put_content(writer, stored))


def put_content(writer: ChunkWriter, stored: bytes | Cut | Fixed) -> SlicedContent | CutContent | FixedContent:
    if isinstance(stored, bytes):
        slices = (Slice(put_chunk(writer, stored), 0, len(stored)),) if stored else ()
        return SlicedContent(len(stored), slices)
    if isinstance(stored, Cut):
        stream = CutStreamWriter(writer)
        for chunk in stored.chunks:
            stream.add(put_chunk(writer, chunk), len(chunk))
        return stream.finish()
    fixed = FixedMapWriter(writer, CHUNK)
    slots = []
    size = 0
    for part in stored.chunks:
        kind = Position.DATA if isinstance(part, bytes) else Position.HOLE if part is None else part
        slots.append((kind, put_chunk(writer, part) if isinstance(part, bytes) else None))
        size += len(part) if isinstance(part, bytes) else CHUNK
    for start in range(0, len(slots), 1024):
        fixed.add_leaf(slots[start : start + 1024])
    return fixed.finish(size)


def put_chunk(writer: ChunkWriter, content: bytes) -> ChunkId:
    chunk = writer.data_id(content)
    writer.put_data(chunk, content)
    return chunk


def forgotten(snapshot: Snapshot) -> Snapshot:
    """The same as it looks once it was forgotten."""
    return replace(snapshot, removed=True)
