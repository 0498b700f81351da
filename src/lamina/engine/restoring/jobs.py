"""What one restore has to do: files, further names of them, and batches that one thread does at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from lamina.engine.outcome import Missing
from lamina.engine.restoring.folders import OpenDirectory
from lamina.errors import LaminaError
from lamina.model.entries import Entry, SlicedContent
from lamina.model.ids import ChunkId
from lamina.repository.contents import ContentPart
from lamina.repository.directories import BUNDLED
from lamina.targets.folders import Spot, TargetFolder
from lamina.targets.new_files import NewFile

BATCH_BYTES = 8 << 20  # of contents that are fetched and written at a time
BATCH_FILES = 1024
BATCH_FOLDERS = 48  # each keeps a directory open; several batches are under way
BATCH_SHARED = 8  # chunks that hold several files: as long as a chunk may be, although little of it may be needed


class FileJob:
    """One file that is to be written."""

    __slots__ = (
        "directory",
        "entry",
        "failure",
        "file",
        "has_content",
        "identity",
        "lost",
        "replace",
        "seed",
        "unread",
    )

    def __init__(self, entry: Entry, directory: OpenDirectory, *, replace: bool) -> None:
        self.entry = entry
        self.directory = directory
        self.replace = replace
        self.file: NewFile | None = None  # while it is open, if it is large
        self.seed = -1  # a descriptor of what is there already, if some of it may be right
        self.failure: OSError | LaminaError | None = None
        self.identity = (0, 0)  # device and inode, of what has several names
        self.unread = 0  # bytes that could not be read when the snapshot was made
        self.lost: list[Missing] = []  # ranges that nobody can read any more; zeros stand there
        self.has_content = False  # at least some of it was there to be written

    @property
    def folder(self) -> TargetFolder:
        return self.directory.folder

    @property
    def spot(self) -> Spot:
        return Spot(self.folder, self.entry.name)


@dataclass(slots=True)
class FirstJob:
    """The first name of an object with several."""

    folder: TargetFolder
    name: bytes
    left: int  # names that are still to come
    identity: tuple[int, int] = (0, 0)  # device and inode, once it is there
    job: FileJob | None = None  # that makes it

    @property
    def spot(self) -> Spot:
        return Spot(self.folder, self.name)


class LinkJob(NamedTuple):
    """One more name of an object that is restored before."""

    entry: Entry
    directory: OpenDirectory
    first: FirstJob
    replace: bool


class Piece(NamedTuple):
    """Some of one file's content."""

    job: FileJob
    parts: Sequence[ContentPart]  # with a chunk each: zeros need no writing
    is_first: bool
    is_last: bool

    @property
    def is_long(self) -> bool:
        """Whether it belongs to a file that was in no bundle."""
        return self.job.entry.size > BUNDLED


class Todo(NamedTuple):
    """A piece, and those of its parts that are not there already."""

    piece: Piece
    parts: Sequence[ContentPart]


@dataclass(slots=True)
class Batch:
    """What one thread fetches at a time."""

    pieces: list[Piece] = field(default_factory=list)
    whole: dict[ChunkId, None] = field(default_factory=dict)  # chunks that belong to one file
    shared: dict[ChunkId, None] = field(default_factory=dict)  # chunks that others may need too
    size: int = 0  # bytes of their contents
    written: int = 0  # bytes that had to be written
    kept: int = 0  # bytes that were there already
    links: list[LinkJob] = field(default_factory=list)  # to be made once all before are written
    folders: set[int] = field(default_factory=set)
    todo: list[Todo] = field(default_factory=list)  # small files, once what they need is fetched
    chunks: dict[ChunkId, bytes] = field(default_factory=dict)  # that they need

    def add(self, piece: Piece) -> None:
        self.pieces.append(piece)
        for part in piece.parts:
            if part.chunk is not None:
                (self.whole if part.whole else self.shared)[part.chunk] = None
                self.size += part.length
        self.folders.add(id(piece.job.folder))

    def has_room(self, piece: Piece) -> bool:
        """Whether it belongs in here; what needs no chunk more always has room, up to some number."""
        if not self.pieces:
            return True
        if len(self.pieces) >= BATCH_FILES or len(self.folders) >= BATCH_FOLDERS:
            return False
        more = [part for part in piece.parts if part.chunk not in self.shared and part.chunk not in self.whole]
        if not more:
            return True
        size = self.size + sum(part.length for part in more)
        return size <= BATCH_BYTES and len(self.shared) + sum(not part.whole for part in more) <= BATCH_SHARED


def small_piece(job: FileJob) -> Piece | None:
    """All there is to write of a small file, made in the shortest way, as most files are small; None for other files."""
    content = job.entry.content
    if not isinstance(content, SlicedContent):
        return None
    parts = []
    offset = 0
    for chunk, start, length in content.slices:
        parts.append(ContentPart(offset, length, chunk, start, whole=False))
        offset += length
    return Piece(job, parts, is_first=True, is_last=True)
