"""Directories of the local file system, open while somebody needs them."""

from __future__ import annotations

import errno
import os
import threading
from contextlib import suppress

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NONBLOCK | os.O_CLOEXEC
_SEARCH = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

Identity = tuple[int, int]  # device and inode


class QuietOpener:
    """Opens files and directories without a mark in their access time, where the kernel lets us."""

    def __init__(self) -> None:
        self._refused: set[int] = set()  # owners for whose files it does not: only they and root may do that

    def open(self, name: bytes, flags: int, *, at: int, owner: int) -> int:
        """Open *name* in the directory *at*; *owner* is whose it is believed to be. Raises: OSError."""
        if owner in self._refused:
            return os.open(name, flags, dir_fd=at)
        try:
            return os.open(name, flags | os.O_NOATIME, dir_fd=at)
        except OSError as error:
            if error.errno != errno.EPERM:
                raise
        fd = os.open(name, flags, dir_fd=at)
        self._refused.add(owner)  # only now it is known that the mark was the reason
        return fd

    def open_directory(self, name: bytes, *, at: int, owner: int) -> int:
        """Open the directory *name*, no link to one, in the directory *at*. Raises: OSError."""
        return self.open(name, _DIRECTORY | os.O_NOFOLLOW, at=at, owner=owner)


class LocalFolder:
    """A directory (`Folder`); open while anybody holds it, opened again if somebody holds it later.

    Opening again goes from the nearest directory above that is open, name by name, and takes no other directory for it.
    Any number of threads may use it; the file descriptor stays what it is while it is held.
    """

    __slots__ = ("_fd", "_holders", "_lock", "identity", "name", "parent")

    def __init__(self, parent: LocalFolder | None, name: bytes, fd: int = -1, identity: Identity | None = None) -> None:
        """Take over *fd* and be held once; without it, it was never open. *name* is the path if there is no *parent*."""
        self.parent = parent
        self.name = name
        self.identity = identity
        self._fd = fd
        self._holders = 1
        self._lock = threading.Lock()

    @property
    def names(self) -> tuple[bytes, ...]:
        """The names that lead to it from the folder without a parent."""
        names = []
        folder = self
        while folder.parent is not None:
            names.append(folder.name)
            folder = folder.parent
        return tuple(reversed(names))

    @property
    def path(self) -> bytes:
        """Where it lies, for people."""
        root = self
        while root.parent is not None:
            root = root.parent
        return os.path.join(root.name, *self.names)

    def open_below(
        self, name: bytes, opener: QuietOpener, *, owner: int, search_only: bool
    ) -> tuple[LocalFolder, os.stat_result]:
        """Open the directory *name* in this one, which must be held; with *search_only*, it need not be readable.

        Raises: OSError.
        """
        at = self.descriptor()
        try:
            fd = opener.open_directory(name, at=at, owner=owner)
        except PermissionError:
            if not search_only:
                raise
            fd = os.open(name, _SEARCH, dir_fd=at)
        try:
            status = os.fstat(fd)
        except BaseException:
            os.close(fd)
            raise
        return LocalFolder(self, name, fd, (status.st_dev, status.st_ino)), status

    def hold(self) -> None:
        with self._lock:
            self._holders += 1

    def release(self) -> None:
        with self._lock:
            self._holders -= 1
            if self._holders == 0:
                self._close()

    def _close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def descriptor(self) -> int:
        """Its file descriptor, good for as long as it is held. Raises: OSError."""
        fd = self._fd
        if fd >= 0:
            return fd
        with self._lock:
            if self._fd < 0:
                self._fd = self._open_by_name()
            return self._fd

    def reopen_from(self, child: LocalFolder) -> None:
        """Be open again, as the directory above *child* or else by name; both must be held. Raises: OSError."""
        below = child.hold_if_open()
        try:
            with self._lock:
                if self._fd < 0:
                    self._fd = self._open_above(below)
        finally:
            if below >= 0:
                child.release()

    def _open_above(self, below: int) -> int:
        if below >= 0:
            with suppress(OSError):  # it was moved away
                return _open_same(b"..", below, self.identity)
        return self._open_by_name()

    def _open_by_name(self) -> int:
        """The descriptor again. A loop, as hundreds of directories may be closed one above the other."""
        closed = [self]
        above = self.parent
        while above is not None and (start := above.hold_if_open()) < 0:
            closed.append(above)
            above = above.parent
        if above is None:
            raise OSError(errno.EBADF, "the source was closed")
        fd = start
        try:
            while closed:
                folder = closed.pop()
                last, fd = fd, _open_same(folder.name, fd, folder.identity)
                if last != start:
                    os.close(last)
        except BaseException:
            if fd != start:
                os.close(fd)
            raise
        finally:
            above.release()
        return fd

    def hold_if_open(self) -> int:
        """Its file descriptor, and be held once more; -1 if it is not open."""
        with self._lock:
            if self._fd >= 0:
                self._holders += 1
            return self._fd


def open_root(path: bytes) -> int:
    """Open the directory that somebody named, through links as well. Raises: OSError."""
    return os.open(path, _DIRECTORY)


def _open_same(name: bytes, at: int, identity: Identity | None) -> int:
    """Open a directory that must be the one it was; None: whichever. Raises: OSError."""
    try:
        fd = os.open(name, _DIRECTORY | os.O_NOFOLLOW, dir_fd=at)
    except PermissionError:  # it may be searched, but not listed
        fd = os.open(name, _SEARCH, dir_fd=at)
    status = os.fstat(fd)
    if identity not in {None, (status.st_dev, status.st_ino)}:
        os.close(fd)
        raise OSError(errno.ESTALE, "another directory took its place")
    return fd
