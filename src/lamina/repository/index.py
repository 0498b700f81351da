"""Chunk id → place: the repository's deltas and segments, a local cache of them, and what this session adds.

Which records count is decided in `index_records`. A false "new" costs space; a false "exists" must be impossible: what only an
aborted session speaks of can be read, and is never referred to.
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from lamina.crypto.hashing import public_hash
from lamina.errors import Damaged, LaminaError, ObjectMissing
from lamina.model.ids import ChunkId, PackId, SessionId
from lamina.repository.control import ControlRecords
from lamina.repository.index_records import CountedRecords, has_newer_manifest
from lamina.repository.packs import FinishedPack
from lamina.repository.records import IndexRecord
from lamina.repository.tables import ROW, ChunkPlace, Pack, Table, merge_tables, place_mark, write_table
from lamina.storage.storage import Storage

GROWTH = 4  # a table that is at most so much larger than all smaller ones together is joined with them
MAX_TABLES = 8  # look-ups that miss visit every table; more than this are merged
FRESH_LIMIT = 100_000  # new chunks kept in a dict (about 25 MB) before they become a table


class Index:
    """Answers where chunks lie. Look-ups from any thread; changes from one at a time."""

    def __init__(self, cache: Path | None, warn: Callable[[str], None]) -> None:
        """*cache*: directory for tables that later runs use again; None: a temporary one. *warn*: told if it is of no use."""
        self._warn = warn
        self._cache = cache
        self._temporary: Path | None = None
        self._tables: list[Table] = []
        self._spilled: list[Table] = []  # of this process's own session, which may still be aborted: never in the cache
        self._fresh: dict[ChunkId, ChunkPlace] = {}
        self._doubtful: frozenset[PackId] = frozenset()  # of sessions that may have been aborted: to read from only
        self.manifest = 0  # number of the manifest that was loaded
        self.condemned: frozenset[PackId] = frozenset()

    def find(self, chunk: ChunkId) -> ChunkPlace | None:
        """A place of *chunk* in a pack that is not condemned, or None."""
        return next((place for place in self.places(chunk) if self.stays(place)), None)

    def stays(self, place: ChunkPlace) -> bool:
        """Whether one may refer to what lies there: its pack is not condemned, nor only an aborted session's."""
        return place.pack not in self.condemned and place.pack not in self._doubtful

    def places(self, chunk: ChunkId) -> Iterator[ChunkPlace]:
        """Every known place of *chunk*, condemned packs included."""
        fresh = self._fresh.get(chunk)
        if fresh is not None:
            yield fresh
        for table in (*self._tables, *self._spilled):
            yield from table.find(chunk)

    def tables(self) -> tuple[Table, ...]:
        """What the index records of the repository say, sorted; they stay as they are when the index is loaded again."""
        return tuple(self._tables)

    def pack_marks(self) -> Iterator[tuple[Pack, int]]:
        """Every pack that the index records of the repository speak of, with the sum of its rows' marks; may repeat one."""
        for table in self._tables:
            marks = [0] * len(table.packs)
            for chunk, pack, offset, stored, plain in table.rows():
                marks[pack] += place_mark(chunk, offset, stored, plain)
            yield from zip(table.packs, marks, strict=True)

    def rows_of(self, wanted: PackId) -> Iterator[tuple[ChunkId, int, int, int]]:
        """What the index records say that one pack holds: chunk, offset, stored size, plain size. Reads all of them."""
        for table in self._tables:
            numbers = {number for number, pack in enumerate(table.packs) if pack.id == wanted}
            for chunk, pack, offset, stored, plain in table.rows() if numbers else ():
                if pack in numbers:
                    yield ChunkId(chunk), offset, stored, plain

    def is_doubtful(self, pack: PackId) -> bool:
        """Whether only a session that may have been aborted says that there is this pack."""
        return pack in self._doubtful

    def add(self, pack: FinishedPack) -> None:
        """Remember a pack of this session that was stored."""
        for row in pack.rows:
            self._fresh[row.id] = ChunkPlace(pack.id, pack.meta, pack.size, row.offset, row.stored_size, row.plain_size)
        if len(self._fresh) > FRESH_LIMIT:
            self._spill()

    def added(self) -> Iterator[tuple[ChunkId, ChunkPlace]]:
        """Every chunk that was added, and where it lies."""
        yield from self._fresh.items()
        for table in self._spilled:
            for chunk, pack, offset, stored, plain in table.rows():
                held = table.packs[pack]
                yield ChunkId(chunk), ChunkPlace(held.id, held.meta, held.size, offset, stored, plain)

    def load(self, storage: Storage, control: ControlRecords) -> None:
        """Bring the index up to date with the storage; a damaged delta is left out, `verify` names it.

        A cache that cannot be used is done without. Raises: StorageError; Damaged if a manifest or segment is.
        """
        if self._cache is not None:
            try:
                _make_private(self._cache)
                self._load(storage, control, self._cache)
            except OSError as error:
                self._warn(f"the cache {self._cache} is of no use and done without: {error.strerror or error}")
                self._cache = None
            else:
                return
        try:
            self._load(storage, control, self._directory())
        except OSError as error:
            raise LaminaError(
                f"the index cannot be kept in {self._directory()}: {error.strerror}",
                hint="free some space there, or name another directory with TMPDIR",
            ) from error

    def join(self) -> Table | None:
        """Make one table of all, and return it: whoever looks at every chunk meets all places of one together."""
        if len(self._tables) > 1:
            self._tables = [_joined(self._tables, self._directory())]
        return self._tables[0] if self._tables else None

    def ignore_cache(self) -> None:
        """From the next `load` on, believe only what the storage itself says."""
        self._cache = None

    def _directory(self) -> Path:
        """Where tables may lie: the cache, or a directory of this process."""
        if self._cache is not None:
            return self._cache
        if self._temporary is None:
            self._temporary = Path(tempfile.mkdtemp(prefix="lamina-index-"))  # mode 0700
        return self._temporary

    def _load(self, storage: Storage, control: ControlRecords, directory: Path) -> None:
        """Load, once more whenever a prune replaced a record before it was read."""
        while True:
            counted = CountedRecords(storage, control, _known_commits(directory))
            try:
                self._take(counted, directory)
                return
            except ObjectMissing as error:
                if not has_newer_manifest(storage, control, counted.number):
                    raise Damaged(
                        f"a part of the index is missing: {error.message}", hint="`lamina repair` makes the index anew"
                    ) from error

    def _take(self, counted: CountedRecords, directory: Path) -> None:
        missing = counted.names
        tables: list[Table] = []
        for path in sorted(directory.glob("*.table")):
            table = self._open_cached(path, missing)
            if table is not None:
                missing -= table.covers
                tables.append(table)
        for name in sorted(missing):
            record = counted.read(name)
            if record is not None:
                tables.append(_store(directory, name, record))
        self._doubtful |= (doubtful := counted.doubtful_packs())  # never less than what the tables hold
        self._tables = self._merged(
            _gathered(tables, directory), directory
        )  # look-ups under way go on with the old ones
        self._doubtful = doubtful
        self.manifest = counted.number
        _remember(directory, counted.committed)

    def forget_session(self) -> None:
        """Drop what an earlier session of this process added: it may have been aborted."""
        self._fresh, self._spilled = {}, []

    def close(self) -> None:
        """Close every table; the cache stays."""
        self._tables = self._spilled = []
        if self._temporary is not None:
            shutil.rmtree(self._temporary, ignore_errors=True)

    def _open_cached(self, path: Path, missing: set[str]) -> Table | None:
        """The cached table at *path* if it is intact, all it covers counts and nothing of it is known; else it goes."""
        try:
            table = Table(path)
        except (ValueError, OSError):
            path.unlink(missing_ok=True)
            return None
        if table.covers <= missing:
            return table
        path.unlink(missing_ok=True)
        return None

    def _merged(self, tables: list[Table], directory: Path) -> list[Table]:
        """*tables*, the smallest joined while there are too many; the new files lie in *directory*."""
        while len(tables) > MAX_TABLES:
            tables = sorted(tables, key=len)
            tables = [*tables[MAX_TABLES:], _joined(tables[:MAX_TABLES], directory)]
        return tables

    def _spill(self) -> None:
        """Turn the dict of new chunks into a table of this process only."""
        places = sorted(self._fresh.items())
        packs = list({place.pack: Pack(place.pack, place.pack_size, place.meta) for _, place in places}.values())
        ordinal = {pack.id: number for number, pack in enumerate(packs)}
        rows = (ROW.pack(chunk, ordinal[p.pack], p.offset, p.stored_size, p.plain_size) for chunk, p in places)
        name = f"{os.urandom(8).hex()}.fresh"
        table = write_table(self._directory(), name, [], packs, rows, len(places))
        self._spilled = self._merged([*self._spilled, table], self._directory())
        for table in self._spilled:
            table.path.unlink(missing_ok=True)  # the map keeps it; a run that is killed leaves nothing
        self._fresh = {}


def _make_private(cache: Path) -> None:
    """Make the cache directory, or check that nobody else can write to it: a planted row could cost data. Raises: OSError."""
    cache.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = cache.stat()
    if found.st_uid != os.geteuid() or found.st_mode & 0o022:
        raise PermissionError(errno.EPERM, "others than you can write to it")


def _store(directory: Path, name: str, record: IndexRecord) -> Table:
    packs = [Pack(PackId(pack.id), pack.size, pack.meta) for pack in record.packs]
    return write_table(directory, _table_name([name]), [name], packs, [record.rows], len(record.rows) // ROW.size)


def _known_commits(directory: Path) -> set[SessionId]:
    """Sessions seen committed before; a commit is for ever, so they need not be looked at again."""
    try:
        data = (directory / "committed").read_bytes()
    except FileNotFoundError:
        return set()
    return {SessionId(data[i : i + 16]) for i in range(0, len(data) - 15, 16)}


def _remember(directory: Path, committed: set[SessionId]) -> None:
    temporary = directory / f".committed-{os.urandom(4).hex()}"
    temporary.write_bytes(b"".join(sorted(committed)))
    temporary.replace(directory / "committed")


def _gathered(tables: list[Table], directory: Path) -> list[Table]:
    """*tables*, the small ones joined: each look-up visits every table, and a run leaves one for each of its deltas."""
    ordered = sorted(tables, key=len)
    count, rows = 0, 0
    while count < len(ordered) and (not count or len(ordered[count]) <= GROWTH * rows):
        rows += len(ordered[count])
        count += 1
    return tables if count < 2 else [*ordered[count:], _joined(ordered[:count], directory)]


def _joined(tables: list[Table], directory: Path) -> Table:
    names = {name for table in tables for name in table.covers} or {os.urandom(8).hex()}
    joined = merge_tables(directory, _table_name(names), tables)
    for table in tables:
        table.path.unlink(missing_ok=True)
    return joined


def _table_name(names: Iterable[str]) -> str:
    return public_hash([name.encode() for name in sorted(names)])[:16].hex() + ".table"
