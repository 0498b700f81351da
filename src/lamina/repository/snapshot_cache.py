"""What the records of each session said when a list read them, kept on this machine: ten thousand are not read again.

Names lie in it, so it is sealed under a key of this key holder alone. It may be deleted at any time, and what does not
authenticate is as if it were not there. It serves lists; what a protocol decides is read from the storage itself.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import fields, replace
from pathlib import Path

import msgspec

from lamina import __version__
from lamina.crypto import aead
from lamina.crypto.hashing import derive, public_hash
from lamina.errors import Damaged
from lamina.model.ids import RepositoryId
from lamina.model.snapshots import Snapshot
from lamina.storage.storage import StoredObject

_SALT_SIZE = 32
# what another Lamina wrote down may mean something else, or lack something
_EDITION = f"{__version__} {' '.join(field.name for field in fields(Snapshot))}".encode()


class Remembered(msgspec.Struct, array_like=True, frozen=True):
    """What the records of one session said."""

    name: str  # of the object that decided the session
    mark: bytes  # of the objects that said it
    snapshot: Snapshot | None  # None: it was given up
    odd: _OddNames | None = None  # what of the snapshot is no Unicode, and missing there

    @classmethod
    def of(cls, name: str, mark: bytes, snapshot: Snapshot | None) -> Remembered:
        if snapshot is None or _is_unicode(snapshot):
            return cls(name, mark, snapshot)
        paths = [_encode(path) for path in snapshot.paths]
        odd = _OddNames(paths, _encoded(snapshot.users), _encoded(snapshot.groups))
        return cls(name, mark, replace(snapshot, paths=(), users={}, groups={}), odd)

    def recall(self) -> Snapshot | None:
        """The snapshot, whole again; None: the session was given up."""
        if self.snapshot is None or self.odd is None:
            return self.snapshot
        paths = tuple(_decode(path) for path in self.odd.paths)
        return replace(self.snapshot, paths=paths, users=_decoded(self.odd.users), groups=_decoded(self.odd.groups))


class _OddNames(msgspec.Struct, array_like=True, frozen=True):
    """Names as a file system has them, for which a text has no place."""

    paths: list[bytes]
    users: dict[int, bytes]
    groups: dict[int, bytes]


class SnapshotCache:
    """The file with what is remembered, or nothing at all where there is no directory for it."""

    def __init__(self, directory: Path | None, key: bytes, repository: RepositoryId) -> None:
        """*key*: the holder's own, for caches; *directory*: the repository's, which need not exist yet."""
        # each key holder reads other names, so each has a file
        self._path = directory / f"snapshots-{derive(key, 'lamina/1 cache name')[:8].hex()}" if directory else None
        self._key = key
        self._aad = repository + _EDITION
        self._known: dict[str, Remembered] | None = None

    def load(self) -> Mapping[str, Remembered]:
        """What is remembered of each session; nothing if the file cannot be read or was not written by this key."""
        if self._known is None:
            try:
                self._known = {one.name: one for one in self._read()}
            except (OSError, Damaged, msgspec.MsgspecError):
                self._known = {}
        return self._known

    def store(self, known: Mapping[str, Remembered]) -> None:
        """Remember this and nothing else; a file that cannot be written costs only time."""
        before = self.load()
        if self._path is None or (
            len(known) == len(before) and all(before.get(one.name) is one for one in known.values())
        ):
            return
        self._known = dict(known)
        salt = os.urandom(_SALT_SIZE)
        sealed = aead.seal(self._file_key(salt), msgspec.msgpack.encode(list(known.values())), self._aad)
        temporary = self._path.with_name(f".{self._path.name}-{os.urandom(4).hex()}")
        with suppress(OSError):
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            try:
                temporary.write_bytes(salt + sealed)
                temporary.replace(self._path)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise

    def ignore(self) -> None:
        """From now on, neither remember anything nor believe what was remembered."""
        self._path, self._known = None, {}

    def _read(self) -> list[Remembered]:
        if self._path is None:
            return []
        data = self._path.read_bytes()
        salt, sealed = data[:_SALT_SIZE], data[_SALT_SIZE:]
        plain = aead.unseal(self._file_key(salt), sealed, self._aad, what=str(self._path))
        return msgspec.msgpack.decode(plain, type=list[Remembered])

    def _file_key(self, salt: bytes) -> bytes:
        return derive(self._key, "lamina/1 snapshot cache", salt)


def mark_of(objects: Iterable[StoredObject]) -> bytes:
    """Tells the objects of one session from every other set; what lies under one name never changes."""
    return public_hash([" ".join(sorted([f"{one.name}:{one.size}" for one in objects])).encode()])[:16]


def _is_unicode(snapshot: Snapshot) -> bool:
    names = "".join((*snapshot.paths, *snapshot.users.values(), *snapshot.groups.values()))
    try:
        names.encode()
    except UnicodeEncodeError:
        return False
    return True


def _encode(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")


def _decode(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")


def _encoded(names: Mapping[int, str]) -> dict[int, bytes]:
    return {number: _encode(name) for number, name in names.items()}


def _decoded(names: Mapping[int, bytes]) -> dict[int, str]:
    return {number: _decode(name) for number, name in names.items()}
