"""What is in a directory of the local file system: its names, one look at all of it, and what cannot be looked at."""

from __future__ import annotations

import errno
import os
import stat
import struct
import sys
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from typing import NamedTuple, Protocol

from lamina.model.entries import EntryType, Metadata
from lamina.model.looks import LOOK_OF_DIRECTORY, device_number, join_looks, look_of
from lamina.sources.file_list import Wanted
from lamina.sources.folders import LocalFolder
from lamina.sources.inodes import found_of
from lamina.sources.selection import CACHEDIR_SIGNATURE, CACHEDIR_TAG
from lamina.sources.source import Found

_LOOKS_AGAIN = 16  # in one directory, whether names that cannot be found are listed still
_LISTED = "it is listed, and cannot be found under that name"
_MISSING = "it was asked for by name and does not exist"
_TAG = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Listed(Protocol):
    """A directory whose names are being looked at."""

    folder: LocalFolder
    wanted: Wanted | None
    error: str  # why the rest of it cannot be looked at
    looks_again: int


class Marked(Protocol):
    """Whoever is watched looking: see `Walk.mark`."""

    mark: tuple[LocalFolder | None, bytes]


class Glance(NamedTuple):
    """One look at all that is selected in a directory, before anything of it is dealt with."""

    look: bytes
    names: Sequence[bytes]  # of what is no directory
    below: Sequence[tuple[bytes, os.stat_result]]  # directories
    users: AbstractSet[int]  # who own them
    groups: AbstractSet[int]


class Looking(NamedTuple):
    """How a directory is looked at as a whole."""

    walk: Marked
    devices: dict[int, int]  # st_dev → ordinal
    select: Callable[[Found], Found | None] | None  # None: everything is selected
    asks_all: bool  # else every file is selected


def glance(found: Found, folder: LocalFolder, names: Sequence[bytes], looking: Looking) -> Glance | None:
    """Look at all that is in an open directory, itself being *found*.

    None if something is not plain: it cannot be looked at, or lies on a file system that has no ordinal yet.
    """
    walk, devices, select, asks_all = looking
    members: list[bytes] = []
    chosen: list[bytes] = []
    below: list[tuple[bytes, os.stat_result]] = []
    users: set[int] = set()
    groups: set[int] = set()
    stat_of, device_of = os.stat, devices.get
    try:
        fd = folder.descriptor()
        for name in names:
            walk.mark = folder, name
            status = stat_of(name, dir_fd=fd, follow_symlinks=False)
            device = device_of(status.st_dev)
            if device is None:
                return None
            mode, uid, gid = status.st_mode, status.st_uid, status.st_gid
            kind = mode & 0o170000
            if select is not None and (asks_all or kind != stat.S_IFREG):
                kept = select(found_of(name, status, devices))
                if kept is None:
                    continue
                if kept.error:
                    return None
            if kind == stat.S_IFDIR:
                below.append((name, status))
                members.append(LOOK_OF_DIRECTORY)
            else:
                is_device = kind in (stat.S_IFCHR, stat.S_IFBLK)
                members.append(
                    look_of(
                        mode, uid, gid, status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_nlink, device,
                        status.st_rdev if is_device else 0, status.st_size if kind == stat.S_IFREG else 0,
                    )
                )  # fmt: skip
            chosen.append(name)
            users.add(uid)
            groups.add(gid)
        own = found.metadata
        itself = look_of(stat.S_IFDIR | own.mode, *own[1:8], device_number(found.special), 0)
    except (OSError, struct.error):  # who looks closer tells more; a number that is larger than numbers are
        return None
    look = join_looks(itself, chosen, members)
    folders = {name for name, _ in below}
    files = [name for name in chosen if name not in folders] if folders else chosen
    return Glance(look, files, below, users, groups)


def failed(listed: Listed, name: bytes, error: OSError) -> Found | None:
    """What is to be said of an object that cannot be looked at; nothing of one that vanished."""
    if listed.error:
        said = listed.error
    elif error.errno != errno.ENOENT:
        said = text(error)
    elif listed.wanted is not None and name in listed.wanted.children:
        said = _MISSING
    elif _is_listed(listed, name):
        said = _LISTED
    else:
        return None
    return Found(name, EntryType.UNKNOWN, Metadata(links=0), error=said)


def _is_listed(listed: Listed, name: bytes) -> bool:
    """Whether a name that nothing is found under is in its directory still: some servers list names that they do not know."""
    if listed.looks_again == _LOOKS_AGAIN:
        return False
    listed.looks_again += 1
    try:
        fd = listed.folder.descriptor()
        if name not in list_names(fd):
            return False
        os.stat(name, dir_fd=fd, follow_symlinks=False)
    except OSError:
        return True
    return False  # it is there again; the next backup sees it


def list_names(fd: int) -> list[bytes]:
    """The names in an open directory, in no order. Raises: OSError."""
    encoding, errors = sys.getfilesystemencoding(), sys.getfilesystemencodeerrors()
    return [name.encode(encoding, errors) for name in os.listdir(fd)]


def is_cache_tag(folder_fd: int) -> bool:
    """Whether the file of that name in an open directory is what it is called."""
    with suppress(OSError):  # in doubt, all is saved, and the walk meets the same fault when it comes to the file
        if stat.S_ISREG(os.stat(CACHEDIR_TAG, dir_fd=folder_fd, follow_symlinks=False).st_mode):
            fd = os.open(CACHEDIR_TAG, _TAG, dir_fd=folder_fd)
            try:
                return os.read(fd, len(CACHEDIR_SIGNATURE)) == CACHEDIR_SIGNATURE
            finally:
                os.close(fd)
    return False


def text(error: OSError) -> str:
    """What the system says, without the path that `str` would repeat."""
    return error.strerror or str(error)
