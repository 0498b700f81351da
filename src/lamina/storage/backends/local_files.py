"""The system calls under `local`: durable writes, and what their errors mean."""

from __future__ import annotations

import errno
import os

from lamina.errors import StorageDenied, StorageError, StorageFull, StorageUnavailable, StorageUnsuitable
from lamina.storage.storage import Parts

_VECTOR = min(os.sysconf("SC_IOV_MAX"), 1024)  # buffers one writev takes
_LARGE = 1 << 20  # bytes; smaller objects are read again soon and may stay in the page cache

_DENIED = {errno.EACCES, errno.EPERM}
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_PASSING = {errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.ENOTCONN, errno.EHOSTDOWN, errno.ENODEV, errno.ENXIO}


def write_durably(descriptor: int, parts: Parts) -> None:
    """Write the joined *parts* and wait until the disk has them; large ones are let go from the page cache."""
    views = [memoryview(part).cast("B") for part in parts if len(part)]
    size = sum(len(view) for view in views)
    first = 0
    while first < len(views):
        written = os.writev(descriptor, views[first : first + _VECTOR])
        while first < len(views) and written >= len(views[first]):
            written -= len(views[first])
            first += 1
        if written:
            views[first] = views[first][written:]
    os.fsync(descriptor)
    if size >= _LARGE and hasattr(os, "posix_fadvise"):
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)


def fsync_directory(descriptor: int) -> None:
    """Make the names in a directory survive a power cut."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        # some network file systems cannot, and write names through anyway (fsync(2): EINVAL)
        if error.errno not in {errno.EINVAL, errno.ENOTSUP}:
            raise


def make_root(path: str, mode: int) -> None:
    """Make a directory and those above it where missing, each to survive a power cut."""
    if os.path.isdir(path):
        return
    above = os.path.dirname(path)
    make_root(above, 0o777)  # the umask decides for directories that are not ours
    try:
        os.mkdir(path, mode)
    except FileExistsError:
        if not os.path.isdir(path):
            raise
    descriptor = os.open(above, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fsync_directory(descriptor)
    finally:
        os.close(descriptor)


def check_leads_somewhere(root: int, folder: str, where: str) -> None:
    """Raise StorageUnavailable if a name on the way to *folder* is there, but nothing behind it.

    That is a link to a disk that is not mounted, or a place where one should have been mounted by itself.
    """
    names = folder.split("/") if folder else []
    for depth in range(1, len(names) + 1):
        path = "/".join(names[:depth])
        try:
            os.lstat(path, dir_fd=root)
        except FileNotFoundError:
            return
        try:
            os.close(os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=root))
        except NotADirectoryError:  # an object, which has nothing below it
            return
        except FileNotFoundError as error:
            raise dangling(os.path.join(where, path)) from error


def dangling(path: str) -> StorageUnavailable:
    """The error for a name that leads nowhere: what lies behind it is unknown, not empty."""
    return StorageUnavailable(
        f"{path} is a link to a place that is not there", hint="mount it; if it is gone for good, remove the link"
    )


def explain(error: OSError, what: str) -> StorageError:
    """The error of ours that says what an OSError means for a storage."""
    message = f"{what}: {error.strerror}"
    if error.errno in _FULL:
        return StorageFull(message, hint="make room on the disk, or raise the quota; what was stored stays valid")
    if error.errno == errno.EROFS:
        return StorageDenied(
            message, hint="mount the file system writable (after an error it may have become read-only)"
        )
    if error.errno in _DENIED:
        return StorageDenied(message, hint="check the owner and the permissions of the directory")
    if error.errno in _PASSING:
        return StorageUnavailable(message, hint="check the disk or the network share (see dmesg)")
    if error.errno in {errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}:
        return StorageUnsuitable(message, hint="the file system must have hard links")
    return StorageError(message)
