"""A directory as the place a tree is restored to: nothing is ever written outside of it.

Everything is reached from an open directory by a bare name, and no link is followed, so that it does not matter what
names a snapshot holds, and what somebody puts in the way while a restore runs.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

from lamina.model.entries import Entry, EntryType, Metadata
from lamina.targets.attributes import LOCKING, Attributes, Shortfalls, has_flags, read_flags, unlock
from lamina.targets.faults import target_fault
from lamina.targets.folders import Spot, TargetFolder, check_name, make_writable, open_folder
from lamina.targets.new_files import (
    TEMPORARY,
    UNFINISHED,
    FileMaker,
    NewFile,
    is_unfinished,
    publish_name,
    temporary_name,
)
from lamina.targets.owners import Owners
from lamina.targets.removal import mount_of, remove

_TYPES = {
    EntryType.DIRECTORY: stat.S_IFDIR,
    EntryType.FILE: stat.S_IFREG,
    EntryType.SYMLINK: stat.S_IFLNK,
    EntryType.FIFO: stat.S_IFIFO,
    EntryType.SOCKET: stat.S_IFSOCK,
    EntryType.CHARACTER_DEVICE: stat.S_IFCHR,
    EntryType.BLOCK_DEVICE: stat.S_IFBLK,
}
# After one of these, no other entry fares better.
HOPELESS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EMFILE, errno.ENFILE})
COARSEST_NS = 2_000_000_000  # to which file systems round times: FAT
_DEVICES = frozenset({EntryType.CHARACTER_DEVICE, EntryType.BLOCK_DEVICE})
_BEGUN = b".lamina-" + b"0" * 32  # an empty file in a target that a restore began to fill


class FirstName(NamedTuple):
    """Where an object with several names was restored first."""

    folder: TargetFolder
    name: bytes
    identity: tuple[int, int]  # device and inode there


class DirectoryTarget:
    """A directory that takes a tree.

    One thread makes folders and everything that has no content; any thread writes files.
    """

    def __init__(self, path: str, owners: Owners, *, dry_run: bool = False, kept: Sequence[str] = ()) -> None:
        """Open or make the directory the user named, which may lie behind links; *kept*: what is never removed.

        Raises: TargetUnwritable.
        """
        self.name = path
        self._is_dry_run = dry_run
        self.shortfalls = Shortfalls()
        self.attributes = Attributes(owners, self.shortfalls)
        self._files = FileMaker(self.attributes)
        self._devices: set[int] = set()
        try:
            self.top = self._open_top(path, dry_run=dry_run)
        except OSError as error:
            raise target_fault(path, error, "make the directory", resumable=False) from error
        self._kept = frozenset(identity for one in kept if (identity := _identity_of(one)) is not None)
        names = [] if self.top.is_absent else os.listdir(self.top.fd)
        self.was_empty = not names or os.fsdecode(_BEGUN) in names  # before this restore, or one that it goes on with

    def begin(self) -> None:
        """Remember, until `end`, that what is in the directory is of this restore. Raises: OSError."""
        flags = os.O_CREAT | os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        os.close(os.open(_BEGUN, flags, 0o600, dir_fd=self.top.fd))

    def end(self) -> None:
        """All is there. Raises: OSError."""
        with suppress(FileNotFoundError):
            os.unlink(_BEGUN, dir_fd=self.top.fd)

    def status(self, folder: TargetFolder, name: bytes) -> os.stat_result | None:
        """What is there; None for nothing. Raises: OSError."""
        check_name(name)
        if folder.is_absent:
            return None
        try:
            return os.stat(name, dir_fd=folder.fd, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def look(self, folder: TargetFolder, entry: Entry) -> os.stat_result | None:
        """What is there, where an entry belongs; what an interrupted restore left of a small file goes. Raises: OSError."""
        name = entry.name
        check_name(name)
        status = None if folder.fresh else self.status(folder, name)
        if status is None or not is_unfinished(status) or entry.metadata.mode == UNFINISHED:
            return status
        if not self._is_dry_run:
            os.unlink(name, dir_fd=folder.fd)
        return None

    def is_right(self, folder: TargetFolder, entry: Entry, status: os.stat_result) -> bool:
        """Whether what is there is what the entry says, as far as it shows from outside. Raises: OSError."""
        if not self.is_type(entry, status):
            return False
        if entry.type is EntryType.FILE:
            return status.st_size == entry.size and status.st_mtime_ns == entry.metadata.mtime_ns
        if entry.type is EntryType.SYMLINK:
            return os.readlink(entry.name, dir_fd=folder.fd) == entry.target
        return entry.type not in _DEVICES or entry.special == (os.major(status.st_rdev), os.minor(status.st_rdev))

    def is_nearly_right(self, entry: Entry, status: os.stat_result) -> bool:
        """Whether a file may be right, but for a time that the file system may have rounded; its content decides."""
        if entry.type is not EntryType.FILE or not self.is_type(entry, status) or status.st_size != entry.size:
            return False
        return abs(status.st_mtime_ns - entry.metadata.mtime_ns) < COARSEST_NS

    @staticmethod
    def is_type(entry: Entry, status: os.stat_result) -> bool:
        """Whether what is there is of the entry's type."""
        return stat.S_IFMT(status.st_mode) == _TYPES.get(entry.type)

    def make_folder(self, parent: TargetFolder, name: bytes, *, public: bool) -> TargetFolder:
        """A new directory; for us alone until it has its attributes, unless it is *public* for lack of them. Raises: OSError."""
        check_name(name)
        os.mkdir(name, 0o777 if public else 0o700, dir_fd=parent.fd)
        folder = TargetFolder(parent, name, open_folder(name, parent.fd), fresh=True)
        folder.hands_down = parent.hands_down
        return folder

    def open_folder(self, parent: TargetFolder, name: bytes, *, writing: bool = True) -> TargetFolder:
        """A directory that is there, made fit to be filled. Raises: OSError."""
        check_name(name)
        fd = open_folder(name, parent.fd)
        try:
            if writing:
                unlock(fd)
                make_writable(fd)
            folder = TargetFolder(parent, name, fd, fresh=False)
        except BaseException:
            os.close(fd)
            raise
        folder.hands_down = has_flags(fd)
        self._devices.add(folder.identity[0])
        return folder

    def absent_folder(self, parent: TargetFolder, name: bytes) -> TargetFolder:
        """A directory that a dry run would make."""
        return TargetFolder(parent, name, -1, fresh=True)

    def finish_folder(self, folder: TargetFolder, metadata: Metadata) -> None:
        """Give a directory its attributes, once all is in it; it must be held. Raises: OSError."""
        if folder.is_absent or metadata.is_implied:
            return
        spot = Spot(folder)
        if folder.fresh:
            self.attributes.apply(folder.fd, metadata, spot)
        else:
            self.attributes.correct(folder.fd, metadata, spot, os.fstat(folder.fd))
        if metadata.flags or folder.hands_down or not folder.fresh:
            self.attributes.set_flags(folder.fd, metadata, spot)

    def small_file(self, folder: TargetFolder, entry: Entry, *, replace: bool) -> NewFile:
        """A file for content that is written in one go, and then published. Raises: OSError."""
        check_name(entry.name)
        wanted = entry.metadata
        is_plain = not wanted.is_implied and not wanted.xattrs and not folder.inherits and wanted.mode != UNFINISHED
        if is_plain and not replace:
            return self._files.open_direct(folder, entry.name)
        return self._files.open(folder, entry.name, replace=replace)

    def new_file(self, folder: TargetFolder, name: bytes, *, replace: bool, key: str = "") -> NewFile:
        """A file that is *name* once it is published; with a *key* of its content, one that can be resumed. Raises: OSError."""
        check_name(name)
        if key:
            return self._files.resume(folder, name, key, replace=replace)
        return self._files.open(folder, name, replace=replace)

    def make_special(self, folder: TargetFolder, entry: Entry, *, replace: bool) -> tuple[int, int]:
        """Make anything but files and directories; returns device and inode. Raises: FileExistsError, OSError."""
        check_name(entry.name)
        name = temporary_name() if replace else entry.name
        if entry.type is EntryType.SYMLINK:
            os.symlink(entry.target, name, dir_fd=folder.fd)
        else:
            device = os.makedev(*entry.special) if entry.type in _DEVICES and entry.special is not None else 0
            os.mknod(name, _TYPES[entry.type] | 0o600, device, dir_fd=folder.fd)
        spot = Spot(folder, entry.name)
        fd = self._open_path(folder, name)
        try:
            status = os.fstat(fd)
            if stat.S_IFMT(status.st_mode) != _TYPES[entry.type]:
                raise OSError(errno.ESTALE, "something else took its place")
            is_link = entry.type is EntryType.SYMLINK
            place = b"/proc/self/fd/%d" % fd
            self.attributes.apply(place, entry.metadata, spot, is_link=is_link)
        finally:
            os.close(fd)
        if replace:
            publish_name(folder.fd, name, entry.name, replace=True)
        return status.st_dev, status.st_ino

    def link(self, folder: TargetFolder, name: bytes, first: FirstName, *, replace: bool) -> None:
        """Give what is at *first* another name; both folders must be held. Raises: FileExistsError, OSError."""
        check_name(name)
        made = temporary_name() if replace else name
        os.link(first.name, made, src_dir_fd=first.folder.fd, dst_dir_fd=folder.fd, follow_symlinks=False)
        status = os.stat(made, dir_fd=folder.fd, follow_symlinks=False)
        if (status.st_dev, status.st_ino) != first.identity:
            os.unlink(made, dir_fd=folder.fd)
            raise OSError(errno.ESTALE, "something else took the place of its first name")
        if replace:
            publish_name(folder.fd, made, name, replace=True)
            with suppress(FileNotFoundError):  # renaming one name of a file to another of its names does nothing
                os.unlink(made, dir_fd=folder.fd)

    def correct(self, folder: TargetFolder, name: bytes, metadata: Metadata) -> bool:
        """Set the attributes of something that is no directory where they differ; whether any did. Raises: OSError."""
        check_name(name)
        fd = self._open_path(folder, name)
        try:
            status, spot = os.fstat(fd), Spot(folder, name)
            place = b"/proc/self/fd/%d" % fd
            readable = _open_to_read(place) if stat.S_ISREG(status.st_mode) else -1
            if readable < 0:
                return self.attributes.correct(place, metadata, spot, status)
            try:
                if read_flags(readable) & LOCKING:
                    unlock(readable)
                changed = self.attributes.correct(readable, metadata, spot, status)
                if not metadata.is_implied:
                    self.attributes.set_flags(readable, metadata, spot)
                return changed
            finally:
                os.close(readable)
        finally:
            os.close(fd)

    def set_flags(self, folder: TargetFolder, name: bytes, metadata: Metadata) -> None:
        """Set the flags of a file that had to wait until it has all its names; its folder must be held. Raises: OSError."""
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder.fd)
        try:
            self.attributes.set_flags(fd, metadata, Spot(folder, name))
        finally:
            os.close(fd)

    def clear_way(self, folder: TargetFolder, name: bytes, status: os.stat_result, *, whole: bool) -> None:
        """Let what is at *name* be replaced: a directory is removed (with all in it if *whole*), a locked file unlocked.

        Raises: OSError.
        """
        check_name(name)
        if stat.S_ISDIR(status.st_mode):
            if whole:
                remove(folder.fd, name, self._kept)
            else:
                os.rmdir(name, dir_fd=folder.fd)
        elif stat.S_ISREG(status.st_mode):
            self._unlock(folder, name)

    def remove(self, folder: TargetFolder, name: bytes) -> bool:
        """Remove what is there, and all in it; false if something stays that must. In a dry run, only say so. Raises: OSError."""
        check_name(name)
        with suppress(FileNotFoundError):
            is_file = stat.S_ISREG(os.stat(name, dir_fd=folder.fd, follow_symlinks=False).st_mode)
            if is_file and not self._is_dry_run:
                self._unlock(folder, name)
            return remove(folder.fd, name, self._kept, dry_run=self._is_dry_run)
        return True

    def may_empty(self, folder: TargetFolder) -> bool:
        """Whether anything may be removed from a folder, which must be held. Raises: OSError."""
        if folder.is_absent:
            return True
        return folder.identity not in self._kept and mount_of(folder.fd) == mount_of(self.top.fd)

    def names(self, folder: TargetFolder) -> list[bytes]:
        """What is in a directory, which must be held. Raises: OSError."""
        return [] if folder.is_absent else [os.fsencode(name) for name in os.listdir(folder.fd)]

    @staticmethod
    def is_temporary(name: bytes) -> bool:
        """Whether only an interrupted restore calls a file so."""
        return name.startswith(b".lamina-") and TEMPORARY.fullmatch(name) is not None

    def read(self, folder: TargetFolder, name: bytes) -> int:
        """A descriptor to read a regular file back with. Raises: OSError."""
        check_name(name)
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder.fd)
        if stat.S_ISREG(os.fstat(fd).st_mode):
            return fd
        os.close(fd)
        raise OSError(errno.ESTALE, "it is no regular file any more")

    def sync(self) -> None:
        """Make all of it durable: one request to the file system costs a fraction of one for each file.

        Raises: TargetUnwritable.
        """
        if self.top.is_absent:
            return
        try:
            if len(self._devices) > 1:
                os.sync()
            else:
                _sync_file_system(self.top.fd)
        except OSError as error:
            raise target_fault(self.name, error, resumable=False) from error

    def close(self) -> None:
        self.top.close_all()

    def _open_top(self, path: str, *, dry_run: bool) -> TargetFolder:
        name = os.fsencode(path)
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
        fresh = not os.path.exists(path)
        if fresh and dry_run:
            return TargetFolder(None, name, -1, fresh=True)
        os.makedirs(path, exist_ok=True)
        fd = os.open(path, flags)
        top = TargetFolder(None, name, fd, fresh=fresh)
        top.hands_down = has_flags(fd)
        self._devices.add(top.identity[0])
        return top

    @staticmethod
    def _open_path(folder: TargetFolder, name: bytes) -> int:
        return os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder.fd)

    def _unlock(self, folder: TargetFolder, name: bytes) -> None:
        fd = self._open_path(folder, name)
        try:
            if stat.S_ISREG(os.fstat(fd).st_mode):
                readable = _open_to_read(b"/proc/self/fd/%d" % fd)
                if readable >= 0:
                    unlock(readable)
                    os.close(readable)
        finally:
            os.close(fd)


def _open_to_read(place: bytes) -> int:
    """Open what a descriptor in /proc leads to; -1 if we may not."""
    try:
        return os.open(place, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except PermissionError:
        return -1


def _identity_of(path: str) -> tuple[int, int] | None:
    """Device and inode; None if nothing of ours is there. Raises: TargetUnwritable."""
    try:
        status = os.stat(path)
    except (FileNotFoundError, NotADirectoryError, PermissionError):  # where we may not look, we may not remove either
        return None
    except OSError as error:
        raise target_fault(path, error, "look at", resumable=False) from error
    return status.st_dev, status.st_ino


def _sync_file_system(fd: int) -> None:
    """Write back all of the file system that *fd* lies on. Raises: OSError."""
    if ctypes.CDLL(None, use_errno=True).syncfs(fd):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
