"""Making a range of a file or a block device read as zeros without writing them."""

from __future__ import annotations

import ctypes
import errno
import os
from functools import cache
from typing import Any

_KEEP_SIZE, _PUNCH_HOLE = 0x01, 0x02  # <linux/falloc.h>
_CANNOT = {errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}  # EINVAL: not aligned to the device's blocks


def punch(fd: int, offset: int, length: int) -> bool:
    """Make the range read as zeros and give its space back; False if this file or device cannot, or not for this range.

    For block devices the kernel promises the zeros as well (Linux 4.9). Raises: OSError.
    """
    fallocate = _fallocate()
    if fallocate is None:
        return False
    while fallocate(fd, _PUNCH_HOLE | _KEEP_SIZE, offset, length) != 0:
        code = ctypes.get_errno()
        if code in _CANNOT:
            return False
        if code != errno.EINTR:
            raise OSError(code, os.strerror(code))
    return True


@cache
def _fallocate() -> Any:  # a foreign function, or None where the C library has none
    """`fallocate`, which `os` does not offer; on a 64-bit system its offsets have 64 bits."""
    library = ctypes.CDLL(None, use_errno=True)
    function = getattr(library, "fallocate64", None) or getattr(library, "fallocate", None)
    if function is not None:
        function.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
        function.restype = ctypes.c_int
    return function
