"""In which order snapshots were made, although clocks lie. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime
from heapq import heappop, heappush

from lamina.model.ids import SessionId
from lamina.model.snapshots import Snapshot


def in_order(snapshots: Iterable[Snapshot]) -> list[Snapshot]:
    """Oldest first, by the clocks of those who made them; but none before its parent, whatever a clock said."""
    left = {snapshot.id: snapshot for snapshot in snapshots}
    children: defaultdict[SessionId, list[Snapshot]] = defaultdict(list)
    ready: list[tuple[datetime, SessionId]] = []
    for snapshot in left.values():
        if snapshot.parent is not None and snapshot.parent in left and snapshot.parent != snapshot.id:
            children[snapshot.parent].append(snapshot)
        else:
            heappush(ready, (snapshot.started, snapshot.id))
    ordered: list[Snapshot] = []
    while ready:
        snapshot = left.pop(heappop(ready)[1])
        ordered.append(snapshot)
        for child in children[snapshot.id]:
            heappush(ready, (child.started, child.id))
    return ordered + sorted(left.values(), key=lambda one: (one.started, one.id))  # liars in a circle


def heads(snapshots: Sequence[Snapshot], name: str) -> list[Snapshot]:
    """The snapshots of *name* that are no other's parent, in order: one, unless runs were at work at the same time."""
    named = [snapshot for snapshot in snapshots if snapshot.name == name]
    parents = {snapshot.parent for snapshot in named}
    return [snapshot for snapshot in named if snapshot.id not in parents]
