"""Find paths in all snapshots at once."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from lamina.engine.looking.differences import essence
from lamina.engine.looking.together import Met, walk_together
from lamina.errors import UsageError
from lamina.model.entries import Entry, EntryType
from lamina.model.ids import ChunkId
from lamina.model.operation import Operation
from lamina.model.snapshots import Snapshot
from lamina.repository.repository import Repository
from lamina.sources.wildcards import translate_name, translate_path

LOOK_EVERY = 1024  # paths between two looks at the stop button


@dataclass(frozen=True, slots=True)
class Criteria:
    """What is looked for; of patterns one has to match, of everything else all."""

    patterns: tuple[str, ...]  # for the base name, or for the whole path if there is a slash in it
    types: frozenset[EntryType] = frozenset()  # empty: any
    newer_ns: int | None = None  # modified after that
    older_ns: int | None = None
    larger: int | None = None  # bytes; only files have a size
    smaller: int | None = None

    def accepts(self, entry: Entry) -> bool:
        """Whether all but the name is as wanted."""
        if self.types and entry.type not in self.types:
            return False
        mtime = entry.metadata.mtime_ns
        if (self.newer_ns is not None and mtime <= self.newer_ns) or (
            self.older_ns is not None and mtime >= self.older_ns
        ):
            return False
        if self.larger is None and self.smaller is None:
            return True
        return (
            entry.content is not None
            and (self.larger is None or entry.size > self.larger)
            and (self.smaller is None or entry.size < self.smaller)
        )


class Hit(NamedTuple):
    """A path, and a run of snapshots of one name that have the same entry there."""

    path: str
    entry: Entry
    snapshots: Sequence[Snapshot]  # in order, without gaps


def find(
    repository: Repository, snapshots: Sequence[Snapshot], criteria: Criteria, operation: Operation
) -> Iterator[Hit]:
    """What fits, in the order of paths; directories that snapshots share are searched once.

    *snapshots* are in their order and `readable`. Raises: UsageError for a pattern, Damaged, ChunkMissing, Stopped.
    """
    fits = compile_patterns(criteria.patterns)
    ordered = sorted(snapshots, key=lambda one: one.name or "")  # stable: each name's stay in order
    names = _masks(ordered)
    roots: dict[ChunkId, int] = {}
    for number, snapshot in enumerate(ordered):
        roots[snapshot.root] = roots.get(snapshot.root, 0) | 1 << number
    for count, met in enumerate(walk_together(repository.reader(), roots)):
        if not count % LOOK_EVERY:
            operation.check_stop()
        if fits(met):
            yield from _hits(met, ordered, names, criteria)


def compile_patterns(patterns: Sequence[str]) -> Callable[[Met], bool]:
    """Whether a path fits one of *patterns*, as gitignore has wildcards. Raises: UsageError."""
    of_names, of_paths = _compile(patterns, slash=False), _compile(patterns, slash=True)

    def fits(met: Met) -> bool:
        if of_names is not None and of_names.fullmatch(met.name):
            return True
        return of_paths is not None and of_paths.fullmatch(met.folder + met.name) is not None

    return fits


def _compile(patterns: Sequence[str], *, slash: bool) -> re.Pattern[bytes] | None:
    expressions: list[bytes] = []
    for pattern in patterns:
        if ("/" in pattern) is slash:
            encoded = pattern.strip("/").encode("utf-8", "surrogateescape")
            try:
                expressions.append(translate_path(encoded) if slash else translate_name(encoded))
            except ValueError as error:
                raise UsageError(
                    f"{pattern!r} is not a pattern: {error}", hint="put a backslash before what is meant literally"
                ) from error
    return re.compile(b"|".join(b"(?:" + one + b")" for one in expressions), re.DOTALL) if expressions else None


def _masks(ordered: Sequence[Snapshot]) -> list[int]:
    """The bits of the snapshots of each name."""
    masks: dict[str | None, int] = {}
    for number, snapshot in enumerate(ordered):
        masks[snapshot.name] = masks.get(snapshot.name, 0) | 1 << number
    return list(masks.values())


def _hits(met: Met, ordered: Sequence[Snapshot], names: Sequence[int], criteria: Criteria) -> Iterator[Hit]:
    found: dict[Entry, int] = {}  # the versions by what is known of them, whatever node they stand in
    for version in met.versions:
        entry = version.entry()
        if criteria.accepts(entry):
            shown = essence(entry)
            found[shown] = found.get(shown, 0) | version.trees
    for mask in names:
        runs = [(*run, entry) for entry, trees in found.items() for run in runs_of(trees & mask)]
        for first, end, entry in sorted(runs, key=lambda run: run[0]):
            yield Hit(met.path, entry, ordered[first:end])


def runs_of(bits: int) -> Iterator[tuple[int, int]]:
    """First and end of every run of ones.

    >>> list(runs_of(0b1110011))
    [(0, 2), (4, 7)]
    """
    start = 0
    while bits:
        zeros = (bits & -bits).bit_length() - 1
        bits >>= zeros
        ones = (~bits & (bits + 1)).bit_length() - 1
        yield start + zeros, start + zeros + ones
        bits >>= ones
        start += zeros + ones
