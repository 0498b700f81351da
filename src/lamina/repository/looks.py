"""What directories looked like when they were saved: a note in the cache that saves the next backup the reading of their nodes.

It may be lost at any time. It says nothing to whoever finds it, is believed only with its keyed hash and only for the one
snapshot it was written with, and holds only hashes; so what is missing in it costs time, and nothing that is wrong can be read
out of it.
"""

from __future__ import annotations

import os
import tempfile
from array import array
from bisect import bisect_left
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from struct import Struct

from blake3 import blake3

from lamina.crypto.hashing import HASH_SIZE, derive, keyed_hash, same
from lamina.errors import NotPermitted
from lamina.model.ids import SessionId
from lamina.repository.access import Access

STAMP_SIZE = 16  # bytes: to find two directories of one stamp, one would have to know the key
FILES_KEPT = 64  # one for each name of a snapshot and each tree in it
_MAGIC = b"lamina looks 1\n\0"
_HEAD_OF_STAMP = Struct(">Q8x")
_HEAD_SIZE = len(_MAGIC) + 16
_NARROW = 8  # rows


class Looks:
    """Stamps of directories: keyed hashes of where each lies and of its look."""

    def __init__(self, access: Access, rows: bytes = b"") -> None:
        """*rows*: stamps, sorted. Raises: NotPermitted for a steward."""
        self._place_key, self._stamp_key = _key(access, "lamina/1 look place"), _key(access, "lamina/1 look stamp")
        self._rows = rows
        self._heads = array("Q", [head for (head,) in _HEAD_OF_STAMP.iter_unpack(rows)])

    def __len__(self) -> int:
        return len(self._heads)

    def place(self, above: bytes, name: bytes) -> bytes:
        """What stands for the directory *name* in that at the place *above* (empty: there is none)."""
        return blake3(above + name, key=self._place_key).digest(STAMP_SIZE)

    def stamp(self, place: bytes, look: bytes) -> bytes:
        """The stamp of a directory at a place."""
        return blake3(place + look, key=self._stamp_key).digest(STAMP_SIZE)

    def knows(self, stamp: bytes) -> bool:
        """Whether it is among them."""
        head = int.from_bytes(stamp[:8], "big")
        number = bisect_left(self._heads, head)
        while number < len(self._heads) and self._heads[number] == head:
            if self._rows.startswith(stamp, number * STAMP_SIZE):
                return True
            number += 1
        return False


def read_looks(access: Access, name: str, path: str, snapshot: SessionId) -> Looks:
    """What was noted when *snapshot*, of that name, was made of the tree at *path*; nothing if that is lost."""
    file = _file(access, name, path)
    try:
        data = file.read_bytes() if file is not None else b""
    except OSError:
        return Looks(access)
    content, check = data[:-HASH_SIZE], data[-HASH_SIZE:]
    if (
        len(content) % STAMP_SIZE
        or not content.startswith(_MAGIC + snapshot)
        or not same(_check(access, content), check)
    ):
        return Looks(access)
    return Looks(access, content[_HEAD_SIZE:])


def write_looks(access: Access, name: str, path: str, snapshot: SessionId, stamps: Collection[bytes]) -> None:
    """Note what the directories of *snapshot* looked like. Raises: OSError."""
    file = _file(access, name, path)
    if file is None:
        return
    content = b"".join((_MAGIC, snapshot, *sorted(stamps)))
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(prefix=".new-", dir=file.parent)
    try:
        with os.fdopen(descriptor, "wb") as opened:
            opened.write(content)
            opened.write(_check(access, content))
        file.unlink(missing_ok=True)  # to replace it would make some file systems write at once, which takes a while
        Path(temporary).rename(file)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    _remove_oldest(file.parent)


def _remove_oldest(folder: Path) -> None:
    """Nobody says which names will not be used again."""
    files = list(folder.iterdir())
    if len(files) > FILES_KEPT:
        with suppress(OSError):  # another process may do the same
            files.sort(key=lambda file: file.stat().st_mtime_ns)
            for file in files[:-FILES_KEPT]:
                file.unlink()


def _file(access: Access, name: str, path: str) -> Path | None:
    if access.cache is None:
        return None
    said = f"{len(name)} {name}{path}".encode("utf-8", "surrogateescape")
    return access.cache / "looks" / keyed_hash(_key(access, "lamina/1 look file"), said)[:16].hex()


def _check(access: Access, content: bytes) -> bytes:
    return keyed_hash(_key(access, "lamina/1 look check"), content)


def _key(access: Access, purpose: str) -> bytes:
    if access.id_key is None:
        raise NotPermitted("a steward key makes no backups", hint="use an owner's or a writer's passphrase")
    return derive(access.id_key, purpose)
