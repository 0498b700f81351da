"""Image files and block devices."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator

from lamina.errors import SourceMissing, SourceUnreadable
from lamina.model.entries import Extent, ExtentKind, Metadata
from lamina.sources.inodes import complete, found_of
from lamina.sources.source import ImageSource
from lamina.sources.uncached import UncachedReader

_KINDS = (
    (stat.S_ISDIR, "a directory", "name an image file or a block device"),
    (stat.S_ISFIFO, "a pipe", "feed it to standard input and give `-` as the source"),
    (stat.S_ISCHR, "a character device", "name the block device, or feed the data to standard input (`-`)"),
    (stat.S_ISSOCK, "a socket", "name an image file or a block device"),
)


def open_image(path: str, devices: dict[int, int] | None = None) -> ImageSource:
    """Open the image file or block device at *path* for reading. *devices* numbers file systems, as of `LocalFiles`.

    Raises: SourceMissing, SourceUnreadable.
    """
    try:
        _refuse_other_kinds(path, os.stat(path).st_mode)  # before opening: to open a pipe may wait for ever
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError) as error:
        if os.path.islink(path):
            raise SourceMissing(f"{path} is a link to nothing", hint=f"it points to {os.readlink(path)}") from error
        raise SourceMissing(f"{path} does not exist", hint="check the path; a relative one starts here") from error
    except OSError as error:
        raise SourceUnreadable(f"cannot open {path}: {_text(error)}", hint=_hint_for(error)) from error
    try:
        return FileImage(path, fd, devices)
    except BaseException:
        os.close(fd)
        raise


class FileImage:
    """A regular file or a block device as an `ImageSource`."""

    def __init__(self, path: str, fd: int, devices: dict[int, int] | None = None) -> None:
        """Take over *fd*, open for reading. Raises: SourceUnreadable."""
        self.name = path
        self._fd = fd
        self._reader = UncachedReader(fd)
        try:
            self._opened = os.fstat(fd)
            self.size = os.lseek(fd, 0, os.SEEK_END)  # `st_size` of a block device is 0
            self.stable = stat.S_ISREG(self._opened.st_mode)
            self.metadata = _metadata(fd, self._opened, {} if devices is None else devices)
        except OSError as error:
            raise SourceUnreadable(f"cannot find size and attributes of {path}: {_text(error)}") from error

    def extents(self) -> Iterator[Extent]:
        offset = 0
        while offset < self.size:
            data = self._next_data(offset)
            if data > offset:
                yield Extent(offset, data - offset, ExtentKind.HOLE)
            if data < self.size:
                end = self._next_hole(data)
                yield Extent(data, end - data)
                offset = end
            else:
                return

    def _next_data(self, offset: int) -> int:
        """Where data begins, at or after *offset*; the image's size if none does."""
        if not self.stable:
            return offset  # Linux does not tell for block devices
        try:
            return min(os.lseek(self._fd, offset, os.SEEK_DATA), self.size)
        except OSError as error:
            if error.errno != errno.ENXIO:
                return offset  # nothing is known of the rest, so it is read
        # No data up to the end, as it is now: what a shrunken file has lost is no hole, reading it must be seen to fail.
        return max(offset, min(os.fstat(self._fd).st_size, self.size))

    def _next_hole(self, offset: int) -> int:
        """Where the data that begins at *offset* ends."""
        if not self.stable:
            return self.size
        try:
            end = os.lseek(self._fd, offset, os.SEEK_HOLE)
        except OSError:
            return self.size
        return min(end, self.size) if end > offset else self.size

    def read_into(self, offset: int, buffer: memoryview) -> int:
        done, wanted = 0, len(buffer)
        try:
            while done < wanted:
                count = self._reader.read_into(offset + done, buffer[done:])
                if count == 0:
                    break
                done += count
        except OSError as error:
            raise SourceUnreadable(
                f"cannot read {wanted - done} bytes at offset {offset + done} of {self.name}: {_text(error)}",
                hint="the kernel's log may say more (dmesg)",
            ) from error
        return done

    def changed(self) -> bool:
        if not self.stable:
            return False  # a device carries no sign of it
        try:
            now = os.fstat(self._fd)
        except OSError as error:
            raise SourceUnreadable(f"cannot look at {self.name} again: {_text(error)}") from error
        return _fingerprint(now) != _fingerprint(self._opened)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _metadata(fd: int, status: os.stat_result, devices: dict[int, int]) -> Metadata:
    """All of a regular file's; of a device, only what is its own and not its node's. Raises: OSError."""
    if stat.S_ISREG(status.st_mode):
        return complete(found_of(b"", status, devices).metadata, fd)
    return Metadata(stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid, status.st_mtime_ns)


def _refuse_other_kinds(path: str, mode: int) -> None:
    for is_kind, kind, hint in _KINDS:
        if is_kind(mode):
            raise SourceUnreadable(f"{path} is {kind}, not an image", hint=hint)


def _fingerprint(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _text(error: OSError) -> str:
    """What the system says, without the path that `str` would repeat."""
    return error.strerror or str(error)


def _hint_for(error: OSError) -> str:
    if isinstance(error, PermissionError):
        return "run as a user who may read it (for a block device: root, or a member of the group disk)"
    return "check that the device or file system behind it is there"
