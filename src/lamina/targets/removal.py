"""Removing what is in the way, through open directories alone."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Set as AbstractSet
from contextlib import suppress

from lamina.targets.attributes import unlock
from lamina.targets.folders import make_writable, open_folder

Identity = tuple[int, int]  # device and inode


def remove(at: int, name: bytes, kept: AbstractSet[Identity] = frozenset(), *, dry_run: bool = False) -> bool:
    """Remove *name* from the directory *at*, with all that is in it; false if something of it stays.

    What stays is *kept*, and what is mounted in it. Two directories are open at a time, however deep it is. A dry run only
    says what would come of it. Raises: OSError.
    """
    try:
        status = os.stat(name, dir_fd=at, follow_symlinks=False)
    except FileNotFoundError:
        return True
    if (status.st_dev, status.st_ino) in kept:
        return False
    if not stat.S_ISDIR(status.st_mode):
        if not dry_run:
            os.unlink(name, dir_fd=at)
        return True
    emptying = _Emptying(open_folder(name, at), mount_of(at), kept, dry_run=dry_run)
    try:
        if not emptying.may_enter():
            return False
        emptying.run()
    finally:
        emptying.close()
    if emptying.all_gone and not dry_run:
        os.rmdir(name, dir_fd=at)
    return emptying.all_gone


def mount_of(fd: int) -> tuple[int, int]:
    """The file system that an open directory lies on, and the mount through which it is seen: one may be mounted twice."""
    device = os.fstat(fd).st_dev
    try:
        with open(f"/proc/self/fdinfo/{fd}", "rb") as lines:  # the system call for it is not in `os`
            return device, next((int(line[7:]) for line in lines if line.startswith(b"mnt_id:")), 0)
    except FileNotFoundError:  # there is no /proc
        return device, 0


class _Emptying:
    """Removes all that is in a directory, level by level."""

    def __init__(self, fd: int, mount: tuple[int, int], kept: AbstractSet[Identity], *, dry_run: bool) -> None:
        """Take over *fd*."""
        self.all_gone = True
        self._dry_run = dry_run
        self._fd = fd
        self._mount = mount
        self._kept = kept
        self._above: list[tuple[bytes, tuple[int, int], list[bytes]]] = []  # name, what it is in, what is left there

    def may_enter(self) -> bool:
        """Whether what is in the directory may be removed."""
        return self._may_empty(self._fd)

    def run(self) -> None:
        """Raises: OSError."""
        todo = self._names()
        while todo or self._above:
            if not todo:
                name, identity, todo = self._above.pop()
                self._go_up(identity)
                if self._dry_run:
                    continue
                with suppress(OSError if not self.all_gone else FileNotFoundError):
                    os.rmdir(name, dir_fd=self._fd)
                continue
            name = todo.pop()
            if self._unlink(name):
                continue
            status = os.fstat(self._fd)
            if self._go_down(name):
                self._above.append((name, (status.st_dev, status.st_ino), todo))
                todo = self._names()

    def close(self) -> None:
        os.close(self._fd)

    def _names(self) -> list[bytes]:
        if not self._dry_run:
            unlock(self._fd)
            make_writable(self._fd)
        return [os.fsencode(name) for name in os.listdir(self._fd)]

    def _unlink(self, name: bytes) -> bool:
        """Whether it is dealt with; false for a directory."""
        if self._kept and self._is_kept(name):
            self.all_gone = False
            return True
        try:
            if self._dry_run:
                return not stat.S_ISDIR(os.stat(name, dir_fd=self._fd, follow_symlinks=False).st_mode)
            os.unlink(name, dir_fd=self._fd)
        except FileNotFoundError:
            return True
        except OSError as error:
            if error.errno not in {errno.EISDIR, errno.EPERM}:
                raise
            if stat.S_ISDIR(os.stat(name, dir_fd=self._fd, follow_symlinks=False).st_mode):
                return False
            self._unlink_locked(name)
        return True

    def _unlink_locked(self, name: bytes) -> None:
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=self._fd)
        try:
            if stat.S_ISREG(os.fstat(fd).st_mode):
                unlock(fd)
        finally:
            os.close(fd)
        os.unlink(name, dir_fd=self._fd)

    def _go_down(self, name: bytes) -> bool:
        """Go into a directory, unless it stays."""
        below = open_folder(name, self._fd)
        if not self._may_empty(below):
            os.close(below)
            self.all_gone = False
            return False
        os.close(self._fd)
        self._fd = below
        return True

    def _may_empty(self, fd: int) -> bool:
        status = os.fstat(fd)
        return (status.st_dev, status.st_ino) not in self._kept and mount_of(fd) == self._mount

    def _is_kept(self, name: bytes) -> bool:
        try:
            status = os.stat(name, dir_fd=self._fd, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return (status.st_dev, status.st_ino) in self._kept

    def _go_up(self, identity: tuple[int, int]) -> None:
        """Go to the directory above, which must be the one that it was. Raises: OSError."""
        above = os.open(b"..", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self._fd)
        os.close(self._fd)
        self._fd = above
        status = os.fstat(above)
        if (status.st_dev, status.st_ino) != identity:
            raise OSError(errno.ESTALE, "a directory was moved away while it was removed")
