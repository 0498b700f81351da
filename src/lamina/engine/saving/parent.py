"""The snapshot that a backup compares with, and what may be relied on of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from lamina.engine.saving.known import KnownEntry
from lamina.errors import Damaged, EntryMissing, FormatUnknown, NotPermitted
from lamina.model.entries import EntryType, FixedContent
from lamina.model.operation import Clock
from lamina.model.order import heads
from lamina.model.snapshots import Snapshot, Trust
from lamina.repository.directories import DirectoryNode, EntryRecord
from lamina.repository.format import BlobKind
from lamina.repository.repository import Repository
from lamina.repository.streams import FixedMap
from lamina.repository.trees import find_record, get_entry


@dataclass(slots=True)
class Parent:
    """The parent snapshot, if there is one. What cannot be read of it only means that more is read of the sources."""

    repository: Repository
    warn: Callable[[str], None]
    name: str = ""  # of the snapshot that is being made
    snapshot: Snapshot | None = None
    is_clear: bool = True  # there is no doubt which snapshot hints refer to
    must_heal: bool = False  # some snapshot is doubtful: refer only to chunks that were just seen to be whole

    def find(self, name: str, chosen: Snapshot | None, clock: Clock) -> None:
        """Take the user's choice, or the newest snapshot of the name that is no other's parent."""
        self.name = name
        snapshots = self.repository.snapshots()
        self.must_heal = any(one.is_doubtful for one in snapshots)
        found = heads(snapshots, name)
        if chosen is not None:
            self.snapshot = chosen
            return
        self.is_clear = len(found) == 1 and found[0].started <= clock.now()
        self.snapshot = found[-1] if found else None

    def image(self, path: str, chunk_size: int) -> FixedMap | None:
        """The same image, if its chunks may be referred to without a look."""
        if self.snapshot is None or self.snapshot.is_doubtful:
            return None
        content = self.image_content(path)
        if content is None or content.chunk_size != chunk_size:
            return None
        return FixedMap(self.repository.reader(), content)

    def image_content(self, path: str) -> FixedContent | None:
        """The same image."""
        if self.snapshot is None:
            return None
        try:
            content = get_entry(self.repository.reader(), self.snapshot.root, path).content
        except EntryMissing:
            return None
        except (Damaged, FormatUnknown, NotPermitted) as error:
            self._say_useless(error.message)
            return None
        return content if isinstance(content, FixedContent) else None

    def tree(self, path: str) -> KnownEntry | None:
        """The same tree, if its chunks may be referred to without a look."""
        if self.snapshot is None or self.snapshot.is_doubtful:
            return None
        root = EntryRecord(b"", EntryType.DIRECTORY, 0, 0, 0, 0, 0, 0, 0, 0, 0)
        known = KnownEntry(DirectoryNode(self.snapshot.root, [root], [(BlobKind.DIRECTORY, self.snapshot.root)]), 0)
        try:
            for name in filter(None, path.encode("utf-8", "surrogateescape").split(b"/")):
                child = known.entry().child
                found = find_record(self.repository.reader(), child, name) if child is not None else None
                if found is None:
                    return None
                known = KnownEntry(*found)
        except (Damaged, FormatUnknown, NotPermitted) as error:
            self._say_useless(error.message)
            return None
        return known

    def why_no_hints(self, path: str) -> str:
        """Why hints have nothing to refer to."""
        if self.snapshot is None:
            return "there is no snapshot of this name yet"
        who = f"snapshot {self.snapshot.short_id}"
        if self.snapshot.is_doubtful:
            return f"{who} is distrusted" if self.snapshot.trust is Trust.DISTRUSTED else f"{who} was never compared"
        if not self.is_clear:
            return (
                f"it is not clear that {who} is the one they refer to (clocks, or runs at the same time): say --parent"
            )
        return f"{who} has chunks of another size" if self.image_content(path) else f"{who} has no such image"

    def say_damaged(self, message: str) -> None:
        """Some of it cannot be read."""
        self._say_useless(message)

    def _say_useless(self, message: str) -> None:
        assert self.snapshot is not None  # noqa: S101 - it was read from
        self.warn(f"the parent snapshot {self.snapshot.short_id} is of no use: {message}")
