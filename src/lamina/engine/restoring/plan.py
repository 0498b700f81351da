"""Which entries of a snapshot are restored as a tree, and on what terms."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from lamina.errors import Damaged, EntryMissing, UsageError
from lamina.model.entries import Entry, EntryType
from lamina.model.ids import ChunkId
from lamina.model.snapshots import Snapshot
from lamina.repository.chunks import ChunkReader
from lamina.repository.remains import iter_remaining_entries
from lamina.repository.trees import get_entry, read_directory
from lamina.sources.wildcards import translate_name

_WILDCARDS = re.compile(r"[*?\[]")
_ANY_DEPTH = None  # a name of a pattern: `**`


class Overwrite(Enum):
    """What happens to a file that is there already and differs."""

    NEVER = "never"  # it stays
    IF_NEWER = "if-newer"  # it is replaced if the snapshot has a newer one
    IF_CHANGED = "if-changed"  # it is replaced
    ALWAYS = "always"  # it is replaced, even if it looks right

    @property
    def replaces(self) -> bool:
        """Whether what differs goes, whatever it is."""
        return self in {Overwrite.IF_CHANGED, Overwrite.ALWAYS}


class Action(Enum):
    """What is done with one entry, or would be."""

    NEW = "new"
    REPLACED = "replaced"
    KEPT = "kept"  # it was right already
    LEFT_ALONE = "left alone"  # it differs, and must not be replaced
    DELETED = "deleted"


Tell = Callable[[Action, bytes], None]  # what happens to which path; from one thread


@dataclass(frozen=True, slots=True)
class RestoreOptions:
    """On what terms a tree is restored."""

    overwrite: Overwrite = Overwrite.NEVER
    delete: bool = False  # remove what the snapshot does not have
    verify: bool = False  # read back and compare
    dry_run: bool = False
    tell: Tell | None = None  # of everything that is not right already
    salvage: bool = False  # what is left of files and directories that are not whole any more, too

    def __post_init__(self) -> None:
        if self.delete and not self.overwrite.replaces:
            raise UsageError(
                "--delete makes the target equal to the snapshot, which needs that files may be replaced",
                hint="add --overwrite if-changed (or --force)",
            )


class Enter(NamedTuple):
    """The walk goes into a directory; up to its `Leave`, all is in it."""

    entry: Entry
    whole: bool  # everything in it was asked for; else it leads to what was


class Leave(NamedTuple):
    """The walk leaves a directory."""


class Broken(NamedTuple):
    """The rest of the directory that the walk is in cannot be read; or if what is left is wanted, some of it."""

    error: Damaged


Step = Enter | Leave | Broken | Entry
_Places = frozenset[tuple[int, int]]  # in which pattern, before which of its names


class PathPatterns:
    """Paths with wildcards: `*`, `?` and `[…]` match within one name, `**` any number of names."""

    def __init__(self, paths: Sequence[str]) -> None:
        """Raises: UsageError."""
        self._patterns = [[_compile(name) for name in path.split("/") if name] for path in paths]

    def start(self) -> _Places:
        return self._closed((number, 0) for number in range(len(self._patterns)))

    def step(self, places: _Places, name: bytes) -> _Places:
        """Where matching stands behind *name*; empty if nothing matches there or below."""
        moved = []
        for number, index in places:
            wanted = self._patterns[number][index]
            if wanted is _ANY_DEPTH:
                moved.append((number, index))
            elif wanted.fullmatch(name):
                moved.append((number, index + 1))
        return self._closed(moved)

    def is_match(self, places: _Places) -> bool:
        """Whether one pattern matches with all its names."""
        return any(index == len(self._patterns[number]) for number, index in places)

    def _closed(self, places: Iterator[tuple[int, int]] | list[tuple[int, int]]) -> _Places:
        """With what is reached by `**` that matches no name."""
        found = set()
        for number, index in places:
            names = self._patterns[number]
            found.add((number, index))
            while index < len(names) and names[index] is _ANY_DEPTH:
                index += 1  # noqa: PLW2901
                found.add((number, index))
        return frozenset(found)


def _compile(name: str) -> re.Pattern[bytes] | None:
    if name == "**":
        return _ANY_DEPTH
    try:
        return re.compile(translate_name(name.encode("utf-8", "surrogateescape")), re.DOTALL)
    except ValueError as error:
        raise UsageError(f"{name!r} is no pattern: {error}", hint="write [[] for the letter [") from error


@dataclass(frozen=True, slots=True)
class TreePlan:
    """What is restored below a directory."""

    snapshot: Snapshot
    top: Entry  # a directory: what is in it goes into the target
    patterns: PathPatterns | None  # which of it; None: all
    size: int | None  # bytes of all contents, where that is known
    is_sure: bool = True  # whether *top* holds all that was there: false if it, or one above it, could not be listed


def plan_tree(reader: ChunkReader, snapshot: Snapshot, paths: Sequence[str]) -> TreePlan:
    """Decide what goes below the target: what is in one directory, one entry, or the stored paths of several.

    Raises: EntryMissing, UsageError, Damaged.
    """
    paths = [posixpath.normpath("/" + path).lstrip("/") for path in paths]
    root = Entry(b"", EntryType.DIRECTORY, child=snapshot.root)
    if not paths or "" in paths:
        return TreePlan(snapshot, root, None, snapshot.size)
    entries = [find_literal(reader, snapshot.root, path) for path in paths]
    if len(paths) == 1 and entries[0] is not None:
        entry = entries[0]
        if entry.child is not None:
            return TreePlan(snapshot, entry, None, entry.size, _is_sure(reader, snapshot.root, paths[0]))
        above = get_entry(reader, snapshot.root, posixpath.dirname(paths[0]))
        return TreePlan(
            snapshot, above._replace(metadata=root.metadata), _literal(posixpath.basename(paths[0])), entry.size
        )
    size = sum(entry.size for entry in entries if entry is not None) if None not in entries else None
    patterns = [path if entry is None else _escape(path) for path, entry in zip(paths, entries, strict=True)]
    return TreePlan(snapshot, root, PathPatterns(patterns), size)


def _is_sure(reader: ChunkReader, root: ChunkId, path: str) -> bool:
    """Whether the directory at *path* and all above it are whole. Raises: Damaged."""
    while path:
        if get_entry(reader, root, path).is_flawed:
            return False
        path = posixpath.dirname(path)
    return True


def find_single(reader: ChunkReader, snapshot: Snapshot, paths: Sequence[str]) -> str | None:
    """The path of the file or image that is all that was asked for; None if that is more, or something else.

    Raises: EntryMissing, Damaged.
    """
    if len(paths) > 1:
        return None
    wanted = paths or snapshot.paths
    if len(wanted) != 1:
        return None
    path = posixpath.normpath("/" + wanted[0]).lstrip("/")
    try:
        entry = find_literal(reader, snapshot.root, path)
    except EntryMissing:
        if paths:
            raise
        return None
    return path if entry is not None and entry.content is not None else None


def find_literal(reader: ChunkReader, root: ChunkId, path: str) -> Entry | None:
    """The entry of exactly this path; None for a pattern. Raises: EntryMissing, Damaged."""
    try:
        return get_entry(reader, root, path)
    except EntryMissing:
        if _WILDCARDS.search(path):
            return None
        raise


def _literal(path: str) -> PathPatterns:
    return PathPatterns([_escape(path)])


def _escape(path: str) -> str:
    return re.sub(r"([*?\[\\])", r"\\\1", path)


class TreeWalk:
    """The steps of one walk through what a plan selects; nothing of it is kept."""

    def __init__(self, reader: ChunkReader, plan: TreePlan, *, salvage: bool = False) -> None:
        """*salvage*: go on behind what is lost of a directory."""
        assert plan.top.child is not None  # noqa: S101 - it is a directory
        self._salvage = salvage
        self.found = 0  # entries
        self.is_selective = plan.patterns is not None
        self._reader = reader
        self._patterns = plan.patterns
        self._entering = 0
        places = None if plan.patterns is None else plan.patterns.start()
        self._todo = [self._level(plan.top, plan.top.child, places)]
        self._todo[0].entered = True

    def __iter__(self) -> Iterator[Step]:
        """Raises: StorageError, FormatUnknown; what is damaged or missing is told as `Broken`."""
        while self._todo:
            level = self._todo[-1]
            try:
                entry = next(level.entries, None)
            except Damaged as error:
                if not (yield from self._enter_all()):
                    continue
                yield Broken(error)
                entry = None
            if level.lost:
                if not (yield from self._enter_all()):
                    continue
                yield from map(Broken, level.lost)
                level.lost.clear()
            if entry is not None:
                yield from self._look_at(level, entry)
            elif self._todo and self._todo.pop().entered and self._todo:
                yield Leave()

    def skip(self) -> None:
        """Leave out what is in the directory that was entered last; no `Leave` follows."""
        del self._todo[self._entering :]

    def _look_at(self, level: _Level, entry: Entry) -> Iterator[Step]:
        places = level.places
        if places is not None and self._patterns is not None:
            places = self._patterns.step(places, entry.name)
            if not places:
                return
            if self._patterns.is_match(places):
                places = None
        if entry.child is not None:
            self._todo.append(self._level(entry, entry.child, places))
        if places is None and (yield from self._enter_all()) and entry.child is None:
            self.found += 1
            yield entry

    def _level(self, entry: Entry, child: ChunkId, places: _Places | None) -> _Level:
        lost: list[Damaged] = []
        if self._salvage:
            return _Level(entry, iter_remaining_entries(self._reader, child, lost.append), places, lost)
        return _Level(entry, read_directory(self._reader, child), places, lost)

    def _enter_all(self) -> Generator[Enter, None, bool]:
        """Go into the directories that lead to something that was asked for; false if one of them is skipped."""
        if self._todo[-1].entered:
            return True
        first = len(self._todo) - 1
        while not self._todo[first - 1].entered:
            first -= 1
        for number in range(first, len(self._todo)):
            level = self._todo[number]
            level.entered = True
            self.found += 1
            self._entering = number
            yield Enter(level.entry, level.places is None)
            if len(self._todo) <= number:
                return False
        return True


@dataclass(slots=True)
class _Level:
    """A directory that a walk is in."""

    entry: Entry
    entries: Iterator[Entry]
    places: _Places | None  # None: all in it was asked for
    lost: list[Damaged]  # what of it cannot be read, and was not told yet
    entered: bool = False
