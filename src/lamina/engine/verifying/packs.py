"""Read packs, as many as a verify chose, and compare them with the index."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from lamina.engine.threads import each
from lamina.engine.verifying.findings import Amount, Problem
from lamina.engine.verifying.health import Health, held_by
from lamina.engine.verifying.recorder import Recorder
from lamina.engine.verifying.selection import VerifyOptions
from lamina.errors import Damaged, FormatUnknown, ObjectMissing, ObjectTruncated
from lamina.model.ids import ChunkId, PackId
from lamina.model.operation import Operation
from lamina.model.snapshots import Role
from lamina.repository.inspection import Inspector, PackContent
from lamina.repository.object_names import PACKS, pack_id
from lamina.repository.repository import Repository
from lamina.repository.tables import ChunkPlace, Pack
from lamina.storage.storage import StoredObject

FAULTS = (Damaged, FormatUnknown, ObjectMissing, ObjectTruncated)  # of one object
IS_MISSING = "is missing, and the index says that it holds chunks"

_Held = dict[PackId, list[tuple[ChunkId, ChunkPlace]]]


class Packs:
    """The packs of one verify, and what is known of them."""

    def __init__(
        self, repository: Repository, options: VerifyOptions, recorder: Recorder | None, operation: Operation
    ) -> None:
        self.health = Health()
        self.chunks = 0
        self.sizes: dict[PackId, int] = {}  # of all that are there
        self.read: dict[PackId, int] = {}  # bytes of those that were read
        self.left = Amount()
        self._found: dict[PackId, list[Problem]] = {}  # of those that were read
        self._held: _Held = {}  # what the index says of those that are damaged or missing
        self._missing: set[PackId] = set()
        self._repository = repository
        self._options = options
        self._recorder = recorder
        self._operation = operation
        self._begun = operation.clock.monotonic()

    @property
    def problems(self) -> Iterator[Problem]:
        """What is wrong with those that were read and are still there."""
        for pack, found in self._found.items():
            if pack in self.sizes:
                yield from found

    def look(self, there: Sequence[StoredObject], chosen: Sequence[StoredObject]) -> None:
        """Read those that were *chosen*, and not found whole before."""
        self.sizes = {pack_id(item.name): item.size for item in there}
        todo = [item for item in chosen if self._found.get(pack_id(item.name), True)]
        inspector = Inspector(self._repository)
        for item, content in self._contents(inspector, self._within_limits(todo)):
            self._take(item, content)
        self.health.unread = self.sizes.keys() - self.read.keys()

    def compare(self, there: Sequence[StoredObject]) -> tuple[list[Problem], list[Problem]]:
        """Whether every pack of the index is there and holds just what the index says: problems, and left-overs.

        Raises: StorageError.
        """
        problems: list[Problem] = []
        marks: Counter[PackId] = Counter()
        indexed: dict[PackId, Pack] = {}
        for pack, mark in self._repository.index.pack_marks():
            indexed[pack.id] = pack
            marks[pack.id] += mark
        good = self.health.good
        doubtful = self._repository.index.is_doubtful  # a prune may have deleted what an aborted session stored
        self._missing = {pack for pack in indexed.keys() - self.sizes.keys() if not doubtful(pack)}
        for pack in indexed.values():
            if pack.id in self._missing:
                problems.append(Problem(pack.name, IS_MISSING))
            elif pack.id in good and good[pack.id] != marks[pack.id]:
                problems += self._compare_rows(pack)
            elif pack.id in self.health.unread and self.sizes[pack.id] != pack.size:
                self.health.unread.discard(pack.id)
                what = f"has {self.sizes[pack.id]} bytes, and the index says {pack.size}"
                problems.append(Problem(pack.name, what))
        stray = [item.name for item in there if self._is_stray(pack_id(item.name), indexed)]
        what = "is in no index: a run that was stopped or is still going put it there; no snapshot needs it"
        self._save_blobs()
        return problems, [Problem(name, what) for name in stray]

    def is_superseded(self, problem: Problem) -> bool:
        """Whether a damaged or missing pack costs nothing any more: of what is lost in it there are whole copies."""
        if problem.snapshots or not problem.object.startswith(PACKS):
            return False
        pack = pack_id(problem.object)
        if pack in self.health.good or pack not in self._held:
            return False
        index, health = self._repository.index, self.health
        lost = [chunk for chunk, place in self._held[pack] if not health.is_whole(chunk, place)]
        return any(health.has_whole_copy(index, chunk) for chunk in lost)

    def _is_stray(self, pack: PackId, indexed: dict[PackId, Pack]) -> bool:
        """Whether a pack is not damaged, and holds something that the index does not know."""
        return pack not in indexed and (pack in self.health.unread or bool(self.health.good.get(pack)))

    def _within_limits(self, packs: Sequence[StoredObject]) -> Iterator[StoredObject]:
        """*packs*, as long as there is time, and bytes may be read."""
        limit_s, limit = self._options.max_time, self._options.max_read
        read = sum(self.read.values())
        for number, item in enumerate(packs):
            elapsed = self._operation.clock.monotonic() - self._begun
            is_late = limit_s is not None and elapsed >= limit_s.total_seconds()
            if is_late or (limit is not None and read + item.size > limit):
                self.left = Amount(len(packs) - number, sum(one.size for one in packs[number:]))
                return
            read += item.size
            yield item

    def _contents(
        self, inspector: Inspector, packs: Iterable[StoredObject]
    ) -> Iterator[tuple[StoredObject, PackContent | str]]:
        """What is in each, or why it cannot be read."""

        def read(item: StoredObject) -> tuple[StoredObject, PackContent | str]:
            self._operation.check_stop()
            try:
                return item, inspector.check_pack(item.name)
            except FAULTS as error:
                return item, error.message
            finally:
                self._operation.progress.advance(read=item.size)

        if not self._options.threads:
            yield from map(read, packs)
            return
        with ThreadPoolExecutor(self._options.threads, thread_name_prefix="verify") as executor:
            yield from each(executor, read, packs, self._operation)

    def _take(self, item: StoredObject, content: PackContent | str) -> None:
        pack = pack_id(item.name)
        self.read[pack] = item.size
        if isinstance(content, str):
            self._found[pack] = [Problem(item.name, content)]
            return
        self.chunks += len(content.rows)
        self.health.take(content)
        found = [Problem(item.name, what) for what in (*content.bad.values(), *content.faults)]
        self._found[pack] = found
        if not found and self._recorder is not None:
            self._recorder.note(pack, item.size)

    def _compare_rows(self, pack: Pack) -> list[Problem]:
        """What the index says of an intact pack that is not so."""
        try:
            rows = Inspector(self._repository).check_pack(pack.name).rows
        except FAULTS as error:
            return [Problem(pack.name, error.message)]
        held = {(row.id, row.offset, row.stored_size, row.plain_size) for row in rows}
        said = set(self._repository.index.rows_of(pack.id))
        self.health.bad_blobs.update((row[0], pack.id) for row in said - held)
        if said == held:
            return []
        wrong, unsaid = len(said - held), len(held - said)
        what = f"the index lists {wrong} chunks that it does not hold, and leaves out {unsaid} that it holds"
        return [Problem(pack.name, what)]

    def _save_blobs(self) -> None:
        """Find what can still be read of packs that are damaged; only an owner sees that of content."""
        damaged = {pack for pack in self.read if pack not in self.health.good and pack in self.sizes}
        self._held = held_by(self._repository.index, damaged | self._missing) if damaged or self._missing else {}
        if self._repository.role is not Role.OWNER:
            return
        inspector = Inspector(self._repository)
        for pack in damaged:
            for chunk, place in self._held.get(pack, ()):
                self._operation.check_stop()
                try:
                    inspector.check_place(chunk, place)
                except FAULTS:
                    continue
                self.health.saved_blobs.add((chunk, pack))
