"""Records with a right signature and wild content: who holds one of the lesser keys can make nobody's program fall over."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from functools import cache
from typing import Any

import msgspec
import pytest

from lamina.crypto.hashing import public_hash
from lamina.errors import LaminaError
from lamina.model.ids import SessionId
from lamina.repository import records
from lamina.repository.control import seal_body
from lamina.repository.format import Kind
from lamina.repository.object_names import (
    ATTRIBUTES,
    REMOVALS,
    caught_up_name,
    delta_name,
    numbered,
    session_folder,
    snapshot_name,
    start_name,
)
from lamina.repository.repository import Repository
from lamina.repository.session_keys import SessionKeys, make_session_keys
from lamina.repository.tables import ROW
from lamina.testing.repositories import CHUNK, SmallRepository
from tests.fuzz.mutations import FEW, check, seeds
from tests.fuzz.values import make_record, wild

CONTENT = random.Random(7).randbytes(2 * CHUNK + 5)


@cache
def saved() -> SmallRepository:
    small = SmallRepository()
    small.back_up(CONTENT, name="victim")
    return small


class Liar:
    """Somebody with a lesser key, who begins a session as one should."""

    def __init__(self, small: SmallRepository, holder: str, seed: int) -> None:
        self.rng = random.Random(seed)
        self.repository: Repository = small.open(holder)
        self.write = self.repository.access.control.write
        self.session = SessionId(os.urandom(16))
        access = self.repository.access
        self.keys: SessionKeys = make_session_keys(access.repository, self.session, access.epoch, access.own_slot)

    def wild(self, kind: Any, **right: Any) -> Any:
        """A record in which only what is *right* makes sense, or part of it."""
        made = make_record(kind, wild(self.rng), self.rng)
        return msgspec.structs.replace(made, **{name: v for name, v in right.items() if self.rng.random() < 0.8})

    def start(self) -> None:
        record = self.wild(records.StartRecord, key_hashes=self.keys.hashes(), generation=0, format=1)
        self.write(Kind.START, start_name(self.session), record)

    def caught_up(self) -> None:
        self.start()
        name = caught_up_name(self.session, self.rng.randrange(10**8))
        self.write(Kind.CAUGHT_UP, name, self.wild(records.CaughtUpRecord))

    def delta(self) -> None:
        self.start()
        self.write(Kind.DELTA, delta_name(self.session, 0), self.index())

    def index(self) -> Any:
        rng = self.rng
        packs = [self.wild(records.PackRow, id=rng.randbytes(32), size=1000, retention=0) for _ in range(2)]
        numbers = [0, 1, 2, 88, 1000, 2**31, 2**32 - 1]
        rows = sorted(
            ROW.pack(rng.randbytes(32), rng.choice([0, 0, 1, 2, 2**32 - 1]), *(rng.choice(numbers) for _ in range(3)))
            for _ in range(rng.randrange(4))
        )
        return self.wild(records.IndexRecord, packs=packs, rows=b"".join(rows))

    def snapshot(self) -> None:
        self.start()
        entry = self.keys.metadata_entry
        record = self.wild(records.SnapshotRecord, keys=entry, root=bytes(32), started=1, finished=2, expires=None)
        body = self.wild(records.SnapshotBody, name="victim")
        sealed = seal_body(self.keys.metadata, self.session, body, self.repository.id)
        self.write(Kind.SNAPSHOT, snapshot_name(self.session), record, sealed)

    def attributes(self) -> None:
        self.snapshot()
        sealed = b""
        if self.rng.random() < 0.5:
            sealed = seal_body(self.keys.metadata, self.session, self.wild(records.AttributesBody), self.repository.id)
        name = numbered(session_folder(ATTRIBUTES, self.session), 1)
        self.write(Kind.ATTRIBUTES, name, self.wild(records.AttributesRecord, trust="verified"), sealed)

    def steward_attributes(self) -> None:
        (victim,) = self.repository.snapshots()
        record = self.wild(records.AttributesRecord, trust="verified")
        self.write(Kind.ATTRIBUTES, numbered(session_folder(ATTRIBUTES, victim.id), 5), record)

    def removal(self) -> None:
        (victim,) = self.repository.snapshots()
        self.write(Kind.REMOVAL, numbered(session_folder(REMOVALS, victim.id), 1), self.wild(records.RemovalRecord))

    def abort(self) -> None:
        self.start()
        self.write(Kind.ABORT, snapshot_name(self.session), self.wild(records.AbortRecord))

    def generation(self) -> None:
        self.write(Kind.GENERATION_OPEN, "generations/00000001/open", self.wild(records.GenerationOpenRecord))
        if self.rng.random() < 0.5:
            closed = self.wild(records.GenerationClosedRecord)
            self.write(Kind.GENERATION_CLOSED, "generations/00000001/closed", closed)

    def manifest(self) -> None:
        data = self.repository.access.control.encode(Kind.SEGMENT, "index/segment", self.index())
        segment = f"index/segment/{public_hash([data]).hex()}"
        self.repository.storage.put(segment, [data])
        right = {"segments": [segment], "folded": []}
        self.write(Kind.MANIFEST, "index/manifest/00000001", self.wild(records.ManifestRecord, **right))


def look(small: SmallRepository) -> dict[str, Callable[[], object]]:
    """What people do with a repository."""
    return {
        "snapshots": lambda: [small.snapshots(holder, removed=True) for holder in ("owner", "writer", "steward")],
        "verify": lambda: [small.verify(holder) for holder in ("owner", "other", "steward")],
        "restore": lambda: small.restore("latest"),
        "backup": lambda: small.back_up(b"news", name="victim"),
        "keys": lambda: small.open().keys(),
    }


def lie(holder: str, what: str, seed: int) -> SmallRepository:
    small = saved().copy()
    getattr(Liar(small, holder, seed), what)()
    for act in look(small).values():
        check(lambda _, act=act: act(), b"")
    return small


@pytest.mark.parametrize("what", ["start", "caught_up", "delta", "snapshot", "attributes"])
@FEW
@seeds
def test_lies_of_a_writer_cost_nobody_else_anything(what: str, seed: int):
    small = lie("other", what, seed)
    victim = saved().snapshots()[0].id.hex()
    assert small.restore(victim) == CONTENT
    small.back_up(CONTENT, name="mine")
    assert small.restore("mine@latest") == CONTENT


STEWARD = ["start", "caught_up", "delta", "steward_attributes", "removal", "abort", "generation", "manifest"]


@pytest.mark.parametrize("what", STEWARD)
@FEW
@seeds
def test_lies_of_a_steward_are_refused_or_do_what_a_steward_may(what: str, seed: int):
    small = lie("steward", what, seed)
    try:
        found = small.restore(saved().snapshots()[0].id.hex())
    except LaminaError:
        return  # a steward may bury what it likes
    assert found == CONTENT
