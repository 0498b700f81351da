"""Directories ↔ nodes (spec: directory nodes)."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import msgspec

from lamina.errors import Damaged, EntryMissing, UsageError
from lamina.model.entries import Entry, EntryType, FixedContent, Metadata, Position
from lamina.model.ids import ChunkId
from lamina.repository.blobs import Node
from lamina.repository.chunks import ChunkReader
from lamina.repository.format import BlobKind, decode_record
from lamina.repository.streams import ChunkPutter, check_content, decode_fixed_node, tree_depth

_LINK = struct.Struct("<B32s")  # kind of the chunk, its id
_FIXED = 1  # form of a stream: cut at fixed places


class _EntryRecord(msgspec.Struct, array_like=True, frozen=True):
    name: bytes
    type: int
    mode: int
    uid: int
    gid: int
    mtime_ns: int
    link: int  # ordinal among the node's links; -1: none
    form: int  # of the stream; 0: none
    size: int
    chunk_size: int
    position: int


def put_tree(writer: ChunkPutter, entries: Mapping[str, Entry]) -> ChunkId:
    """Store entries by path as nested directories; returns the root's id."""
    children: dict[str, dict[str, Entry]] = {}
    here: list[Entry] = []
    for path, entry in entries.items():
        first, _, rest = path.partition("/")
        if rest:
            children.setdefault(first, {})[rest] = entry
        else:
            here.append(entry)
    _check_names([*(entry.name for entry in here), *(os.fsencode(name) for name in children)])
    for name, below in children.items():
        here.append(Entry(name.encode("utf-8", "surrogateescape"), EntryType.DIRECTORY, child=put_tree(writer, below)))
    return writer.put_node(BlobKind.DIRECTORY, encode_directory(sorted(here, key=lambda entry: entry.name)))


def walk_tree(reader: ChunkReader, root: ChunkId, prefix: str = "") -> Iterator[tuple[str, Entry]]:
    """Every file below *root* with its path. Raises: Damaged, ChunkMissing, NotPermitted."""
    for entry in read_directory(reader, root):
        path = prefix + entry.name.decode("utf-8", "surrogateescape")
        if entry.child is not None:
            yield from walk_tree(reader, entry.child, path + "/")
        else:
            yield path, entry


def get_entry(reader: ChunkReader, root: ChunkId, path: str) -> Entry:
    """The entry at *path*. Raises: EntryMissing, Damaged, ChunkMissing."""
    names = [name for name in path.split("/") if name]
    entry = Entry(b"", EntryType.DIRECTORY, child=root)
    for name in names:
        encoded = name.encode("utf-8", "surrogateescape")
        below = read_directory(reader, entry.child) if entry.child is not None else []
        found = [item for item in below if item.name == encoded]
        if not found:
            raise EntryMissing(f"the snapshot has no entry {path!r}", hint="`lamina show SNAPSHOT` lists what it has")
        entry = found[0]
    return entry


def read_directory(reader: ChunkReader, chunk: ChunkId) -> list[Entry]:
    """The entries of one directory node. Raises: Damaged, ChunkMissing, NotPermitted."""
    return decode_directory(reader.get_node(BlobKind.DIRECTORY, chunk), name=f"metadata chunk {chunk.hex()}")


def encode_directory(entries: Sequence[Entry]) -> Node:
    """One directory: links for whoever marks, a body for whoever may read names."""
    links: list[bytes] = []
    records: list[_EntryRecord] = []
    for entry in entries:
        link = -1
        target = _link(entry)
        if target is not None:
            link = len(links)
            links.append(_LINK.pack(*target))
        records.append(_encode_entry(entry, link))
    return Node(b"".join(links), msgspec.msgpack.encode(records))


def decode_directory(node: Node, *, name: str) -> list[Entry]:
    """Raises: Damaged."""
    links = decode_links(node.links, name=name)
    try:
        entries = [_decode_entry(record, links) for record in decode_record(node.body, list[_EntryRecord], name=name)]
        _check_names([entry.name for entry in entries])
    except (ValueError, IndexError, UsageError) as error:
        raise Damaged(f"{name} holds an entry that makes no sense: {error}") from error
    return entries


def decode_links(links: bytes, *, name: str) -> list[tuple[BlobKind, bytes]]:
    """What a directory node refers to. Raises: Damaged."""
    if len(links) % _LINK.size:
        raise Damaged(f"{name} holds no whole number of links")
    try:
        return [(BlobKind(kind), chunk) for kind, chunk in _LINK.iter_unpack(links)]
    except ValueError as error:
        raise Damaged(f"{name} links to something unknown: {error}") from error


def children(kind: BlobKind, links: bytes, *, name: str) -> Iterator[tuple[BlobKind, ChunkId]]:
    """Every chunk that a metadata chunk refers to; the structure key is enough to follow them. Raises: Damaged."""
    if kind is BlobKind.DIRECTORY:
        for child_kind, chunk in decode_links(links, name=name):
            yield child_kind, ChunkId(chunk)
    elif kind is BlobKind.FIXED_NODE:
        node = decode_fixed_node(links, name=name)
        below = BlobKind.DATA if node.level == 1 else BlobKind.FIXED_NODE
        for _, found in node.slots:
            if found is not None:
                yield below, found


def _link(entry: Entry) -> tuple[BlobKind, ChunkId] | None:
    if entry.child is not None:
        return BlobKind.DIRECTORY, entry.child
    content = entry.content
    if content is None or content.id is None:
        return None
    depth = tree_depth(-(-content.size // content.chunk_size))
    return (BlobKind.FIXED_NODE if depth else BlobKind.DATA), content.id


def _encode_entry(entry: Entry, link: int) -> _EntryRecord:
    data, content = entry.metadata, entry.content
    if content is None:
        return _EntryRecord(entry.name, entry.type, data.mode, data.uid, data.gid, data.mtime_ns, link, 0, 0, 0, 0)
    return _EntryRecord(
        entry.name, entry.type, data.mode, data.uid, data.gid, data.mtime_ns, link,
        _FIXED, content.size, content.chunk_size, content.position,
    )  # fmt: skip


def _check_names(names: Sequence[bytes]) -> None:
    """Raises: ValueError for names that no directory has: they would lead a restore out of its target."""
    if len(set(names)) != len(names):
        raise ValueError("two entries have one name")
    for name in names:
        if name in (b"", b".", b"..") or b"/" in name or b"\0" in name:
            raise ValueError(f"{name!r} cannot be a name")


def _decode_entry(record: _EntryRecord, links: Sequence[tuple[BlobKind, bytes]]) -> Entry:
    target = links[record.link] if record.link >= 0 else None
    metadata = Metadata(record.mode, record.uid, record.gid, record.mtime_ns)
    entry = Entry(record.name, EntryType(record.type), metadata)
    if entry.type is EntryType.DIRECTORY:
        entry = replace(entry, child=ChunkId(target[1]) if target else None)
    elif record.form == _FIXED:
        chunk = ChunkId(target[1]) if target else None
        content = FixedContent(record.size, record.chunk_size, Position(record.position), chunk)
        check_content(content)
        entry = replace(entry, content=content)
    else:
        raise ValueError(f"a stream of the unknown form {record.form}")
    if _link(entry) != target or (entry.type is EntryType.DIRECTORY and target is None):
        raise ValueError(f"{record.name!r} links to something else than its kind needs")
    return entry
