"""A tree with one of every animal: all that a file system can hold."""

from __future__ import annotations

import errno
import fcntl
import os
import random
import stat
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

KIB, MIB, TIB = 1 << 10, 1 << 20, 1 << 40
VAST = b"sparse/vast"  # seems to be 1 TiB long; leave it out where a program would read all of that

# FS_IOC_GETFLAGS and FS_IOC_SETFLAGS: the kernel reads and writes an int, whatever the numbers say.
_GET_FLAGS, _SET_FLAGS = 0x80086601, 0x40086602
SYNC, IMMUTABLE, APPEND_ONLY, NO_DUMP, NO_ATIME, DIR_SYNC = 0x08, 0x10, 0x20, 0x40, 0x80, 0x10000
SETTABLE = SYNC | IMMUTABLE | APPEND_ONLY | NO_DUMP | NO_ATIME | DIR_SYNC  # the others are a file system's own

# What a file system or a user without rights answers to what it cannot do.
_CANNOT = frozenset({
    errno.EPERM, errno.EACCES, errno.EOPNOTSUPP, errno.ENOTTY, errno.EINVAL, errno.ENAMETOOLONG, errno.ENOSPC, errno.EFBIG,
    errno.E2BIG, errno.ERANGE, errno.EMLINK,
})  # fmt: skip

_SECOND = 1_000_000_000
TIMES = {
    b"epoch": 0,
    b"a-nanosecond-before-1970": -1,
    b"1969": -86_400 * _SECOND + 123_456_789,
    b"1902": -2_145_000_000 * _SECOND + 999_999_999,
    b"2038": (1 << 31) * _SECOND + 1,
    b"2107": 4_325_000_000 * _SECOND + 987_654_321,
    b"2262": 9_220_000_000 * _SECOND + 5,
    b"2400": 13_570_000_000 * _SECOND + 7,
    b"whole-second": 1_500_000_000 * _SECOND,
}
NAMES = (
    *(bytes([number]) for number in range(1, 256) if number not in b"/."),
    bytes(number for number in range(1, 256) if number != ord("/")),
    b"new\nline", b"not-utf-8-\xff\xfe\x80", "Grüße 😀".encode(), b"u\xcc\x88", b"\xc3\xbc", b"-rf", b"--delete",
    b"trailing blank ", b" leading blank", b"...", b".hidden", b"back\\slash", b"quote'\"", b"*?[a]", b"#hash", b"!important",
    b"%s%n", b"$HOME", b"`id`", b"con", b"a:b", b"n" * 255, b"\xe2\x82\xac" * 85,
)  # fmt: skip


def make_zoo(directory: Path) -> list[str]:
    """Fill the empty *directory* with every kind of object; returns what the file system, or the user's rights, refused.

    All of it can be read by root. Nothing depends on chance or the clock but change and birth times.
    """
    zoo = _Zoo(os.fsencode(directory))
    _add_files(zoo)
    _add_sparse_files(zoo)
    _add_names(zoo)
    _add_links(zoo)
    _add_special_files(zoo)
    _add_modes_and_owners(zoo)
    _add_times(zoo)
    _add_xattrs(zoo)
    _add_acls(zoo)
    _add_directories(zoo)
    _add_flags(zoo)  # last: immutable is immutable
    return zoo.missing


def unzoo(directory: Path) -> None:
    """Take from everything below *directory* what would keep it from being removed: flags and modes of directories."""
    os.chmod(directory, 0o700)
    for folder, directories, names in os.walk(os.fsencode(directory)):
        for path in (os.path.join(folder, name) for name in (*directories, *names)):
            kind = stat.S_IFMT(os.lstat(path).st_mode)
            if kind in {stat.S_IFREG, stat.S_IFDIR} and read_flags(path):
                write_flags(path, 0)
            if kind == stat.S_IFDIR:
                os.chmod(path, 0o700)  # before the walk goes in


def read_flags(path: bytes) -> int:
    """The settable file flags of a regular file or a directory; 0 where the file system or our rights do not show any."""
    try:
        with _opened(path) as fd:
            (flags,) = struct.unpack_from("i", fcntl.ioctl(fd, _GET_FLAGS, bytes(8)))
    except OSError as error:
        if error.errno not in _CANNOT:
            raise
        return 0
    return int(flags) & SETTABLE


def write_flags(path: bytes, flags: int) -> None:
    """Set the settable flags to exactly *flags*, and leave the file system's own alone. Raises: OSError."""
    with _opened(path) as fd:
        (old,) = struct.unpack_from("i", fcntl.ioctl(fd, _GET_FLAGS, bytes(8)))
        fcntl.ioctl(fd, _SET_FLAGS, struct.pack("i", (old & ~SETTABLE) | flags))


def acl(*entries: tuple[int, int, int]) -> bytes:
    """A POSIX ACL as its extended attribute has it, of (tag, permissions, id)."""
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


def noise(size: int, seed: int) -> bytes:
    """*size* bytes that look random and are the same for the same *seed*."""
    return random.Random(seed).randbytes(size)  # noqa: S311  # the same in every run, and no secret


@contextmanager
def _opened(path: bytes) -> Iterator[int]:
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


class _Zoo:
    """A directory, and what could not be had in it."""

    def __init__(self, directory: bytes) -> None:
        self.directory = directory
        self.missing: list[str] = []

    def at(self, *names: bytes) -> bytes:
        """A path below the directory; what leads there is made."""
        path = os.path.join(self.directory, *names)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        return path

    def file(self, *names: bytes, content: bytes | None = None) -> bytes:
        """A new regular file, by default with its own path as content."""
        path = self.at(*names)
        with open(path, "xb") as file:
            file.write(b"/".join(names) if content is None else content)
        return path

    @contextmanager
    def attempt(self, what: str) -> Iterator[None]:
        """Note that *what* cannot be had here instead of failing."""
        try:
            yield
        except OSError as error:
            if error.errno not in _CANNOT:
                raise
            self.missing.append(f"{what}: {error.strerror}")


def _add_files(zoo: _Zoo) -> None:
    zoo.file(b"files", b"empty", content=b"")
    zoo.file(b"files", b"tiny", content=b"x")
    zoo.file(b"files", b"small", content=noise(300 * KIB, 1))
    zoo.file(b"files", b"large", content=noise(20 * MIB + 1, 2))
    zoo.file(b"files", b"twin-of-large", content=noise(20 * MIB + 1, 2))
    zoo.file(b"files", b"zeros", content=bytes(100))
    for number in range(300):
        zoo.file(b"files", b"many", b"%03d" % number, content=noise(number * 17, 100 + number))


def _add_sparse_files(zoo: _Zoo) -> None:
    """Holes at the beginning, in the middle and at the end, and nothing but a hole; data at odd offsets as well."""
    _sparse(zoo, b"begin", 8 * MIB, [4 * MIB])
    _sparse(zoo, b"middle", 12 * MIB, [0, 11 * MIB])
    _sparse(zoo, b"end", 8 * MIB, [0])
    _sparse(zoo, b"odd", 16 * MIB + 5, [5 * MIB + 123, 9 * MIB - 1])
    _sparse(zoo, b"nothing", 10 * MIB, [])
    with zoo.attempt("a file of 1 TiB"):
        _sparse(zoo, os.path.basename(VAST), TIB, [0, 7 * MIB + 3, TIB // 2, TIB - 64 * KIB])


def _sparse(zoo: _Zoo, name: bytes, size: int, offsets: Sequence[int]) -> None:
    path = zoo.file(b"sparse", name, content=b"")
    try:
        with open(path, "r+b") as file:
            file.truncate(size)
            for offset in offsets:
                file.seek(offset)
                file.write(noise(64 * KIB, offset % 997))
    except OSError:
        os.unlink(path)
        raise


def _add_names(zoo: _Zoo) -> None:
    for name in NAMES:
        with zoo.attempt(f"the name {name[:20]!r}"):
            zoo.file(b"names", name, content=name)
    for name in (b"dir\n", b"\xff\xfe", b"-d ", b"n" * 255):
        with zoo.attempt(f"the directory name {name[:20]!r}"):
            zoo.file(b"names-of-directories", name, b"inside")


def _add_links(zoo: _Zoo) -> None:
    first = zoo.file(b"links", b"hard-1", content=noise(5 * KIB, 3))
    os.link(first, zoo.at(b"links", b"hard-2"))
    os.link(first, zoo.at(b"another", b"place", b"hard-3"))
    os.link(zoo.file(b"links", b"z-only-pair", content=b"pair"), zoo.at(b"a-before-all", b"pair"))
    big = zoo.file(b"links", b"big-1", content=noise(3 * MIB, 4))
    os.link(big, zoo.at(b"links", b"big-2"))
    targets = {
        b"relative": b"../files/tiny", b"absolute": b"/etc/passwd", b"dangling": b"no/such/thing", b"to-a-directory": b"..",
        b"to-itself": b"to-itself", b"not-utf-8": b"\xff\n\x01", b"slashes": b"..//.././links/",
    }  # fmt: skip
    for name, target in targets.items():
        os.symlink(target, zoo.at(b"links", name))
    for length in (4000, 1000):  # XFS takes 1,023 bytes
        with zoo.attempt(f"a link of {length} bytes"):
            os.symlink((b"t" * 199 + b"/") * (length // 200), zoo.at(b"links", b"long-%d" % length))
    os.link(zoo.at(b"links", b"dangling"), zoo.at(b"links", b"hard-to-a-link"), follow_symlinks=False)
    os.utime(zoo.at(b"links", b"dangling"), ns=(5, 123_456_789_012_345_678), follow_symlinks=False)


def _add_special_files(zoo: _Zoo) -> None:
    os.mkfifo(zoo.at(b"special", b"fifo"), 0o640)
    os.link(zoo.at(b"special", b"fifo"), zoo.at(b"special", b"hard-to-the-fifo"))
    os.mknod(zoo.at(b"special", b"socket"), stat.S_IFSOCK | 0o755)
    devices = {
        b"null": (stat.S_IFCHR, 1, 3), b"tty": (stat.S_IFCHR, 5, 0), b"disk": (stat.S_IFBLK, 8, 17),
        b"large-numbers": (stat.S_IFBLK, 4000, 1_000_000), b"zero-zero": (stat.S_IFCHR, 0, 0),
    }  # fmt: skip
    for name, (kind, major, minor) in devices.items():
        with zoo.attempt(f"the device {major}:{minor}"):
            os.mknod(zoo.at(b"special", name), kind | 0o660, os.makedev(major, minor))


def _add_modes_and_owners(zoo: _Zoo) -> None:
    owners = ((0, 0), (54_321, 65_432), (4_000_000_000, 4_000_000_001), (65_534, 65_534))
    for uid, gid in owners:
        with zoo.attempt(f"the owner {uid}:{gid}"):
            os.chown(zoo.file(b"owners", b"file-%d" % uid), uid, gid)
            os.mkdir(zoo.at(b"owners", b"directory-%d" % uid))
            os.chown(zoo.at(b"owners", b"directory-%d" % uid), uid, gid)
            os.symlink(b"x", zoo.at(b"owners", b"link-%d" % uid))
            os.chown(zoo.at(b"owners", b"link-%d" % uid), uid, gid, follow_symlinks=False)
            os.chown(zoo.file(b"owners", b"setuid-%d" % uid), uid, gid)
            os.chmod(zoo.at(b"owners", b"setuid-%d" % uid), 0o6711)  # noqa: S103  # after chown, which would clear it
    for mode in (0o000, 0o400, 0o200, 0o111, 0o644, 0o755, 0o777, 0o4755, 0o2755, 0o1755, 0o7777, 0o2644):
        with zoo.attempt(f"the mode {mode:o}"):
            os.chmod(zoo.file(b"modes", b"file-%04o" % mode), mode)
            os.mkdir(zoo.at(b"modes", b"directory-%04o" % mode))
            zoo.file(b"modes", b"directory-%04o" % mode, b"inside")
            os.chmod(zoo.at(b"modes", b"directory-%04o" % mode), mode)


def _add_times(zoo: _Zoo) -> None:
    for name, nanoseconds in TIMES.items():
        os.symlink(b"x", zoo.at(b"times", b"link-" + name))
        os.mkdir(zoo.at(b"times", b"directory-" + name))
        zoo.file(b"times", b"directory-" + name, b"inside")
        for path in (
            zoo.file(b"times", name),
            zoo.at(b"times", b"link-" + name),
            zoo.at(b"times", b"directory-" + name),
        ):
            with zoo.attempt(f"the time {nanoseconds}"):
                os.utime(path, ns=(nanoseconds, nanoseconds), follow_symlinks=False)


def _add_xattrs(zoo: _Zoo) -> None:
    path = zoo.file(b"xattrs", b"few")
    attributes = {
        b"user.text": b"value", b"user.empty": b"", b"user.binary": bytes(range(256)), b"user.\xff\xfe=\n": b"not UTF-8",
        b"trusted.secret": b"root's", b"security.capability": struct.pack("<IIIII", 0x0200_0001, 1 << 10, 0, 0, 0),
    }  # fmt: skip
    for name, value in attributes.items():
        with zoo.attempt(f"the attribute {name!r}"):
            os.setxattr(path, name, value)
    folder = zoo.at(b"xattrs", b"directory")
    os.mkdir(folder)
    with zoo.attempt("an attribute of a directory"):
        os.setxattr(folder, b"user.of", b"a directory")
    for name in (b"links/dangling", b"special/fifo", b"special/socket"):
        with zoo.attempt(f"an attribute of {name.decode()}"):
            os.setxattr(zoo.at(name), b"trusted.of", b"no file", follow_symlinks=False)
    with zoo.attempt("a large attribute"):
        set_largest_xattr(zoo.file(b"xattrs", b"large-value"))
    many = zoo.file(b"xattrs", b"many-names")
    with zoo.attempt("100 attributes"):  # ext4 has one block for them
        for number in range(100):
            os.setxattr(many, b"user.%03d" % number, b"%d" % number)


def set_largest_xattr(path: bytes) -> int:
    """Set `user.large` to the longest value that the file system takes; returns its length. Raises: OSError."""
    low, high = 1, 65_536
    while low < high:
        middle = (low + high + 1) // 2
        try:
            os.setxattr(path, b"user.large", noise(middle, 6))
            low = middle
        except OSError as error:
            if error.errno not in {errno.ENOSPC, errno.E2BIG, errno.ERANGE}:
                raise
            high = middle - 1
    os.setxattr(path, b"user.large", noise(low, 6))
    return low


def _add_acls(zoo: _Zoo) -> None:
    nobody = 0xFFFF_FFFF
    access = acl((1, 6, nobody), (2, 4, 12_345), (4, 4, nobody), (8, 6, 23_456), (0x10, 6, nobody), (0x20, 0, nobody))
    default = acl((1, 7, nobody), (2, 5, 12_345), (4, 5, nobody), (0x10, 5, nobody), (0x20, 0, nobody))
    with zoo.attempt("access control lists"):
        os.setxattr(zoo.file(b"acls", b"file"), b"system.posix_acl_access", access)
        folder = zoo.at(b"acls", b"directory")
        os.mkdir(folder)
        zoo.file(b"acls", b"directory", b"made-before")
        os.setxattr(folder, b"system.posix_acl_default", default)
        os.setxattr(folder, b"system.posix_acl_access", default)
        zoo.file(b"acls", b"directory", b"made-after")
        os.mkdir(zoo.at(b"acls", b"directory", b"heir"))


def _add_directories(zoo: _Zoo) -> None:
    os.mkdir(zoo.at(b"directories", b"empty"))
    for number in range(3000):
        zoo.file(b"directories", b"wide", b"%04d" % (number * 7919 % 3000), content=b"%d" % number)
    deep = zoo.at(b"directories", b"deep", *[b"d"] * 300, b"x")
    zoo.file(os.path.relpath(deep, zoo.directory))
    os.utime(zoo.at(b"directories", b"deep"), ns=(1, 1_234_567_890_987_654_321))


def _add_flags(zoo: _Zoo) -> None:
    for name, flags in {
        b"no-dump": NO_DUMP, b"no-atime": NO_ATIME, b"sync": SYNC, b"append-only": APPEND_ONLY, b"immutable": IMMUTABLE,
        b"two": IMMUTABLE | NO_DUMP,
    }.items():  # fmt: skip
        path, folder = zoo.file(b"flags", name), zoo.at(b"flags", b"directory-" + name)
        zoo.file(b"flags", b"directory-" + name, b"inside")
        with zoo.attempt(f"the flag {name.decode()}"):
            write_flags(path, flags)
            write_flags(folder, flags)
