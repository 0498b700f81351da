"""A repository to which everything has happened twice: it has objects of every kind, of most of them several."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from lamina.crypto.hashing import public_hash
from lamina.model.ids import SessionId
from lamina.model.process import Process
from lamina.repository.format import Kind
from lamina.repository.generations import generation_name
from lamina.repository.object_names import DELTAS, MANIFESTS, SEGMENTS, numbered, snapshot_name
from lamina.repository.records import (
    AbortRecord,
    GenerationClosedRecord,
    GenerationOpenRecord,
    IndexRecord,
    ManifestRecord,
)
from lamina.repository.writer import EncodingOptions
from lamina.testing.images import MemoryImage
from lamina.testing.repositories import CHUNK, SmallRepository


@dataclass(frozen=True, slots=True)
class Eventful:
    """The repository, and what its snapshots must give back for ever."""

    repository: SmallRepository
    contents: Mapping[str, bytes]  # snapshot id → content of its one image
    parents: Mapping[str, str]  # snapshot id → the one whose chunks it uses

    def using(self, session: SessionId) -> set[str]:
        """The snapshots that need what a session stored."""
        wanted = session.hex()
        return {one for one in self.contents if wanted in {one, self.parents.get(one)}}


def make_eventful() -> Eventful:
    """Backups by three keys, sessions that were given up, prunes beside backups, snapshots forgotten and brought back."""
    history = _History()
    first = history.back_up("shared", 1)
    history.back_up("shared", 2, parent=first)
    for number in (1, 2):
        history.give_up_a_session()
        history.prune(number, beside=lambda meanwhile, number=number: history.back_up(  # type: ignore[misc]
            f"beside-{number}", 10 * number, holder=("writer", "other")[number - 1], meanwhile=meanwhile
        ))  # fmt: skip
    for name in ("shared", "beside-1"):
        history.forget_and_bring_back(name)
    history.back_up("alone", 5)
    history.back_up("alone", 6)
    return Eventful(history.small, history.contents, history.parents)


class _ImageWithNews(MemoryImage):
    """An image at whose first read something else happens."""

    def __init__(self, content: bytes, meanwhile: Callable[[], None]) -> None:
        super().__init__(content)
        self._meanwhile: Callable[[], None] | None = meanwhile

    def read_into(self, offset: int, buffer: memoryview) -> int:
        if self._meanwhile is not None:
            meanwhile, self._meanwhile = self._meanwhile, None
            meanwhile()
        return super().read_into(offset, buffer)


@dataclass
class _History:
    small: SmallRepository = field(default_factory=SmallRepository)
    contents: dict[str, bytes] = field(default_factory=dict)
    parents: dict[str, str] = field(default_factory=dict)

    def back_up(
        self,
        name: str,
        seed: int,
        *,
        parent: str = "",
        holder: str = "owner",
        meanwhile: Callable[[], None] | None = None,
    ) -> str:
        """A snapshot of three chunks, two of them as in its *parent*, if it has one."""
        content = random.Random(seed).randbytes(3 * CHUNK + seed)  # noqa: S311
        if parent:
            content = self.contents[parent][: 2 * CHUNK] + content[2 * CHUNK :]
        image = MemoryImage(content) if meanwhile is None else _ImageWithNews(content, meanwhile)
        done = self.small.back_up(image, name=name, holder=holder)
        assert done.snapshot is not None
        snapshot = done.snapshot.hex()
        self.contents[snapshot] = content
        if parent:
            self.parents[snapshot] = parent
        return snapshot

    def give_up_a_session(self) -> None:
        """A session that put something and was then given up."""
        repository = self.small.open()
        session = repository.begin(Process(), EncodingOptions(3, check=True), self.small.operation())
        content = b"given up"
        session.writer.put_data(session.writer.data_id(content), content)
        session.writer.flush()
        session.give_up()
        session.close()
        repository.access.control.write(Kind.ABORT, snapshot_name(session.id), AbortRecord(1, "no sign of life"))
        repository.close()

    def forget_and_bring_back(self, name: str) -> None:
        repository = self.small.open()
        snapshot = repository.find_snapshot(f"{name}@latest")
        repository.forget(snapshot)
        repository.unforget(snapshot)
        repository.close()

    def prune(self, number: int, *, beside: Callable[[Callable[[], None]], object]) -> None:
        """A generation that condemns nothing, opens while a backup runs, and folds the deltas of sessions before it."""
        repository = self.small.open("steward")
        control = repository.access.control
        committed = [bytes.fromhex(one) for one in self.contents]

        def open_generation() -> None:
            record = GenerationOpenRecord(committed, [], [], [], "")
            control.write(Kind.GENERATION_OPEN, generation_name(number, "open"), record)

        folded = [item.name for item in self.small.storage.objects(DELTAS)]
        segments = [item.name for item in self.small.storage.objects(SEGMENTS)]
        beside(open_generation)
        for name in folded:
            data = control.encode(
                Kind.SEGMENT, SEGMENTS.rstrip("/"), control.read(name, Kind.DELTA, IndexRecord).structure
            )
            segments.append(SEGMENTS + public_hash([data]).hex())
            self.small.storage.put(segments[-1], [data])
        previous = bytes(32) if number == 1 else control.read(
            numbered(MANIFESTS, number - 1), Kind.MANIFEST, ManifestRecord
        ).hash  # fmt: skip
        control.write(Kind.MANIFEST, numbered(MANIFESTS, number), ManifestRecord(number, previous, segments, folded))
        control.write(Kind.GENERATION_CLOSED, generation_name(number, "closed"), GenerationClosedRecord([], []))
        for name in folded:
            self.small.storage.delete(name)
        repository.close()
