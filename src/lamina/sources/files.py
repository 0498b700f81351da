"""Trees of files of the local file system."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager

from lamina.errors import SourceError, SourceMissing, SourceUnreadable
from lamina.model.entries import EntryType, Metadata
from lamina.sources.file_list import Wanted
from lamina.sources.folders import LocalFolder, QuietOpener, open_root
from lamina.sources.inodes import complete, complete_by_path, complete_if_same, found_of
from lamina.sources.local_file import LocalFile
from lamina.sources.selection import Selection
from lamina.sources.source import Folder, Found, Looks, Resume, Step
from lamina.sources.walking import Rules, Walk

_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_LOOK = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_ABOVE = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC

_KINDS = {
    EntryType.DIRECTORY: "a directory",
    EntryType.FILE: "a regular file",
    EntryType.SYMLINK: "a symbolic link",
    EntryType.FIFO: "a pipe",
    EntryType.SOCKET: "a socket",
    EntryType.CHARACTER_DEVICE: "a character device",
    EntryType.BLOCK_DEVICE: "a block device",
    EntryType.UNKNOWN: "something unknown",
}
_AS_WHO = "run as a user who may read it"
_VANISHED = "vanished while the backup ran"
_AGAIN = "run the backup again"


class LocalFiles:
    """A directory of the local file system and all below it, as a `FileSource`.

    Open at one time are at most `walking.OPEN_FOLDERS` directories for each walk, the root, the folders that somebody holds,
    and for a moment in each thread two for what it opens or describes.
    """

    def __init__(
        self, root: bytes, selection: Selection, *, wanted: Wanted | None = None, devices: dict[int, int]
    ) -> None:
        """Open the directory *root*; a link to one is followed, as it was named.

        With *wanted*, only that is saved; what is named there no rule leaves out, and it is yielded with an error if it does
        not exist. *devices* numbers file systems (st_dev → ordinal) for all sources of a run. Raises: SourceMissing,
        SourceUnreadable.
        """
        self.name = os.fsdecode(root)
        opener = QuietOpener()
        fd = _open_root(root)
        status = os.fstat(fd)
        self._root = LocalFolder(None, root, fd, (status.st_dev, status.st_ino))
        self._opener = opener
        self._devices = devices
        self._rules = Rules(selection, wanted, devices, opener, os.path.join(os.path.abspath(root), b""))
        self._walk = Walk(self._root, self._rules, frozenset())
        self._seen: tuple[object, tuple[bytes, ...]] = (None, ())  # where a walk was, and the names that lead there
        self._is_closed = False

    @property
    def looking_at(self) -> tuple[bytes, ...]:
        """See `FileSource`; of the walk that was begun last."""
        mark = self._walk.mark
        if mark is not self._seen[0]:
            folder, name = mark
            self._seen = mark, () if folder is None else (*folder.names, name)
        return self._seen[1]

    def walk(
        self,
        resume: Resume | None = None,
        avoid: AbstractSet[tuple[bytes, ...]] = frozenset(),
        looks: Looks | None = None,
    ) -> Iterator[Step]:
        self._walk = Walk(self._root, self._rules, avoid, looks)
        return self._walk.steps(resume)

    def open(self, folder: Folder, found: Found) -> LocalFile:
        return self._open(_local(folder), found)

    def _open(self, folder: LocalFolder, found: Found) -> LocalFile:
        name = found.name
        if found.type is not EntryType.FILE:
            raise SourceUnreadable(
                f"{os.fsdecode(_path(folder, name))} is {_KINDS[found.type]}, no regular file",
                hint="only these have content",
            )
        try:
            fd, status = self._open_held(folder, found)
        except OSError as error:
            raise _fault(_path(folder, name), error, missing=_VANISHED) from error
        if not stat.S_ISREG(status.st_mode):
            os.close(fd)
            raise _replaced(folder, found_of(name, status, self._devices))
        return LocalFile(folder, name, (fd, status), self._devices)

    def _open_held(self, folder: LocalFolder, found: Found) -> tuple[int, os.stat_result]:
        """Open a file in a folder that nobody else may be holding. Raises: OSError."""
        folder.hold()  # else its descriptor could become that of another file
        try:
            fd = self._open_file(folder.descriptor(), found.name, found.metadata.uid)
        finally:
            folder.release()
        try:
            return fd, os.fstat(fd)
        except BaseException:
            os.close(fd)
            raise

    def _open_file(self, at: int, name: bytes, owner: int) -> int:
        """Open what should be a regular file, and wait for nothing else. Raises: OSError."""
        try:
            return self._opener.open(name, _FILE, at=at, owner=owner)
        except BlockingIOError:
            # Somebody has a lease on it (Samba does that) and was just asked to give it back, for which he has time.
            if not stat.S_ISREG(os.stat(name, dir_fd=at, follow_symlinks=False).st_mode):
                raise
        return self._opener.open(name, _FILE & ~os.O_NONBLOCK, at=at, owner=owner)

    def read_small(self, folder: Folder, found: Found) -> tuple[Metadata, bytes] | None:
        local = _local(folder)
        try:
            local.hold()  # else its descriptor could become that of another file
            try:
                fd = self._opener.open(found.name, _FILE, at=local.descriptor(), owner=found.metadata.uid)
            finally:
                local.release()
            try:
                content = os.read(fd, found.size + 1)  # one more: to see that there is no more
                metadata = complete_if_same(found, fd) if len(content) == found.size else None
            finally:
                os.close(fd)
        except OSError:
            return None
        return None if metadata is None else (metadata, content)

    def describe(self, folder: Folder, found: Found) -> tuple[Metadata, bytes]:
        """See `FileSource`; flags of what cannot be opened for reading are not known."""
        local = _local(folder)
        if found.type is EntryType.DIRECTORY:
            return self._describe_directory(local), b""
        if found.type is EntryType.FILE:
            try:
                file = self._open(local, found)
            except SourceUnreadable as error:
                if not isinstance(error.__cause__, PermissionError):
                    raise
            else:
                try:
                    return file.metadata(), b""
                finally:
                    file.close()
        return self._describe_other(local, found)

    def _describe_directory(self, folder: LocalFolder) -> Metadata:
        with _explained(folder):
            folder.hold()
            try:
                fd = folder.descriptor()
                return _complete_directory(found_of(b"", os.fstat(fd), self._devices).metadata, fd)
            finally:
                folder.release()

    def _describe_other(self, folder: LocalFolder, found: Found) -> tuple[Metadata, bytes]:
        with _explained(folder, found.name):
            folder.hold()
            try:
                fd = os.open(found.name, _LOOK, dir_fd=folder.descriptor())
            finally:
                folder.release()
            try:
                now = found_of(found.name, os.fstat(fd), self._devices)
                if now.type is not found.type:
                    raise _replaced(folder, now)
                target = os.readlink(b"", dir_fd=fd) if now.type is EntryType.SYMLINK else b""
                return complete_by_path(now.metadata, fd), target
            finally:
                os.close(fd)

    def look(self, names: Sequence[bytes]) -> tuple[Folder, Found]:
        """See `FileSource`; of a directory, the folder is its own."""
        folder = self._root
        folder.hold()
        try:
            found = found_of(b"", os.fstat(folder.descriptor()), self._devices)
            for depth, name in enumerate(names, 1):
                status = os.stat(name, dir_fd=folder.descriptor(), follow_symlinks=False)
                found = found_of(name, status, self._devices)
                if found.type is EntryType.DIRECTORY:
                    search_only = depth < len(names)
                    owner = found.metadata.uid
                    below, status = folder.open_below(name, self._opener, owner=owner, search_only=search_only)
                    found = found_of(name, status, self._devices)
                    folder.release()
                    folder = below
                elif depth < len(names):
                    raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        except OSError as error:
            folder.release()
            path = os.path.join(self._root.path, *names)
            raise _fault(path, error, missing=_VANISHED) from error
        return folder, found

    def close(self) -> None:
        if not self._is_closed:
            self._is_closed = True
            self._root.release()


def ancestors(path: bytes, devices: dict[int, int]) -> list[tuple[bytes, Metadata]]:
    """Names and metadata of the directories above *path*, the outermost first, links in it followed.

    *path* is normalised and absolute, then the root of the file system is not among them, or relative to the working
    directory. Raises: SourceMissing, SourceUnreadable.
    """
    names = [name for name in path.split(b"/") if name][:-1]
    fd = os.open(b"/" if path.startswith(b"/") else b".", _ABOVE)
    found = []
    try:
        for name in names:
            fd, above = os.open(name, _ABOVE, dir_fd=fd), fd
            os.close(above)
            found.append((name, _directory_of(fd, devices)))
    except OSError as error:
        raise _fault(path, error) from error
    finally:
        os.close(fd)
    return found


def _directory_of(fd: int, devices: dict[int, int]) -> Metadata:
    """All metadata of a directory that was opened with O_PATH. Raises: OSError."""
    metadata = found_of(b"", os.fstat(fd), devices).metadata
    try:
        readable = os.open(b".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=fd)
    except PermissionError:
        return complete_by_path(metadata, fd)
    try:
        return complete(metadata, readable)
    finally:
        os.close(readable)


def _complete_directory(metadata: Metadata, fd: int) -> Metadata:
    try:
        return complete(metadata, fd)
    except OSError as error:
        if error.errno != errno.EBADF:
            raise
    return complete_by_path(metadata, fd)  # it could be opened for searching only


def _local(folder: Folder) -> LocalFolder:
    if not isinstance(folder, LocalFolder):
        raise TypeError("the folder is another source's")
    return folder


def _open_root(path: bytes) -> int:
    try:
        return open_root(path)
    except NotADirectoryError as error:
        raise SourceUnreadable(
            f"{os.fsdecode(path)} is no directory", hint="name the directory that it lies in"
        ) from error
    except OSError as error:
        raise _fault(path, error) from error


@contextmanager
def _explained(folder: LocalFolder, name: bytes = b"") -> Iterator[None]:
    """Turn what the kernel says of the object, or of the folder itself, into our errors."""
    try:
        yield
    except OSError as error:
        raise _fault(_path(folder, name), error, missing=_VANISHED) from error


def _path(folder: LocalFolder, name: bytes) -> bytes:
    return os.path.join(folder.path, name) if name else folder.path


def _replaced(folder: LocalFolder, now: Found) -> SourceUnreadable:
    path = os.fsdecode(_path(folder, now.name))
    return SourceUnreadable(f"{path} was replaced by {_KINDS[now.type]} while the backup ran", hint=_AGAIN)


def _fault(path: bytes, error: OSError, *, missing: str = "does not exist") -> SourceError:
    shown = os.fsdecode(path)
    if error.errno in {errno.ENOENT, errno.ENOTDIR}:
        return SourceMissing(f"{shown} {missing}", hint="check the path; a relative one starts here")
    if error.errno == errno.ELOOP:
        return SourceUnreadable(f"{shown} was replaced by a symbolic link while the backup ran", hint=_AGAIN)
    if error.errno == errno.ENXIO:
        return SourceUnreadable(f"{shown} was replaced by a socket or a device while the backup ran", hint=_AGAIN)
    hint = _AS_WHO if isinstance(error, PermissionError) else "the kernel's log may say more (dmesg)"
    return SourceUnreadable(f"cannot read {shown}: {error.strerror or error}", hint=hint)
