"""All that the kernel knows of one file-system object."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import stat
import struct
import sys
import threading
from typing import cast

from lamina.model.entries import EntryType, Metadata
from lamina.sources.source import Found

NEEDS_PROC = "its extended attributes cannot be read where /proc is not mounted"
XATTRS_LIMIT = "it has more extended attributes than the kernel can list"

_TYPES = {
    stat.S_IFDIR: EntryType.DIRECTORY,
    stat.S_IFREG: EntryType.FILE,
    stat.S_IFLNK: EntryType.SYMLINK,
    stat.S_IFIFO: EntryType.FIFO,
    stat.S_IFSOCK: EntryType.SOCKET,
    stat.S_IFCHR: EntryType.CHARACTER_DEVICE,
    stat.S_IFBLK: EntryType.BLOCK_DEVICE,
}
# Named tuples made by their class take 0.5 µs more, which counts where one is made for each object of each run.
_new_tuple = tuple.__new__

# The flags that a person can set. The others say how a file system stores the object, and come and go by themselves:
# all of FS_FL_USER_MODIFIABLE, and not compressed (btrfs), journalled, no copy on write, direct access, project, any case.
SETTABLE_FLAGS = 0x000380FF | 0x400 | 0x4000 | 0x00800000 | 0x02000000 | 0x20000000 | 0x40000000
# <linux/fs.h>: _IOR('f', 1, long), although an int is written; a few machines number the directions of an ioctl differently.
_READS = 0x40000000 if os.uname().machine.startswith(("ppc", "mips", "sparc", "alpha")) else 0x80000000
_FS_IOC_GETFLAGS = _READS | struct.calcsize("l") << 16 | ord("f") << 8 | 1
_NO_FLAGS = frozenset({errno.ENOTTY, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL})

_AT_EMPTY_PATH = 0x1000
_SECOND = 1_000_000_000  # nanoseconds
_STATX_BTIME = 0x800
_STATX_BASIC = 0x7FF
_STATX_SIZE = 256
# From 0: mask, links, owner, group, mode, inode, size; at 80 three times: birth, change of status, of content.
_STATX = struct.Struct("=I12xIIIHxxQQ32xqI4xqI4xqI4x")
_STATX_MASK = struct.Struct("=I")  # at 0: what was filled in
_STATX_BIRTH = struct.Struct("=qI")  # at 80: seconds and nanoseconds
# What kernels without statx say, and the filters of old containers.
_NO_STATX = frozenset({errno.ENOSYS, errno.EPERM, errno.EINVAL, errno.EOPNOTSUPP})

_statx = getattr(ctypes.CDLL(None, use_errno=True), "statx", None)
if _statx is not None:
    _statx.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_uint, ctypes.c_char_p)

_new_device = threading.Lock()


def found_of(name: bytes, status: os.stat_result, devices: dict[int, int]) -> Found:
    """What a look at an object says; *devices* numbers file systems as they are met, and may be shared by threads."""
    device = devices.get(status.st_dev)
    if device is None:
        with _new_device:
            device = devices.setdefault(status.st_dev, len(devices))
    mode = status.st_mode
    kind = _TYPES.get(mode & 0o170000, EntryType.UNKNOWN)
    metadata = _new_tuple(
        Metadata,
        (
            mode & 0o7777,
            status.st_uid,
            status.st_gid,
            status.st_mtime_ns,
            status.st_ctime_ns,
            status.st_ino,
            status.st_nlink,
            device,
            None,
            0,
            (),
        ),
    )
    if kind is EntryType.FILE:
        return _new_tuple(Found, (name, kind, metadata, status.st_size, None, ""))
    is_device = kind is EntryType.CHARACTER_DEVICE or kind is EntryType.BLOCK_DEVICE
    special = (os.major(status.st_rdev), os.minor(status.st_rdev)) if is_device else None
    return _new_tuple(Found, (name, kind, metadata, 0, special, ""))


def complete(metadata: Metadata, fd: int) -> Metadata:
    """Add birth time, flags and extended attributes of the regular file or directory that *fd* is open for. Raises: OSError."""
    return _new_tuple(Metadata, (*metadata[:8], birth_ns(fd), flags(fd), xattrs(fd)))


def complete_if_same(found: Found, fd: int) -> Metadata | None:
    """All metadata of the regular file that *fd* is open for, if it still is what was *found*; else None. Raises: OSError.

    The same as `complete` between two looks at size and times, in half the time.
    """
    more = flags(fd), xattrs(fd)
    buffer = _buffers.statx
    if _statx is None or _statx(fd, b"", _AT_EMPTY_PATH, _STATX_BASIC | _STATX_BTIME, buffer):
        return None
    mask, links, uid, gid, mode, inode, size, born, born_ns, ctime, ctime_ns, mtime, mtime_ns = _STATX.unpack_from(
        buffer
    )
    data = found.metadata
    now = (mode, uid, gid, mtime * _SECOND + mtime_ns, ctime * _SECOND + ctime_ns, inode, links)
    if now != (stat.S_IFREG | data.mode, *data[1:7]) or size != found.size or mask & _STATX_BASIC != _STATX_BASIC:
        return None
    birth_ns = born * _SECOND + born_ns if mask & _STATX_BTIME else None
    return _new_tuple(Metadata, (*data[:8], birth_ns, *more))


def complete_by_path(metadata: Metadata, fd: int) -> Metadata:
    """Add what can be known of an object of any kind that *fd* was opened for with O_PATH: no flags. Raises: OSError."""
    try:
        return metadata._replace(birth_ns=birth_ns(fd), xattrs=xattrs(b"/proc/self/fd/%d" % fd))
    except FileNotFoundError as error:  # the object is open: that it vanished is not what this says
        raise OSError(errno.EIO, NEEDS_PROC) from error


class _Buffers(threading.local):
    """One for each thread: to make one for each file takes longer than the call."""

    def __init__(self) -> None:
        self.statx = ctypes.create_string_buffer(_STATX_SIZE)


_buffers = _Buffers()


def birth_ns(fd: int) -> int | None:
    """When the object was made, in nanoseconds since 1970; None where that is not known. Raises: OSError."""
    if _statx is None:
        return None
    buffer = _buffers.statx
    if _statx(fd, b"", _AT_EMPTY_PATH, _STATX_BTIME, buffer):
        number = ctypes.get_errno()
        if number in _NO_STATX:
            return None
        raise OSError(number, os.strerror(number))
    if not _STATX_MASK.unpack_from(buffer)[0] & _STATX_BTIME:
        return None
    seconds, nanoseconds = _STATX_BIRTH.unpack_from(buffer, 80)
    return cast("int", seconds) * _SECOND + cast("int", nanoseconds)


def flags(fd: int) -> int:
    """The flags that a person can set, of an open regular file or directory; 0 where there are none. Raises: OSError.

    Never to be asked of a device or a pipe, whose driver may take it for another request.
    """
    try:
        answer = fcntl.ioctl(fd, _FS_IOC_GETFLAGS, bytes(8))
    except OSError as error:
        if error.errno in _NO_FLAGS:
            return 0
        raise
    return int.from_bytes(answer[:4], sys.byteorder) & SETTABLE_FLAGS


def xattrs(place: int | bytes) -> tuple[tuple[bytes, bytes], ...]:
    """Names and values of all extended attributes of an open file or of what a path leads to, sorted. Raises: OSError."""
    try:
        names = os.listxattr(place)
    except OSError as error:
        if error.errno == errno.EOPNOTSUPP:
            return ()
        if error.errno in {errno.E2BIG, errno.ERANGE}:  # Linux lists 64 KiB of names; some file systems keep more
            raise OSError(error.errno, XATTRS_LIMIT) from error
        raise
    if not names:
        return ()
    found = []
    for name in names:
        if name.startswith("trusted.SGI_ACL_"):  # of XFS: the POSIX ACLs again, under another name
            continue
        try:
            found.append((os.fsencode(name), os.getxattr(place, name)))
        except OSError as error:
            if error.errno != errno.ENODATA:  # removed since it was listed
                raise
    return tuple(sorted(found))
