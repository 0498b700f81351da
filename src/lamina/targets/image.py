"""Image files and block devices as the place a restore writes to."""

from __future__ import annotations

import errno
import os
import stat
import threading

from lamina.errors import TargetExists, TargetTooSmall, TargetUnwritable, UsageError
from lamina.model.entries import Buffer
from lamina.targets.faults import target_fault
from lamina.targets.punching import punch
from lamina.targets.target import ImageTarget

_ACCESS = os.O_RDWR | os.O_CLOEXEC
_ZEROS = memoryview(bytes(1 << 20))

# Written bytes after which the kernel is asked to write back and forget them. Measured: with the fsync at the end this
# takes three quarters of the time of leaving it all in the page cache; after every write it takes twice the time.
_LET_GO_EVERY = 64 << 20


def open_image_target(path: str, size: int, *, force: bool, resume: bool) -> ImageTarget:
    """Open the file or block device at *path* to take an image of *size* bytes; a missing file is created.

    What exists is opened only with *force*, or with *resume* if it is a file such as an interrupted restore leaves: of
    the image's size, or empty. It is not touched before the first write (a file that is too short grows at once).
    Raises: TargetExists, TargetTooSmall, TargetUnwritable; UsageError for a directory.
    """
    try:
        fd = os.open(path, _ACCESS | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return _open_existing(path, size, force=force, resume=resume)
    except IsADirectoryError as error:
        raise UsageError(f"{path} is a directory", hint="name a file in it") from error
    except OSError as error:
        raise target_fault(path, error, "create") from error
    try:
        return FileTarget(path, fd, size, fresh=True)
    except BaseException:
        os.close(fd)
        os.unlink(path)  # ours, and still empty
        raise


def _open_existing(path: str, size: int, *, force: bool, resume: bool) -> ImageTarget:
    status = _status(path)
    if stat.S_ISDIR(status.st_mode):
        raise UsageError(f"{path} is a directory", hint="name a file in it")
    if not (stat.S_ISREG(status.st_mode) or stat.S_ISBLK(status.st_mode)):
        raise TargetUnwritable(
            f"{path} is neither a regular file nor a block device",
            hint="restore to standard output (`-`) and redirect it",
        )
    if not force:
        _check_resumable(path, status, size, resume=resume)
    # for a device: refuse if it is mounted or otherwise held
    exclusive = os.O_EXCL if stat.S_ISBLK(status.st_mode) else 0
    try:
        fd = os.open(path, _ACCESS | exclusive)
    except OSError as error:
        raise target_fault(path, error, "open") from error
    try:
        _check_same(path, os.fstat(fd), status)
        return FileTarget(path, fd, size, fresh=False)
    except BaseException:
        os.close(fd)
        raise


def _status(path: str) -> os.stat_result:
    try:
        return os.stat(path)
    except FileNotFoundError as error:
        raise TargetUnwritable(f"{path} is a link to nothing", hint="remove the link, or name a file") from error
    except OSError as error:
        raise target_fault(path, error, "look at") from error


def _check_same(path: str, opened: os.stat_result, seen: os.stat_result) -> None:
    """Raise TargetUnwritable if what was opened is not what was looked at and found good."""
    if not os.path.samestat(opened, seen):
        raise TargetUnwritable(f"{path} was replaced while it was opened", hint="find out by whom, then try again")


def _check_resumable(path: str, status: os.stat_result, size: int, *, resume: bool) -> None:
    """Raise TargetExists unless this is what an interrupted restore leaves behind, and the user says that it is."""
    if stat.S_ISBLK(status.st_mode):  # which shows no trace of an interrupted restore
        raise TargetExists(
            f"{path} is a block device and may hold data; it was not touched",
            hint="--force overwrites it; what is right already is not written again",
        )
    if not resume:
        raise TargetExists(
            f"{path} exists already; it was not touched",
            hint="--force overwrites it, --resume continues an interrupted restore into it",
        )
    if status.st_size not in {0, size}:  # a restore gives a new file its size before anything is written
        raise TargetExists(
            f"{path} is no interrupted restore of this image: it has {status.st_size} bytes, the image has {size}; "
            "it was not touched",
            hint="check the path; --force overwrites it",
        )


class FileTarget:
    """A regular file or a block device as an `ImageTarget`."""

    def __init__(self, path: str, fd: int, size: int, *, fresh: bool) -> None:
        """Take over *fd*, open for reading and writing, which is the file at *path*.

        Raises: TargetTooSmall, TargetUnwritable; it is the caller's again then.
        """
        self.name = path
        self.fresh = fresh
        self._fd = fd
        self._size = size
        self._lock = threading.Lock()
        self._written = 0  # bytes since the page cache was last relieved
        try:
            self._is_file = stat.S_ISREG(os.fstat(fd).st_mode)
            room = os.lseek(fd, 0, os.SEEK_END)
            if room < size and self._is_file:
                os.ftruncate(fd, size)
        except OSError as error:
            raise target_fault(self.name, error) from error
        if room < size and not self._is_file:
            raise TargetTooSmall(
                f"{self.name} has {room} bytes, the image has {size}", hint="choose a larger device or a file"
            )

    def write(self, offset: int, data: Buffer) -> None:
        rest = memoryview(data)
        try:
            while rest:
                count = os.pwrite(self._fd, rest, offset)
                offset, rest = offset + count, rest[count:]
        except OSError as error:
            raise target_fault(self.name, error) from error
        self._relieve_page_cache(len(data))

    def write_zeros(self, offset: int, length: int) -> None:
        try:
            if not length or self._is_hole(offset, length) or punch(self._fd, offset, length):
                return
        except OSError as error:
            raise target_fault(self.name, error) from error
        end = offset + length
        while offset < end:
            piece = _ZEROS[: end - offset]
            self.write(offset, piece)
            offset += len(piece)

    def _is_hole(self, offset: int, length: int) -> bool:
        """Whether the range is known to be a hole already; much cheaper than punching one."""
        if not self._is_file:
            return False
        try:
            return os.lseek(self._fd, offset, os.SEEK_DATA) >= offset + length
        except OSError as error:
            return error.errno == errno.ENXIO  # no data from there on

    def read_into(self, offset: int, buffer: memoryview) -> int:
        done = 0
        try:
            while done < len(buffer):
                count = os.preadv(self._fd, [buffer[done:]], offset + done)
                if count == 0:
                    break
                done += count
        except OSError as error:
            raise target_fault(self.name, error, "read back") from error
        return done

    def finish(self) -> None:
        try:
            if self._is_file:
                os.ftruncate(self._fd, self._size)
            os.fsync(self._fd)
            if self._is_file:
                _sync_directory(self.name)
        except OSError as error:
            raise target_fault(self.name, error) from error

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _relieve_page_cache(self, count: int) -> None:
        with self._lock:
            self._written += count
            if self._written < _LET_GO_EVERY:
                return
            self._written = 0
        os.posix_fadvise(self._fd, 0, 0, os.POSIX_FADV_DONTNEED)


def _sync_directory(path: str) -> None:
    """Make the name *path* itself survive a power cut."""
    fd = os.open(os.path.dirname(os.path.realpath(path)), os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
