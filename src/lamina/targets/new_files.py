"""Regular files that get their name when they are whole."""

from __future__ import annotations

import errno
import os
import re
import secrets
import stat
from contextlib import suppress
from typing import NamedTuple

from lamina.model.entries import Buffer, Metadata
from lamina.targets.attributes import Attributes
from lamina.targets.folders import Spot, TargetFolder

# Names of files that are not whole; only an interrupted restore leaves some, and the next one removes them.
TEMPORARY = re.compile(rb"\.lamina-[0-9a-f]{32}")
# Permissions of a small file until it is whole: sticky, and only written to by its owner. A file that shall have them
# in the end is made otherwise.
UNFINISHED = 0o1200
_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_NO_TMPFILE = frozenset({errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT, errno.EINVAL})
_BLOCK = 4096  # bytes: of zeros at such a place, a hole is made
_ZERO_BLOCK = bytes(_BLOCK)


def temporary_name() -> bytes:
    return b".lamina-" + secrets.token_hex(16).encode()


class Naming(NamedTuple):
    """How a file gets its name."""

    name: bytes
    replace: bool  # what may have that name already
    temporary: bytes | None = None  # the name it has until then
    is_lasting: bool = False  # it stays if it is given up, to be resumed
    is_resumed: bool = False  # an earlier restore began it
    is_direct: bool = False  # it has it from the beginning, and UNFINISHED permissions until it is whole


class FileMaker:
    """Makes the regular files of one target, from any thread."""

    def __init__(self, attributes: Attributes) -> None:
        self._attributes = attributes
        self._marks: dict[int, bool] = {}  # by device: whether its files keep the permissions UNFINISHED
        self._nameless = os.path.isdir("/proc/self/fd")  # where files can be open before they have a name

    def open(self, folder: TargetFolder, name: bytes, *, replace: bool) -> NewFile:
        """A new file that will be *name* in *folder*, which must be held. Raises: OSError."""
        if self._nameless and not replace:
            try:
                fd = os.open(b".", os.O_RDWR | os.O_TMPFILE | os.O_CLOEXEC, 0o600, dir_fd=folder.fd)
                return NewFile(self._attributes, folder, fd, Naming(name, replace))
            except OSError as error:
                if error.errno not in _NO_TMPFILE:
                    raise
                self._nameless = False
        temporary = temporary_name()
        fd = os.open(temporary, _NEW, 0o600, dir_fd=folder.fd)
        return NewFile(self._attributes, folder, fd, Naming(name, replace, temporary))

    def open_direct(self, folder: TargetFolder, name: bytes) -> NewFile:
        """A small new file that is *name* at once: half the work for the file system. Raises: FileExistsError, OSError."""
        device = folder.identity[0]
        if self._marks.get(device) is False:
            return self.open(folder, name, replace=False)
        fd = os.open(name, _NEW, UNFINISHED, dir_fd=folder.fd)
        if device not in self._marks:
            self._marks[device] = stat.S_IMODE(os.fstat(fd).st_mode) == UNFINISHED
            if not self._marks[device]:
                os.close(fd)
                os.unlink(name, dir_fd=folder.fd)
                return self.open(folder, name, replace=False)
        return NewFile(self._attributes, folder, fd, Naming(name, replace=False, temporary=name, is_direct=True))

    def resume(self, folder: TargetFolder, name: bytes, key: str, *, replace: bool) -> NewFile:
        """The same for a large file; it goes on where an interrupted restore of what *key* names was."""
        temporary = b".lamina-" + key.encode()
        naming = Naming(name, replace, temporary, is_lasting=True)
        try:
            fd = os.open(temporary, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder.fd)
        except FileNotFoundError:
            pass
        except OSError:  # a link, say, and none of ours
            os.unlink(temporary, dir_fd=folder.fd)
        else:
            if _is_ours(fd):
                return NewFile(self._attributes, folder, fd, naming._replace(is_resumed=True))
            os.close(fd)
            os.unlink(temporary, dir_fd=folder.fd)
        fd = os.open(temporary, _NEW, 0o600, dir_fd=folder.fd)
        return NewFile(self._attributes, folder, fd, naming)


def _is_ours(fd: int) -> bool:
    """Whether nobody else can have made this file, or can have it open."""
    status = os.fstat(fd)
    return (
        stat.S_ISREG(status.st_mode)
        and status.st_uid == os.geteuid()
        and stat.S_IMODE(status.st_mode) == 0o600
        and status.st_nlink == 1
    )


def is_unfinished(status: os.stat_result) -> bool:
    """Whether a file is what an interrupted restore of this user left of a small file."""
    return status.st_mode == stat.S_IFREG | UNFINISHED and status.st_uid == os.geteuid() and status.st_nlink == 1


class NewFile:
    """A file that is being written: it has no name yet, a temporary one, or permissions that say so."""

    __slots__ = ("_attributes", "_fd", "_naming", "folder")

    def __init__(self, attributes: Attributes, folder: TargetFolder, fd: int, naming: Naming) -> None:
        """Take over *fd*."""
        self._attributes = attributes
        self._fd = fd
        self._naming = naming
        self.folder = folder

    @property
    def is_resumed(self) -> bool:
        """Whether some of its content may be there already."""
        return self._naming.is_resumed

    @property
    def is_lasting(self) -> bool:
        """Whether it can be resumed if it is given up."""
        return self._naming.is_lasting

    def give_up(self) -> None:
        """Let nothing of it stay."""
        self._naming = self._naming._replace(is_lasting=False)

    def write(self, offset: int, data: Buffer) -> None:
        """Raises: OSError."""
        count = os.pwrite(self._fd, data, offset)
        while count < len(data):
            count += os.pwrite(self._fd, memoryview(data)[count:], offset + count)

    def write_sparsely(self, offset: int, data: memoryview) -> None:
        """Write all but the blocks of zeros, which a new file has anyway. Raises: OSError."""
        if self.is_resumed or bytes(data).find(_ZERO_BLOCK) < 0:
            self.write(offset, data)
            return
        start: int | None = None
        for at in range(0, len(data), _BLOCK):
            if data[at : at + _BLOCK] == _ZERO_BLOCK[: len(data) - at]:
                if start is not None:
                    self.write(offset + start, data[start:at])
                start = None
            elif start is None:
                start = at
        if start is not None:
            self.write(offset + start, data[start:])

    def read_into(self, offset: int, buffer: memoryview) -> int:
        """Raises: OSError."""
        return os.preadv(self._fd, [buffer], offset)

    def set_size(self, size: int) -> None:
        """Raises: OSError."""
        os.ftruncate(self._fd, size)

    def publish(self, metadata: Metadata) -> tuple[int, int]:
        """Give it its attributes and its name; returns device and inode.

        Raises: FileExistsError if the name was taken meanwhile and must not be replaced; OSError.
        """
        spot = Spot(self.folder, self._naming.name)
        self._attributes.apply(self._fd, metadata, spot, is_mode_last=self._naming.is_direct)
        self._take_name()
        if metadata.flags or (self.folder.hands_down and not metadata.is_implied):
            self._attributes.set_flags(self._fd, metadata, spot)
        if metadata.links == 1:
            return 0, 0
        status = os.fstat(self._fd)
        return status.st_dev, status.st_ino

    def _take_name(self) -> None:
        name, replace, temporary, *_ = self._naming
        if self._naming.is_direct:
            self._naming = self._naming._replace(temporary=None)
        elif temporary is None:
            source = b"/proc/self/fd/%d" % self._fd
            os.link(source, name, dst_dir_fd=self.folder.fd, follow_symlinks=True)
        else:
            publish_name(self.folder.fd, temporary, name, replace=replace)
            self._naming = self._naming._replace(temporary=None)

    def close(self) -> None:
        """Let go of it; a file that was not published is gone, unless it can be resumed."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
            if self._naming.temporary is not None and not self._naming.is_lasting:
                with suppress(OSError):
                    os.unlink(self._naming.temporary, dir_fd=self.folder.fd)


def publish_name(at: int, temporary: bytes, name: bytes, *, replace: bool) -> None:
    """Rename what is in the directory *at*; without *replace*, nothing is overwritten. Raises: FileExistsError, OSError."""
    if not replace:
        try:
            os.link(temporary, name, src_dir_fd=at, dst_dir_fd=at, follow_symlinks=False)
        except PermissionError:  # there are no links here
            with suppress(FileNotFoundError):
                os.stat(name, dir_fd=at, follow_symlinks=False)
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST)) from None
        else:
            os.unlink(temporary, dir_fd=at)
            return
    os.rename(temporary, name, src_dir_fd=at, dst_dir_fd=at)
