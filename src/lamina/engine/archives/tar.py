"""A tree as a tar stream."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import ClassVar, NamedTuple

from lamina.engine.archives import tar_headers
from lamina.engine.archives.tar_headers import (
    Member,
    attribute_records,
    encode_member,
    padding,
    sparse_map,
    sparse_records,
)
from lamina.model.entries import Buffer, Content, Entry, EntryType, Extent, FixedContent
from lamina.model.snapshots import Snapshot
from lamina.repository.chunks import ChunkReader
from lamina.repository.contents import ContentPart, iter_parts

_KINDS = {
    EntryType.DIRECTORY: tar_headers.DIRECTORY,
    EntryType.FILE: tar_headers.FILE,
    EntryType.SYMLINK: tar_headers.SYMLINK,
    EntryType.FIFO: tar_headers.FIFO,
    EntryType.CHARACTER_DEVICE: tar_headers.CHARACTER_DEVICE,
    EntryType.BLOCK_DEVICE: tar_headers.BLOCK_DEVICE,
}
_END = bytes(2 * tar_headers.BLOCK)
_RECORD = 20 * tar_headers.BLOCK  # tar reads and writes so much at a time
_PENDING_MAX = 64 << 10  # bytes
_HOLE_FROM = 64 << 10  # bytes: smaller holes are written as zeros


class _Linked(NamedTuple):
    """The first name of an object that has several."""

    name: bytes
    content: Content | None
    left: int  # names still to come


class TarPacker:
    """Packs entries; see `Packer`. Holes stay holes: such a file is written in GNU's sparse format 1.0."""

    CANNOT: ClassVar[frozenset[EntryType]] = frozenset({EntryType.SOCKET, EntryType.UNKNOWN})

    def __init__(
        self,
        reader: ChunkReader,
        snapshot: Snapshot,
        write: Callable[[Buffer], None],
        warn: Callable[[str], None],
    ) -> None:
        self._reader = reader
        self._snapshot = snapshot
        self._write = write
        self._warn = warn
        self._pending = bytearray()  # small things, to be written together
        self._written = 0
        self._flagged = 0
        self._linked: dict[tuple[int, int, int], _Linked] = {}
        self._sparse = 0

    def pack(self, name: bytes, entry: Entry) -> Iterator[tuple[bytes, ContentPart | None]]:
        self._flagged += bool(entry.metadata.flags)
        content = entry.content
        member = self._member(name, entry)
        first = self._first_name(name, entry)
        if first is not None:
            yield encode_member(replace(member, kind=tar_headers.HARD_LINK, target=first, size=0)), None
            return
        extents = self._extents(content) if isinstance(content, FixedContent) else None
        if content is None or extents is None:
            yield encode_member(member), None
            if content is None:
                return
            yield from ((b"", part) for part in iter_parts(self._reader, content))
            yield padding(content.size), None
            return
        self._sparse += 1
        start = sparse_map(extents)
        size = len(start) + sum(extent.length for extent in extents)
        yield (
            encode_member(
                replace(
                    member,
                    name=b"GNUSparseFile.%d/%s" % (self._sparse, name.rpartition(b"/")[2][:60]),
                    size=size,
                    records={**member.records, **sparse_records(name, content.size)},
                )
            ),
            None,
        )
        yield start, None
        yield from ((b"", part) for part in self._data_parts(content, extents))
        yield padding(size), None

    def write(self, step: object, data: memoryview | None) -> None:
        assert isinstance(step, bytes)  # noqa: S101 - as `pack` made it
        taken = step if data is None else data
        self._written += len(taken)
        if len(taken) < _PENDING_MAX:
            self._pending += taken
        if len(taken) >= _PENDING_MAX or len(self._pending) >= _PENDING_MAX:
            self._flush()
        if len(taken) >= _PENDING_MAX:
            self._write(taken)

    def finish(self) -> None:
        self._pending += _END + bytes(-(self._written + len(_END)) % _RECORD)
        self._flush()
        if self._flagged:
            self._warn(
                f"a tar cannot hold file flags (immutable, append-only, …): {self._flagged} entries have lost them"
            )

    def _flush(self) -> None:
        self._write(self._pending)
        self._pending = bytearray()

    def _member(self, name: bytes, entry: Entry) -> Member:
        data = entry.metadata
        return Member(
            name=name,
            kind=_KINDS[entry.type],
            mode=data.mode,
            uid=data.uid,
            gid=data.gid,
            user=self._snapshot.users.get(data.uid, "").encode("utf-8", "surrogateescape"),
            group=self._snapshot.groups.get(data.gid, "").encode("utf-8", "surrogateescape"),
            mtime_ns=data.mtime_ns,
            size=entry.content.size if entry.content is not None else 0,
            target=entry.target,
            special=entry.special or (0, 0),
            records=attribute_records(data.xattrs),
        )

    def _first_name(self, name: bytes, entry: Entry) -> bytes | None:
        """The name in the archive that this one is another name of."""
        data = entry.metadata
        if data.links < 2 or entry.is_directory:
            return None
        key = data.identity
        known = self._linked.get(key)
        if known is None:
            self._linked[key] = _Linked(name, entry.content, data.links - 1)
            return None
        if known.content != entry.content:
            return None  # they were read at different moments
        if known.left == 1:
            del self._linked[key]
        else:
            self._linked[key] = known._replace(left=known.left - 1)
        return known.name

    def _extents(self, content: FixedContent) -> list[Extent] | None:
        """Where a sparse file has data; None for what has no holes worth it."""
        extents: list[Extent] = []
        has_holes = False
        for part in iter_parts(self._reader, content):
            if (
                part.chunk is None
                and not part.unread
                and (part.length >= _HOLE_FROM or part.offset + part.length == content.size)
            ):
                has_holes = True
            elif extents and extents[-1].end == part.offset:
                extents[-1] = Extent(extents[-1].offset, extents[-1].length + part.length)
            else:
                extents.append(Extent(part.offset, part.length))
        if not has_holes:
            return None
        if not extents or extents[-1].end < content.size:
            extents.append(Extent(content.size, 0))  # how GNU tar says that a hole is at the end
        return extents

    def _data_parts(self, content: Content, extents: list[Extent]) -> Iterator[ContentPart]:
        number = 0
        for part in iter_parts(self._reader, content):
            while number < len(extents) and extents[number].end <= part.offset:
                number += 1
            if number < len(extents) and extents[number].offset <= part.offset < extents[number].end:
                yield part
