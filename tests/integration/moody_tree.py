"""A file system whose files misbehave each in its own way; as a test fixture and as a program.

python moody_tree.py MOUNTPOINT MOOD...      shows `fine`, `z-fine` and a file (or directory) for each MOOD
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
import subprocess
import sys
import threading
from dataclasses import dataclass, field

KIB = 1 << 10
SIZE = 640 * KIB
GROWN = SIZE + 128 * KIB
FREEZING = (
    "hangs-looking"  # while the kernel waits for this answer, it asks nothing else about what is in the directory
)
MOODS = {
    "grows": "more of it the first two times its end is read; then it stays",
    "shrinks": "ends earlier once it is open",
    "vanishes": "is there until somebody opens it",
    "gone-at-once": "is listed and not there",
    "denied": "may not be opened",
    "eio-open": "cannot be opened",
    "eio-read": "cannot be read in its last quarter",
    "eio-stat": "cannot be looked at",
    "becomes-directory": "is a file until somebody opens it",
    "restless": "has another time and other bytes after each reading",
    "restless-once": "changes while it is read for the first time",
    "hangs-reading": "never answers a read behind its first quarter",
    "hangs-opening": "never answers an open",
    "hangs-looking": "never answers who looks at it",
    "dir-eio-list": "a directory whose names cannot be read",
    "dir-hangs": "a directory that never answers who reads its names",
    "dir-vanishes": "a directory that is there until somebody opens it",
    "dir-becomes-file": "a directory until somebody opens it",
}


def content(mood: str, version: int = 0, size: int = SIZE) -> bytes:
    """What such a file holds."""
    line = f"{mood} {version} ".encode()
    return (line * (size // len(line) + 1))[:size]


@contextlib.contextmanager
def moody_tree(mountpoint, *moods):
    """Mount it; gives the mount point."""
    mountpoint.mkdir()
    command = [sys.executable, __file__, str(mountpoint), *moods]
    # It tells that it is mounted by a line: nobody has to wait and look.
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "mounted\n", "the file system was not mounted"
            yield mountpoint
        finally:
            process.kill()  # so that whoever still waits for an answer gets one
            process.wait(20)
            subprocess.run([shutil.which("fusermount3") or "fusermount", "-u", "-z", str(mountpoint)], check=False)


@dataclass
class _File:
    mood: str
    size: int = SIZE
    version: int = 0
    mtime_ns: int = 1_600_000_000 * 10**9
    is_directory: bool = False
    is_there: bool = True
    was_read: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)

    def touch(self) -> None:
        self.mtime_ns += 10**9

    def opened(self) -> None:
        """What happens when it is opened. Raises: OSError."""
        match self.mood:
            case "denied":
                raise PermissionError(errno.EACCES, "")
            case "eio-open":
                raise OSError(errno.EIO, "")
            case "hangs-opening":
                threading.Event().wait()
            case "vanishes" | "dir-vanishes":
                self.is_there = False
            case "shrinks" if self.size == SIZE:
                self.size = SIZE // 4
                self.touch()
            case "becomes-directory":
                self.is_directory = True
            case "dir-becomes-file":
                self.is_directory = False
        if not self.is_there:
            raise FileNotFoundError(errno.ENOENT, "")

    def read(self, size: int, offset: int) -> bytes:
        """Some of its content. Raises: OSError."""
        end = offset + size
        match self.mood:
            case "eio-read" if end > SIZE * 3 // 4:
                raise OSError(errno.EIO, "")
            case "hangs-reading" if end > SIZE // 4:
                threading.Event().wait()
            case "grows" if end > self.size - 1 and self.size < GROWN:
                self.size += (GROWN - SIZE) // 2
                self.touch()
            case "restless":
                self.version += 1
                self.touch()
            case "restless-once" if not self.was_read and end >= SIZE:
                self.was_read = True
                found = content(self.mood, 0, self.size)[offset:end]
                self.version = 1
                self.touch()
                return found
        return content(self.mood, self.version, self.size)[offset:end]


def _serve(mountpoint, moods):
    import mfusepy

    files = {f"/{mood}": _File(mood, is_directory=mood.startswith("dir-")) for mood in ("fine", "z-fine", *moods)}

    class Moody(mfusepy.Operations):
        use_ns = True

        def init(self, path):
            threading.Thread(target=self._report, daemon=True).start()

        @staticmethod
        def _report():
            os.stat(mountpoint)
            print("mounted", flush=True)
            sys.stdin.read()  # until whoever started this is gone
            os._exit(0)

        def getattr(self, path, fh=None):
            if path == "/":
                return {"st_mode": stat.S_IFDIR | 0o755, "st_nlink": 2}
            file = self._find(path)
            if file.mood == "eio-stat":
                raise mfusepy.FuseOSError(errno.EIO)
            if file.mood == "hangs-looking":
                threading.Event().wait()
            kind = stat.S_IFDIR | 0o755 if file.is_directory else stat.S_IFREG | 0o644
            return {
                "st_mode": kind,
                "st_nlink": 1,
                "st_size": file.size,
                "st_mtime": file.mtime_ns,
                "st_ctime": file.mtime_ns,
            }

        def _find(self, path):
            file = files.get(path)
            if file is None and os.path.dirname(path) in files and os.path.basename(path) == "inside":
                return files["/fine"]
            if file is None or not file.is_there or file.mood == "gone-at-once":
                raise mfusepy.FuseOSError(errno.ENOENT)
            return file

        def readdir(self, path, fh):
            if path == "/":
                listed = [name[1:] for name, file in files.items() if file.is_there or file.mood == "gone-at-once"]
                return [".", "..", *listed]
            if self._find(path).mood == "dir-eio-list":
                raise mfusepy.FuseOSError(errno.EIO)
            if path == "/dir-hangs":
                threading.Event().wait()
            return [".", "..", "inside"]

        def opendir(self, path):
            if path != "/" and files[path].mood.startswith("dir-"):
                self._find(path).opened()
                if not files[path].is_directory:
                    raise mfusepy.FuseOSError(errno.ENOTDIR)
            return 0

        def open(self, path, flags):
            file = self._find(path)
            if not file.is_directory:
                file.opened()
                if file.is_directory:
                    raise mfusepy.FuseOSError(errno.EISDIR)
            return 0

        def read(self, path, size, offset, fh):
            file = self._find(path)
            with file.lock:
                return file.read(size, offset)

    ask_again = {
        "attr_timeout": 0,
        "entry_timeout": 0,
        "negative_timeout": 0,
        "direct_io": True,
    }  # the kernel keeps nothing
    mfusepy.FUSE(Moody(), mountpoint, foreground=True, ro=True, **ask_again)


if __name__ == "__main__":
    _serve(sys.argv[1], sys.argv[2:])
