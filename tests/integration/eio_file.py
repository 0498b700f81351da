"""A file system with one file, `disk.img`, of which some bytes cannot be read; as a test fixture and as a program.

python eio_file.py CONTENT MOUNTPOINT START END      shows CONTENT; bytes START … END answer with EIO
"""

from __future__ import annotations

import contextlib
import errno
import importlib.util
import os
import shutil
import stat
import subprocess
import sys
import threading

import pytest

NAME = "disk.img"


_PARTS = {
    "mfusepy": importlib.util.find_spec("mfusepy"),
    "/dev/fuse": os.access("/dev/fuse", os.W_OK),
    "fusermount3, of Debian's fuse3": shutil.which("fusermount3"),
}
_MISSING = ", ".join(name for name, there in _PARTS.items() if not there)
needs_fuse = pytest.mark.skipif(bool(_MISSING), reason=f"missing here: {_MISSING}")


@contextlib.contextmanager
def eio_file(content, mountpoint, start, end):
    """Give the path of a file that reads like *content*, but for the range *start* to *end*."""
    mountpoint.mkdir()
    command = [sys.executable, __file__, str(content), str(mountpoint), str(start), str(end)]
    # It tells that it is mounted by a line: nobody has to wait and look.
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "mounted\n", "the file system was not mounted"
            yield mountpoint / NAME
        finally:
            subprocess.run([shutil.which("fusermount3") or "fusermount", "-u", "-z", str(mountpoint)], check=False)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                raise


def _serve(content, mountpoint, start, end):
    import mfusepy

    class OneBadFile(mfusepy.Operations):
        def __init__(self):
            self.fd = os.open(content, os.O_RDONLY)

        def init(self, path):
            # The mount answers only once this has returned; a thread asks until then, in the kernel, and reports.
            threading.Thread(target=self._report, daemon=True).start()

        @staticmethod
        def _report():
            os.stat(os.path.join(mountpoint, NAME))
            print("mounted", flush=True)

        def getattr(self, path, fh=None):
            if path == "/":
                return {"st_mode": stat.S_IFDIR | 0o755, "st_nlink": 2}
            if path != f"/{NAME}":
                raise mfusepy.FuseOSError(errno.ENOENT)
            return {"st_mode": stat.S_IFREG | 0o644, "st_nlink": 1, "st_size": os.fstat(self.fd).st_size}

        def readdir(self, path, fh):
            return [".", "..", NAME]

        def read(self, path, size, offset, fh):
            if offset < end and offset + size > start:
                raise mfusepy.FuseOSError(errno.EIO)
            return os.pread(self.fd, size, offset)

    mfusepy.FUSE(OneBadFile(), mountpoint, foreground=True, ro=True)


if __name__ == "__main__":
    _serve(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
