"""What the system refuses while a target is written, in words."""

from __future__ import annotations

import errno
import os

from lamina.errors import TargetError, TargetTooSmall, TargetUnwritable

_FULL = {errno.ENOSPC, errno.EDQUOT}

_HINTS = {
    errno.EACCES: "run as a user who may write there (for a block device: root, or a member of the group disk)",
    errno.EPERM: "run as a user who may write there; check for an immutable flag (lsattr)",
    errno.EROFS: "the file system or device is read-only: choose another target or remount it",
    errno.EBUSY: "unmount the device and stop what uses it (lsblk, fuser), or choose another target",
    errno.ETXTBSY: "stop the program that runs from it, or choose another target",
    errno.ENOENT: "create the directory first, or correct the path",
    errno.ENOTDIR: "create the directory first, or correct the path",
    errno.ELOOP: "correct the path: its links lead in a circle",
    errno.EIO: "the kernel's log may say more (dmesg); after a repair run again with --resume",
}


def target_fault(name: str, error: OSError, doing: str = "write to", *, resumable: bool = True) -> TargetError:
    """The error to raise, from *error*, when the system refused to do something with the target *name*."""
    if error.errno in _FULL:
        again = "run the same command with --resume" if resumable else "run the same command again"
        return TargetUnwritable(f"{name} is full", hint=f"free some space, then {again}")
    if error.errno == errno.EFBIG:
        return TargetTooSmall(
            f"{name} would be larger than its file system allows a file to be", hint="choose another file system"
        )
    hint = _HINTS.get(error.errno or 0, "check that the target is there and can be written")
    text = error.strerror or os.strerror(error.errno or 0)
    return TargetUnwritable(f"cannot {doing} {name}: {text}", hint=hint)
