"""Where lost chunks may come from: a copy of the snapshot in another repository, or the source as it is now.

Nothing that a donor says is believed: a chunk is taken if the keyed hash of its bytes is the id that is looked for.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Protocol

from lamina.engine.repairing.wanted import Piece
from lamina.errors import Damaged, EntryMissing, FormatUnknown, SourceError
from lamina.model.ids import ChunkId
from lamina.model.snapshots import Origin, Snapshot
from lamina.repository.contents import ContentPart, iter_parts
from lamina.repository.repository import Repository
from lamina.repository.trees import get_entry
from lamina.sources.image import open_image


class Donor(Protocol):
    """Something that may hold what is lost here; what it cannot read it does not have."""

    def offers(self, pieces: Sequence[Piece]) -> Iterator[bytes]:
        """What a chunk might be that holds *pieces* of files. Raises: StorageError."""
        ...


class CopyDonor:
    """A copy of the same snapshot: it was cut at the same places."""

    def __init__(self, repository: Repository, snapshot: Snapshot) -> None:
        self.repository = repository
        self.snapshot = snapshot
        self._path: str | None = None
        self._parts: Iterator[ContentPart] = iter(())
        self._part: ContentPart | None = None

    def offers(self, pieces: Sequence[Piece]) -> Iterator[bytes]:
        for piece in pieces:
            try:
                part = self._at(piece)
                if part is not None and part.chunk is not None:
                    yield self.repository.reader().get_data(part.chunk)
            except (Damaged, FormatUnknown, EntryMissing):
                continue

    def _at(self, piece: Piece) -> ContentPart | None:
        """The part of the same file that begins where *piece* does; pieces of one file come in order mostly."""
        if self._path != piece.path or self._part is None or self._part.offset > piece.offset:
            reader = self.repository.reader()
            content = get_entry(reader, self.snapshot.root, piece.path).content
            self._path, self._part = piece.path, None
            self._parts = iter_parts(reader, content) if content is not None else iter(())
        while self._part is None or self._part.offset < piece.offset:
            self._part = next(self._parts, None)
            if self._part is None:
                return None
        return self._part if self._part.offset == piece.offset else None


class SourceDonor:
    """Files and devices as they are now, below a directory that stands for the root of the snapshot."""

    def __init__(self, directory: str) -> None:
        self._directory = directory

    def offers(self, pieces: Sequence[Piece]) -> Iterator[bytes]:
        """One guess: the pieces in the order they lie in the chunk, if they make up something without a gap."""
        content = bytearray()
        for piece in sorted(pieces, key=lambda one: one.start):
            if piece.start + piece.length <= len(content):
                continue
            if piece.start > len(content):
                return
            skip = len(content) - piece.start
            data = self._read(piece.path, piece.offset + skip, piece.length - skip)
            if data is None:
                return
            content += data
        yield bytes(content)

    def _read(self, path: str, offset: int, length: int) -> bytes | None:
        buffer = bytearray(length)
        try:
            source = open_image(os.path.join(self._directory, path))
            with closing(source):
                return bytes(buffer) if source.read_into(offset, memoryview(buffer)) == length else None
        except SourceError:
            return None


def find_chunk(
    donors: Sequence[Donor], repository: Repository, chunk: ChunkId, pieces: Sequence[Piece]
) -> bytes | None:
    """The content of *chunk* from the first donor that has it. Raises: StorageError."""
    namer = repository.access.namer()
    for donor in donors:
        for content in donor.offers(pieces):
            if namer.data_id(content) == chunk:
                return content
    return None


def same_origin(here: Repository, snapshot: Snapshot, there: Repository, copies: Sequence[Snapshot]) -> Snapshot | None:
    """The copy of *snapshot*, or what it is a copy of, or another copy of that."""
    wanted = (snapshot.copied_from or Origin(here.id, snapshot.id)).snapshot
    fitting = [one for one in copies if (one.copied_from or Origin(there.id, one.id)).snapshot == wanted]
    return fitting[-1] if fitting else None
