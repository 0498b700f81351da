"""Bring snapshots across to another repository, without their sources."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from enum import Enum

from lamina.engine.copying.base import Pair
from lamina.engine.copying.check import TreeCheck, check_sample
from lamina.engine.copying.names import KnownNames
from lamina.engine.copying.trees import TreeCopy
from lamina.engine.outcome import Difference
from lamina.engine.permits import check_contents, check_names
from lamina.errors import Damaged, FormatUnknown, LaminaError, NotPermitted, UsageError
from lamina.filters.pipeline import compression_level
from lamina.model.ids import ChunkId, SessionId
from lamina.model.operation import Operation
from lamina.model.order import in_order
from lamina.model.process import Process
from lamina.model.snapshots import Origin, Role, Snapshot, Trust
from lamina.repository.repository import Repository
from lamina.repository.sessions import Session, SnapshotFacts
from lamina.repository.writer import EncodingOptions


class CopyCheck(Enum):
    """How much of a copy is read back."""

    NONE = "none"
    SAMPLE = "sample"  # some of the chunks that were just put
    FULL = "full"  # everything, entry by entry and byte by byte


@dataclass(frozen=True, slots=True)
class CopyOptions:
    """What the user wants of a copy."""

    compression: str = "default"
    check: CopyCheck = CopyCheck.SAMPLE
    process: Process = field(default_factory=Process)
    program: str = ""


@dataclass(frozen=True, slots=True)
class CopyPlan:
    """Which snapshots a copy would make."""

    missing: tuple[Snapshot, ...]  # of the first repository, oldest first
    there: tuple[tuple[Snapshot, Snapshot], ...]  # and the copies of them

    @property
    def size(self) -> int:
        """Bytes of all sources of what is missing: an upper bound of what is read."""
        return sum(one.size for one in self.missing)


@dataclass(frozen=True, slots=True)
class CopiedSnapshot:
    """One snapshot that was brought across."""

    source: SessionId
    copy: SessionId
    read: int  # bytes of chunks that were opened here
    new: int  # bytes of content that were not there
    stored: int  # bytes put into the other storage
    differences: tuple[Difference, ...] = ()


@dataclass(frozen=True, slots=True)
class FailedCopy:
    """One snapshot that could not be read here."""

    source: SessionId
    reason: str


@dataclass(frozen=True, slots=True)
class CopyReport:
    """What came of a copy."""

    copied: tuple[CopiedSnapshot, ...]
    failed: tuple[FailedCopy, ...]
    there: int  # snapshots that were copied before
    duration: timedelta


def plan_copy(source: Repository, target: Repository, snapshots: Iterable[Snapshot]) -> CopyPlan:
    """Find out which of *snapshots* have no copy yet; copies that were forgotten and not yet pruned count as there.

    Raises: NotPermitted, UsageError, StorageError.
    """
    chosen = in_order(snapshots)
    _check_permitted(source, target, chosen)
    copies = _copies(target, removed=True)
    missing, there = [], []
    for snapshot in chosen:
        copy = copies.get(_origin(source, snapshot).snapshot)
        if copy is None or (copy.trust is Trust.DISTRUSTED and snapshot.trust is not Trust.DISTRUSTED):
            missing.append(snapshot)
        else:
            there.append((snapshot, copy))
    return CopyPlan(tuple(missing), tuple(there))


def copy(
    source: Repository, target: Repository, plan: CopyPlan, options: CopyOptions, operation: Operation
) -> CopyReport:
    """Make the copies that *plan* lists, one after the other; a snapshot that is damaged here is left out and reported.

    Raises: StorageError, SessionAborted, NotPermitted; Stopped (what was copied stays).
    """
    begun = operation.clock.monotonic()
    run = _Run(source, target, options, operation)
    copied: list[CopiedSnapshot] = []
    failed: list[FailedCopy] = []
    try:
        for snapshot in plan.missing:
            operation.progress.start(f"copy {snapshot.short_id}", None)
            try:
                copied.append(run.copy(snapshot))
            except (Damaged, FormatUnknown) as error:
                failed.append(FailedCopy(snapshot.id, error.message))
                operation.progress.message(f"snapshot {snapshot.short_id} cannot be copied: {error.message}")
    finally:
        run.close()
    duration = timedelta(seconds=operation.clock.monotonic() - begun)
    return CopyReport(tuple(copied), tuple(failed), len(plan.there), duration)


def _check_permitted(source: Repository, target: Repository, chosen: Sequence[Snapshot]) -> None:
    check_contents(source)
    if source.id == target.id:
        raise UsageError(
            "both are the same repository, or one is a copy of the other's storage",
            hint="copy its objects with any tool: they never change",
        )
    if target.role is Role.STEWARD:
        raise NotPermitted(
            "a steward key cannot write snapshots",
            hint="use an owner's or a writer's passphrase of the other repository",
        )
    for snapshot in chosen:
        check_names(source, snapshot)


def _origin(source: Repository, snapshot: Snapshot) -> Origin:
    """The first original: a copy of a copy is a copy of that."""
    return snapshot.copied_from or Origin(source.id, snapshot.id)


def _copies(target: Repository, *, removed: bool) -> dict[SessionId, Snapshot]:
    """What is there already, by the first original; only what an owner or this very key says.

    A stolen writer key could otherwise keep snapshots from being copied, or slip its own trees into later copies.
    """
    own = target.access.reader_slot.hex()
    found: dict[SessionId, Snapshot] = {}
    snapshots = target.snapshots(removed=removed)
    for one in sorted(snapshots, key=lambda one: one.trust is not Trust.DISTRUSTED):  # good ones count before bad ones
        is_believed = one.readable and one.made_by in {"owner", own}
        if not is_believed:
            continue
        found[one.id] = one  # a copy may come back to where its original is
        if one.copied_from is not None:
            found[one.copied_from.snapshot] = one
    return found


class _Run:
    """Copies under way from one repository to another."""

    def __init__(self, source: Repository, target: Repository, options: CopyOptions, operation: Operation) -> None:
        self._source = source
        self._target = target
        self._options = options
        self._operation = operation
        self._names = KnownNames()
        self._snapshots = source.snapshots()
        self._copies = _copies(target, removed=False)

    def copy(self, snapshot: Snapshot) -> CopiedSnapshot:
        """Bring one snapshot across, commit it and read back what was asked for."""
        heal = self._must_heal()
        if heal:  # what is there has to be looked at: nothing earlier copies say is taken as it is
            self._names.close()
            self._names = KnownNames()
        level = compression_level(self._options.compression)
        encoding = EncodingOptions(level, check=True, heal=heal)
        session = self._target.begin(self._options.process, encoding, self._operation)
        trees = TreeCopy(self._source, session, self._names, self._operation)
        try:
            root = trees.copy(snapshot.root, None if heal else self._base(session, snapshot))
            self._operation.check_stop()
            session.commit(self._facts(snapshot, root, trees.read))
        except (LaminaError, KeyboardInterrupt):
            self._give_up(session)
            raise
        finally:
            session.close()
            trees.close()
        copied = self._target.get_snapshot(session.id)
        differences = self._check(snapshot, copied, trees)
        self._copies[_origin(self._source, snapshot).snapshot] = self._say_trust(snapshot, copied, differences)
        counts = session.writer.counts
        return CopiedSnapshot(snapshot.id, session.id, trees.read, counts.new, counts.stored, tuple(differences))

    def close(self) -> None:
        self._names.close()

    def _must_heal(self) -> bool:
        """Whether something there is doubtful, other than copies that are just as doubtful as their originals."""
        doubtful = {_origin(self._source, one).snapshot for one in self._snapshots if one.trust is Trust.DISTRUSTED}
        return any(
            one.is_doubtful and (one.copied_from is None or one.copied_from.snapshot not in doubtful)
            for one in self._target.snapshots()
        )

    def _base(self, session: Session, snapshot: Snapshot) -> Pair | None:
        """An earlier snapshot that was copied: the parent, or the newest of the same name before this one."""
        for before in self._earlier(snapshot):
            copied = self._copies.get(_origin(self._source, before).snapshot)
            usable = copied is not None and copied.trust is not Trust.DISTRUSTED and copied.copied_from is not None
            if copied is not None and usable and session.rely_on(self._target.parent(copied)):
                return Pair(before.root, copied.root)
        return None

    def _earlier(self, snapshot: Snapshot) -> list[Snapshot]:
        older: list[Snapshot] = []
        for one in self._snapshots:
            if one.id == snapshot.id:
                break
            older.append(one)
        parents = [one for one in older if one.id == snapshot.parent]
        return [*parents, *(one for one in reversed(older) if one.name == snapshot.name and one.id != snapshot.parent)]

    def _facts(self, snapshot: Snapshot, root: ChunkId, read: int) -> SnapshotFacts:
        return SnapshotFacts(
            root=root,
            size=snapshot.size,
            read=read,
            partial=snapshot.partial,
            name=snapshot.name or "",
            host=snapshot.host,
            program=self._options.program,
            paths=snapshot.paths,
            tags=snapshot.tags,
            expires=snapshot.expires,
            users=snapshot.users,
            groups=snapshot.groups,
            started=snapshot.started,
            finished=snapshot.finished,
            copied_from=_origin(self._source, snapshot),
        )

    def _give_up(self, session: Session) -> None:
        """Leave what was uploaded where the next run finds it; what goes wrong here is not what went wrong first."""
        try:
            session.give_up()
        except (LaminaError, OSError) as error:
            self._operation.progress.message(f"what was uploaded last will be uploaded again: {error}")

    def _check(self, snapshot: Snapshot, copied: Snapshot, trees: TreeCopy) -> list[Difference]:
        if self._options.check is CopyCheck.NONE:
            return []
        self._operation.progress.start(f"check {copied.short_id}", None)
        if self._options.check is CopyCheck.SAMPLE:
            return check_sample(self._target, trees.sample.items, self._operation)
        return TreeCheck(self._source, self._target, self._operation).compare(snapshot.root, copied.root)

    def _say_trust(self, snapshot: Snapshot, copied: Snapshot, differences: Sequence[Difference]) -> Snapshot:
        """A copy is as good as its original at most; it is known to be as good if all of it was compared."""
        trust = copied.trust
        if differences or snapshot.trust is Trust.DISTRUSTED:
            trust = Trust.DISTRUSTED
        elif self._options.check is CopyCheck.FULL and snapshot.trust is Trust.VERIFIED:
            trust = Trust.VERIFIED
        if (trust, snapshot.note) == (copied.trust, copied.note):
            return copied
        return self._target.edit(copied, trust=trust, note=snapshot.note or None)
