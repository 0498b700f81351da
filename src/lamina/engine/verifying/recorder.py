"""Say in the repository, as a verify goes on, which packs were found whole."""

from __future__ import annotations

from datetime import datetime
from fractions import Fraction

from lamina.errors import RepositoryError, StorageError
from lamina.model.ids import PackId
from lamina.model.operation import Operation
from lamina.model.snapshots import Role
from lamina.repository.coverage import Coverage, Depth
from lamina.repository.repository import Repository

EVERY_BYTES = 8 << 30  # of packs: what a run that is killed has to check again
EVERY_S = 300.0


def depth_of(role: Role) -> Depth:
    """How deep a key of *role* checks packs."""
    return Depth.CONTENT if role is Role.OWNER else Depth.BYTES


class Recorder:
    """Collects packs that were found whole, and records them now and then."""

    def __init__(self, repository: Repository, coverage: Coverage, begun: datetime, operation: Operation) -> None:
        """*begun*: when the run did, and what is recorded; what came later was not seen."""
        self.done = False  # something was recorded
        self.failure = ""  # why nothing more is
        self._repository = repository
        self._coverage = coverage
        self._begun = begun
        self._clock = operation.clock
        self._packs: list[PackId] = []
        self._bytes = 0
        self._last = operation.clock.monotonic()

    def note(self, pack: PackId, size: int) -> None:
        """A pack was found whole."""
        self._packs.append(pack)
        self._bytes += size
        if self._bytes >= EVERY_BYTES or self._clock.monotonic() - self._last >= EVERY_S:
            self.flush()

    def flush(self) -> None:
        """Record what was found whole; if that fails, it only has to be checked again."""
        if self._packs:
            self._record(None)

    def finish(self, share: Fraction) -> None:
        """Record the rest, and that a *share* of all packs was read."""
        self._record(share)

    def _record(self, share: Fraction | None) -> None:
        packs, self._packs, self._bytes = self._packs, [], 0
        self._last = self._clock.monotonic()
        if self.failure:
            return
        try:
            depth = depth_of(self._repository.role)
            self._coverage.record(self._repository.access, packs, depth, self._begun, share)
            self.done = True
        except (StorageError, RepositoryError) as error:
            self.failure = error.message
