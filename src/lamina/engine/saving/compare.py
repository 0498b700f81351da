"""Compare what was stored with its source, right after the backup (adaptive verification)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import Enum

from lamina.engine.outcome import Difference
from lamina.engine.saving.images import BATCH_BYTES, ZEROS, worker_count
from lamina.engine.saving.sampling import sample_positions
from lamina.engine.threads import batched, each
from lamina.errors import Damaged, SourceUnreadable
from lamina.model.entries import FixedContent, Position, data_positions
from lamina.model.ids import ChunkId
from lamina.model.operation import Operation
from lamina.model.snapshots import Role
from lamina.repository.repository import Repository
from lamina.repository.streams import FANOUT, FixedMap, Slot
from lamina.sources.source import ImageSource


class VerifyMode(Enum):
    """How much of a fresh backup is compared with its source."""

    ADAPTIVE = "adaptive"  # all of a regular file that was read as a whole; a sample of devices and hinted sources
    FULL = "full"
    SAMPLE = "sample"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Coverage:
    """What of a fresh backup was compared with its source, and what came of it."""

    mode: VerifyMode  # FULL, SAMPLE or NONE: what was done
    compared: int = 0  # bytes
    of: int = 0  # bytes
    differences: tuple[Difference, ...] = ()

    @property
    def share(self) -> float:
        return self.compared / self.of if self.of else 1.0


def merged(parts: Sequence[Coverage]) -> Coverage:
    """What of several inputs together was compared."""
    modes = {part.mode for part in parts}
    return Coverage(
        VerifyMode.FULL if modes == {VerifyMode.FULL} else VerifyMode.SAMPLE,
        sum(part.compared for part in parts),
        sum(part.of for part in parts),
        tuple(difference for part in parts for difference in part.differences),
    )


def choose_mode(wanted: VerifyMode, source: ImageSource, *, hinted: bool) -> VerifyMode:
    """What adaptive means for this source."""
    if wanted is not VerifyMode.ADAPTIVE:
        return wanted
    return VerifyMode.FULL if source.stable and not hinted else VerifyMode.SAMPLE


class Comparison:
    """Compares stored images with their sources, with the key at hand.

    An owner reads the stored content back and compares bytes. A writer cannot: it compares the ids of the source read again,
    and the stored bytes with the hash that names their pack.
    """

    def __init__(self, repository: Repository, operation: Operation) -> None:
        self._reader = repository.reader()
        self._namer = repository.access.namer()
        self._reads_content = repository.role is Role.OWNER
        self._operation = operation

    def compare(self, path: str, source: ImageSource, content: FixedContent, mode: VerifyMode) -> Coverage:
        """Compare all of an image, or a sample. Raises: StorageError, Stopped."""
        stored = FixedMap(self._reader, content)
        compared = 0
        differences: list[Difference] = []

        def check(batch: Sequence[tuple[int, Slot]]) -> tuple[int, list[Difference]]:
            return self._check_batch(path, source, stored, batch)

        per_batch = max(1, BATCH_BYTES // content.chunk_size)
        batches = batched(self._positions(source, stored, mode), per_batch)
        with ThreadPoolExecutor(worker_count(content.chunk_size), thread_name_prefix="compare") as executor:
            for length, found in each(executor, check, batches, self._operation):
                compared += length
                differences += found
                self._operation.progress.advance(read=length)
        self._operation.progress.advance(skipped=content.size - compared)
        if mode is VerifyMode.FULL:
            compared = content.size  # holes of the source are holes of the stored image: nothing to read
        return Coverage(mode, compared, content.size, tuple(differences))

    def _positions(self, source: ImageSource, stored: FixedMap, mode: VerifyMode) -> Iterator[tuple[int, Slot]]:
        """What to compare. What is a hole on both sides needs no look."""
        if mode is VerifyMode.SAMPLE:
            for position in sample_positions(source, stored.chunker):
                if position < stored.count:
                    yield position, stored.leaf(position // FANOUT)[position % FANOUT]
            return
        data = data_positions(source.extents(), stored.chunker.size)
        following = next(data, None)
        for leaf in range(stored.leaves):
            first, end = leaf * FANOUT, (leaf + 1) * FANOUT
            if (following is None or following >= end) and stored.leaf_slot(leaf)[0] is Position.HOLE:
                continue
            for number, slot in enumerate(stored.leaf(leaf)):
                if following is not None and following <= first + number:
                    following = next(data, None)
                    yield first + number, slot
                elif slot[0] is not Position.HOLE:
                    yield first + number, slot

    def _check_batch(
        self, path: str, source: ImageSource, stored: FixedMap, batch: Sequence[tuple[int, Slot]]
    ) -> tuple[int, list[Difference]]:
        self._operation.check_stop()
        contents = self._contents([chunk for _, (kind, chunk) in batch if kind is Position.DATA and chunk])
        buffer = bytearray(stored.chunker.size)
        compared, differences = 0, []
        for position, slot in batch:
            length = stored.chunker.length(position, stored.content.size)
            view = memoryview(buffer)[:length]
            reason = self._difference(source, position * stored.chunker.size, view, slot, contents)
            compared += length
            if reason:
                differences.append(Difference(path, position * stored.chunker.size, length, reason))
        return compared, differences

    def _difference(
        self, source: ImageSource, offset: int, view: memoryview, slot: Slot, contents: dict[ChunkId, bytes | str]
    ) -> str:
        """Why one position is not as stored; empty if it is."""
        if slot[0] in (Position.UNREAD, Position.UNREAD_KEPT):
            return ""  # known and reported as unread
        try:
            if source.read_into(offset, view) != len(view):
                return "the source ends before it"
        except SourceUnreadable as error:
            return error.message
        if slot[1] is None:
            return "" if ZEROS.startswith(view) else "zeros are stored where the source has data"
        content = contents[slot[1]]
        if isinstance(content, str):
            return content
        if self._reads_content:
            return "" if content.startswith(view) and len(content) == len(view) else "the source has other content now"
        return "" if self._namer.data_id(view) == slot[1] else "the source has other content now"

    def _contents(self, chunks: Sequence[ChunkId]) -> dict[ChunkId, bytes | str]:
        """What is stored under each id (for a writer: nothing, but checked), or what is wrong with it."""
        if self._reads_content:
            try:
                return dict(self._reader.get_many(chunks))
            except Damaged:  # one of them: find out which
                pass
        return {chunk: self._content(chunk) for chunk in chunks}

    def _content(self, chunk: ChunkId) -> bytes | str:
        try:
            if self._reads_content:
                return self._reader.get_data(chunk)
            self._reader.check_stored(chunk)
        except Damaged as error:
            return error.message
        return b""
