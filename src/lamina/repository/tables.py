"""Sorted tables of chunk places in local files, memory-mapped: no resident memory, a quarter of a million look-ups a second.

A table is only ever written whole under a temporary name and then renamed, so a crash cannot damage one; it ends in a hash that
is checked when it is opened. Tables are a cache: delete them at any time.
"""

from __future__ import annotations

import heapq
import mmap
import os
import struct
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, overload

import msgspec
from blake3 import blake3

from lamina.crypto.hashing import public_hash
from lamina.model.ids import ChunkId, PackId
from lamina.repository.object_names import pack_name

ROW = struct.Struct("<32sIIII")  # chunk id, pack (ordinal), offset, stored size, plain size (spec: index rows)
_HEAD = struct.Struct("<8sIIQ")  # magic, bytes of the covers, packs, rows
_MAGIC = b"LAMTAB\1\n"
_PACK = struct.Struct("<32sIB3x")  # pack id, size, 1 if it holds metadata
_MARKED = struct.Struct("<32sIII")  # chunk id, offset, stored size, plain size
_HASH_SIZE = 32
_GUESSES = 4  # interpolations: enough for uniform ids; skewed ones (a liar can make them) are bisected after that
_NARROW = 32  # rows: from here on bisecting beats interpolating


@dataclass(frozen=True, slots=True)
class ChunkPlace:
    """Where one stored chunk lies."""

    pack: PackId
    meta: bool  # in a metadata pack
    pack_size: int  # bytes of the whole pack
    offset: int  # bytes from the start of the pack
    stored_size: int  # bytes of the blob, after the filters
    plain_size: int  # bytes, before the filters

    @property
    def pack_name(self) -> str:
        """What the object is called that it lies in."""
        return pack_name(self.pack, meta=self.meta)


@dataclass(frozen=True, slots=True)
class Pack:
    """A pack as the index knows it."""

    id: PackId
    size: int
    meta: bool

    @property
    def name(self) -> str:
        return pack_name(self.id, meta=self.meta)


def place_mark(chunk: bytes, offset: int, stored_size: int, plain_size: int) -> int:
    """A number for one row of a pack; the sum of them tells two lists of rows apart, whatever their order."""
    return int.from_bytes(public_hash([_MARKED.pack(chunk, offset, stored_size, plain_size)])[:16], "little")


class Packs(Sequence[Pack]):
    """The packs of a table, made when they are asked for: a large repository has hundreds of thousands."""

    def __init__(self, encoded: memoryview) -> None:
        self._encoded = encoded

    def __len__(self) -> int:
        return len(self._encoded) // _PACK.size

    @overload
    def __getitem__(self, number: int) -> Pack: ...

    @overload
    def __getitem__(self, number: slice) -> list[Pack]: ...

    def __getitem__(self, number: int | slice) -> Pack | list[Pack]:
        if isinstance(number, slice):
            return [self[one] for one in range(*number.indices(len(self)))]
        if not 0 <= number < len(self):
            raise IndexError(number)
        pack, size, meta = _PACK.unpack_from(self._encoded, number * _PACK.size)
        return Pack(pack, size, bool(meta))

    def __iter__(self) -> Iterator[Pack]:
        for pack, size, meta in _PACK.iter_unpack(self._encoded):
            yield Pack(PackId(pack), size, bool(meta))


class Table:
    """One sorted table, open for look-ups from any number of threads."""

    def __init__(self, path: Path, file: BinaryIO | None = None) -> None:
        """Map *path* (or *file*, if it is open already) and check it. Raises: ValueError if it is no intact table, OSError."""
        self.path = path
        with nullcontext(file) if file is not None else path.open("rb") as opened:
            self._map = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
        view = memoryview(self._map)
        if len(view) < _HEAD.size + _HASH_SIZE or blake3(view[:-_HASH_SIZE]).digest() != view[-_HASH_SIZE:]:
            raise ValueError(f"{path} is not an intact table")
        magic, covers_size, packs, count = _HEAD.unpack_from(view)
        self._count: int = count
        if magic != _MAGIC:
            raise ValueError(f"{path} is a table of another version")
        self.covers: frozenset[str] = msgspec.msgpack.decode(
            view[_HEAD.size : _HEAD.size + covers_size], type=frozenset[str]
        )
        start = _HEAD.size + covers_size
        self.packs = Packs(view[start : start + packs * _PACK.size])
        self._rows = view[start + packs * _PACK.size : -_HASH_SIZE]

    def __len__(self) -> int:
        return self._count

    def find(self, chunk: ChunkId) -> Iterator[ChunkPlace]:
        """Every place of *chunk* in this table."""
        row = self._first(chunk)
        while row < self._count and self._id(row) == chunk:
            _, pack, offset, stored, plain = ROW.unpack_from(self._rows, row * ROW.size)
            found = self.packs[pack]
            yield ChunkPlace(found.id, found.meta, found.size, offset, stored, plain)
            row += 1

    def row_of(self, chunk: ChunkId) -> int | None:
        """The number of the first row of *chunk*."""
        row = self._first(chunk)
        return row if row < self._count and self._id(row) == chunk else None

    @property
    def encoded(self) -> memoryview:
        """All rows as they lie there."""
        return self._rows

    def sizes(self, row: int) -> tuple[int, int]:
        """Stored and plain size in one row."""
        _, _, _, stored, plain = ROW.unpack_from(self._rows, row * ROW.size)
        return stored, plain

    def rows(self) -> Iterator[tuple[bytes, int, int, int, int]]:
        """Every row in order: id, ordinal of the pack, offset, stored size, plain size."""
        return ROW.iter_unpack(self._rows)

    def _id(self, row: int) -> bytes:
        return bytes(self._rows[row * ROW.size : row * ROW.size + 32])

    def _first(self, chunk: ChunkId) -> int:
        """The first row whose id is not smaller; ids are uniform, so interpolation lands close."""
        low, high = 0, self._count
        low_key, high_key = 0, 1 << 64
        key = int.from_bytes(chunk[:8], "big")
        for _ in range(_GUESSES):
            if high - low <= _NARROW or low_key >= high_key:
                break
            guess = low + (key - low_key) * (high - low) // (high_key - low_key)
            guess = min(max(guess, low), high - 1)
            found = self._id(guess)
            found_key = int.from_bytes(found[:8], "big")
            if found < chunk:
                low, low_key = guess + 1, found_key
                probe = min(low + _NARROW, high - 1)  # the true row is most likely a few rows further
                if self._id(probe) >= chunk:
                    high = probe + 1
                    break
            else:
                high, high_key = guess, found_key + 1
                probe = max(high - _NARROW, low)
                if self._id(probe) < chunk:
                    low = probe + 1
                    break
            if not low_key <= key < high_key:
                break
        while low < high:
            middle = (low + high) // 2
            if self._id(middle) < chunk:
                low = middle + 1
            else:
                high = middle
        return low


def write_table(
    directory: Path, name: str, covers: Iterable[str], packs: Sequence[Pack], rows: Iterable[bytes], count: int
) -> Table:
    """Write a table of *count* encoded *rows* that are sorted by id, and open it."""
    hasher = blake3()
    encoded_covers = msgspec.msgpack.encode(sorted(covers))
    descriptor, temporary = tempfile.mkstemp(prefix=".new-", dir=directory)
    try:
        with os.fdopen(descriptor, "w+b", buffering=1 << 20) as file:

            def write(data: bytes) -> None:
                hasher.update(data)
                file.write(data)

            write(_HEAD.pack(_MAGIC, len(encoded_covers), len(packs), count))
            write(encoded_covers)
            write(b"".join(_PACK.pack(pack.id, pack.size, pack.meta) for pack in packs))
            for row in rows:
                write(row)
            file.write(hasher.digest())
            file.flush()
            table = Table(directory / name, file)  # mapped before it has a name that another process may remove
        Path(temporary).replace(table.path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return table


def merge_tables(directory: Path, name: str, tables: Sequence[Table]) -> Table:
    """One table with the rows of all *tables*; a chunk that lies in several packs keeps all its places."""
    packs: list[Pack] = []
    sources: list[Iterator[bytes]] = []
    for table in tables:
        sources.append(_shifted(table, len(packs)))
        packs += table.packs
    covers = frozenset[str]().union(*(table.covers for table in tables))
    return write_table(directory, name, covers, packs, heapq.merge(*sources), sum(len(table) for table in tables))


def _shifted(table: Table, by: int) -> Iterator[bytes]:
    for chunk, pack, offset, stored, plain in table.rows():
        yield ROW.pack(chunk, pack + by, offset, stored, plain)
