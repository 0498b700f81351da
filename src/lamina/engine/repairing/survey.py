"""What is really there: every pack read, whatever the index says of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

from lamina.engine.threads import each
from lamina.engine.verifying.health import held_by
from lamina.errors import Damaged, FormatUnknown, ObjectMissing, ObjectTruncated
from lamina.model.ids import ChunkId, PackId
from lamina.model.operation import Operation
from lamina.repository.control import LAST_NUMBER, ControlRecords
from lamina.repository.decisions import DECISIONS
from lamina.repository.format import Kind
from lamina.repository.index import Index
from lamina.repository.inspection import Inspector, kinds_of
from lamina.repository.moving import read_rows
from lamina.repository.object_names import META, SNAPSHOTS, pack_id
from lamina.repository.packs import FinishedPack, PackTail
from lamina.repository.records import KeyEntry, SnapshotRecord
from lamina.repository.repository import Repository
from lamina.repository.salvage import KnownKeys, PackSalvage, SavedBlob
from lamina.repository.tables import ChunkPlace, Table, place_mark
from lamina.storage.storage import Storage, StoredObject

THREADS = 2  # each holds a whole pack
FAULTS = (Damaged, FormatUnknown, ObjectMissing, ObjectTruncated)  # of one object


class SurveyedIndex(Index):
    """An index of what was seen in packs; the repository's own records are not asked."""

    def load(self, storage: Storage, control: ControlRecords) -> None:  # noqa: ARG002 - as of every index
        """Nothing: what is there was seen."""
        self.manifest = LAST_NUMBER  # none is newer

    def tables(self) -> tuple[Table, ...]:
        """All that was seen, sorted."""
        if self._fresh:
            self._spill()
        return tuple(self._spilled)

    def forget(self, chunk: ChunkId) -> None:
        """It is not there after all."""
        self._fresh.pop(chunk, None)

    def put(self, chunk: ChunkId, place: ChunkPlace) -> None:
        """One more chunk."""
        self._fresh[chunk] = place


@dataclass(frozen=True, slots=True)
class DamagedPack:
    """A pack whose bytes do not fit its name, or that is not there at all."""

    name: str
    what: str
    saved: tuple[SavedBlob, ...] = ()  # what can be read of it


@dataclass(slots=True)
class Survey:
    """What a look at every pack found."""

    index: SurveyedIndex
    whole: dict[PackId, int] = field(
        default_factory=dict
    )  # packs that fit their names, with the sum of their rows' marks
    damaged: list[DamagedPack] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)  # packs that the index has, and the storage has not
    names: dict[PackId, str] = field(default_factory=dict)  # of all packs that are there
    unindexed: list[PackId] = field(
        default_factory=list
    )  # whole packs of which the index does not say all that they hold

    def take(self, item: StoredObject, tail: PackTail) -> None:
        """Count a whole pack among what is there."""
        pack = pack_id(item.name)
        self.whole[pack] = sum(place_mark(one.id, one.offset, one.stored_size, one.plain_size) for one in tail.rows)
        self.index.add(FinishedPack(pack, item.name.startswith(META), item.size, (), tail.rows))

    def close(self) -> None:
        """Give the space back."""
        self.index.close()


def survey_packs(repository: Repository, *, has_index: bool, ends_only: bool, operation: Operation) -> Survey:
    """Read every pack. *has_index*: the repository's index is loaded, and compared with what is found. *ends_only*: believe
    what the ends of packs say, and read no more.

    Raises: StorageError, Stopped.
    """
    items = [item for item in repository.storage.objects() if kinds_of(item.name) == {Kind.PACK}]
    operation.progress.start("survey", sum(item.size for item in items))
    survey = Survey(SurveyedIndex(None, operation.progress.message))
    keys = KnownKeys()
    broken: list[tuple[StoredObject, str]] = []
    inspector = Inspector(repository)
    read = partial(_read_end, repository) if ends_only else partial(_read, inspector)
    for item, found in _read_all(read, items, operation):
        survey.names[pack_id(item.name)] = item.name
        if isinstance(found, str):
            broken.append((item, found))
        else:
            keys.add(found.keys)
            survey.take(item, found)
    if broken:
        keys.add(_snapshot_keys(repository))
    for item, what in broken:
        saved = () if ends_only else tuple(_save(repository, item, keys, operation))
        survey.damaged.append(DamagedPack(item.name, what, saved))
    _compare(survey, repository.index if has_index else None)
    return survey


def _read_all(
    look: Callable[[StoredObject], PackTail], items: Sequence[StoredObject], operation: Operation
) -> Iterator[tuple[StoredObject, PackTail | str]]:
    """What each pack holds; or why it cannot be read."""

    def read(item: StoredObject) -> tuple[StoredObject, PackTail | str]:
        operation.check_stop()
        try:
            return item, look(item)
        except FAULTS as error:
            return item, error.message
        finally:
            operation.progress.advance(read=item.size)

    with ThreadPoolExecutor(THREADS, thread_name_prefix="survey") as executor:
        yield from each(executor, read, items, operation)


def _read_end(repository: Repository, item: StoredObject) -> PackTail:
    rows = read_rows(repository.access, pack_id(item.name), item.size, meta=item.name.startswith(META))
    return PackTail((), rows)


def _read(inspector: Inspector, item: StoredObject) -> PackTail:
    """What opens, and is what its id says."""
    content = inspector.check_pack(item.name)
    if content.bad:
        raise Damaged("; ".join(content.bad.values()))
    return PackTail(content.keys, content.rows)


def _save(repository: Repository, item: StoredObject, keys: KnownKeys, operation: Operation) -> Iterator[SavedBlob]:
    operation.check_stop()
    try:
        data = repository.storage.get(item.name)
    except (ObjectMissing, ObjectTruncated):
        return
    yield from PackSalvage(repository.access, keys).blobs(data, pack_id(item.name), name=item.name)


def _snapshot_keys(repository: Repository) -> Iterator[KeyEntry]:
    """The metadata keys of all sessions that committed: their snapshots bring them, too."""
    access = repository.access
    for item in access.storage.objects(SNAPSHOTS):
        try:
            record = access.control.decode(access.storage.get(item.name), item.name, DECISIONS).structure
        except FAULTS:
            continue
        if isinstance(record, SnapshotRecord):
            yield record.keys


def _compare(survey: Survey, index: Index | None) -> None:
    """Find what the index lacks, and what lies nowhere but in it."""
    said: Counter[PackId] = Counter()
    for pack, mark in index.pack_marks() if index is not None else ():
        said[pack.id] += mark
        if pack.id not in survey.names and pack.name not in survey.missing:
            survey.missing.append(pack.name)
    unsaid = [pack for pack, mark in survey.whole.items() if mark and pack not in said]
    other = [pack for pack, mark in survey.whole.items() if pack in said and said[pack] != mark]
    survey.unindexed = [*unsaid, *(_lacking(survey.index, index, other) if index is not None and other else ())]


def _lacking(seen: Index, index: Index, packs: Sequence[PackId]) -> Iterator[PackId]:
    """Those of *packs* of which the index does not say all; it may say some things twice."""
    held, said = held_by(seen, packs), held_by(index, packs)
    for pack, rows in held.items():
        if set(rows) - set(said.get(pack, ())):
            yield pack
