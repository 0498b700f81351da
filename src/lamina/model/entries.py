"""One file-system object, its content, and one range of an image."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

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
    SYMLINK = 3
    FIFO = 4
    SOCKET = 5
    CHARACTER_DEVICE = 6
    BLOCK_DEVICE = 7
    UNKNOWN = 8  # it could not even be looked at; only with the state UNREAD


class EntryState(IntEnum):
    """How much an entry can be relied on; numbers are the format's. From CHANGED on it is flawed."""

    WHOLE = 0
    FRESH = 1  # whole, but modified so shortly before that its times may not show the next change: read again next time
    CHANGED = 2  # it changed while it was read, again and again: its content may be of several moments
    UNREAD = 3  # it could not be read, and nothing older is known
    KEPT = 4  # it could not be read: what an earlier snapshot has of it stands here


# Entries are named tuples, not dataclasses: a backup makes millions, and these are made four times as fast.


class Metadata(NamedTuple):
    """What a file system knows of an object besides its name and content. All zero: nothing is known."""

    mode: int = 0  # permission bits and set-id bits only
    uid: int = 0
    gid: int = 0
    mtime_ns: int = 0  # nanoseconds since 1970, may be negative
    ctime_ns: int = 0  # when the metadata last changed
    inode: int = 0
    links: int = 1  # how many names it has; 0 for none that are known
    device: int = 0  # which of the source's file systems it lies on, counted from 0 as they are met
    birth_ns: int | None = None  # when it was made, where the file system knows
    flags: int = 0  # immutable, append-only, …: as FS_IOC_GETFLAGS has them
    xattrs: tuple[tuple[bytes, bytes], ...] = ()  # name and value, sorted; POSIX ACLs are among them

    @property
    def identity(self) -> tuple[int, int, int]:
        """Equal for all names of one object, if it has several; the time tells an inode that was used again."""
        return self.device, self.inode, self.ctime_ns

    @property
    def is_implied(self) -> bool:
        """Whether nothing is known: of a directory that only leads to what was saved."""
        return not (self.mode or self.mtime_ns or self.ctime_ns or self.inode)


class Slice(NamedTuple):
    """A range of one chunk."""

    id: ChunkId
    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class FixedContent:
    """A stream cut at fixed places: a disk image, or a file with holes."""

    size: int
    chunk_size: int
    position: Position  # the only chunk, or the root of the tree of nodes
    id: ChunkId | None  # None for a zero, a hole or an unread chunk


class SlicedContent(NamedTuple):
    """A stream of a few slices of chunks, in order: a small file lies with others in a bundle."""

    size: int
    slices: tuple[Slice, ...] = ()


class CutContent(NamedTuple):
    """A long stream whose content decides where it is cut; a tree of nodes lists its chunks."""

    size: int
    id: ChunkId  # of the root node


Content = FixedContent | SlicedContent | CutContent


class Totals(NamedTuple):
    """What lies below a directory, at any depth."""

    entries: int = 0
    size: int = 0  # bytes of all contents; a file with several names counts once for each
    flawed: int = 0  # entries that are flawed


class Entry(NamedTuple):
    """One file-system object in a snapshot.

    A file has content, a directory a child node and totals (an unread one has neither), a symlink a target, a device its numbers.
    """

    name: bytes  # the last component of its path
    type: EntryType
    metadata: Metadata = Metadata()
    content: Content | None = None
    child: ChunkId | None = None
    totals: Totals | None = None
    target: bytes = b""
    special: tuple[int, int] | None = None  # major and minor number
    state: EntryState = EntryState.WHOLE
    error: str = ""  # why it is not whole

    @property
    def size(self) -> int:
        """Bytes of its content, or of everything below it."""
        if self.content is not None:
            return self.content.size
        return self.totals.size if self.totals is not None else 0

    @property
    def is_directory(self) -> bool:
        return self.type is EntryType.DIRECTORY

    @property
    def is_flawed(self) -> bool:
        return self.state >= EntryState.CHANGED


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
