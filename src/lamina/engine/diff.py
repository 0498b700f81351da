"""What differs between two snapshots, or two parts of them, and by how much."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

from lamina.engine.looking.content_diff import ContentComparison
from lamina.engine.looking.differences import TYPE, changed_fields, is_unknown, may_differ
from lamina.engine.looking.together import Met, walk_together
from lamina.engine.permits import check_names
from lamina.model.entries import Entry, EntryState
from lamina.model.ids import ChunkId
from lamina.model.operation import Operation
from lamina.model.snapshots import Snapshot
from lamina.repository.repository import Repository
from lamina.repository.trees import get_entry

_BEFORE, _AFTER = 1, 2
LOOK_EVERY = 1024  # paths between two looks at the stop button


class Kind(Enum):
    """How a path differs."""

    ADDED = "added"
    REMOVED = "removed"
    CONTENT = "content"  # and perhaps metadata too
    METADATA = "metadata"
    TYPE = "type"


@dataclass(frozen=True, slots=True)
class Place:
    """One side of a comparison."""

    snapshot: Snapshot
    path: str | None  # None: everything


class Difference(NamedTuple):
    """One path that differs."""

    path: str  # below what is compared; empty for these themselves
    kind: Kind
    before: Entry | None
    after: Entry | None
    fields: tuple[str, ...] = ()  # what differs besides content
    changed: int | None = (
        None  # bytes of the newer content that are not at their place (in their chunk) in the older one
    )
    ranges: int | None = None  # of such bytes; None where contents have no fixed places


@dataclass(slots=True)
class DiffSummary:
    """What all differences come to."""

    paths: dict[Kind, int] = field(default_factory=lambda: dict.fromkeys(Kind, 0))
    added: int = 0  # bytes of contents that were not there
    removed: int = 0
    changed: int = 0  # bytes within contents that differ

    @property
    def is_same(self) -> bool:
        return not any(self.paths.values())

    def count(self, one: Difference) -> None:
        """Take one more into account."""
        if one.kind is Kind.ADDED:
            assert one.after is not None  # noqa: S101 - it was added
            self._count_side(one.kind, one.after, 1)
        elif one.kind is Kind.REMOVED:
            assert one.before is not None  # noqa: S101 - it was removed
            self._count_side(one.kind, one.before, 1)
        else:
            self.paths[one.kind] += 1
            self.changed += one.changed or 0
            if one.kind is Kind.TYPE:
                self.removed += _own_size(one.before)
                self.added += _own_size(one.after)

    def count_below(self, kind: Kind, directory: Entry) -> None:
        """Take everything below a directory into account that only one side has."""
        if directory.totals is not None:
            self.paths[kind] += directory.totals.entries
            self._add(kind, directory.totals.size)

    def _count_side(self, kind: Kind, entry: Entry, count: int) -> None:
        self.paths[kind] += count
        self._add(kind, _own_size(entry))

    def _add(self, kind: Kind, size: int) -> None:
        if kind is Kind.ADDED:
            self.added += size
        else:
            self.removed += size


def _own_size(entry: Entry | None) -> int:
    return entry.content.size if entry is not None and entry.content is not None else 0


class Diff:
    """Compares two places; iterate over it, then `summary` is complete.

    Directories and nodes that both sides share are not read, so it takes as long as much differs.
    """

    def __init__(
        self, repository: Repository, before: Place, after: Place, operation: Operation, *, brief: bool = False
    ) -> None:
        """*brief*: only for the summary; what lies below a directory that one side lacks is counted, not listed."""
        for place in (before, after):
            check_names(repository, place.snapshot)
        self._reader = repository.reader()
        self._sides = before, after
        self._operation = operation
        self._brief = brief
        self._contents = ContentComparison(repository)
        self.summary = DiffSummary()

    def __iter__(self) -> Iterator[Difference]:
        """The differences, in the order of paths.

        Raises: EntryMissing, NotPermitted, Damaged, ChunkMissing, StorageError, Stopped.
        """
        before, after = (get_entry(self._reader, one.snapshot.root, one.path or "") for one in self._sides)
        if any(one.path for one in self._sides):
            yield from self._compare("", before, after._replace(name=before.name))
        roots: dict[ChunkId, int] = {}
        for entry, bit in ((before, _BEFORE), (after, _AFTER)):
            if entry.child is not None and not (is_unknown(before) or is_unknown(after)):
                roots[entry.child] = roots.get(entry.child, 0) | bit
        roots = {root: bits for root, bits in roots.items() if bits != _BEFORE | _AFTER}
        for count, met in enumerate(walk_together(self._reader, roots, skip=_BEFORE | _AFTER, enter=self._enter)):
            if not count % LOOK_EVERY:
                self._operation.check_stop()
            sides = {version.trees: version.entry() for version in met.versions}
            if _BEFORE | _AFTER not in sides:
                yield from self._compare(met.path, sides.get(_BEFORE), sides.get(_AFTER))

    def _compare(self, path: str, before: Entry | None, after: Entry | None) -> Iterator[Difference]:
        for one in self._differences(path, before, after):
            self.summary.count(one)
            yield one

    def _differences(self, path: str, before: Entry | None, after: Entry | None) -> Iterator[Difference]:
        if before is None:
            yield Difference(path, Kind.ADDED, None, after)
            return
        if after is None:
            yield Difference(path, Kind.REMOVED, before, None)
            return
        fields = changed_fields(before, after)
        if TYPE in fields:
            yield Difference(path, Kind.TYPE, before, after, fields)
            return
        found = None
        if not before.is_directory and may_differ(before, after):
            found = self._contents.compare(before, after)
        if found is not None:
            yield Difference(path, Kind.CONTENT, before, after, fields, found.changed, found.ranges)
        elif fields:
            yield Difference(path, Kind.METADATA, before, after, fields)

    def _enter(self, met: Met) -> bool:
        """Whether to look into a directory one by one; not if a side could not read it, for that is no absence."""
        if any(version.record.state == EntryState.UNREAD and is_unknown(version.entry()) for version in met.versions):
            return False
        if not self._brief or len(met.versions) > 1:
            return True
        (version,) = met.versions
        entry = version.entry()
        if entry.totals is None:
            return True
        self.summary.count_below(Kind.ADDED if version.trees == _AFTER else Kind.REMOVED, entry)
        return False
