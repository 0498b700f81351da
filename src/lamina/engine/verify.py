"""Check a repository: everything in it, its structure, or a share of its packs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta

from lamina.engine.reachable import Reachability
from lamina.engine.verifying.findings import Amount, Problem, VerifyReport, with_snapshots
from lamina.engine.verifying.marks import Marker
from lamina.engine.verifying.needed import needed_packs
from lamina.engine.verifying.packs import FAULTS, Packs
from lamina.engine.verifying.recorder import Recorder, depth_of
from lamina.engine.verifying.selection import History, VerifyOptions, choose_packs
from lamina.errors import PruneRefused, RecordForged
from lamina.model.ids import SessionId
from lamina.model.operation import Operation
from lamina.model.snapshots import Role, Snapshot
from lamina.repository.coverage import Coverage
from lamina.repository.generations import buried_by, missing_generations, newest_generation
from lamina.repository.inspection import Inspector
from lamina.repository.object_names import (
    ATTRIBUTES,
    DELTAS,
    GENERATIONS,
    MANIFESTS,
    PACKS,
    REMOVALS,
    SEGMENTS,
    SNAPSHOTS,
    pack_id,
    snapshot_name,
    start_name,
)
from lamina.repository.repository import Repository
from lamina.storage.storage import StoredObject

__all__ = ["Amount", "Problem", "VerifyOptions", "VerifyReport", "verify"]

ROUNDS = 3  # a prune that works meanwhile may take away what was just listed: then it is looked at once more
_SAY_COMMITTED = (ATTRIBUTES, REMOVALS)  # records that are only ever written about a committed snapshot
_READS_ALL = VerifyOptions()


def verify(repository: Repository, operation: Operation, options: VerifyOptions = _READS_ALL) -> VerifyReport:
    """Check every object, committed or not, and every chunk of every snapshot as deep as this key can; or what *options* say.

    It writes nothing unless *options* say so. What it records until it is stopped is not checked again by the next.
    Raises: StorageError (a storage that does not answer proves nothing), Stopped.
    """
    begun = operation.clock.monotonic()
    run = _Run(repository, options, operation)
    try:
        run.check()
    except BaseException:
        if run.recorder is not None:
            run.recorder.flush()
        raise
    run.finish()
    run.mark()
    there, read = run.packs.sizes.values(), run.packs.read.values()
    return VerifyReport(
        objects=len(run.seen) + len(read),
        read=run.bytes + sum(read),
        chunks=run.packs.chunks,
        snapshots=len(run.snapshots),
        duration=timedelta(seconds=operation.clock.monotonic() - begun),
        problems=tuple(run.problems),
        warnings=tuple(run.warnings),
        limits=_limits(repository.role),
        packs=Amount(len(there), sum(there)),
        checked=Amount(len(read), sum(read)),
        left=run.packs.left,
        recorded=run.recorder is not None and run.recorder.done,
        distrusted=tuple(run.marker.distrusted),
        verified=tuple(run.marker.verified),
        notes=tuple(run.notes()),
        settled=run.is_settled,
    )


def _limits(role: Role) -> tuple[str, ...]:
    if role is Role.OWNER:
        return ()
    names = "names in snapshots of other keys" if role is Role.WRITER else "names"
    return (f"a {role.value} key cannot read content and {names}; their stored bytes were checked, not what they say",)


class _Run:
    """One verify under way."""

    def __init__(self, repository: Repository, options: VerifyOptions, operation: Operation) -> None:
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []
        self.snapshots: Sequence[Snapshot] = ()
        self.seen: set[str] = set()  # objects that are no packs
        self.bytes = 0  # of them
        self._whole: set[str] = set()  # of them
        self._committed: dict[str, str] = {}  # session → the record that says so
        self._repository = repository
        self._options = options
        self._operation = operation
        # what is read of chosen snapshots is no share of all: counting it would put off the rest
        may_record = options.record and not options.snapshots and repository.role is not Role.WRITER
        self._coverage = Coverage()
        if options.is_partial or may_record:
            self._coverage.load(repository.access, operation.clock.now())
        self._begun = self._coverage.stamp(operation.clock.now())
        self._chosen: Sequence[StoredObject] = ()  # packs to be read, of a run that reads only some
        self.recorder = Recorder(repository, self._coverage, self._begun, operation) if may_record else None
        self.packs = Packs(repository, options, self.recorder, operation)
        self._listed: set[str] = set()  # all objects, when they were last looked at
        self.is_settled = False
        self._notes: list[str] = []
        self.marker = Marker(repository, self._notes.append)

    def check(self) -> None:
        """Look until what is found is not owed to a prune that went on meanwhile."""
        for _ in range(ROUNDS):
            before = self._prunes()
            self._look()
            is_certain = not self.problems and not self._options.snapshots  # what these need, a prune may have moved
            self.is_settled = is_certain or (self._prunes() == before and not self._has_deleted())
            if self.is_settled:
                break
        else:
            self._notes.append(
                f"prunes got on during each of {ROUNDS} looks: what is said to be missing may only have been moved."
                " No snapshot was marked; verify again when no prune runs"
            )
        for session in self._options.snapshots:
            what = self._why_unchecked(session)
            if what:
                self.problems.append(Problem(f"snapshot {session.hex()[:8]}", what, (session.hex(),)))

    def _why_unchecked(self, session: SessionId) -> str:
        """Why nobody can say that a chosen snapshot is whole; empty if it was checked."""
        if session not in {snapshot.id for snapshot in self.snapshots}:
            return "was there when it was chosen, and is not any more: it was not checked"
        return "" if self.is_settled else "may need what prunes moved meanwhile: it was not checked for certain"

    def finish(self) -> None:
        """Record what was found whole and is not recorded yet, and that the share was read, if it was."""
        if self.recorder is None:
            return
        options = self._options
        if options.structure_only or options.older_than is not None or self.packs.left.packs:
            self.recorder.flush()
        else:
            self.recorder.finish(options.share)

    def mark(self) -> None:
        """Write down what came of it, if that is wanted, is certain, and anybody would believe it."""
        if not (self._options.mark and self.is_settled) or self._repository.role is Role.WRITER:
            return
        needed = [problem for problem in self.problems if problem.object.startswith(("snapshot ", *PACKS))]
        self.marker.mark_damaged(self.snapshots, needed)
        if not self._options.is_partial:
            self.marker.mark_whole(self.snapshots, self.problems)

    def notes(self) -> list[str]:
        """What could not be written down, or is not certain."""
        if self._options.record and self._repository.role is Role.WRITER:
            self._notes.append("what a writer key verified is not recorded: only owners and stewards are believed")
        if self.recorder is not None and self.recorder.failure:
            self._notes.append(f"what was verified could not be recorded: {self.recorder.failure}")
        return list(dict.fromkeys(self._notes))

    def _prunes(self) -> set[str]:
        """What changes when a prune gets on."""
        storage = self._repository.storage
        return {item.name for folder in (GENERATIONS, MANIFESTS) for item in storage.objects(folder)}

    def _has_deleted(self) -> bool:
        """Whether a prune deleted anything since all was listed: it takes its time for what it has said before."""
        folders = (*PACKS, DELTAS, SEGMENTS)
        now = {item.name for folder in folders for item in self._repository.storage.objects(folder)}
        return any(name.startswith(folders) for name in self._listed - now)

    def _look(self) -> None:
        """Snapshots are listed first, then the index, then all objects: a backup that ends meanwhile is no damage."""
        self.problems, self.warnings = [], []
        inspector = Inspector(self._repository)
        self._repository.ignore_cache()
        self.snapshots = self._needed_snapshots()
        has_index = self._guard("index/", self._repository.uncached_reader)
        found = sorted(self._repository.storage.objects(), key=lambda item: item.name)
        there = [item for item in found if inspector.is_pack(item.name)]
        others = [item for item in found if not inspector.is_pack(item.name)]
        chosen = self._choose(self._needed(there) if has_index else there)
        if not self.seen:
            self._operation.progress.start("verify", sum(item.size for item in (*others, *chosen)))
        for item in others:
            self._check_object(inspector, item)
        self._listed = names = {item.name for item in found}
        self._check_commits(names)
        for name in missing_generations(names):
            self.problems.append(Problem(name, "is missing, and later records of prunes say that there was one"))
        for name in self._repository.access.damaged:
            if name not in names:
                self.problems.append(
                    Problem(name, "is missing: without it nothing can be written; see `lamina repair`")
                )
        self.packs.look(there, chosen)
        if has_index:
            self._check_needed(there)
            return
        # what the snapshots need cannot be looked up
        everyone = tuple(snapshot.id.hex() for snapshot in self.snapshots)
        self.problems.append(Problem("index/", "cannot be read, so that nothing can be restored", everyone))
        self.problems += self.packs.problems

    def _needed_snapshots(self) -> list[Snapshot]:
        """All but those that a prune under way buries: what only they need may be gone already."""
        access = self._repository.access
        try:
            prune = newest_generation(access.storage, access.control)
        except FAULTS:  # that is said of its record
            prune = None
        burying = set(prune.opened.buried) if prune is not None and prune.closed is None else set()
        chosen = self._options.snapshots
        return [
            one
            for one in self._repository.snapshots(removed=True)
            if (not one.removed or one.id not in burying) and (not chosen or one.id in chosen)
        ]

    def _needed(self, there: Sequence[StoredObject]) -> Sequence[StoredObject]:
        """The packs that the chosen snapshots need; all, if nobody knows."""
        if not self._options.snapshots:
            return there
        try:
            needed = needed_packs(self._repository, self.snapshots, self._operation)
        except (PruneRefused, *FAULTS) as error:
            self._notes.append(f"every pack is read, because {error.message}")
            return there
        return [item for item in there if pack_id(item.name) in needed]

    def _choose(self, there: Sequence[StoredObject]) -> Sequence[StoredObject]:
        """The packs to be read, in order."""
        if not self._options.is_partial and self.recorder is None:
            return there
        if self._options.is_partial and self._chosen:  # a second look reads no second share
            names = {item.name for item in there}
            return [item for item in self._chosen if item.name in names]
        self._coverage.keep_only(pack_id(item.name) for item in there)
        depth, known = depth_of(self._repository.role), self._coverage
        history = History(lambda item: known.verified(pack_id(item.name), depth), known.runs(depth))
        self._chosen = choose_packs(there, self._options, history, self._begun)
        return self._chosen

    def _check_object(self, inspector: Inspector, item: StoredObject) -> None:
        self._operation.check_stop()
        if item.name in self._whole:
            return
        if item.name not in self.seen:
            self.seen.add(item.name)
            self.bytes += item.size
            self._operation.progress.advance(read=item.size)
        if not inspector.is_known(item.name):
            self.warnings.append(Problem(item.name, "does not belong to a repository; it was not looked at"))
        elif self._guard(item.name, lambda: inspector.check(item.name)):
            self._whole.add(item.name)
            if item.name.startswith(_SAY_COMMITTED):
                self._committed.setdefault(item.name.split("/")[1], item.name)

    def _check_commits(self, listed: set[str]) -> None:
        """What other records say was committed must be there, unless a prune buried it."""
        for snapshot in self.snapshots:
            if snapshot.parent is not None:
                self._committed.setdefault(snapshot.parent.hex(), snapshot_name(snapshot.id))
            start = start_name(snapshot.id)
            if start not in listed:
                what = f"is missing, and {snapshot_name(snapshot.id)} says that there was one"
                self.problems.append(Problem(start, what, (snapshot.id.hex(),)))
        storage, control = self._repository.storage, self._repository.access.control
        for session, witness in self._committed.items():
            name = SNAPSHOTS + session
            if name not in listed and buried_by(storage, control, SessionId(bytes.fromhex(session))) is None:
                self.problems.append(Problem(name, f"is missing, and {witness} says that it was committed", (session,)))

    def _guard(self, name: str, check: Callable[[], object]) -> bool:
        """Whether *check* finds nothing wrong."""
        try:
            check()
            return True
        except RecordForged as error:
            what = f"{error.message}; whoever put it there is no friend of yours"
        except FAULTS as error:
            what = error.message
        itself = (name.removeprefix(SNAPSHOTS),) if name.startswith(SNAPSHOTS) else ()
        self.problems.append(Problem(name, what, itself))
        return False

    def _check_needed(self, there: Sequence[StoredObject]) -> None:
        """Compare packs with the index, and follow what the snapshots need; name for every damaged object who needs it."""
        problems, strays = self.packs.compare(there)
        self.warnings += strays
        reachability = Reachability(self._repository, self.packs.health.is_whole)
        for snapshot in self.snapshots:
            self._operation.check_stop()
            for where, what in reachability.check(snapshot):
                self.problems.append(Problem(where, what, (snapshot.id.hex(),)))
        for problem in with_snapshots([*self.packs.problems, *problems], reachability.affected()):
            if self.packs.is_superseded(problem):
                self.warnings.append(
                    Problem(
                        problem.object,
                        f"{problem.what}; there are whole copies of what is lost in it: `lamina repair` copies the rest,"
                        " and then a prune removes it",
                    )
                )
            else:
                self.problems.append(problem)
