"""Targets below a directory, reached without following links."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress

from lamina.errors import TargetError, TargetUnwritable
from lamina.targets.faults import link_fault, target_fault
from lamina.targets.image import Place, open_place
from lamina.targets.target import ImageTarget

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


def open_image_below(directory: str, inside: str, size: int, *, force: bool, resume: bool) -> ImageTarget:
    """Open the file at the path *inside* below *directory*; it and the directories on the way are made where missing.

    Nothing below *directory* is reached through a link, even if somebody puts one there meanwhile: each directory is
    opened from the one above it. Raises: as `open_image_target`; TargetUnwritable for a link.
    """
    *above, last = inside.split("/")
    if any(name in {"", ".", ".."} for name in (*above, last)):
        raise TargetUnwritable(
            f"{inside!r} is no path below {directory}", hint="restore this image to a target you name"
        )
    shown, folder = directory, _open_top(directory)
    try:
        for name in above:
            shown = os.path.join(shown, name)
            below = _open_folder(folder, name, shown)
            os.close(folder)
            folder = below
        return open_place(Place(os.path.join(shown, last), last, folder), size, force=force, resume=resume)
    except BaseException:
        os.close(folder)
        raise


def _open_top(directory: str) -> int:
    """The directory the user named, which may lie behind links."""
    try:
        os.makedirs(directory, exist_ok=True)
        return os.open(directory, _DIRECTORY)
    except OSError as error:
        raise target_fault(directory, error, "make the directory") from error


def _open_folder(folder: int, name: str, shown: str) -> int:
    try:
        with suppress(FileExistsError):
            os.mkdir(name, dir_fd=folder)
            os.fsync(folder)
        return os.open(name, _DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
    except OSError as error:
        raise _fault(error, folder, name, shown) from error


def _fault(error: OSError, folder: int, name: str, shown: str) -> TargetError:
    if error.errno in {errno.ELOOP, errno.ENOTDIR}:
        with suppress(OSError):
            if stat.S_ISLNK(os.lstat(name, dir_fd=folder).st_mode):
                return link_fault(shown)
    return target_fault(shown, error, "make the directory")
