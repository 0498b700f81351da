"""Say in the repository which snapshots are damaged, and which were found whole."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

from lamina.engine.verifying.findings import Problem
from lamina.engine.verifying.recorder import depth_of
from lamina.errors import RepositoryError, StorageError
from lamina.model.snapshots import Role, Snapshot, Trust
from lamina.repository.coverage import Depth
from lamina.repository.repository import Repository

NAMED = 3  # objects in a note


class Marker:
    """Changes the trust of snapshots; what cannot be written down is told, and changes nothing else."""

    def __init__(self, repository: Repository, tell: Callable[[str], None]) -> None:
        self.distrusted: list[str] = []
        self.verified: list[str] = []
        self._repository = repository
        self._tell = tell

    def mark_damaged(self, snapshots: Iterable[Snapshot], problems: Sequence[Problem]) -> None:
        """Distrust the snapshots that *problems* affect; one that is already stays so until somebody looks as deep as now."""
        objects, depth = _objects(problems), depth_of(self._repository.role)
        for snapshot in snapshots:
            found = objects.get(snapshot.id.hex())
            if not found or snapshot.removed:
                continue
            if snapshot.trust is not Trust.DISTRUSTED:
                if self._edit(snapshot, Trust.DISTRUSTED, depth, _note(snapshot, found)):
                    self.distrusted.append(snapshot.id.hex())
            elif 0 < snapshot.damaged < depth:
                self._edit(snapshot, Trust.DISTRUSTED, depth, None)

    def mark_whole(self, snapshots: Iterable[Snapshot], problems: Sequence[Problem]) -> None:
        """Say that snapshots are whole, all of whose packs were read: only an owner knows that of their content.

        A snapshot that differs from its source stays distrusted. One that was damaged is not any more if whoever looks now
        looks as deep as who found that.
        """
        hit = {snapshot for problem in problems for snapshot in problem.snapshots}
        for snapshot in snapshots:
            trust = _trust_if_whole(snapshot, self._repository.role)
            if snapshot.removed or snapshot.id.hex() in hit or trust is snapshot.trust:
                continue
            if self._edit(snapshot, trust, 0, None) and trust is Trust.VERIFIED:
                self.verified.append(snapshot.id.hex())

    def _edit(self, snapshot: Snapshot, trust: Trust, depth: int, note: str | None) -> bool:
        try:
            self._repository.edit(snapshot, trust=trust, damaged=depth, note=note)
        except (StorageError, RepositoryError) as error:
            self._tell(f"snapshot {snapshot.short_id} could not be marked as {trust.value}: {error.message}")
            return False
        return True


def _trust_if_whole(snapshot: Snapshot, role: Role) -> Trust:
    """What a snapshot is whose every pack was read and found whole with a key of *role*."""
    if snapshot.trust is Trust.DISTRUSTED and not 0 < snapshot.damaged <= depth_of(role):
        return Trust.DISTRUSTED
    if depth_of(role) is Depth.CONTENT:
        return Trust.VERIFIED
    return Trust.FRESH if snapshot.trust is Trust.DISTRUSTED else snapshot.trust


def _objects(problems: Sequence[Problem]) -> Mapping[str, list[str]]:
    """The objects that are damaged, by the snapshots that need them."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for problem in problems:
        for snapshot in problem.snapshots:
            found[snapshot].append(problem.object)
    return found


def _note(snapshot: Snapshot, objects: Sequence[str]) -> str | None:
    """What is said of a damaged snapshot, beside what was said before; nothing where this key cannot write names."""
    if not snapshot.readable:
        return None
    named = [one for one in dict.fromkeys(objects) if not one.startswith("snapshot ")] or list(objects)
    more = f" and {len(named) - NAMED} more" if len(named) > NAMED else ""
    said = f"damaged: {', '.join(named[:NAMED])}{more}"
    return f"{snapshot.note}; {said}" if snapshot.note else said
