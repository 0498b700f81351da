"""Which packs some snapshots need."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing

from lamina.model.ids import PackId
from lamina.model.operation import Operation
from lamina.model.snapshots import Snapshot
from lamina.repository.index import Index
from lamina.repository.liveness import Liveness
from lamina.repository.repository import Repository


def needed_packs(repository: Repository, snapshots: Iterable[Snapshot], operation: Operation) -> frozenset[PackId]:
    """Every pack of the index with a copy of anything that *snapshots* need, whether or not it is there.

    Raises: PruneRefused if some of their metadata cannot be read, so that nobody knows; Damaged, StorageError, Stopped.
    """
    access = repository.access
    with closing(Index(None, operation.progress.message)) as index:
        index.load(access.storage, access.control)
        table = index.join()
        live = Liveness(access, index, operation.check_stop)
        for snapshot in snapshots:
            live.mark(snapshot.root)
        needed: set[PackId] = set()
        previous, is_needed = b"", False
        for ordinal, (chunk, pack, *_) in enumerate(table.rows() if table is not None else ()):
            if chunk != previous:  # only the first place of a chunk is marked
                previous, is_needed = chunk, live.is_marked(ordinal)
            if is_needed and table is not None:
                needed.add(table.packs[pack].id)
        return frozenset(needed)
