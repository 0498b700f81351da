"""Removing what is in the way, through open directories alone."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress

from lamina.targets.attributes import unlock
from lamina.targets.folders import make_writable, open_folder


def remove(at: int, name: bytes, device: int) -> bool:
    """Remove *name* from the directory *at*, with all that is in it; false if another file system begins in it, which stays.

    Two directories are open at a time, however deep it is. Raises: OSError.
    """
    try:
        is_directory = stat.S_ISDIR(os.stat(name, dir_fd=at, follow_symlinks=False).st_mode)
    except FileNotFoundError:
        return True
    if not is_directory:
        os.unlink(name, dir_fd=at)
        return True
    emptying = _Emptying(open_folder(name, at), device)
    try:
        if not emptying.is_inside():
            return False
        emptying.run()
    finally:
        emptying.close()
    if emptying.all_gone:
        os.rmdir(name, dir_fd=at)
    return emptying.all_gone


class _Emptying:
    """Removes all that is in a directory, level by level."""

    def __init__(self, fd: int, device: int) -> None:
        """Take over *fd*."""
        self.all_gone = True
        self._fd = fd
        self._device = device
        self._above: list[tuple[bytes, tuple[int, int], list[bytes]]] = []  # name, what it is in, what is left there

    def is_inside(self) -> bool:
        """Whether the directory lies on the file system that we may remove from."""
        return os.fstat(self._fd).st_dev == self._device

    def run(self) -> None:
        """Raises: OSError."""
        todo = self._names()
        while todo or self._above:
            if not todo:
                name, identity, todo = self._above.pop()
                self._go_up(identity)
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
        unlock(self._fd)
        make_writable(self._fd)
        return [os.fsencode(name) for name in os.listdir(self._fd)]

    def _unlink(self, name: bytes) -> bool:
        """Whether it is gone; false for a directory."""
        try:
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
        """Go into a directory, unless another file system begins there."""
        below = open_folder(name, self._fd)
        if os.fstat(below).st_dev != self._device:
            os.close(below)
            self.all_gone = False
            return False
        os.close(self._fd)
        self._fd = below
        return True

    def _go_up(self, identity: tuple[int, int]) -> None:
        """Go to the directory above, which must be the one that it was. Raises: OSError."""
        above = os.open(b"..", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self._fd)
        os.close(self._fd)
        self._fd = above
        status = os.fstat(above)
        if (status.st_dev, status.st_ino) != identity:
            raise OSError(errno.ESTALE, "a directory was moved away while it was removed")
