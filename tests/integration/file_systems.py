"""File systems of a test's own: on a loop device, or in memory."""

from __future__ import annotations

import contextlib
import shutil
import subprocess

import pytest

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
MAKERS = {"ext4": ("mkfs.ext4", "-qF"), "xfs": ("mkfs.xfs", "-q"), "btrfs": ("mkfs.btrfs", "-q")}


def find(name):
    """A system program, or None; a user's PATH does not look where these lie."""
    return shutil.which(name) or shutil.which(name, path=PATH)


@contextlib.contextmanager
def file_system(kind, place, *, size="1G", options=""):
    """Give an empty, mounted file system of a *kind* (`tmpfs`, or one of `MAKERS`) at *place*."""
    place.mkdir()
    image = place.with_name(place.name + ".disk")
    if kind == "tmpfs":
        words = ["-t", "tmpfs", "-o", f"size={size},mode=0755{options}", "tmpfs", str(place)]
    else:
        program, *flags = MAKERS[kind]
        if find(program) is None:
            pytest.skip(f"needs {program}")
        subprocess.run([find("truncate"), "-s", size, str(image)], check=True)
        subprocess.run([find(program), *flags, str(image)], check=True, capture_output=True)
        words = ["-o", f"loop{options}", str(image), str(place)]
    done = subprocess.run([find("mount"), *words], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"cannot mount {kind} here: {done.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run([find("umount"), "-l", str(place)], check=True)
        image.unlink(missing_ok=True)
