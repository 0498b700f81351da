"""Directories ↔ nodes (spec: directory nodes)."""

from __future__ import annotations

import posixpath
import struct
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import msgspec

from lamina.errors import Damaged, EntryMissing, FormatUnknown, UsageError
from lamina.model.entries import Entry, EntryType, FixedContent, Metadata, Position
from lamina.model.ids import ChunkId
from lamina.repository.blobs import Node
from lamina.repository.chunks import ChunkReader
from lamina.repository.format import BlobKind, decode_blob_kind, decode_record
from lamina.repository.streams import ChunkPutter, check_content, decode_fixed_node, tree_depth

_LINK = struct.Struct("<BI32s")  # kind of the chunk, how many bytes of it are used (0: all), its id
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
    """Store entries by path as nested directories, the deepest first; returns the root's id."""
    below: defaultdict[str, list[Entry]] = defaultdict(list, {"": []})
    for path, entry in entries.items():
        below[posixpath.dirname(path)].append(entry)
        for parent in _parents(path):
            below[parent]  # a directory in its own right, even if it only holds directories
    for path in sorted(below, key=lambda path: path.count("/"), reverse=True):
        if path:
            child = _put_directory(writer, below.pop(path))
            name = posixpath.basename(path).encode("utf-8", "surrogateescape")
            below[posixpath.dirname(path)].append(Entry(name, EntryType.DIRECTORY, child=child))
    return _put_directory(writer, below[""])


def _parents(path: str) -> Iterator[str]:
    while path := posixpath.dirname(path):
        yield path


def _put_directory(writer: ChunkPutter, entries: Sequence[Entry]) -> ChunkId:
    _check_names([entry.name for entry in entries])
    return writer.put_node(BlobKind.DIRECTORY, encode_directory(sorted(entries, key=lambda entry: entry.name)))


def walk_tree(reader: ChunkReader, root: ChunkId, prefix: str = "") -> Iterator[tuple[str, Entry]]:
    """Every file below *root* with its path, in order. Raises: Damaged, ChunkMissing, NotPermitted."""
    todo = [iter([(prefix, Entry(b"", EntryType.DIRECTORY, child=root))])]  # a stack: trees may be deeper than Python's
    while todo:
        found = next(todo[-1], None)
        if found is None:
            todo.pop()
            continue
        path, entry = found
        if entry.child is None:
            yield path, entry
        else:
            todo.append(iter(_children(reader, entry.child, path)))


def _children(reader: ChunkReader, chunk: ChunkId, path: str) -> list[tuple[str, Entry]]:
    start = f"{path}/" if path and not path.endswith("/") else path
    return [(start + entry.name.decode("utf-8", "surrogateescape"), entry) for entry in read_directory(reader, chunk)]


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
            links.append(_LINK.pack(target[0], 0, target[1]))
        records.append(_encode_entry(entry, link))
    return Node(b"".join(links), msgspec.msgpack.encode(records))


def decode_directory(node: Node, *, name: str) -> list[Entry]:
    """The entries that a directory node says. Raises: Damaged, FormatUnknown."""
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
    return [(decode_blob_kind(kind, name=name), chunk) for kind, _, chunk in _LINK.iter_unpack(links)]


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
    """Refuse names that no directory has: they would lead a restore out of its target. Raises: ValueError."""
    if len(set(names)) != len(names):
        raise ValueError("two entries have one name")
    for name in names:
        if name in (b"", b".", b"..") or b"/" in name or b"\0" in name:
            raise ValueError(f"{name!r} cannot be a name")


def _decode_entry(record: _EntryRecord, links: Sequence[tuple[BlobKind, bytes]]) -> Entry:
    target = links[record.link] if record.link >= 0 else None
    metadata = Metadata(record.mode, record.uid, record.gid, record.mtime_ns)
    if record.type not in tuple(EntryType) or (record.type == EntryType.FILE and record.form != _FIXED):
        raise FormatUnknown(f"{record.name!r} is of a kind that this Lamina does not know", hint="upgrade Lamina")
    entry = Entry(record.name, EntryType(record.type), metadata)
    if entry.type is EntryType.DIRECTORY:
        entry = replace(entry, child=ChunkId(target[1]) if target else None)
    else:
        chunk = ChunkId(target[1]) if target else None
        content = FixedContent(record.size, record.chunk_size, Position(record.position), chunk)
        check_content(content)
        entry = replace(entry, content=content)
    if _link(entry) != target or (entry.type is EntryType.DIRECTORY and target is None):
        raise ValueError(f"{record.name!r} links to something else than its kind needs")
    return entry
