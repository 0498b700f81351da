"""One file-system object, and one range of an image."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum

from lamina.model.ids import ChunkId

Buffer = bytes | bytearray | memoryview


class ExtentKind(IntEnum):
    """What a range of an image holds."""

    DATA = 0
    HOLE = 1  # never written; reads as zeros


@dataclass(frozen=True, slots=True)
class Extent:
    """One byte range of an image."""

    offset: int
    length: int
    kind: ExtentKind = ExtentKind.DATA

    @property
    def end(self) -> int:
        return self.offset + self.length


class Position(IntEnum):
    """What one position of a fixed stream holds (spec: fixed-stream node)."""

    DATA = 0
    ZERO = 1  # was read, and every byte was zero
    HOLE = 2  # the source said that nothing was ever written here
    UNREAD = 3  # could not be read and no earlier content is known
    UNREAD_KEPT = 4  # could not be read; the id is that of the last content known


class EntryType(IntEnum):
    """The type of a file-system object; numbers are the format's."""

    DIRECTORY = 1
    FILE = 2


@dataclass(frozen=True, slots=True)
class Metadata:
    """What a file system knows of an object besides its content."""

    mode: int = 0  # permission bits and set-id bits only
    uid: int = 0
    gid: int = 0
    mtime_ns: int = 0  # nanoseconds since 1970, may be negative


@dataclass(frozen=True, slots=True)
class FixedContent:
    """A stream cut at fixed places: a disk image."""

    size: int
    chunk_size: int
    position: Position  # the only chunk, or the root of the tree of nodes
    id: ChunkId | None  # None for a zero, a hole or an unread chunk


@dataclass(frozen=True, slots=True)
class Entry:
    """One file-system object in a snapshot: a directory with a child node, or a file with content."""

    name: bytes  # the last component of its path
    type: EntryType
    metadata: Metadata = Metadata()
    content: FixedContent | None = None
    child: ChunkId | None = None

    @property
    def size(self) -> int:
        return self.content.size if self.content is not None else 0


def data_positions(extents: Iterable[Extent], chunk_size: int) -> Iterator[int]:
    """The chunk positions of an image that hold any data, in order and once; *extents* are sorted.

    >>> list(data_positions([Extent(0, 5), Extent(5, 7, ExtentKind.HOLE), Extent(12, 1)], 4))
    [0, 1, 3]
    """
    position = 0
    for extent in extents:
        if extent.kind is ExtentKind.DATA and extent.length:
            position = max(position, extent.offset // chunk_size)
            end = (extent.end - 1) // chunk_size + 1
            yield from range(position, end)
            position = max(position, end)
