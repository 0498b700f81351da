"""The look of a directory: all that decides whether it, and what is directly in it, is as it was, as bytes.

Two looks are equal exactly if the same names stand in the directory, and everything that one look at an object shows (what an
`Entry` keeps of it, but for what only opening it tells) is the same. Of a directory in it, only that it is one is part of its
look: it has a look of its own.
"""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Sequence

from lamina.model.entries import EntryType

MOST_MEMBERS = 16384  # of a directory that has a look: it is put together in memory

# Type and mode as in st_mode, owner, group, times of modification and change, inode, links, ordinal of the file system, device
# number (of devices only), size (of regular files only).
look_of = struct.Struct("<IIIqqQQIQQ").pack
LOOK_OF_DIRECTORY = look_of(stat.S_IFDIR, 0, 0, 0, 0, 0, 0, 0, 0, 0)

TYPE_BITS = {
    int(EntryType.DIRECTORY): stat.S_IFDIR,
    int(EntryType.FILE): stat.S_IFREG,
    int(EntryType.SYMLINK): stat.S_IFLNK,
    int(EntryType.FIFO): stat.S_IFIFO,
    int(EntryType.SOCKET): stat.S_IFSOCK,
    int(EntryType.CHARACTER_DEVICE): stat.S_IFCHR,
    int(EntryType.BLOCK_DEVICE): stat.S_IFBLK,
}


def device_number(special: tuple[int, int] | None) -> int:
    """What stands in a look for a device's two numbers."""
    return os.makedev(*special) if special is not None else 0


def join_looks(own: bytes, names: Sequence[bytes], members: Sequence[bytes]) -> bytes:
    """The look of a directory, from its *own* and those of its *members*, which stand in the order of *names*."""
    return b"".join((len(members).to_bytes(4, "little"), own, *members, b"\0".join(names)))
