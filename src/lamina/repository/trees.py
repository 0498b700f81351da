"""Directories ↔ trees of nodes. A long directory is cut into parts by its content, so that it is cheap to change."""

from __future__ import annotations

import posixpath
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

from lamina.errors import Damaged, EntryMissing
from lamina.model.entries import Entry, EntryState, EntryType, Metadata, Totals
from lamina.model.ids import ChunkId
from lamina.repository.chunks import ChunkReader
from lamina.repository.cut_streams import decode_cut_node
from lamina.repository.directories import (
    DirectoryNode,
    PartOf,
    decode_directory,
    decode_links,
    encode_directory,
    encode_parts,
)
from lamina.repository.format import BlobKind
from lamina.repository.streams import ChunkPutter, decode_fixed_node

MIN_PART, MAX_PART = 256, 4096  # entries of one node; on average about 770 where there are many
MAX_EXTRA = 4 << 20  # bytes of extended attributes and link targets in one node

_Item = Entry | tuple[DirectoryNode, int]  # a new entry, or one that is known from another tree


class DirectoryWriter:
    """Stores one directory, entry by entry in the order of names."""

    def __init__(self, putter: ChunkPutter) -> None:
        self._putter = putter
        self._items: list[_Item] = []  # in no node yet; what follows is of them
        self._extra = 0  # bytes of what can be large
        self._entries = self._size = self._flawed = 0  # they and what lies below them
        self._levels: list[list[PartOf]] = []  # parts that are in no node yet, lowest level first
        self._totals = Totals()

    def add(self, entry: Entry) -> None:
        """Take the next entry."""
        self._items.append(entry)
        content = entry.content
        self._count(entry.totals, 0 if content is None else content.size, is_flawed=entry.state >= EntryState.CHANGED)
        if entry.target or entry.metadata.xattrs:
            self._extra += len(entry.target) + sum(len(value) for _, value in entry.metadata.xattrs)
        self._cut_if(entry.name)

    def keep(self, node: DirectoryNode, number: int) -> None:
        """Take the next entry as it stands in another tree, whose chunks are certain to stay."""
        record = node.records[number]
        self._items.append((node, number))
        self._count(record.totals, record.size, is_flawed=record.state >= EntryState.CHANGED)
        if record.target or record.xattrs:
            self._extra += len(record.target) + sum(len(value) for _, value in record.xattrs)
        self._cut_if(record.name)

    def finish(self) -> tuple[ChunkId, Totals]:
        """Store what is left; the directory's node, and what is below it."""
        if self._items or not self._levels:
            self._put_entries()
        level = 0
        while level < len(self._levels) - 1 or len(self._levels[level]) > 1:
            if self._levels[level]:
                self._put_parts(level)
            level += 1
        return self._levels[level][0].id, self._totals

    def _count(self, totals: tuple[int, int, int] | None, size: int, *, is_flawed: bool) -> None:
        self._entries += 1
        if totals is None:
            self._size += size
            self._flawed += is_flawed
        else:
            self._entries += totals[0]
            self._size += totals[1]
            self._flawed += totals[2] + is_flawed

    def _cut_if(self, name: bytes) -> None:
        count = len(self._items)
        if count < MIN_PART and self._extra < MAX_EXTRA:
            return
        if count >= MAX_PART or self._extra >= MAX_EXTRA or _is_cut(name):
            self._put_entries()

    def _put_entries(self) -> None:
        items, self._items, self._extra = self._items, [], 0
        totals = Totals(self._entries, self._size, self._flawed)
        self._entries = self._size = self._flawed = 0
        self._totals = _sum([self._totals, totals])
        chunk = _known_node(items)
        if chunk is None:
            entries = [item if isinstance(item, Entry) else item[0].entry(item[1]) for item in items]
            chunk = self._putter.put_node(BlobKind.DIRECTORY, encode_directory(entries))
        self._push(0, PartOf(_name(items[0]) if items else b"", chunk, totals))

    def _put_parts(self, level: int) -> None:
        parts, self._levels[level] = self._levels[level], []
        chunk = self._putter.put_node(BlobKind.DIRECTORY, encode_parts(parts))
        self._push(level + 1, PartOf(parts[0].name, chunk, _sum([part.totals for part in parts])))

    def _push(self, level: int, part: PartOf) -> None:
        if level == len(self._levels):
            self._levels.append([])
        pending = self._levels[level]
        pending.append(part)
        if (len(pending) >= MIN_PART and _is_cut(part.name)) or len(pending) == MAX_PART:
            self._put_parts(level)


def _sum(totals: Iterable[Totals]) -> Totals:
    return Totals(*map(sum, zip(*totals, strict=True)))


def _name(item: _Item) -> bytes:
    return item.name if isinstance(item, Entry) else item[0].records[item[1]].name


def _is_cut(name: bytes) -> bool:
    """Whether a node may end behind this name: one in 512 (CRC-32 is as good as any hash for that, and it is there)."""
    return zlib.crc32(name) & 511 == 0


def _known_node(items: list[_Item]) -> ChunkId | None:
    """The node that holds exactly these entries already."""
    if not items or isinstance(items[0], Entry):
        return None
    node = items[0][0]
    if len(items) != len(node.records) or items[0][1] != 0:
        return None
    same = all(not isinstance(item, Entry) and item[0] is node for item in items)
    return node.id if same else None  # they come in order and none twice: these are all


def put_tree(
    writer: ChunkPutter, entries: Mapping[str, Entry], parents: Mapping[str, Metadata] | None = None
) -> ChunkId:
    """Store entries by path as nested directories, the deepest first; returns the root's id.

    The directories above them get the metadata in *parents*, or none. The path "" is the root itself and stands alone.
    """
    if "" in entries:
        root = entries[""].child
        assert root is not None and len(entries) == 1  # noqa: S101, PT018 - whoever names sources makes sure
        return root
    below: defaultdict[str, list[Entry]] = defaultdict(list, {"": []})
    for path, entry in entries.items():
        below[posixpath.dirname(path)].append(entry)
        for parent in _parents(path):
            below[parent]  # a directory in its own right, even if it only holds directories
    for path in sorted(below, key=lambda path: path.count("/"), reverse=True):
        if path:
            child, totals = _put_directory(writer, below.pop(path))
            name = posixpath.basename(path).encode("utf-8", "surrogateescape")
            metadata = (parents or {}).get(path, Metadata())
            entry = Entry(name, EntryType.DIRECTORY, metadata, child=child, totals=totals)
            below[posixpath.dirname(path)].append(entry)
    return _put_directory(writer, below[""])[0]


def _parents(path: str) -> Iterator[str]:
    while path := posixpath.dirname(path):
        yield path


def _put_directory(writer: ChunkPutter, entries: list[Entry]) -> tuple[ChunkId, Totals]:
    directory = DirectoryWriter(writer)
    for entry in sorted(entries, key=lambda entry: entry.name):
        directory.add(entry)
    return directory.finish()


def walk_tree(reader: ChunkReader, root: ChunkId, prefix: str = "") -> Iterator[tuple[str, Entry]]:
    """Every entry below the directory *root* with its path, a directory before what is in it, in the order of names.

    Raises: Damaged, ChunkMissing, NotPermitted.
    """
    todo = [(prefix, read_directory(reader, root))]  # a stack: trees may be deeper than Python's
    while todo:
        start, rest = todo[-1]
        entry = next(rest, None)
        if entry is None:
            todo.pop()
            continue
        path = start + entry.name.decode("utf-8", "surrogateescape")
        yield path, entry
        if entry.child is not None:
            todo.append((path + "/", read_directory(reader, entry.child)))


def get_entry(reader: ChunkReader, root: ChunkId, path: str) -> Entry:
    """The entry at *path*; the root itself for "". Raises: EntryMissing, Damaged, ChunkMissing."""
    entry = Entry(b"", EntryType.DIRECTORY, child=root)
    for name in path.encode("utf-8", "surrogateescape").split(b"/"):
        if name:
            found = find_entry(reader, entry.child, name) if entry.child is not None else None
            if found is None:
                raise EntryMissing(f"the snapshot has no entry {path!r}", hint="`lamina ls SNAPSHOT` lists what it has")
            entry = found
    return entry


def find_entry(reader: ChunkReader, directory: ChunkId, name: bytes) -> Entry | None:
    """The entry of that name in a directory. Raises: Damaged, ChunkMissing, NotPermitted."""
    found = find_record(reader, directory, name)
    return None if found is None else found[0].entry(found[1])


def find_record(reader: ChunkReader, directory: ChunkId, name: bytes) -> tuple[DirectoryNode, int] | None:
    """The node and the number of the record of that name; of a long directory only the nodes on the way are read.

    Raises: Damaged, ChunkMissing, NotPermitted.
    """
    node = get_directory_node(reader, directory)
    while node.has_parts:
        before = sum(record.name <= name for record in node.records)
        if not before:
            return None
        node = get_directory_node(reader, node.part(before - 1))
    number = next((at for at, record in enumerate(node.records) if record.name == name), None)
    return None if number is None else (node, number)


def read_directory(reader: ChunkReader, chunk: ChunkId) -> Iterator[Entry]:
    """The entries of a directory, as they are needed. Raises: Damaged, ChunkMissing, NotPermitted."""
    for node in directory_nodes(reader, chunk):
        yield from node.entries()


def directory_nodes(reader: ChunkReader, chunk: ChunkId) -> Iterator[DirectoryNode]:
    """The nodes that hold the entries of a directory, in order. Raises: Damaged, ChunkMissing, NotPermitted."""
    last = b""
    todo: list[tuple[ChunkId, bytes | None]] = [(chunk, None)]
    while todo:
        part, first = todo.pop()
        node = get_directory_node(reader, part)
        names = [record.name for record in (node.records[0], node.records[-1])] if node.records else [b"", b""]
        if (first is not None and names[0] != first) or (node.records and not node.has_parts and last >= names[0]):
            raise Damaged(f"metadata chunk {part.hex()} is a part of a directory in the wrong place")
        if node.has_parts:
            todo += [(node.part(at), node.records[at].name) for at in reversed(range(len(node.records)))]
        else:
            last = names[1] or last
            yield node


def get_directory_node(reader: ChunkReader, chunk: ChunkId) -> DirectoryNode:
    """One node of a directory. Raises: Damaged, ChunkMissing, NotPermitted."""
    return decode_directory(reader.get_node(BlobKind.DIRECTORY, chunk), chunk)


def children(kind: BlobKind, links: bytes, *, name: str) -> Iterator[tuple[BlobKind, ChunkId]]:
    """Every chunk that a metadata chunk refers to; the structure key is enough to follow them. Raises: Damaged."""
    if kind is BlobKind.DIRECTORY:
        yield from decode_links(links, name=name)
    elif kind is BlobKind.FIXED_NODE:
        node = decode_fixed_node(links, name=name)
        below = BlobKind.DATA if node.level == 1 else BlobKind.FIXED_NODE
        for _, found in node.slots:
            if found is not None:
                yield below, found
    elif kind is BlobKind.CUT_NODE:
        level, cut = decode_cut_node(links, name=name)
        for child in cut:
            yield (BlobKind.DATA if level == 1 else BlobKind.CUT_NODE), child.id
