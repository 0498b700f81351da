"""Owner, mode, extended attributes, times and flags of a restored object."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import struct
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from lamina.model.entries import Metadata
from lamina.targets.folders import Spot
from lamina.targets.owners import Owners

LOCKING = 0x10 | 0x20  # immutable, append-only: nothing else can be changed once one of these is set
_FLAGS = 0x000380FF | 0x400 | 0x4000  # those a person can set and that can be set on what has content
_READS, _WRITES = (0x40000000, 0x80000000)
if not os.uname().machine.startswith(("ppc", "mips", "sparc", "alpha")):
    _READS, _WRITES = _WRITES, _READS
_LONG = struct.calcsize("l") << 16
_GET_FLAGS, _SET_FLAGS = _READS | _LONG | ord("f") << 8 | 1, _WRITES | _LONG | ord("f") << 8 | 2

# What XFS shows a second time: its POSIX ACLs, whose numbers nobody translates there.
_TWINS = (b"trusted.SGI_ACL_",)
# What is not in the snapshot is removed if it is of these; others (labels of SELinux) come by themselves.
_OURS = (b"user.", b"trusted.", b"system.posix_acl_", b"security.capability")
_SET_IDS = stat.S_ISUID | stat.S_ISGID
_FAILURES = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO})
_TOO_LARGE = frozenset({errno.ENOSPC, errno.EDQUOT})  # what some file systems call a large attribute
EXAMPLES = 3

Place = int | bytes  # an open file or directory, or the path in /proc of one opened with O_PATH


class Kind:
    """What may not have been applied; the words are shown to people."""

    OWNER = "owner"
    MODE = "mode"
    XATTR = "extended attribute"
    TIMES = "times"
    FLAGS = "flags"


@dataclass
class NotApplied:
    """How often something was refused, and where first."""

    count: int = 0
    privileged: bool = True  # only root may do it, and we are not root
    examples: list[str] = field(default_factory=list)


class Shortfalls:
    """Collects what could not be applied, from any thread."""

    def __init__(self) -> None:
        self.kinds: dict[str, NotApplied] = {}
        self._lock = threading.Lock()
        self._is_root = os.geteuid() == 0

    def add(self, kind: str, spot: Spot, error: OSError, detail: str = "") -> None:
        """Note it. Raises: *error* itself if it is a fault of the whole file system."""
        if error.errno in _FAILURES and not (kind == Kind.XATTR and error.errno in _TOO_LARGE):
            raise error
        with self._lock:
            found = self.kinds.setdefault(kind, NotApplied())
            found.count += 1
            found.privileged &= not self._is_root and error.errno in {errno.EPERM, errno.EACCES}
            if len(found.examples) < EXAMPLES:
                found.examples.append(f"{os.fsdecode(spot.path)}{detail}: {error.strerror}")

    @contextmanager
    def noting(self, kind: str, spot: Spot, detail: str = "") -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.add(kind, spot, error, detail)


class Attributes:
    """Gives objects what the snapshot knows of them; what is refused is noted."""

    def __init__(self, owners: Owners, shortfalls: Shortfalls) -> None:
        self._owners = owners
        self._uid, self._gid = os.geteuid(), os.getegid()
        self.shortfalls = shortfalls

    def apply(
        self, place: Place, wanted: Metadata, spot: Spot, *, is_link: bool = False, is_mode_last: bool = False
    ) -> None:
        """Set everything but the flags, of an object that we just made; the times last, as all else may change them.

        With *is_mode_last* the permissions come behind them, for an object without extended attributes.
        """
        if wanted.is_implied:
            return
        folder = spot.folder.parent if not spot.name else spot.folder
        if folder is not None and folder.inherits and not is_link:
            self._remove_extra(place, wanted, spot)
        mode = wanted.mode
        # most of a system is root's, and so is what root makes: unless the directory hands its group down
        is_owned = folder is not None and folder.gid == self._gid and (self._uid, self._gid) == self._owner(wanted)
        if not is_owned and not self._chown(place, wanted, spot):
            mode &= ~_SET_IDS  # it would run as somebody else than it did
        if not is_link and not is_mode_last:
            self._chmod(place, mode, spot)
        for name, value in wanted.xattrs:
            if name.startswith(_TWINS):
                continue
            with self.shortfalls.noting(Kind.XATTR, spot, _named(name)):
                os.setxattr(place, name, self._owners.xattr(name, value))
        try:
            os.utime(place, ns=(wanted.mtime_ns, wanted.mtime_ns))
        except OSError as error:
            self.shortfalls.add(Kind.TIMES, spot, error)
        if is_mode_last:
            self._chmod(place, mode, spot)

    def _chmod(self, place: Place, mode: int, spot: Spot) -> None:
        try:
            os.chmod(place, mode)
        except OSError as error:
            self.shortfalls.add(Kind.MODE, spot, error)

    def correct(self, place: Place, wanted: Metadata, spot: Spot, status: os.stat_result) -> bool:
        """Set what differs, but for the flags, of an object whose *status* is known; whether anything did."""
        if wanted.is_implied:
            return False
        is_link = stat.S_ISLNK(status.st_mode)
        changed = self._remove_extra(place, wanted, spot)
        mode, owned = wanted.mode, True
        if (status.st_uid, status.st_gid) != self._owner(wanted):
            owned = self._chown(place, wanted, spot)
            changed |= owned
        if not owned:
            mode &= ~_SET_IDS
        if not is_link and (changed or stat.S_IMODE(status.st_mode) != mode):
            changed = True
            with self.shortfalls.noting(Kind.MODE, spot):
                os.chmod(place, mode)
        for name, value in wanted.xattrs:
            if name.startswith(_TWINS):
                continue
            with self.shortfalls.noting(Kind.XATTR, spot, _named(name)):
                changed |= self._set_different(place, name, self._owners.xattr(name, value))
        if status.st_mtime_ns != wanted.mtime_ns:
            changed = True
            with self.shortfalls.noting(Kind.TIMES, spot):
                os.utime(place, ns=(wanted.mtime_ns, wanted.mtime_ns))
        return changed

    def set_flags(self, fd: int, wanted: Metadata, spot: Spot) -> None:
        """Set the file flags of an open regular file or directory, last of all. An object without any is not touched."""
        with self.shortfalls.noting(Kind.FLAGS, spot):
            old = read_flags(fd)
            if old & _FLAGS != wanted.flags & _FLAGS:
                _write_flags(fd, (old & ~_FLAGS) | (wanted.flags & _FLAGS))

    def _owner(self, wanted: Metadata) -> tuple[int, int]:
        return self._owners.user(wanted.uid), self._owners.group(wanted.gid)

    def _chown(self, place: Place, wanted: Metadata, spot: Spot) -> bool:
        """Whether the owner and the group are now right."""
        uid, gid = self._owner(wanted)
        try:
            os.chown(place, uid, gid)
        except OSError as error:
            with suppress(OSError):  # a group that we are in
                os.chown(place, -1, gid)
            self.shortfalls.add(Kind.OWNER, spot, error)
            return False
        return True

    def _remove_extra(self, place: Place, wanted: Metadata, spot: Spot) -> bool:
        """Remove the extended attributes that the snapshot does not have; whether there were any."""
        keep = {name for name, _ in wanted.xattrs}
        try:
            names = [os.fsencode(name) for name in os.listxattr(place)]
        except OSError as error:
            if error.errno != errno.EOPNOTSUPP:
                self.shortfalls.add(Kind.XATTR, spot, error)
            return False
        extra = [name for name in names if name not in keep and name.startswith(_OURS) and not name.startswith(_TWINS)]
        for name in extra:
            with self.shortfalls.noting(Kind.XATTR, spot, _named(name)):
                os.removexattr(place, name)
        return bool(extra)

    @staticmethod
    def _set_different(place: Place, name: bytes, value: bytes) -> bool:
        try:
            if os.getxattr(place, name) == value:
                return False
        except OSError as error:
            if error.errno != errno.ENODATA:
                raise
        os.setxattr(place, name, value)
        return True


def _named(attribute: bytes) -> str:
    return f" ({os.fsdecode(attribute)})"


def read_flags(fd: int) -> int:
    """All flags of an open regular file or directory; 0 where there are none. Raises: OSError."""
    try:
        answer = fcntl.ioctl(fd, _GET_FLAGS, bytes(8))
    except OSError as error:
        if error.errno in {errno.ENOTTY, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}:
            return 0
        raise
    return int.from_bytes(answer[:4], sys.byteorder)


def has_flags(fd: int) -> bool:
    """Whether a directory has any of those flags, most of which what is made in it inherits."""
    try:
        return bool(read_flags(fd) & _FLAGS)
    except OSError:
        return False


def unlock(fd: int) -> None:
    """Take the flags off that forbid any change; what cannot be done shows when the change is tried."""
    with suppress(OSError):
        flags = read_flags(fd)
        if flags & LOCKING:
            _write_flags(fd, flags & ~LOCKING)


def _write_flags(fd: int, flags: int) -> None:
    """Raises: OSError."""
    fcntl.ioctl(fd, _SET_FLAGS, flags.to_bytes(4, sys.byteorder) + bytes(4))
