"""What people want with snapshots: they forget, regret, protect; and one is a thief. The oracle is told what they were promised."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from lamina.errors import Damaged, ObjectExists, RepositoryError, SnapshotMissing, UsageError
from lamina.model.snapshots import Snapshot
from lamina.repository.attributes import names_of, next_name
from lamina.repository.format import Kind
from lamina.repository.object_names import REMOVALS
from lamina.repository.records import RemovalRecord
from lamina.repository.repository import Repository
from tests.simulation.oracle import Oracle, Promise
from tests.simulation.scheduler import Client


@dataclass
class People:
    """Whoever changes what becomes of snapshots."""

    oracle: Oracle

    def keep(self, client: Client, repository: Repository) -> None:
        """Forget some snapshots, bring others back, protect one now and then."""
        chance = client.chance
        snapshots = [one for one in repository.snapshots(removed=True) if one.id in self.oracle.saved]
        if not snapshots:
            return
        many = len(snapshots) if chance.random() < 0.5 else chance.randint(1, 3)  # now and then nearly all
        chosen = chance.sample(snapshots, min(len(snapshots), many))
        if chance.random() < 0.5:
            chosen = [*snapshots[-1:], *chosen[1:]]  # what came last is what was a mistake
        for snapshot in chosen:
            do = chance.choices((self._forget, self._unforget, self._protect, self._unprotect), (16, 4, 1, 1))[0]
            do(repository, snapshot)

    def _forget(self, repository: Repository, snapshot: Snapshot) -> None:
        kept = self.oracle.saved[snapshot.id].kept
        kept.begin_break()
        try:
            repository.forget(snapshot)
        except UsageError:
            self.oracle.counts["too protected to forget"] += 1
        except ObjectExists:
            self.oracle.counts["failed to keep"] += 1
        except (SnapshotMissing, Damaged):
            raise
        except RepositoryError:  # it was protected meanwhile, and a prune may have been faster
            self.oracle.counts["too late to unforget"] += 1
        finally:
            kept.end_break()

    def _unforget(self, repository: Repository, snapshot: Snapshot) -> None:
        self._promise(self.oracle.saved[snapshot.id].kept, "unforget", repository.unforget, snapshot)

    def _protect(self, repository: Repository, snapshot: Snapshot) -> None:
        self._promise(self.oracle.saved[snapshot.id].protected, "protect", repository.protect, snapshot)

    def _unprotect(self, repository: Repository, snapshot: Snapshot) -> None:
        protected = self.oracle.saved[snapshot.id].protected
        protected.begin_break()
        try:
            repository.protect(snapshot, protected=False)
        finally:
            protected.end_break()

    def _promise(self, promise: Promise, what: str, call: Callable[[Snapshot], object], snapshot: Snapshot) -> None:
        """It counts if the program says so; a prune may have been faster, and then it must say that."""
        begun = promise.begin()
        try:
            call(snapshot)
        except Damaged:
            raise
        except RepositoryError:
            self.oracle.counts[f"too late to {what}"] += 1
        else:
            self.oracle.counts[f"{what}s"] += promise.renew(begun)

    def forge_removal(self, repository: Repository, snapshot: Snapshot) -> None:
        """Put a tombstone that is signed by a writer's key."""
        name = next_name(REMOVALS, snapshot.id, names_of(repository.storage, REMOVALS, snapshot.id), after=0)
        self.oracle.forged.add(name)
        repository.access.control.write(Kind.REMOVAL, name, RemovalRecord(removed=True, time=0))
