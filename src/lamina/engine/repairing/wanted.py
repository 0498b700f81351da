"""Which chunks of damaged snapshots are lost, and where in their trees."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from lamina.engine.reachable import Reachability
from lamina.engine.repairing.parts import IsThere, Part, nodes_left, parts_left
from lamina.errors import Damaged, FormatUnknown
from lamina.model.entries import Content
from lamina.model.ids import ChunkId
from lamina.repository.chunks import ChunkReader
from lamina.repository.directories import DirectoryNode


@dataclass(frozen=True, slots=True)
class Piece:
    """A range of a file that is a range of a chunk."""

    path: str
    offset: int  # in the file
    start: int  # in the chunk
    length: int


@dataclass(slots=True)
class Wanted:
    """What is lost of one snapshot."""

    chunks: dict[ChunkId, list[Piece]] = field(default_factory=dict)  # data, and all that is known of what they held
    directories: list[str] = field(default_factory=list)  # paths whose list of entries, or part of it, is lost
    streams: list[str] = field(default_factory=list)  # paths of contents whose list of chunks is lost


def find_wanted(reader: ChunkReader, reachability: Reachability, is_there: IsThere, root: ChunkId) -> Wanted:
    """What is lost below *root*; ways that lead to nothing lost are not walked. Raises: StorageError."""
    wanted = Wanted()
    todo = [("", root)]
    while todo:
        path, directory = todo.pop()
        for node in nodes_left(reader, directory):
            if node is None:
                wanted.directories.append(path)
                continue
            for file, entry in _hurt_files(reachability, node, path):
                _want(wanted, file, parts_left(reader, entry, is_there))
            todo += _deeper(reachability, node, path)
    return wanted


def _hurt_files(reachability: Reachability, node: DirectoryNode, folder: str) -> Iterator[tuple[str, Content]]:
    """Path and content of each file in one node of which something is lost."""
    for number, record in enumerate(node.records):
        try:
            entry = node.entry(number)
        except (Damaged, FormatUnknown):
            continue
        if entry.content is not None and not reachability.is_whole_content(entry):
            yield join(folder, record.name), entry.content


def _want(wanted: Wanted, path: str, parts: Iterable[Part]) -> None:
    for part in parts:
        if part.lost and part.chunk is not None:
            wanted.chunks.setdefault(part.chunk, []).append(Piece(path, part.offset, part.start, part.length))
        elif part.lost and path not in wanted.streams[-1:]:
            wanted.streams.append(path)


def _deeper(reachability: Reachability, node: DirectoryNode, path: str) -> Iterator[tuple[str, ChunkId]]:
    for number, record in enumerate(node.records):
        try:
            child = node.entry(number).child
        except (Damaged, FormatUnknown):
            continue
        if child is not None and not reachability.is_whole_below(child):
            yield join(path, record.name), child


def join(path: str, name: bytes) -> str:
    """The path of *name* in the directory *path*."""
    text = name.decode("utf-8", "surrogateescape")
    return f"{path}/{text}" if path else text
