"""Which packs some snapshots need."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing

from lamina.model.ids import PackId
from lamina.model.operation import Operation
from lamina.model.snapshots import Snapshot
from lamina.repository.index import Index
from lamina.repository.liveness import Liveness
from lamina.repository.pack_use import list_packs, survey
from lamina.repository.repository import Repository


def needed_packs(repository: Repository, snapshots: Iterable[Snapshot], operation: Operation) -> frozenset[PackId]:
    """Every pack with a copy of anything that *snapshots* need.

    Raises: PruneRefused if some of their metadata cannot be read, so that nobody knows; Damaged, StorageError, Stopped.
    """
    access = repository.access
    with closing(Index(None, operation.progress.message)) as index:
        index.load(access.storage, access.control)
        index.join()
        live = Liveness(access, index, operation.check_stop)
        for snapshot in snapshots:
            live.mark(snapshot.root)
        uses = survey(index.join(), live, list_packs(access.storage), trust_copies=False)
        return frozenset(one.id for one in uses if not one.is_empty)
