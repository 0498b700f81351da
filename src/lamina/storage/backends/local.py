"""Objects as files below one directory.

An object is written without a name (or under a hidden one), made durable, and then linked to its name: `link(2)` fails if
the name is taken, so it is the one step that decides, and nothing half-written is ever seen. All paths are taken from the
open root directory: if another file system is mounted over it or taken away meanwhile, nothing goes astray.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import PurePath
from typing import NoReturn

from lamina.errors import ObjectMissing, ObjectTruncated, StorageError, StorageUnavailable, StorageUnsuitable
from lamina.storage.addresses import StorageAddress
from lamina.storage.backends.local_files import (
    check_leads_somewhere,
    dangling,
    explain,
    fsync_directory,
    make_root,
    write_durably,
)
from lamina.storage.names import check_name, check_prefix, flat_name, is_name, spread_name
from lamina.storage.storage import Parts, StoredObject, settle

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
# what kernels and file systems without anonymous files, or without links to them, answer (open(2), link(2))
_NO_ANONYMOUS = {errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.EXDEV}
_MISSING = (
    FileNotFoundError,
    NotADirectoryError,
)  # an object that lies where a directory should be has nothing below it
_FILE_MODE, _DIRECTORY_MODE = 0o600, 0o700  # what lies here is sealed, but its shape is nobody else's business


def open_storage(address: StorageAddress, environment: Mapping[str, str], *, create: bool) -> LocalStorage:  # noqa: ARG001
    """The directory that *address* names; *create* makes it."""
    return LocalStorage(address.options["path"], create=create)


class LocalStorage:
    """A storage in the directory *path*; see `lamina.storage.storage.Storage` for the promises.

    *anonymous* says whether to try files without a name (O_TMPFILE), which a crash cannot leave behind; where the kernel
    or the file system has none, hidden names that begin with a dot are used.
    Raises: StorageUnavailable if the directory does not exist and *create* is false.
    """

    def __init__(self, path: str | PurePath, *, create: bool = False, anonymous: bool = True) -> None:
        self._path = os.path.abspath(path)
        try:
            if create:
                make_root(self._path, _DIRECTORY_MODE)
            self._root = os.open(self._path, _DIRECTORY)
        except FileNotFoundError as error:
            raise StorageUnavailable(
                f"the directory {self._path} does not exist", hint="check the path; if it is on a disk, mount it"
            ) from error
        except OSError as error:
            raise explain(error, f"opening the directory {self._path}") from error
        # linking an anonymous file goes by its name in /proc
        self._anonymous = anonymous and hasattr(os, "O_TMPFILE") and os.path.isdir("/proc/self/fd")
        self._durable: set[str] = set()  # directories (from the root) whose own names are known to survive a power cut
        self._lock = threading.Lock()

    @property
    def address(self) -> str:
        return self._path

    def put(self, name: str, parts: Parts) -> None:
        path = spread_name(check_name(name))
        folder, _, last = path.rpartition("/")
        with self._explaining(f"writing {name}"):
            directory = self._open_folder(folder)
            try:
                if not self._link(directory, last, parts):
                    settle(self, name, parts)
                # also after settling: whoever linked it may not have come this far yet
                fsync_directory(directory)
            finally:
                os.close(directory)

    def get(self, name: str) -> bytes:
        with self._opened(name) as (descriptor, _), open(descriptor, "rb", buffering=0, closefd=False) as file:
            return file.read()

    def get_range(self, name: str, offset: int, length: int) -> bytes:
        with self._opened(name) as (descriptor, size):
            if offset + length > size:
                raise ObjectTruncated(
                    f"{name} in {self._path} has {size} bytes, not the {offset + length} it must have"
                )
            data = os.pread(descriptor, length, offset)
            while len(data) < length:  # a signal, or more than one read gives (2 GiB)
                more = os.pread(descriptor, length - len(data), offset + len(data))
                if not more:
                    raise ObjectTruncated(f"{name} in {self._path} became shorter while it was read")
                data += more
            return data

    def stat(self, name: str) -> StoredObject:
        path = spread_name(check_name(name))
        with self._explaining(f"looking at {name}", name):
            return _stored(name, _regular(os.stat(path, dir_fd=self._root, follow_symlinks=False)))

    def objects(self, prefix: str = "") -> Iterator[StoredObject]:
        return self._walk(check_prefix(prefix).rstrip("/"), prefix)

    def delete(self, name: str) -> None:
        path = spread_name(check_name(name))
        with self._explaining(f"deleting {name}"):
            try:
                os.unlink(path, dir_fd=self._root)
            except _MISSING:
                self._check_absent(path)
                return
            if path == name:  # not spread: few, and what they say would count again if a power cut brought them back
                self._flush_folder(path)

    def close(self) -> None:
        if self._root >= 0:
            os.close(self._root)
            self._root = -1

    def _flush_folder(self, path: str) -> None:
        try:
            directory = os.open(
                os.path.dirname(path) or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self._root
            )
        except _MISSING:
            return  # somebody removed it, too
        try:
            fsync_directory(directory)
        finally:
            os.close(directory)

    def _link(self, directory: int, last: str, parts: Parts) -> bool:
        """Write a file and give it its name; False if the name is taken."""
        if self._anonymous:
            try:
                return _link_anonymous(directory, last, parts)
            except OSError as error:
                if error.errno not in _NO_ANONYMOUS:
                    raise
                self._anonymous = False
        return _link_hidden(directory, last, parts)

    def _open_folder(self, folder: str) -> int:
        """Open a directory below the root; it and those above it are made if need be, and survive a power cut."""
        try:
            self._make_folders(folder)
            return os.open(folder or ".", _DIRECTORY, dir_fd=self._root)
        except FileNotFoundError:  # somebody removed an empty directory that we knew
            self._check_absent(f"{folder}/")
            with self._lock:
                self._durable.clear()
            self._make_folders(folder)
            return os.open(folder or ".", _DIRECTORY, dir_fd=self._root)

    def _make_folders(self, folder: str) -> None:
        names = folder.split("/") if folder else []
        for depth in range(len(names)):
            above, path = "/".join(names[:depth]), "/".join(names[: depth + 1])
            with self._lock:
                if path in self._durable:
                    continue
            with suppress(FileExistsError):
                os.mkdir(path, _DIRECTORY_MODE, dir_fd=self._root)
            # also if it was there: who made it may not have come this far
            with _closing(os.open(above or ".", _DIRECTORY, dir_fd=self._root)) as descriptor:
                fsync_directory(descriptor)
            with self._lock:
                self._durable.add(path)

    @contextmanager
    def _opened(self, name: str) -> Iterator[tuple[int, int]]:
        """The object's descriptor and size."""
        path = spread_name(check_name(name))
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW
        with (
            self._explaining(f"reading {name}", name),
            _closing(os.open(path, flags, dir_fd=self._root)) as descriptor,
        ):
            yield descriptor, _regular(os.fstat(descriptor)).st_size

    def _walk(self, folder: str, prefix: str) -> Iterator[StoredObject]:
        folders = [folder]
        with self._explaining(f"listing {folder or 'the directory'}"):
            while folders:
                for path, info in self._scan(folders.pop()):
                    if stat.S_ISDIR(info.st_mode):
                        folders.append(path)
                        continue
                    name = flat_name(path)
                    if name is not None and name.startswith(prefix) and stat.S_ISREG(info.st_mode):
                        yield _stored(name, info)
        self._check_root()  # a directory that was removed under us reads as empty

    def _scan(self, folder: str) -> list[tuple[str, os.stat_result]]:
        """What a directory holds that could be ours; one that is not there holds nothing."""
        found = []
        try:
            descriptor = os.open(folder or ".", _DIRECTORY, dir_fd=self._root)
        except _MISSING:
            self._check_absent(f"{folder}/")
            return []
        try:
            with os.scandir(descriptor) as entries:
                for entry in entries:
                    if is_name(entry.name):
                        path = f"{folder}/{entry.name}" if folder else entry.name
                        try:
                            found.append((path, _followed(entry, self._path, path)))
                        except FileNotFoundError:  # deleted since the directory was read
                            continue
        finally:
            os.close(descriptor)
        return found

    def _check_root(self) -> None:
        """Raise StorageUnavailable unless the root directory is still in its place: only then is anything "not there"."""
        try:
            gone = os.fstat(self._root).st_nlink == 0 or not os.path.samestat(os.fstat(self._root), os.stat(self._path))
        except OSError as error:
            raise StorageUnavailable(f"the directory {self._path} is gone: {error.strerror}") from error
        if gone:
            raise StorageUnavailable(
                f"the directory {self._path} was removed or something was mounted over it", hint="mount its disk again"
            )

    def _check_absent(self, path: str) -> None:
        """Raise StorageUnavailable unless *path* (from the root) can be believed to be missing."""
        self._check_root()
        check_leads_somewhere(self._root, path.rpartition("/")[0], self._path)

    @contextmanager
    def _explaining(self, what: str, name: str | None = None) -> Iterator[None]:
        """Turn an OSError into one of ours; only if *name* says which object, one may be missing."""
        try:
            yield
        except _MISSING as error:
            self._explain_missing(error, what, name)
        except OSError as error:
            self._check_root()  # a removed directory gives errors of many kinds
            raise explain(error, f"{what} in {self._path}") from error

    def _explain_missing(self, error: OSError, what: str, name: str | None) -> NoReturn:
        if name is None:
            self._check_root()
            raise StorageError(f"{what} in {self._path}: {error.strerror}") from error
        self._check_absent(spread_name(name))
        raise ObjectMissing(f"{name} is not in {self._path}") from error


@contextmanager
def _closing(descriptor: int) -> Iterator[int]:
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _link_anonymous(directory: int, last: str, parts: Parts) -> bool:
    flags = os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC
    with _closing(os.open(".", flags, _FILE_MODE, dir_fd=directory)) as descriptor:
        write_durably(descriptor, parts)
        return _make_name(f"/proc/self/fd/{descriptor}", last, directory)


def _link_hidden(directory: int, last: str, parts: Parts) -> bool:
    hidden = f".{secrets.token_hex(16)}"
    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW
    with _closing(os.open(hidden, flags, _FILE_MODE, dir_fd=directory)) as descriptor:
        try:
            write_durably(descriptor, parts)
            return _make_name(hidden, last, directory)
        finally:
            with suppress(OSError):  # what is left has a hidden name and is shown to nobody
                os.unlink(hidden, dir_fd=directory)


def _make_name(source: str, last: str, directory: int) -> bool:
    try:
        os.link(source, last, src_dir_fd=directory, dst_dir_fd=directory, follow_symlinks=True)
    except FileExistsError:
        return False
    except PermissionError as error:
        if error.errno != errno.EPERM:
            raise
        # link(2): "the file system does not support the creation of hard links"
        raise StorageUnsuitable(
            "the file system of the directory has no hard links",
            hint="use another file system, for example ext4 or XFS",
        ) from error
    return True


def _followed(entry: os.DirEntry[str], root: str, path: str) -> os.stat_result:
    """Directories may be links (to a larger disk), objects may not. Raises: StorageUnavailable for a link to nothing."""
    info = entry.stat(follow_symlinks=False)
    if not stat.S_ISLNK(info.st_mode):
        return info
    try:
        followed = entry.stat()
    except _MISSING as error:
        raise dangling(os.path.join(root, path)) from error
    return followed if stat.S_ISDIR(followed.st_mode) else info


def _regular(info: os.stat_result) -> os.stat_result:
    if stat.S_ISLNK(info.st_mode):
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))  # as opening it says; it is not nothing
    if not stat.S_ISREG(info.st_mode):
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))  # a directory is no object
    return info


def _stored(name: str, info: os.stat_result) -> StoredObject:
    return StoredObject(name, info.st_size, datetime.fromtimestamp(info.st_mtime, UTC))
