"""Directories of a target, open while they are needed, and never reached through a link."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from typing import NamedTuple

NO_NAMES = frozenset({b"", b".", b".."})
OPEN_ABOVE = 64  # directories above the one that is being filled that stay open
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class TargetFolder:
    """One directory of a target, open while anybody holds it, and opened again when it is needed later.

    Opening again takes no other directory for it, whatever somebody puts in its place. One thread holds, releases and
    opens; the descriptor can be used by any thread while it is held.
    """

    __slots__ = (
        "_holders",
        "_open",
        "_parked",
        "depth",
        "fd",
        "fresh",
        "gid",
        "hands_down",
        "identity",
        "inherits",
        "name",
        "parent",
    )

    def __init__(self, parent: TargetFolder | None, name: bytes, fd: int, *, fresh: bool) -> None:
        """Take over *fd* and be held once. *name* is the path if there is no *parent*; *fresh*: just made, and empty."""
        self.parent = parent
        self.name = name
        self.fd = fd
        self.fresh = fresh
        self.depth: int = 0 if parent is None else parent.depth + 1
        self.identity = (-1, -1)  # device and inode
        self.gid = -1  # which what is made in it may get
        self.hands_down = False  # what is made in it gets some of its flags
        self.inherits = False  # what is made in it gets an ACL from it
        self._holders = 1
        self._parked = False
        self._open: set[TargetFolder] = set() if parent is None else parent._open  # noqa: SLF001 - one set for all of a target
        if fd >= 0:
            self._open.add(self)
            status = os.fstat(fd)
            self.identity = (status.st_dev, status.st_ino)
            self.gid = status.st_gid
            self.inherits = _has_default_acl(fd)

    @property
    def is_absent(self) -> bool:
        """Whether it only exists in the plan of a dry run."""
        return self.identity[0] < 0

    def path_of(self, name: bytes) -> bytes:
        """Where *name* in it lies, or where it lies itself, for people."""
        names = [name] if name else []
        folder = self
        while folder.parent is not None:
            names.append(folder.name)
            folder = folder.parent
        names.append(folder.name.rstrip(b"/"))
        return b"/".join(reversed(names))

    def hold(self) -> None:
        """Keep it open, or open it again. Raises: OSError."""
        if self.fd < 0 and not self.is_absent:
            self.fd = self._open_by_name()
            self._open.add(self)
        self._holders += 1

    def hold_from(self, child: TargetFolder) -> None:
        """The same; through *child* if that is open, as that is quicker. Raises: OSError."""
        if self.fd < 0 and child.fd >= 0:
            with suppress(OSError):  # it was moved away
                self.fd = _open_same(b"..", child.fd, self.identity)
                self._open.add(self)
        self.hold()

    def release(self) -> None:
        self._holders -= 1
        if self._holders == 0:
            self._close()

    def close_all(self) -> None:
        """Close every directory of the target, whoever holds it."""
        for folder in list(self._open):
            folder._close()  # noqa: SLF001

    def _close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
            self._open.discard(self)

    def park_above(self) -> None:
        """Let go a directory far above, as too many would be open otherwise."""
        if self.depth <= OPEN_ABOVE:
            return
        folder: TargetFolder | None = self
        for _ in range(OPEN_ABOVE):
            folder = folder.parent if folder is not None else None
        if folder is not None:
            folder.park()

    def park(self) -> None:
        """Let it go until the walk comes back to it."""
        if self.parent is not None and not self._parked:
            self._parked = True
            self.release()

    def unpark(self, child: TargetFolder) -> None:
        """Hold it again if it was let go, as the walk comes back to it. Raises: OSError."""
        if self._parked:
            self._parked = False
            try:
                self.hold_from(child)
            except OSError:
                self._holders += 1  # and whatever is tried in it fails
                raise

    def _open_by_name(self) -> int:
        """The descriptor again. A loop, as thousands of directories may be closed one above the other."""
        closed = [self]
        above = self.parent
        while above is not None and above.fd < 0:
            closed.append(above)
            above = above.parent
        if above is None:
            raise OSError(errno.EBADF, "the target was closed")
        fd = above.fd
        while closed:
            folder = closed.pop()
            try:
                below = _open_same(folder.name, fd, folder.identity)
            finally:
                if fd != above.fd:
                    os.close(fd)
            fd = below
        return fd


class Spot(NamedTuple):
    """A place in a directory; it costs something to say where that is only if somebody asks."""

    folder: TargetFolder
    name: bytes = b""  # empty: the directory itself

    @property
    def path(self) -> bytes:
        """Where it is, for people."""
        return self.folder.path_of(self.name)


def check_name(name: bytes) -> None:
    """Refuse a name that would lead out of the directory. Raises: OSError."""
    if name in NO_NAMES or b"/" in name or b"\0" in name:
        raise OSError(errno.EINVAL, "this is no name of a file")


def open_folder(name: bytes, at: int) -> int:
    """Open the directory *name*, no link to one, in the directory *at*; a locked one of ours is unlocked.

    Raises: OSError.
    """
    try:
        return os.open(name, _DIRECTORY, dir_fd=at)
    except PermissionError:
        _unlock(name, at)
        return os.open(name, _DIRECTORY, dir_fd=at)


def make_writable(fd: int) -> None:
    """Let us fill a directory of ours that forbids it; what it shall allow is set when it is filled."""
    status = os.fstat(fd)
    if os.geteuid() == status.st_uid != 0 and status.st_mode & 0o700 != 0o700:
        os.fchmod(fd, (status.st_mode & 0o7777) | 0o700)


def _unlock(name: bytes, at: int) -> None:
    """Let us read a directory of ours. Raises: OSError."""
    fd = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=at)
    try:
        os.chmod(b"/proc/self/fd/%d" % fd, (os.fstat(fd).st_mode & 0o7777) | 0o700)
    finally:
        os.close(fd)


def _has_default_acl(fd: int) -> bool:
    try:
        os.getxattr(fd, b"system.posix_acl_default")
    except OSError:
        return False  # it has none, or there are none here
    return True


def _open_same(name: bytes, at: int, identity: tuple[int, int]) -> int:
    """Open a directory that must be the one it was. Raises: OSError."""
    fd = os.open(name, _DIRECTORY, dir_fd=at)
    status = os.fstat(fd)
    if identity != (status.st_dev, status.st_ino):
        os.close(fd)
        raise OSError(errno.ESTALE, "another directory took its place")
    return fd
