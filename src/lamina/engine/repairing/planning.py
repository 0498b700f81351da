"""What is broken, and what can be done about it; nothing is written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lamina.engine.reachable import Reachability
from lamina.engine.repairing.donors import CopyDonor, Donor, SourceDonor, find_chunk, same_origin
from lamina.engine.repairing.findings import REPAIRED, FoundChunk, Helpers, LostContent, PlannedCopy
from lamina.engine.repairing.mirror import Overlay
from lamina.engine.repairing.parts import nodes_left
from lamina.engine.repairing.rewriting import TreeRewrite
from lamina.engine.repairing.survey import FAULTS, Survey
from lamina.engine.repairing.wanted import Wanted, find_wanted
from lamina.engine.verifying.findings import Problem
from lamina.errors import ChunkMissing, RecordForged
from lamina.model.ids import ChunkId, PackId
from lamina.model.operation import Operation
from lamina.model.snapshots import Snapshot
from lamina.repository.format import Kind
from lamina.repository.inspection import Inspector, kinds_of
from lamina.repository.object_names import META
from lamina.repository.records import KeyEntry
from lamina.repository.repository import Repository
from lamina.repository.salvage import SavedBlob
from lamina.repository.streams import ChunkPutter
from lamina.repository.tables import ChunkPlace

_PROMISED = PackId(bytes(32))  # where chunks will be that are found elsewhere


@dataclass(slots=True)
class View:
    """A repository as it is, or would be after a repair."""

    repository: Repository  # to read from
    survey: Survey
    reachability: Reachability

    def is_there(self, chunk: ChunkId) -> bool:
        """Whether a chunk can be read, or will be."""
        return next(self.survey.index.places(chunk), None) is not None

    def is_whole(self, snapshot: Snapshot) -> bool:
        """Whether all of a snapshot can be restored."""
        return self.reachability.is_whole_below(snapshot.root)


def look(repository: Repository, survey: Survey, rescue: Sequence[SavedBlob], mirror: Overlay | None) -> View:
    """See the repository through what was found in its packs, and nothing else."""
    for blob in rescue:
        if next(survey.index.places(blob.header.id), None) is None:
            survey.index.put(blob.header.id, _place(blob))
    seen = repository.through(survey.index, mirror if mirror is not None else repository.storage)
    for pack, table in _key_tables(rescue).items():
        seen.reader().know_keys(pack, table)
    return View(seen, survey, Reachability(seen, _anything))


def broken_objects(repository: Repository, operation: Operation) -> Iterator[Problem]:
    """Every object but packs that is not as it should be. Raises: StorageError, Stopped."""
    inspector = Inspector(repository)
    for item in sorted(repository.storage.objects(), key=lambda item: item.name):
        if not inspector.is_known(item.name) or kinds_of(item.name) == {Kind.PACK}:
            continue
        operation.check_stop()
        try:
            inspector.check(item.name)
        except RecordForged:
            continue  # nobody believes it, so nothing is lost by it
        except FAULTS as error:
            yield Problem(item.name, error.message)


def needed_blobs(survey: Survey) -> tuple[SavedBlob, ...]:
    """What lies in damaged packs and nowhere else, each once."""
    found: dict[ChunkId, SavedBlob] = {}
    for damaged in survey.damaged:
        for blob in damaged.saved:
            if next(survey.index.places(blob.header.id), None) is None:
                found.setdefault(blob.header.id, blob)
    return tuple(found.values())


def damaged_snapshots(view: View, snapshots: Sequence[Snapshot], operation: Operation) -> list[Snapshot]:
    """Those that lack something, unless an earlier repair made a new one of them that is whole."""
    found = []
    for snapshot in snapshots:
        operation.check_stop()
        if not view.is_whole(snapshot):
            found.append(snapshot)
    lost = {one.id for one in found}
    mended = {one.parent for one in snapshots if REPAIRED in one.tags and one.id not in lost}
    return [one for one in found if one.id not in mended]


@dataclass(slots=True)
class Search:
    """Looks for what is lost where helpers may have it."""

    repository: Repository
    helpers: Helpers
    view: View
    operation: Operation

    def find(self, snapshots: Sequence[Snapshot]) -> tuple[list[FoundChunk], list[PlannedCopy]]:
        """The chunks that somebody has, which count as there from now on; and what has to be copied as a whole."""
        found: list[FoundChunk] = []
        copies: list[PlannedCopy] = []
        other = self.helpers.other_than(self.repository)
        theirs = other.snapshots() if other is not None else []
        for snapshot in snapshots:
            wanted = find_wanted(
                self.view.repository.reader(), self.view.reachability, self.view.is_there, snapshot.root
            )
            copy = same_origin(self.repository, snapshot, other, theirs) if other is not None else None
            found += self._find_chunks(copy, wanted)
            if copy is not None and (wanted.directories or wanted.streams):
                copies.append(PlannedCopy(snapshot, copy, tuple(wanted.directories), tuple(wanted.streams)))
        self.view.reachability = Reachability(self.view.repository, _anything)
        return found, copies

    def _find_chunks(self, copy: Snapshot | None, wanted: Wanted) -> Iterator[FoundChunk]:
        donors = donors_for(self.helpers, self.repository, copy)
        for chunk, pieces in wanted.chunks.items():
            self.operation.check_stop()
            content = find_chunk(donors, self.repository, chunk, pieces)
            if content is not None:
                self.view.survey.index.put(chunk, _promise(len(content)))
                yield FoundChunk(chunk, pieces, copy)


def donors_for(helpers: Helpers, repository: Repository, copy: Snapshot | None) -> list[Donor]:
    """Who may have chunks of a snapshot of which there is that *copy*."""
    other = helpers.other_than(repository)
    donors: list[Donor] = []
    if other is not None and copy is not None:
        donors.append(CopyDonor(other, copy))
    if helpers.source is not None:
        donors.append(SourceDonor(helpers.source))
    return donors


def loss(view: View, snapshot: Snapshot, putter: ChunkPutter, operation: Operation) -> tuple[LostContent, ChunkId]:
    """What of a snapshot is lost, and the root of what is left, which *putter* got.

    Raises: ChunkMissing if nothing is left; StorageError, Stopped.
    """
    reader = view.repository.reader()
    if not any(node is not None for node in nodes_left(reader, snapshot.root)):
        raise ChunkMissing(f"nothing is left of snapshot {snapshot.short_id}", hint="a copy of it may help: --from")
    rewrite = TreeRewrite(reader, view.reachability, view.is_there, putter, operation)
    root = rewrite.rewrite(snapshot.root)
    lost = LostContent(snapshot, rewrite.lost, rewrite.lost_bytes, tuple(rewrite.flaws))
    return lost, root


def _anything(_chunk: ChunkId, _place: ChunkPlace) -> bool:
    """What a survey saw is whole."""
    return True


def _place(blob: SavedBlob) -> ChunkPlace:
    meta = blob.name.startswith(META)
    return ChunkPlace(blob.pack, meta, blob.pack_size, blob.offset, blob.header.stored_size, blob.plain_size)


def _promise(size: int) -> ChunkPlace:
    """Where a chunk will lie that was found elsewhere."""
    return ChunkPlace(_PROMISED, meta=False, pack_size=0, offset=0, stored_size=0, plain_size=size)


def _key_tables(rescue: Sequence[SavedBlob]) -> dict[PackId, tuple[KeyEntry, ...]]:
    """The key tables that damaged packs must have had, for all that opens."""
    known: dict[PackId, dict[int, KeyEntry]] = {}
    for blob in rescue:
        if blob.entry is not None:
            known.setdefault(blob.pack, {})[blob.header.key] = blob.entry
    return {
        pack: tuple(found.get(number, next(iter(found.values()))) for number in range(max(found) + 1))
        for pack, found in known.items()
    }
