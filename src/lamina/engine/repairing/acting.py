"""Carry out what a repair planned: each step only adds objects."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from lamina.engine.copying.names import KnownNames
from lamina.engine.copying.trees import TreeCopy
from lamina.engine.repairing.donors import Donor, find_chunk
from lamina.engine.repairing.findings import REPAIRED, LostContent, PlannedCopy, RepairOptions, RepairPlan
from lamina.engine.repairing.mirror import pack_blobs
from lamina.engine.repairing.planning import View, donors_for, loss
from lamina.engine.repairing.survey import FAULTS
from lamina.engine.verifying.findings import Problem
from lamina.errors import ObjectExists
from lamina.filters.pipeline import compression_level
from lamina.model.ids import ChunkId, SessionId
from lamina.model.operation import Operation
from lamina.model.snapshots import Snapshot, Trust
from lamina.repository.adoption import Adoption, adopt_packs
from lamina.repository.repository import Repository
from lamina.repository.salvage import KnownKeys, PackSalvage
from lamina.repository.sessions import Session, SnapshotFacts
from lamina.repository.trees import get_entry
from lamina.repository.writer import EncodingOptions


class Acting:
    """One repair under way."""

    def __init__(self, repository: Repository, plan: RepairPlan, options: RepairOptions, operation: Operation) -> None:
        self._repository = repository
        self._plan = plan
        self._options = options
        self._operation = operation
        self._mirror = plan.helpers.mirror_of(repository)
        self.failed: list[Problem] = []
        self.fetched: list[str] = []
        self.put = 0  # chunks

    def fetch(self) -> None:
        """Put back what a mirror has and this storage lacks. Raises: StorageError."""
        for name in (*self._plan.mirror.records, *self._plan.mirror.packs):
            self._operation.check_stop()
            assert self._mirror is not None  # noqa: S101 - else nothing of it is planned
            try:
                self._repository.storage.put(name, [self._mirror.storage.get(name)])
                self.fetched.append(name)
            except (*FAULTS, ObjectExists) as error:
                self.failed.append(Problem(name, error.message))

    def adopt(self) -> int:
        """Add packs to the index, in a session of its own. Raises: StorageError, Damaged, RepositoryError."""
        if not self._plan.adopt and self._plan.is_index_whole:
            return 0
        announced = self._repository.announce(self._options.process, self._operation)
        session = SessionId(announced.keys.content_entry.session)
        told = Adoption(self._plan.survey.index.tables(), self._plan.adopt, self._plan.gone)
        return len(adopt_packs(self._repository.access, session, told))

    def fill(self) -> None:
        """Store anew what could be saved or found. Raises: StorageError, SessionAborted, Stopped."""
        plan = self._plan
        if not (plan.rescue or plan.mirror.replaced or plan.found or plan.copies):
            return
        with self.session() as session:
            self._rescue(session)
            self._take_from_mirror(session)
            self._put_found(session)
            for copy in plan.copies:
                self._copy(session, copy)
            session.writer.flush()
            session.give_up()  # publishes what was stored: it counts although the session ends undecided
            self._remember(plan)

    def rewrite(self, view: View, snapshot: Snapshot) -> LostContent:
        """Make a new snapshot of what is left of one. Raises: StorageError, SessionAborted, Stopped, Damaged."""
        with self.session() as session:
            session.rely_on(self._repository.parent(snapshot))
            lost, root = loss(view, snapshot, session.writer, self._operation)
            session.commit(self._facts(snapshot, root, session))
        made = self._repository.get_snapshot(session.id)
        note = f"what is left of {snapshot.short_id}: something of {lost.entries} entries is lost"
        self._repository.edit(made, trust=Trust.DISTRUSTED, note=f"{snapshot.note}; {note}" if snapshot.note else note)
        return LostContent(snapshot, lost.entries, lost.bytes, lost.flaws, session.id)

    @contextmanager
    def session(self) -> Iterator[Session]:
        """A session that refers to nothing that was not just seen to be whole."""
        encoding = EncodingOptions(compression_level(self._options.compression), check=True, heal=True)
        session = self._repository.begin(self._options.process, encoding, self._operation)
        try:
            yield session
        finally:
            session.close()

    def _rescue(self, session: Session) -> None:
        """Copy blobs out of damaged packs, as they lie there."""
        salvage = PackSalvage(self._repository.access, KnownKeys())
        for saved in self._plan.rescue:
            self._operation.check_stop()
            blob = self._repository.storage.get_range(saved.name, saved.offset, saved.header.stored_size)
            session.writer.add_sealed(salvage.sealed(blob, saved), saved.entry)

    def _take_from_mirror(self, session: Session) -> None:
        """Copy packs whose names are taken by damaged ones, blob by blob."""
        for name in self._plan.mirror.replaced:
            assert self._mirror is not None  # noqa: S101 - else nothing of it is planned
            try:
                for _, sealed, entry in pack_blobs(self._mirror, name):
                    self._operation.check_stop()
                    session.writer.add_sealed(sealed, entry)
            except FAULTS as error:
                self.failed.append(Problem(name, error.message))

    def _put_found(self, session: Session) -> None:
        """Store chunks that a copy or the source has; they come in the order of snapshots."""
        donors: list[Donor] = []
        copy: Snapshot | None = None
        for found in self._plan.found:
            self._operation.check_stop()
            if not donors or found.copy is not copy:
                donors, copy = donors_for(self._plan.helpers, self._repository, found.copy), found.copy
            content = find_chunk(donors, self._repository, found.chunk, found.pieces)
            if content is None:
                what = "was found elsewhere, and is not there any more"
                self.failed.append(Problem(f"chunk {found.chunk.hex()}", what))
                self._plan.survey.index.forget(found.chunk)
            else:
                session.writer.put_data(found.chunk, content)

    def _copy(self, session: Session, planned: PlannedCopy) -> None:
        """Bring directories and lists of chunks across: what has the same content gets the same id."""
        other = self._plan.helpers.other_than(self._repository)
        assert other is not None  # noqa: S101 - else nothing of it is planned
        names = KnownNames()
        trees = TreeCopy(other, session, names, self._operation)
        try:
            for path in (*planned.directories, *planned.streams):
                entry = get_entry(other.reader(), planned.copy.root, path)
                if entry.child is not None:
                    trees.copy(entry.child, None)
                elif entry.content is not None:
                    trees.copy_content(entry.content)
        except FAULTS as error:
            self.failed.append(Problem(f"snapshot {planned.snapshot.short_id}", error.message))
        finally:
            trees.close()
            names.close()

    def _remember(self, plan: RepairPlan) -> None:
        """Let what was stored be seen by what follows."""
        for chunk, place in self._repository.index.added():
            plan.survey.index.put(chunk, place)
            self.put += 1

    def _facts(self, snapshot: Snapshot, root: ChunkId, session: Session) -> SnapshotFacts:
        return SnapshotFacts(
            root=root,
            size=snapshot.size,
            read=session.writer.counts.new,
            partial=True,
            name=snapshot.name or "",
            host=snapshot.host,
            program=self._options.program,
            paths=snapshot.paths,
            tags=snapshot.tags | {REPAIRED},
            expires=snapshot.expires,
            users=snapshot.users,
            groups=snapshot.groups,
            started=snapshot.started,
            finished=snapshot.finished,
            copied_from=snapshot.copied_from,
        )
