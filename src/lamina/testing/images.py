"""Images in memory: a source that can be made to fail, change or lie, and a target that counts what it is given."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence

from lamina.errors import SourceUnreadable
from lamina.model.entries import Buffer, Extent, ExtentKind, Metadata


class MemoryImage:
    """An `ImageSource` over bytes that a test may change at any time.

    `unreadable` are ranges (offset, end) that cannot be read; `holes` are ranges the source says were never written;
    `read` lists every range that was asked for; `content` may shrink below `size`, as a file does that is cut meanwhile.
    """

    def __init__(
        self, content: bytes, *, name: str = "image", stable: bool = True, holes: Sequence[tuple[int, int]] = ()
    ) -> None:
        self.name = name
        self.content = bytearray(content)
        self.size = len(content)
        self.stable = stable
        self.metadata = Metadata(mode=0o640, uid=1, gid=2, mtime_ns=3)
        self.holes = sorted(holes)
        self.unreadable: list[tuple[int, int]] = []
        self.has_changed = False
        self.read: list[tuple[int, int]] = []
        self._lock = threading.Lock()

    def extents(self) -> Iterator[Extent]:
        offset = 0
        for start, end in self.holes:
            if start > offset:
                yield Extent(offset, start - offset)
            yield Extent(start, end - start, ExtentKind.HOLE)
            offset = end
        if offset < self.size:
            yield Extent(offset, self.size - offset)

    def read_into(self, offset: int, buffer: memoryview) -> int:
        end = offset + len(buffer)
        with self._lock:
            self.read.append((offset, end))
        if any(start < end and offset < stop for start, stop in self.unreadable):
            raise SourceUnreadable(f"cannot read {self.name} at {offset}")
        found = self.content[offset:end]
        buffer[: len(found)] = found
        return len(found)

    def changed(self) -> bool:
        return self.has_changed

    def close(self) -> None:
        """Keep everything: the test looks at it later."""


class MemoryTarget:
    """An `ImageTarget` over bytes; `written` lists every range that was written, zeros included."""

    def __init__(self, size: int, content: bytes | None = None, *, name: str = "target") -> None:
        """*content*: what lies there already; None: the target is fresh."""
        self.name = name
        self.fresh = content is None
        self.content = bytearray((content or b"")[:size].ljust(size, b"\0"))
        self.written: list[tuple[int, int]] = []
        self.finished = False
        self._lock = threading.Lock()

    def write(self, offset: int, data: Buffer) -> None:
        with self._lock:
            self.content[offset : offset + len(data)] = data
            self.written.append((offset, offset + len(data)))

    def write_zeros(self, offset: int, length: int) -> None:
        self.write(offset, bytes(length))

    def read_into(self, offset: int, buffer: memoryview) -> int:
        found = self.content[offset : offset + len(buffer)]
        buffer[: len(found)] = found
        return len(found)

    def finish(self) -> None:
        self.finished = True

    def close(self) -> None:
        """Keep everything: the test looks at it later."""


class MemoryStream:
    """A `StreamTarget` that keeps what it is given in `content`."""

    def __init__(self, *, name: str = "-") -> None:
        self.name = name
        self.content = bytearray()

    def write(self, data: Buffer) -> None:
        self.content += data

    def close(self) -> None:
        """Keep everything: the test looks at it later."""
