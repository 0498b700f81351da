"""A small repository in memory, with a key of every role, made once and copied for every test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from lamina.engine.backup import BackupOptions, BackupReport, Input, backup
from lamina.engine.restore import plan_restore, restore
from lamina.engine.verify import VerifyReport, verify
from lamina.model.ids import RepositoryId
from lamina.model.operation import Operation
from lamina.model.secret import Secret
from lamina.model.snapshots import Role, Snapshot
from lamina.repository.keyring import Keyring, Unlocked
from lamina.repository.repository import CreateOptions, Repository, _open_access
from lamina.sources.source import ImageSource, StreamSource
from lamina.storage.storage import Storage
from lamina.testing.clocks import FrozenClock
from lamina.testing.damage import copy_storage
from lamina.testing.images import MemoryImage, MemoryStream

CHUNK = 64 << 10  # bytes; the smallest chunk size, so that small images have many chunks
KEY_HOLDERS = {"owner": Role.OWNER, "writer": Role.WRITER, "other": Role.WRITER, "steward": Role.STEWARD}


@dataclass(frozen=True)
class _Template:
    """The repository all copies are made from."""

    storage: Storage
    id: RepositoryId
    owner_verify_key: bytes
    unlocked: Mapping[str, Unlocked]
    recovery_key: str


class ListeningProgress:
    """Progress that remembers the messages."""

    def __init__(self) -> None:
        self.messages: list[str] = []

    def start(self, phase: str, total: int | None) -> None:
        """Ignore it."""

    def advance(self, *, read: int = 0, skipped: int = 0, new: int = 0, stored: int = 0) -> None:
        """Ignore it."""

    def message(self, text: str) -> None:
        self.messages.append(text)


class SmallRepository:
    """A repository with 64 KiB chunks in memory that is opened with the key of any of `KEY_HOLDERS`, at once.

    The passphrase of each is its name; deriving a key from one takes a tenth of a second, so `open` reuses it.
    """

    def __init__(self, storage: Storage | None = None, *, number: int = 0) -> None:
        """*storage*: a copy of another `SmallRepository`'s storage; None: a new, empty repository.

        Repositories of one *number* have the same id and keys.
        """
        self._template = _template(number)
        self._number = number
        self.storage = storage if storage is not None else copy_storage(self._template.storage)
        self.clock = FrozenClock(datetime(2026, 1, 1, tzinfo=UTC))
        self.progress = ListeningProgress()

    @property
    def recovery_key(self) -> str:
        return self._template.recovery_key

    def operation(self) -> Operation:
        """A call's world; each begins a minute after the one before."""
        self.clock.advance(timedelta(minutes=1))
        return Operation(self.clock, self.progress)

    def open(
        self,
        holder: str = "owner",
        *,
        cache: Path | None = None,
        storage: Storage | None = None,
        operation: Operation | None = None,
    ) -> Repository:
        """The repository as *holder* opens it, through another *storage* and in another world if they are given."""
        template = self._template
        place = storage if storage is not None else self.storage
        unlocked = template.unlocked[holder]
        access = _open_access(place, template.id, unlocked, cache)
        keyring = Keyring(place, template.id, template.owner_verify_key)
        return Repository(access, keyring, unlocked, operation or self.operation())

    def copy(self) -> SmallRepository:
        """The same repository once more, to be damaged."""
        copied = SmallRepository(copy_storage(self.storage), number=self._number)
        copied.clock.advance(self.clock.now() - copied.clock.now())
        return copied

    def back_up(
        self, *sources: bytes | ImageSource | StreamSource, holder: str = "owner", **options: Any
    ) -> BackupReport:
        """Save *sources* as one snapshot, under the paths `image`, `image-1`, …"""
        repository = self.open(holder)
        try:
            return back_up(repository, sources, self.operation(), **options)
        finally:
            repository.close()

    def restore(self, snapshot: str, path: str | None = None) -> bytes:
        """The bytes of one image of a snapshot."""
        repository = self.open()
        try:
            return restore_bytes(repository, repository.find_snapshot(snapshot, removed=True), path, self.operation())
        finally:
            repository.close()

    def verify(self, holder: str = "owner") -> VerifyReport:
        """What a verify with the key of *holder* says."""
        repository = self.open(holder)
        try:
            return verify(repository, self.operation())
        finally:
            repository.close()

    def snapshots(self, holder: str = "owner", *, removed: bool = False) -> list[Snapshot]:
        """The list as *holder* sees it."""
        repository = self.open(holder)
        try:
            return repository.snapshots(removed=removed)
        finally:
            repository.close()


def back_up(
    repository: Repository,
    sources: Sequence[bytes | ImageSource | StreamSource],
    operation: Operation,
    *,
    hints: Any = None,
    **options: Any,
) -> BackupReport:
    """Save *sources* (bytes are made images); *hints* belong to the first of them."""
    inputs = [
        Input(f"image-{number}" if number else "image", MemoryImage(one) if isinstance(one, bytes) else one)
        for number, one in enumerate(sources)
    ]
    inputs[0] = replace(inputs[0], hints=hints)
    return backup(repository, inputs, BackupOptions(**{"name": "vm", **options}), operation)


def restore_bytes(repository: Repository, snapshot: Snapshot, path: str | None, operation: Operation) -> bytes:
    """The bytes of one image of *snapshot*. Raises: as `restore`."""
    plan = plan_restore(repository, snapshot, path, "-")
    stream = MemoryStream()
    restore(repository, plan, lambda _: stream, verify=False, operation=operation)
    return bytes(stream.content)


@cache
def _template(number: int) -> _Template:  # noqa: ARG001 - tells one from the other in the cache
    from lamina.testing.storages import MemoryStorage

    storage = MemoryStorage()
    operation = Operation(FrozenClock(datetime(2025, 12, 31, tzinfo=UTC)))
    repository, recovery_key = Repository.create(storage, Secret(b"owner"), CreateOptions(CHUNK), operation)
    for holder, role in KEY_HOLDERS.items():
        if holder != "owner":
            repository.add_key(role, Secret(holder.encode()), label=holder)
    owner_verify_key = repository._keyring._owner_verify_key  # noqa: SLF001 - lamina.json says it too
    keyring = Keyring(storage, repository.id, owner_verify_key)
    unlocked = {holder: keyring.unlock(Secret(holder.encode())) for holder in KEY_HOLDERS}
    repository.close()
    return _Template(storage, repository.id, owner_verify_key, unlocked, recovery_key)
