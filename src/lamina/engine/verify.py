"""Read and check everything a repository holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial

from lamina.engine.reachable import Reachability
from lamina.engine.threads import each
from lamina.errors import Damaged, FormatUnknown, ObjectMissing, ObjectTruncated, RecordForged
from lamina.model.ids import ChunkId, PackId, SessionId
from lamina.model.operation import Operation
from lamina.model.snapshots import Role, Snapshot
from lamina.repository.format import BlobRow, session_name
from lamina.repository.generations import buried_by, missing_generations
from lamina.repository.inspection import Inspector, PackContent
from lamina.repository.repository import Repository
from lamina.repository.tables import Pack, place_mark
from lamina.storage.storage import StoredObject

THREADS = 2  # each holds a whole pack
_FAULTS = (Damaged, FormatUnknown, ObjectMissing, ObjectTruncated)
_SNAPSHOTS = "snapshots/"
_SAY_COMMITTED = ("attributes/", "removed/")  # records that are only ever written about a committed snapshot


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is not as it should be."""

    object: str  # name of the object, or `snapshot ID:PATH`
    what: str
    snapshots: tuple[str, ...] = ()  # ids of the snapshots it affects, as far as known


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What a verify read and found."""

    objects: int
    read: int  # bytes
    chunks: int
    snapshots: int
    duration: timedelta
    problems: tuple[Problem, ...]
    warnings: tuple[Problem, ...] = ()  # odd, but nothing is lost (left-overs of a run that was killed)
    limits: tuple[str, ...] = ()  # what this key could not check


def verify(repository: Repository, operation: Operation) -> VerifyReport:
    """Check every object, committed or not, and every chunk of every snapshot as deep as this key can.

    Raises: StorageError (a storage that does not answer proves nothing), Stopped.
    """
    begun = operation.clock.monotonic()
    run = _Run(repository, operation)
    run.check_everything()
    return VerifyReport(
        objects=run.objects,
        read=run.read,
        chunks=run.chunks,
        snapshots=run.snapshots,
        duration=timedelta(seconds=operation.clock.monotonic() - begun),
        problems=tuple(run.problems),
        warnings=tuple(run.warnings),
        limits=_limits(repository.role),
    )


def _limits(role: Role) -> tuple[str, ...]:
    if role is Role.OWNER:
        return ()
    names = "names in snapshots of other keys" if role is Role.WRITER else "names"
    return (f"a {role.value} key cannot read content and {names}; their stored bytes were checked, not what they say",)


@dataclass(slots=True)
class _Run:
    """One verify under way."""

    repository: Repository
    operation: Operation
    problems: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)
    objects: int = 0
    read: int = 0
    chunks: int = 0
    snapshots: int = 0
    committed: dict[str, str] = field(default_factory=dict)  # session → the record that says so
    bad_blobs: set[tuple[ChunkId, PackId]] = field(default_factory=set)  # that do not open
    good_packs: dict[PackId, int] = field(default_factory=dict)  # those that fit their names: sum of their rows' marks

    def check_everything(self) -> None:
        """Snapshots are listed first, then the index, then all objects: a backup that ends meanwhile is no damage."""
        inspector = Inspector(self.repository)
        snapshots = self.repository.snapshots(removed=True)
        has_index = self._guard("index/", self.repository.uncached_reader)
        found = sorted(self.repository.storage.objects(), key=lambda item: item.name)
        self.operation.progress.start("verify", sum(item.size for item in found))
        packs = [item for item in found if inspector.is_pack(item.name)]
        for item in found:
            if not inspector.is_pack(item.name):
                self._check_object(inspector, item)
        self._check_commits({item.name for item in found}, snapshots)
        for name in missing_generations({item.name for item in found}):
            self.problems.append(Problem(name, "is missing, and later records of prunes say that there was one"))
        with ThreadPoolExecutor(THREADS, thread_name_prefix="verify") as executor:
            for item, content in each(executor, lambda item: self._read_pack(inspector, item), packs, self.operation):
                self._take_pack(item, content)
        if not has_index:  # what the snapshots need cannot be looked up
            everyone = tuple(snapshot.id.hex() for snapshot in snapshots)
            self.problems.append(Problem("index/", "cannot be read, so that nothing can be restored", everyone))
            return
        self._check_index(inspector, {item.name for item in packs})
        reachability = Reachability(self.repository, self.bad_blobs, self.good_packs)
        for snapshot in snapshots:
            self.operation.check_stop()
            self.snapshots += 1
            for where, what in reachability.check(snapshot):
                self.problems.append(Problem(where, what, (snapshot.id.hex(),)))
        self._say_which_snapshots(reachability)

    def _check_object(self, inspector: Inspector, item: StoredObject) -> None:
        self.operation.check_stop()
        self.objects += 1
        self.read += item.size
        if not inspector.is_known(item.name):
            self.warnings.append(Problem(item.name, "does not belong to a repository; it was not looked at"))
        elif self._guard(item.name, lambda: inspector.check(item.name)) and item.name.startswith(_SAY_COMMITTED):
            self.committed.setdefault(item.name.split("/")[1], item.name)
        self.operation.progress.advance(read=item.size)

    def _check_commits(self, listed: set[str], snapshots: Sequence[Snapshot]) -> None:
        """What other records say was committed must be there, unless a prune buried it."""
        for snapshot in snapshots:
            if snapshot.parent is not None:
                self.committed.setdefault(snapshot.parent.hex(), f"snapshots/{snapshot.id.hex()}")
            start = session_name("sessions", snapshot.id, "start")
            if start not in listed:
                what = f"is missing, and snapshots/{snapshot.id.hex()} says that there was one"
                self.problems.append(Problem(start, what, (snapshot.id.hex(),)))
        storage, control = self.repository.storage, self.repository.access.control
        for session, witness in self.committed.items():
            name = f"snapshots/{session}"
            if name not in listed and buried_by(storage, control, SessionId(bytes.fromhex(session))) is None:
                self.problems.append(Problem(name, f"is missing, and {witness} says that it was committed", (session,)))

    def _guard(self, name: str, check: Callable[[], object]) -> bool:
        """Whether *check* finds nothing wrong."""
        try:
            check()
            return True
        except RecordForged as error:
            what = f"{error.message}; whoever put it there is no friend of yours"
        except _FAULTS as error:
            what = error.message
        itself = (name.removeprefix(_SNAPSHOTS),) if name.startswith(_SNAPSHOTS) else ()
        self.problems.append(Problem(name, what, itself))
        return False

    def _read_pack(self, inspector: Inspector, item: StoredObject) -> tuple[StoredObject, PackContent | str]:
        self.operation.check_stop()
        try:
            return item, inspector.check_pack(item.name)
        except _FAULTS as error:
            return item, error.message
        finally:
            self.operation.progress.advance(read=item.size)

    def _take_pack(self, item: StoredObject, content: PackContent | str) -> None:
        self.objects += 1
        self.read += item.size
        if isinstance(content, str):
            self.problems.append(Problem(item.name, content))
            return
        self.chunks += len(content.rows)
        self.good_packs[content.id] = sum(map(_mark, content.rows))
        for chunk, what in content.bad.items():
            self.bad_blobs.add((chunk, content.id))
            self.problems.append(Problem(item.name, what))
        for problem in content.faults:
            self.problems.append(Problem(item.name, problem))

    def _check_index(self, inspector: Inspector, listed: set[str]) -> None:
        """Every pack of the index is there and holds just what the index says; packs in no index are left-overs."""
        marks: Counter[PackId] = Counter()
        indexed: dict[PackId, Pack] = {}
        for pack, mark in self.repository.index.pack_marks():
            indexed[pack.id] = pack
            marks[pack.id] += mark
        for pack in indexed.values():
            if pack.name not in listed:
                self.problems.append(Problem(pack.name, "is missing, and the index says that it holds chunks"))
            elif pack.id in self.good_packs and self.good_packs[pack.id] != marks[pack.id]:
                self._guard(pack.name, partial(self._compare_rows, inspector, pack))
        names = {name.rpartition("/")[2]: name for name in listed}
        for pack_id, mark in self.good_packs.items():
            if pack_id not in indexed and mark:
                what = "is in no index: a run that was stopped or is still going put it there; no snapshot needs it"
                self.warnings.append(Problem(names[pack_id.hex()], what))

    def _compare_rows(self, inspector: Inspector, pack: Pack) -> None:
        """Find out what the index says of an intact pack that is not so. Raises: Damaged."""
        rows = inspector.check_pack(pack.name).rows
        held = {(row.id, row.offset, row.stored_size, row.plain_size) for row in rows}
        said = set(self.repository.index.rows_of(pack.id))
        self.bad_blobs.update((row[0], pack.id) for row in said - held)
        if said != held:
            raise Damaged(
                f"the index lists {len(said - held)} chunks that it does not hold,"
                f" and leaves out {len(held - said)} that it holds"
            )

    def _say_which_snapshots(self, reachability: Reachability) -> None:
        """Name for every damaged object the snapshots that need something from it."""
        affected = reachability.affected()
        self.problems = [
            Problem(one.object, one.what, tuple(sorted({*one.snapshots, *affected.get(one.object, ())})))
            for one in self.problems
        ]


def _mark(row: BlobRow) -> int:
    return place_mark(row.id, row.offset, row.stored_size, row.plain_size)
