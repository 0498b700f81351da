"""Restore what is left of contents that are not whole any more, and say what is missing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from lamina.engine.outcome import Missing
from lamina.errors import Damaged
from lamina.model.ids import ChunkId
from lamina.repository.contents import ContentPart
from lamina.repository.index import Index

HINT = "`lamina restore --salvage` brings back what is left, and says what is missing; `lamina verify` shows the whole picture"

Fetch = Callable[
    [Sequence[ChunkId]], dict[ChunkId, bytes]
]  # of all chunks. Raises: Damaged if there is one it cannot get


@contextmanager
def hinting_at_salvage() -> Iterator[None]:
    """Let errors about damage say how to get at the rest."""
    try:
        yield
    except Damaged as error:
        error.hint = HINT
        raise


class Losses:
    """The chunks that one restore could not get; asked from several threads."""

    def __init__(self, index: Index) -> None:
        self._index = index
        self._reasons: dict[ChunkId, str] = {}

    def fetch(self, get: Fetch, chunks: Sequence[ChunkId]) -> dict[ChunkId, bytes]:
        """The contents of those chunks that there are. Raises: StorageError."""
        wanted = [chunk for chunk in chunks if chunk not in self._reasons]
        try:
            return get(wanted)
        except Damaged:
            pass  # one of them: find out which
        found: dict[ChunkId, bytes] = {}
        for chunk in wanted:
            try:
                found |= get([chunk])
            except Damaged as error:
                self._reasons[chunk] = error.message
        return found

    def give_up(self, chunk: ChunkId | None, error: Damaged) -> None:
        """A chunk is not what its place needs."""
        if chunk is not None:
            self._reasons[chunk] = error.message

    def missing(self, path: str, part: ContentPart) -> Missing:
        """What is missing of a file, because its part is."""
        if part.chunk is None:
            return Missing(path, part.offset, part.length, "metadata", part.lost)
        place = next(self._index.places(part.chunk), None)
        holder = f"chunk {part.chunk.hex()}" if place is None else place.pack_name
        return Missing(path, part.offset, part.length, holder, self._reasons.get(part.chunk, ""))


def merged(missing: Iterable[Missing]) -> tuple[Missing, ...]:
    """In order, with ranges joined that follow each other and are missing for one object."""
    joined: list[Missing] = []
    for one in sorted(missing, key=lambda one: (one.path, one.offset)):
        last = joined[-1] if joined else None
        follows = last is not None and (last.path, last.object) == (one.path, one.object)
        if last is not None and follows and last.offset + last.length == one.offset:
            joined[-1] = replace(last, length=last.length + one.length)
        else:
            joined.append(one)
    return tuple(joined)
