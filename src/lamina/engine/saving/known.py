"""What the parent snapshot has of a tree, and whether that is still so."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from enum import Enum
from itertools import islice
from typing import NamedTuple

from lamina.errors import Damaged, FormatUnknown, NotPermitted
from lamina.model.entries import Content, Entry, EntryState, EntryType, Metadata
from lamina.model.ids import ChunkId
from lamina.repository.directories import DirectoryNode, EntryRecord
from lamina.repository.repository import Repository
from lamina.repository.trees import directory_nodes
from lamina.sources.source import Found

WASTE = 0.5  # of a bundle: if a directory uses less of it than this share, its files are bundled anew
NODES_HELD = 16  # of one directory; the nodes of a longer one are read twice rather than kept in memory

_new_tuple = tuple.__new__  # a named tuple's own costs twice as much, and this is done for every entry


class Compare(Enum):
    """What must be as before, besides the size, for a file to count as unchanged."""

    MTIME = "mtime"
    CTIME = "ctime"
    INODE = "inode"


class KnownEntry(NamedTuple):
    """One entry of the parent, as it lies in its node."""

    node: DirectoryNode
    number: int
    is_wasteful: bool = False  # it is better read again

    @property
    def record(self) -> EntryRecord:
        return self.node.records[self.number]

    def entry(self) -> Entry:
        """All of it. Raises: Damaged, FormatUnknown."""
        return self.node.entry(self.number)

    def metadata(self) -> Metadata:
        return self.entry().metadata

    def content(self) -> Content | None:
        return self.entry().content


class KnownDirectory:
    """The entries of one directory of the parent, asked for in the order of names."""

    def __init__(self, child: ChunkId | None, entries: Iterator[KnownEntry], warn: Callable[[str], None]) -> None:
        """*child*: its node; None: the parent has no such directory."""
        self.child = child
        self.wastes = False  # some of it is better read again
        self._entries = entries
        self._warn = warn
        self._next = self._advance()

    def take(self, name: bytes) -> KnownEntry | None:
        """The entry of that name; those before it are passed over."""
        entry = self._next
        while entry is not None:
            known = entry.node.records[entry.number].name
            if known == name:
                self._next = self._advance()
                return entry
            if known > name:
                return None
            entry = self._next = self._advance()
        return None

    def before(self, name: bytes) -> Iterator[KnownEntry]:
        """The entries behind the last that was asked for, up to that name."""
        while self._next is not None and self._next.record.name < name:
            entry, self._next = self._next, self._advance()
            yield entry

    def rest(self) -> Iterator[KnownEntry]:
        """The entries behind the last that was asked for."""
        while self._next is not None:
            entry, self._next = self._next, self._advance()
            yield entry

    def _advance(self) -> KnownEntry | None:
        """What cannot be read of the parent only means that more is read of the source."""
        try:
            entry = next(self._entries, None)
            self.wastes = self.wastes or (entry is not None and entry.is_wasteful)
            return entry
        except (Damaged, FormatUnknown, NotPermitted) as error:
            self._entries = iter(())
            self._warn(error.message)
            return None


class TreeComparison:
    """Decides what of a tree is as the parent has it."""

    def __init__(self, repository: Repository, fields: frozenset[Compare] | None, warn: Callable[[str], None]) -> None:
        """*fields* None: every file is read. *warn* is told what is wrong with the parent."""
        self._repository = repository
        self._reads_all = fields is None
        wanted = frozenset(Compare) if fields is None else fields
        self._mtime, self._ctime, self._inode = (one in wanted for one in (Compare.MTIME, Compare.CTIME, Compare.INODE))
        self._warn = warn

    def open(self, known: KnownEntry | None, *, must_read: bool = False) -> KnownDirectory:
        """What the parent has in a directory. Raises: Damaged if it *must* be read and cannot be."""
        warn = _refuse if must_read else self._warn
        child = None
        if known is not None and known.record.type == EntryType.DIRECTORY:
            try:
                child = known.entry().child
            except (Damaged, FormatUnknown) as error:
                warn(error.message)
        return KnownDirectory(child, iter(()) if child is None else self._entries(child), warn)

    def is_same(self, known: KnownEntry, found: Found) -> bool:
        """Whether nothing of an object changed, its metadata included."""
        record, data = known[0].records[known[1]], found.metadata
        return (
            record.ctime_ns == data.ctime_ns
            and record.mtime_ns == data.mtime_ns
            and record.size == found.size
            and record.inode == data.inode
            and record.type == found.type
            and not record.state
            and record.mode == data.mode
            and record.uid == data.uid
            and record.gid == data.gid
            and record.links == data.links
            and record.device == data.device
            and record.special == found.special
            and not known[2]
            and not (self._reads_all and found.type is EntryType.FILE)
        )

    def has_same_content(self, known: KnownEntry, found: Found) -> bool:
        """Whether a file need not be read, as far as the fields say that are to be compared."""
        record, data = known.record, found.metadata
        return (
            not self._reads_all
            and found.type is EntryType.FILE
            and record.type == EntryType.FILE
            and record.state == EntryState.WHOLE
            and record.size == found.size
            and not known.is_wasteful
            and (not self._mtime or record.mtime_ns == data.mtime_ns)
            and (not self._ctime or record.ctime_ns == data.ctime_ns)
            and (not self._inode or record.inode == data.inode)
        )

    def _entries(self, child: ChunkId) -> Iterator[KnownEntry]:
        reader = self._repository.reader()
        rest = directory_nodes(reader, child)
        first = list(islice(rest, NODES_HELD))
        following = next(rest, None)
        is_long = following is not None
        wasted = self._wasted(directory_nodes(reader, child) if is_long else first)
        for node in directory_nodes(reader, child) if is_long else first:
            for number in range(len(node.records)):
                wasteful = bool(wasted) and _uses(node, number, wasted)
                yield _new_tuple(KnownEntry, (node, number, wasteful))

    def _wasted(self, nodes: Iterable[DirectoryNode]) -> frozenset[ChunkId]:
        """Bundles of which the directory uses little."""
        used: defaultdict[ChunkId, int] = defaultdict(int)
        for node in nodes:
            for chunk, length in node.used:
                used[chunk] += length
        index = self._repository.index
        wasted = []
        for chunk, length in used.items():
            place = index.find(chunk)
            if place is not None and length < WASTE * place.plain_size:
                wasted.append(chunk)
        return frozenset(wasted)


def _refuse(message: str) -> None:
    raise Damaged(message)


def _uses(node: DirectoryNode, number: int, wasted: frozenset[ChunkId]) -> bool:
    """Whether a file lies in one of the bundles; one with several names does not count, for others may use its bundle."""
    record = node.records[number]
    return record.links == 1 and any(node.links[link][1] in wasted for link in record.slices[::3])
