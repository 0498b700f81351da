"""Every single-bit flip in a repository of less than 16 KiB is found by a plain `lamina verify`: all of them, one by one."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

import pytest

from lamina.crypto import certificates, signing
from lamina.engine.verify import verify
from lamina.errors import LaminaError
from lamina.model.operation import Operation
from lamina.model.secret import Secret
from lamina.repository import control, keyring
from lamina.repository.repository import CreateOptions, Repository
from lamina.storage.storage import Storage
from lamina.testing.clocks import FrozenClock
from lamina.testing.damage import replace_object
from lamina.testing.repositories import CHUNK, back_up
from lamina.testing.storages import MemoryStorage

LIMIT = 16 << 10  # bytes of the whole repository
BATCHES = 16  # so that several processes share the work


@dataclass(frozen=True)
class Tiny:
    """One repository that several processes have a copy of."""

    storage: Storage
    recovery_key: str

    def problems(self) -> set[str]:
        """What a plain verify says, and be it that the repository cannot be opened: names of objects."""
        operation = Operation(FrozenClock(datetime(2026, 1, 2, tzinfo=UTC)))
        try:
            repository = Repository.open(self.storage, Secret(self.recovery_key.encode()), operation)
            try:
                return {problem.object for problem in verify(repository, operation).problems}
            finally:
                repository.index.close()
        except LaminaError as error:
            return set(error.message.split())


def make_tiny() -> Tiny:
    storage = MemoryStorage()
    operation = Operation(FrozenClock(datetime(2026, 1, 1, tzinfo=UTC)))
    repository, recovery_key = Repository.create(storage, Secret(b"owner"), CreateOptions(CHUNK), operation)
    back_up(repository, [b"content"], operation)
    repository.index.close()
    return Tiny(storage, recovery_key)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """The same repository in every process of this run, so that all of its bits are turned over together."""
    own = tmp_path_factory.getbasetemp()
    shared = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "tiny.json"
    if not shared.exists():
        made = make_tiny()
        objects = {item.name: made.storage.get(item.name).hex() for item in made.storage.objects()}
        draft = own / "tiny.draft"
        draft.write_text(json.dumps([made.recovery_key, objects]))
        with suppress(FileExistsError):  # another process was faster: its repository it is
            os.link(draft, shared)
    recovery_key, objects = json.loads(shared.read_text())
    storage = MemoryStorage()
    for name, data in objects.items():
        storage.put(name, [bytes.fromhex(data)])
    return Tiny(storage, recovery_key)


@pytest.fixture
def swift(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remember what signatures were worth, and keep index tables in memory: the same answers, ten times as soon."""
    remembered = lru_cache(maxsize=None)(signing.is_signed)

    def is_signed(key: bytes, signature: bytes, message: bytes) -> bool:
        return remembered(bytes(key), bytes(signature), bytes(message))

    for module in (certificates, control, keyring):
        monkeypatch.setattr(module, "is_signed", is_signed)
    if Path("/dev/shm").is_dir():
        monkeypatch.setattr(tempfile, "tempdir", "/dev/shm")


def flips(storage: Storage) -> Iterator[tuple[str, int]]:
    """Every bit of every object."""
    for item in sorted(storage.objects(), key=lambda item: item.name):
        for bit in range(item.size * 8):
            yield item.name, bit


@pytest.mark.slow
@pytest.mark.parametrize("batch", range(BATCHES))
def test_every_single_bit_flip_is_found(
    tiny: Tiny, swift: None, batch: int, record_property: Callable[[str, object], None]
):
    missed, turned = [], 0
    for name, bit in list(flips(tiny.storage))[batch::BATCHES]:
        whole = tiny.storage.get(name)
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        replace_object(tiny.storage, name, bytes(flipped))
        if name not in tiny.problems():
            missed.append((name, bit))
        replace_object(tiny.storage, name, whole)
        turned += 1
    record_property("bits turned over", turned)
    record_property("bits missed", len(missed))
    assert not missed


def test_the_tiny_repository_is_small_whole_and_has_objects_of_every_kind(tiny: Tiny):
    assert sum(item.size for item in tiny.storage.objects()) < LIMIT
    assert tiny.problems() == set()
    folders = {item.name.partition("/")[0] for item in tiny.storage.objects()}
    assert {"lamina.json", "format", "keys", "data", "meta", "index", "sessions", "snapshots", "attributes"} <= folders
