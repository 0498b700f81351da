"""One directory node ↔ bytes (spec: directories)."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from operator import lt
from typing import NamedTuple

import msgspec

from lamina.errors import Damaged, FormatUnknown, UsageError
from lamina.model.entries import (
    Content,
    CutContent,
    Entry,
    EntryState,
    EntryType,
    FixedContent,
    Metadata,
    Position,
    Slice,
    SlicedContent,
    Totals,
)
from lamina.model.ids import ChunkId
from lamina.repository.blobs import Node
from lamina.repository.format import BlobKind, decode_blob_kind, decode_record
from lamina.repository.streams import check_content, tree_depth

PART = 255  # type of a record that is no entry: the directory goes on in the node it links to, from the entry of this name on
LINK = struct.Struct("<BI32s")  # kind of the chunk, how many bytes of it are used at most (0: all), its id
# Bytes; files up to this size are bundled. Above, a chunk of its own costs little and is found again elsewhere.
BUNDLED = 128 << 10
_MAX_USED = 0xFFFFFFFF
# Named tuples made by their class take 0.5 µs more, which counts where one is made for each entry.
_new_tuple = tuple.__new__
_DATA = int(BlobKind.DATA)  # plain: hashing a member of an enumeration runs Python code
_FIXED, _SLICED, _CUT = 1, 2, 3  # forms of a stream
_TYPES = {int(type_): type_ for type_ in EntryType}
_STATES = {int(state): state for state in EntryState}

Link = tuple[BlobKind, ChunkId]


class EntryRecord(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """One entry as it is stored; the fields after `position` came with file trees."""

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
    ctime_ns: int = 0
    inode: int = 0
    links: int = 1
    device: int = 0
    state: int = 0
    slices: tuple[int, ...] = ()  # ordinal of a link, offset, length of each
    target: bytes = b""
    special: tuple[int, int] | None = None
    birth_ns: int | None = None
    flags: int = 0
    xattrs: tuple[tuple[bytes, bytes], ...] = ()
    error: str = ""
    totals: tuple[int, int, int] | None = None  # of a directory, or of a part of one: entries, size, flawed


@dataclass(frozen=True, slots=True)
class DirectoryNode:
    """A decoded node: the records of entries, or of the parts of a directory that is too long for one node."""

    id: ChunkId
    records: Sequence[EntryRecord]
    links: Sequence[Link]
    used: Sequence[tuple[ChunkId, int]] = ()  # how many bytes its entries use of chunks that they share with others

    @property
    def has_parts(self) -> bool:
        return bool(self.records) and self.records[0].type == PART

    def entry(self, number: int) -> Entry:
        """The entry of one record. Raises: Damaged, FormatUnknown."""
        record = self.records[number]
        try:
            return _decode_entry(record, self.links)
        except (ValueError, IndexError, UsageError) as error:
            raise Damaged(f"metadata chunk {self.id.hex()}: entry {record.name!r} makes no sense: {error}") from error

    def entries(self) -> Iterator[Entry]:
        """Every entry. Raises: Damaged, FormatUnknown."""
        for number in range(len(self.records)):
            yield self.entry(number)

    def part(self, number: int) -> ChunkId:
        """The node that one record of a part links to. Raises: Damaged."""
        record = self.records[number]
        if record.type != PART or not 0 <= record.link < len(self.links) or self.links[record.link][0] is not _NODE:
            raise Damaged(f"metadata chunk {self.id.hex()} mixes entries and parts, or a part leads nowhere")
        return self.links[record.link][1]


_NODE = BlobKind.DIRECTORY


class PartOf(NamedTuple):
    """A part of a long directory, to be listed in the node above it."""

    name: bytes  # of its first entry
    id: ChunkId
    totals: Totals


def encode_directory(entries: Sequence[Entry]) -> Node:
    """One directory, or the last level of a long one: links for whoever marks, a body for whoever may read names."""
    links = _Links()
    records = [_encode_entry(entry, links) for entry in entries]
    return Node(links.encode(), msgspec.msgpack.encode(records))


def encode_parts(parts: Sequence[PartOf]) -> Node:
    """The node above several nodes of one long directory."""
    links = _Links()
    records = [
        EntryRecord(one.name, PART, 0, 0, 0, 0, links.add(_NODE, one.id, 0), 0, 0, 0, 0, totals=_plain(one.totals))
        for one in parts
    ]
    return Node(links.encode(), msgspec.msgpack.encode(records))


def decode_directory(node: Node, chunk: ChunkId) -> DirectoryNode:
    """The records of a node; each is checked when it is made an entry. Raises: Damaged, FormatUnknown."""
    name = f"metadata chunk {chunk.hex()}"
    links = decode_links(node.links, name=name)
    records = decode_record(node.body, list[EntryRecord], name=name)
    try:
        check_names([record.name for record in records])
    except ValueError as error:
        raise Damaged(f"{name} holds an entry that makes no sense: {error}") from error
    used = [(ChunkId(child), length) for _, length, child in LINK.iter_unpack(node.links) if length]
    return DirectoryNode(chunk, records, links, used)


def decode_links(links: bytes, *, name: str) -> list[Link]:
    """What a directory node refers to. Raises: Damaged, FormatUnknown."""
    if len(links) % LINK.size:
        raise Damaged(f"{name} holds no whole number of links")
    return [(decode_blob_kind(kind, name=name), ChunkId(chunk)) for kind, _, chunk in LINK.iter_unpack(links)]


def check_names(names: Sequence[bytes]) -> None:
    """Refuse names that no directory has: they would lead a restore out of its target. Raises: ValueError."""
    joined = b"/".join(names)
    if joined.count(b"/") >= max(len(names), 1) or b"\0" in joined or not _NO_NAMES.isdisjoint(names):
        bad = next(name for name in names if name in _NO_NAMES or b"/" in name or b"\0" in name)
        raise ValueError(f"{bad!r} cannot be a name")
    if not all(map(lt, names, names[1:])):
        raise ValueError("two entries have one name, or stand in the wrong order")


_NO_NAMES = frozenset({b"", b".", b".."})


class _Links:
    """The links of a node under construction; each chunk once, with the bytes of it that are used."""

    def __init__(self) -> None:
        self._ordinals: dict[tuple[int, ChunkId], int] = {}
        self._used: list[int] = []

    def add(self, kind: int, chunk: ChunkId, used: int) -> int:
        """The ordinal of a link; *used* bytes are added to what others use, 0 means all."""
        ordinal = self._ordinals.setdefault((kind, chunk), len(self._used))
        if ordinal == len(self._used):
            self._used.append(used)
        elif not used or not self._used[ordinal]:
            self._used[ordinal] = 0
        else:
            self._used[ordinal] = min(_MAX_USED, self._used[ordinal] + used)
        return ordinal

    def encode(self) -> bytes:
        return b"".join(
            LINK.pack(kind, used, chunk) for (kind, chunk), used in zip(self._ordinals, self._used, strict=True)
        )


def _encode_entry(entry: Entry, links: _Links) -> EntryRecord:
    name, type_, metadata, _, _, totals, target, special, state, error = entry
    mode, uid, gid, mtime_ns, ctime_ns, inode, names, device, birth_ns, flags, xattrs = metadata
    link, form, size, chunk_size, position, slices = _encode_content(entry, links)
    return EntryRecord(
        name, type_, mode, uid, gid, mtime_ns, link, form, size, chunk_size, position,
        ctime_ns, inode, names, device, state, slices, target, special, birth_ns, flags, xattrs,
        _storable(error) if error else "", None if totals is None else _plain(totals),
    )  # fmt: skip


def _plain(totals: Totals) -> tuple[int, int, int]:
    return totals.entries, totals.size, totals.flawed


def _storable(text: str) -> str:
    """*text* without what UTF-8 has no bytes for: messages quote names, and names may be anything."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def _encode_content(entry: Entry, links: _Links) -> tuple[int, int, int, int, int, tuple[int, ...]]:
    """Link, form, size, chunk size, position and slices of an entry's stream, or a directory's link."""
    content = entry.content
    if content is None:
        return (-1 if entry.child is None else links.add(_NODE, entry.child, 0)), 0, 0, 0, 0, ()
    if isinstance(content, SlicedContent):
        slices: list[int] = []
        is_bundled = content.size <= BUNDLED
        for chunk, offset, length in content.slices:
            slices += (links.add(_DATA, chunk, length if is_bundled else 0), offset, length)
        return -1, _SLICED, content.size, 0, 0, tuple(slices)
    if isinstance(content, CutContent):
        return links.add(BlobKind.CUT_NODE, content.id, 0), _CUT, content.size, 0, 0, ()
    link = -1 if content.id is None else links.add(fixed_kind(content), content.id, 0)
    return link, _FIXED, content.size, content.chunk_size, content.position, ()


def fixed_kind(content: FixedContent) -> BlobKind:
    """What the id of a fixed stream is the id of."""
    return BlobKind.FIXED_NODE if tree_depth(-(-content.size // content.chunk_size)) else BlobKind.DATA


def _decode_entry(record: EntryRecord, links: Sequence[Link]) -> Entry:
    """Raises: ValueError, IndexError, UsageError, FormatUnknown."""
    type_, state = _TYPES.get(record.type), _STATES.get(record.state)
    if type_ is None or state is None:
        raise _unknown(record)
    unread = state is EntryState.UNREAD
    content = child = totals = None
    if type_ is EntryType.DIRECTORY:
        child = _target(record.link, BlobKind.DIRECTORY, links) if record.link >= 0 or not unread else None
        totals = Totals(*record.totals) if record.totals is not None else None
    elif record.form or (type_ is EntryType.FILE and not unread):
        content = _decode_content(record, links)
    metadata = _new_tuple(
        Metadata,
        (
            record.mode, record.uid, record.gid, record.mtime_ns, record.ctime_ns, record.inode, record.links,
            record.device, record.birth_ns, record.flags, record.xattrs,
        ),
    )  # fmt: skip
    fields = (
        record.name, type_, metadata, content, child, totals, record.target, record.special, state, record.error
    )  # fmt: skip
    return _new_tuple(Entry, fields)


def _decode_content(record: EntryRecord, links: Sequence[Link]) -> Content:
    decode = _FORMS.get(record.form)
    if decode is None:
        raise _unknown(record)
    return decode(record, links)


def _decode_fixed(record: EntryRecord, links: Sequence[Link]) -> FixedContent:
    kind, chunk = links[record.link] if record.link >= 0 else (None, None)
    content = FixedContent(record.size, record.chunk_size, Position(record.position), chunk)
    check_content(content)
    if chunk is not None and kind is not fixed_kind(content):
        raise ValueError("it links to something else than its stream needs")
    return content


def _decode_sliced(record: EntryRecord, links: Sequence[Link]) -> SlicedContent:
    numbers = record.slices
    if len(numbers) % 3 or record.link != -1:
        raise ValueError("its slices are incomplete")
    slices = []
    size = 0
    for at in range(0, len(numbers), 3):
        link, offset, length = numbers[at : at + 3]
        if offset < 0 or length <= 0:
            raise ValueError("a slice is no range of a chunk")
        slices.append(_new_tuple(Slice, (_target(link, BlobKind.DATA, links), offset, length)))
        size += length
    if size != record.size:
        raise ValueError("its slices do not make up its size")
    return SlicedContent(size, tuple(slices))


def _decode_cut(record: EntryRecord, links: Sequence[Link]) -> CutContent:
    if record.size <= 0:
        raise ValueError("a long stream is empty")
    return CutContent(record.size, _target(record.link, BlobKind.CUT_NODE, links))


_FORMS: dict[int, Callable[[EntryRecord, Sequence[Link]], Content]] = {
    _FIXED: _decode_fixed,
    _SLICED: _decode_sliced,
    _CUT: _decode_cut,
}


def _target(link: int, kind: BlobKind, links: Sequence[Link]) -> ChunkId:
    if link < 0 or links[link][0] is not kind:
        raise ValueError("it links to something else than its kind needs")
    return links[link][1]


def _unknown(record: EntryRecord) -> FormatUnknown:
    return FormatUnknown(f"{record.name!r} is of a kind that this Lamina does not know", hint="upgrade Lamina")
