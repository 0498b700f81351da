"""One writer's run: announce, refresh, publish, commit (spec: the writer's protocol).

Nothing here takes a lock or trusts a clock: the storage's create-if-absent decides who may commit, and a prune deletes nothing
that a session it knows of may still refer to.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from lamina.crypto.hashing import derive, keyed_hash
from lamina.errors import ChunkMissing, Damaged, ObjectExists, ObjectMissing, ObjectTruncated, SessionAborted
from lamina.model.ids import ChunkId, SessionId
from lamina.model.operation import Operation
from lamina.model.process import Process
from lamina.model.snapshots import Origin
from lamina.repository.access import Access
from lamina.repository.chunks import ChunkReader
from lamina.repository.control import seal_body
from lamina.repository.decisions import DECISIONS
from lamina.repository.format import BlobKind, Kind
from lamina.repository.generations import Generations, read_generations
from lamina.repository.index import Index
from lamina.repository.index_records import encode_index
from lamina.repository.moving import CopyJudge
from lamina.repository.object_names import caught_up_name, delta_name, snapshot_name, start_name
from lamina.repository.records import CaughtUpRecord, SnapshotBody, SnapshotRecord, StartRecord, to_us
from lamina.repository.session_keys import SessionKeys, make_session_keys
from lamina.repository.tables import ChunkPlace
from lamina.repository.trees import children
from lamina.repository.writer import ChunkWriter, EncodingOptions

START_TRIES = 5  # a generation that moves this often between two reads means that something else is wrong
CHECKPOINT_MIN_S, CHECKPOINT_MAX_S = 2.0, 60.0
CHECKPOINT_SHARE = 1 / 16  # of the time a run took so far: what a killed run has to upload again, and few deltas


@dataclass(frozen=True, slots=True)
class Parent:
    """The snapshot whose chunks may be referred to without looking them up."""

    session: SessionId
    root: ChunkId
    still_there: Callable[[], bool]  # whether it is committed and not removed, read from the storage now


@dataclass(frozen=True, slots=True)
class SnapshotFacts:
    """What a backup knows of the snapshot it commits; the session knows the rest."""

    root: ChunkId
    size: int  # bytes of all sources
    read: int  # bytes
    partial: bool
    name: str
    host: str
    program: str
    paths: tuple[str, ...]
    tags: frozenset[str]
    expires: datetime | None
    users: Mapping[int, str] = field(default_factory=dict)  # names of those who own entries
    groups: Mapping[int, str] = field(default_factory=dict)
    started: datetime | None = None  # of a copy: when the original was; None: this session's own times
    finished: datetime | None = None
    copied_from: Origin | None = None


class Session:
    """One run of a writer. Made by `begin`; ends by `commit` or by `close` alone (then it stays undecided)."""

    def __init__(
        self, access: Access, index: Index, writer: ChunkWriter, generations: Generations, operation: Operation
    ) -> None:
        self.id = writer.session
        self.index = index
        self.reader = ChunkReader(access, index)
        self.writer = writer
        self._judge = CopyJudge(access, self.reader)
        self.parents: list[Parent] = []
        self._access = access
        self._caught_up = generations.newest
        self._operation = operation
        self._behind = False
        self._deltas = 0
        self._began = self._checkpointed = operation.clock.monotonic()
        self.started = operation.clock.now()
        index.condemned = generations.condemned

    def rely_on(self, parent: Parent) -> bool:
        """Whether ids of *parent* may be used as they are: it is there when read after our start record."""
        if not parent.still_there():
            return False
        self.parents.append(parent)
        return True

    def checkpoint(self) -> None:
        """From time to time, publish what is stored; any thread may work on meanwhile. Raises: StorageError."""
        clock = self._operation.clock
        since_start, since = clock.monotonic() - self._began, clock.monotonic() - self._checkpointed
        if since >= min(max(since_start * CHECKPOINT_SHARE, CHECKPOINT_MIN_S), CHECKPOINT_MAX_S):
            self._publish()
            self._behind = read_generations(self._access.storage, self._access.control).newest > self._caught_up
            self._checkpointed = clock.monotonic()

    @property
    def is_behind(self) -> bool:
        """Whether a prune was seen to have begun: call `catch_up` as soon as no chunk is being put."""
        return self._behind

    def catch_up(self) -> None:
        """If a prune began since, copy what we need out of the packs it condemned; only then tell it so.

        No chunk may be put meanwhile. Raises: SessionAborted, ChunkMissing, StorageError.
        """
        self._behind = False
        generations = read_generations(self._access.storage, self._access.control)
        if generations.newest <= self._caught_up:
            return
        self._check_undecided()
        self.index.load(self._access.storage, self._access.control)
        self.index.condemned = generations.condemned
        for parent in self.parents:
            if not parent.still_there():
                self._use_all(parent.root)
        seen: set[ChunkId] = set()
        for chunk in self.writer.used():
            if chunk not in seen and not all(self.index.stays(place) for place in self._places(chunk)):
                seen.add(chunk)
                self._rescue(chunk)
        self.writer.flush()
        self._publish()
        say_caught_up(self._access, self.id, generations.newest)
        self._caught_up = generations.newest

    def commit(self, facts: SnapshotFacts) -> None:
        """Make the snapshot: everything it needs first, then the one object that decides.

        Raises: SessionAborted if a prune gave this session up; StorageError.
        """
        self.writer.flush()
        self._publish()
        self.catch_up()
        name = snapshot_name(self.id)
        try:
            self._access.control.write(Kind.SNAPSHOT, name, self._record(facts), self._body(facts))
        except ObjectExists as error:
            raise self._explain_loss(name) from error

    def close(self) -> None:
        """Let go of threads and files. A session that did not commit stays undecided; the next run uses its chunks."""
        self.writer.close()

    def give_up(self) -> None:
        """Wait for what is being stored, and publish it, so that the next run finds it. Raises: StorageError."""
        self.writer.finish_uploads()
        self._publish()

    def _record(self, facts: SnapshotFacts) -> SnapshotRecord:
        """What everybody may know of the snapshot."""
        return SnapshotRecord(
            started=to_us(facts.started or self.started),
            finished=to_us(facts.finished or self._operation.clock.now()),
            generation=self._caught_up,
            root=facts.root,
            size=facts.size,
            stored=self.writer.counts.stored,
            partial=facts.partial,
            name_hash=hash_name(self._access, facts.name),
            tag_hashes=sorted(hash_name(self._access, tag) for tag in facts.tags),
            expires=to_us(facts.expires) if facts.expires else None,
            protected=False,
            parent=self.parents[0].session if self.parents else b"",
            keys=self.writer.keys.metadata_entry,
            decoded=self.writer.checks,
        )

    def _body(self, facts: SnapshotFacts) -> bytes:
        """What only its owner and its writer may know, sealed."""
        paths = [path.encode("utf-8", "surrogateescape") for path in facts.paths]
        new = self.writer.counts.new
        origin = facts.copied_from.encode() if facts.copied_from is not None else b""
        users, groups = _encode_names(facts.users), _encode_names(facts.groups)
        body = SnapshotBody(
            facts.name, facts.host, paths, sorted(facts.tags), facts.read, new, facts.program, users, groups, origin
        )
        return seal_body(self.writer.keys.metadata, self.id, body, self._access.repository)

    def _publish(self) -> None:
        packs = self.writer.take_stored()
        if not packs:
            return
        try:
            self._access.control.write(Kind.DELTA, delta_name(self.id, self._deltas), encode_index(packs))
        except BaseException:
            self.writer.give_back(packs)
            raise
        self._deltas += 1

    def _places(self, chunk: ChunkId) -> list[ChunkPlace]:
        """Where a chunk that this session refers to lies. Raises: ChunkMissing if that is nowhere."""
        places = list(self.index.places(chunk))
        if not places:
            raise _gone(chunk)
        return places

    def _rescue(self, chunk: ChunkId) -> None:
        """Copy what lies under the id of a chunk out of packs that may go, unless just that lies in one that stays.

        All of it: whoever holds a writer's key can seal anything under any id, and who may not open content cannot tell
        which copy is true. Raises: ChunkMissing, StorageError.
        """
        why: Exception | None = None
        staying = [place for place in self._places(chunk) if self.index.stays(place)]
        copied: set[bytes] = set()
        for place in self._places(chunk):
            if place in staying:
                continue
            try:
                blob = self._judge.read(place, chunk)
            except (Damaged, ObjectMissing, ObjectTruncated) as error:
                why = error
                continue
            if blob.fingerprint not in copied and not any(self._judge.equals(one, blob) for one in staying):
                self.writer.copy(self.reader, place)
                copied.add(blob.fingerprint)
        if not copied and not staying:
            raise _gone(chunk) from why

    def _use_all(self, root: ChunkId) -> None:
        """Treat everything under a snapshot's root as used: the snapshot no longer protects it."""
        todo: list[tuple[BlobKind, ChunkId]] = [(BlobKind.DIRECTORY, root)]
        seen: set[ChunkId] = set()
        while todo:
            kind, chunk = todo.pop()
            self.writer.use(chunk)
            if kind is not BlobKind.DATA and chunk not in seen:
                seen.add(chunk)
                links = self.reader.get_node(kind, chunk).links  # not `get_links`: they must be no lie
                todo += children(kind, links, name=f"metadata chunk {chunk.hex()}")

    def _check_undecided(self) -> None:
        name = snapshot_name(self.id)
        try:
            self._access.storage.stat(name)
        except ObjectMissing:
            return
        raise self._explain_loss(name)

    def _explain_loss(self, name: str) -> SessionAborted:
        signed = self._access.control.decode(self._access.storage.get(name), name, DECISIONS)
        if signed.kind is Kind.ABORT:
            return SessionAborted(
                f"a prune gave this backup (session {self.id.hex()}) up, because it showed no sign of life for too long",
                hint="run the backup again; what was uploaded and not pruned since is used again",
            )
        return SessionAborted(
            f"another snapshot stands under the id of this session, {self.id.hex()}",
            hint="somebody else writes with this repository's keys: see the threat model, then run the backup again",
        )


def _gone(chunk: ChunkId) -> ChunkMissing:
    return ChunkMissing(
        f"chunk {chunk.hex()}, which this backup refers to, is gone from the index",
        hint="run the backup again: it will read and store that content anew",
    )


@dataclass(frozen=True, slots=True)
class Announced:
    """A session that prunes know of, and the generations it knows of."""

    keys: SessionKeys
    generations: Generations


def announce(access: Access, process: Process, operation: Operation) -> Announced:
    """Let prunes know of a session. Raises: NotPermitted, StorageError, Damaged.

    What it says of itself is there before it reads that there is no newer generation, and the index is loaded after that: so
    every prune either waits for it, or is one whose condemned packs it avoids.
    """
    access.namer()  # a key that cannot name content cannot write any
    generations = read_generations(access.storage, access.control)
    session = SessionId(os.urandom(16))
    keys = make_session_keys(access.repository, session, access.epoch, access.own_slot)
    start = StartRecord(
        generations.newest, access.format.number, to_us(operation.clock.now()), hash_machine(access, process.host),
        hash_machine(access, process.boot), process.number, process.started, keys.hashes(),
        hash_machine(access, process.namespace),
    )  # fmt: skip
    access.control.write(Kind.START, start_name(session), start)
    for _ in range(START_TRIES):
        before, generations = generations, read_generations(access.storage, access.control)
        if generations.newest == before.newest:
            return Announced(keys, generations)
        say_caught_up(access, session, generations.newest)  # it has used nothing so far
    raise SessionAborted(
        f"a prune began {START_TRIES} times while this backup was starting", hint="try again in a minute"
    )


def open_session(
    access: Access, index: Index, announced: Announced, options: EncodingOptions, operation: Operation
) -> Session:
    """The session that was announced, with the index as it is after that. Raises: StorageError, Damaged."""
    index.load(access.storage, access.control)
    writer = ChunkWriter(access, index, announced.keys, options, operation)
    return Session(access, index, writer, announced.generations, operation)


def say_caught_up(access: Access, session: SessionId, generation: int) -> None:
    """Tell prunes that a session needs nothing of what they condemned, up to *generation*."""
    name = caught_up_name(session, generation)
    access.control.write(Kind.CAUGHT_UP, name, CaughtUpRecord(generation))


def _encode_names(names: Mapping[int, str]) -> list[tuple[int, bytes]]:
    return [(number, name.encode("utf-8", "surrogateescape")) for number, name in sorted(names.items())]


def hash_name(access: Access, name: str) -> bytes:
    """A keyed hash of a snapshot's name or a tag: groups snapshots for whoever may not read names."""
    assert access.id_key is not None  # noqa: S101 - writers and owners have it
    return keyed_hash(derive(access.id_key, "lamina/1 names"), name.encode("utf-8", "surrogateescape"))[:16]


def hash_machine(access: Access, name: str) -> bytes:
    """A hash by which a steward on the same machine recognises it, and nobody else does."""
    return keyed_hash(derive(access.structure_key, "lamina/1 machine"), name.encode())[:16]
