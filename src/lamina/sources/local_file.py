"""One regular file of the local file system, open."""

from __future__ import annotations

import errno
import os

from lamina.errors import SourceUnreadable
from lamina.model.entries import Metadata
from lamina.sources.folders import LocalFolder
from lamina.sources.image import FileImage
from lamina.sources.inodes import complete, found_of
from lamina.sources.source import ImageSource
from lamina.sources.uncached import UncachedReader

_LONG = 8 << 20  # bytes; files longer than this are read past the page cache


class LocalFile:
    """An open regular file (`OpenFile`)."""

    def __init__(
        self, folder: LocalFolder, name: bytes, opened: tuple[int, os.stat_result], devices: dict[int, int]
    ) -> None:
        """Take over the descriptor in *opened*, which comes with what `os.fstat` says of it."""
        self._folder = folder
        self._fd, self._status = opened
        self._offset = 0
        self._image: FileImage | None = None
        self._long = UncachedReader(self._fd) if self._status.st_size > _LONG else None
        self.found = found_of(name, self._status, devices)

    @property
    def path(self) -> str:
        """Where it lies, for people."""
        return os.fsdecode(os.path.join(self._folder.path, self.found.name))

    def metadata(self) -> Metadata:
        try:
            return complete(self.found.metadata, self._fd)
        except OSError as error:
            raise self._unreadable("cannot find all attributes of", error) from error

    def read_into(self, buffer: memoryview) -> int:
        """Fill the buffer; what the file grew by since it was opened is not read: it may grow faster than it is stored."""
        done, wanted, size = 0, len(buffer), self.found.size
        if self._offset < size:
            wanted = min(wanted, size - self._offset)
        elif size and self.changed():
            return 0
        try:
            while done < wanted:
                rest = buffer[done:wanted]
                if self._long is None:
                    count = os.preadv(self._fd, (rest,), self._offset)
                else:
                    count = self._long.read_into(self._offset, rest)
                done += count
                self._offset += count
                if count == 0 or self._offset == size:  # not >=: what is in /proc has no size, and has content
                    break
        except OSError as error:
            raise self._unreadable(f"cannot read at offset {self._offset} of", error) from error
        return done

    def has_holes(self) -> bool:
        status = self._status
        if status.st_blocks * 512 >= status.st_size:
            return False
        try:
            return os.lseek(self._fd, 0, os.SEEK_HOLE) < status.st_size  # compressed files take less space as well
        except OSError as error:
            if error.errno in {errno.EINVAL, errno.EOPNOTSUPP, errno.ENXIO}:  # it cannot tell, or the file is empty now
                return False
            raise self._unreadable("cannot look for holes in", error) from error

    def image(self) -> ImageSource:
        if self._image is None:
            try:
                fd = os.dup(self._fd)
            except OSError as error:
                raise self._unreadable("cannot open", error) from error
            try:
                self._image = FileImage(self.path, fd)
            except BaseException:
                os.close(fd)
                raise
        return self._image

    def changed(self) -> bool:
        try:
            now = os.fstat(self._fd)
        except OSError as error:
            raise self._unreadable("cannot look again at", error) from error
        return _fingerprint(now) != _fingerprint(self._status)

    def close(self) -> None:
        if self._image is not None:
            self._image.close()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _unreadable(self, what: str, error: OSError) -> SourceUnreadable:
        return SourceUnreadable(
            f"{what} {self.path}: {error.strerror or error}", hint="the kernel's log may say more (dmesg)"
        )


def _fingerprint(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns
