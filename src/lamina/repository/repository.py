"""A repository: create it, open it, and the facade the engine and the faces use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from lamina.model.ids import RepositoryId
from lamina.model.operation import Operation
from lamina.model.secret import Secret
from lamina.model.snapshots import KeySlot, Role, Snapshot, Trust
from lamina.storage.storage import Storage


@dataclass(frozen=True, slots=True)
class CreateOptions:
    """Choices that a repository keeps for life."""

    chunk_size: int = 1 << 20  # default of images, bytes
    label: str = ""  # of the first key slot


class Repository:
    """One deduplicating, encrypted store of snapshots, opened with one key."""

    id: RepositoryId
    role: Role
    storage: Storage

    @staticmethod
    def create(
        storage: Storage, passphrase: Secret, options: CreateOptions, operation: Operation, *, cache: Path | None = None
    ) -> tuple[Repository, str]:
        """Make a new repository; returns it and the recovery key, to be shown once.

        Raises: RepositoryExists, StorageError.
        """
        raise NotImplementedError

    @staticmethod
    def open(storage: Storage, credential: Secret, operation: Operation, *, cache: Path | None = None) -> Repository:
        """Open with a passphrase or a recovery key. *cache*: directory that may be deleted at any time; None: memory only.

        Raises: RepositoryMissing, WrongPassphrase, FormatUnknown, Damaged, StorageError.
        """
        raise NotImplementedError

    def snapshots(self, *, removed: bool = False) -> list[Snapshot]:
        """Every snapshot, oldest first; with *removed* also those forgotten and not yet pruned."""
        raise NotImplementedError

    def find_snapshot(self, text: str, *, removed: bool = False) -> Snapshot:
        """The snapshot *text* names: id prefix, `latest`, `latest~2`, `NAME@latest`, `NAME@latest~1`.

        Raises: SnapshotMissing, SnapshotAmbiguous.
        """
        raise NotImplementedError

    def edit(
        self,
        snapshot: Snapshot,
        *,
        add_tags: Sequence[str] = (),
        remove_tags: Sequence[str] = (),
        trust: Trust | None = None,
        expires: datetime | None = None,
        note: str | None = None,
    ) -> Snapshot:
        """Change attributes of a snapshot by a new numbered record. Raises: NotPermitted."""
        raise NotImplementedError

    def forget(self, snapshot: Snapshot) -> None:
        """Mark a snapshot as removed; its space stays until a prune. Raises: NotPermitted."""
        raise NotImplementedError

    def unforget(self, snapshot: Snapshot) -> None:
        """Take a `forget` back. Raises: NotPermitted."""
        raise NotImplementedError

    def keys(self) -> list[KeySlot]:
        """Every key slot, oldest first."""
        raise NotImplementedError

    def add_key(self, role: Role, passphrase: Secret, *, label: str = "") -> KeySlot:
        """Add a key slot. Raises: NotPermitted unless this is an owner."""
        raise NotImplementedError

    def remove_key(self, slot: str) -> None:
        """Remove a slot by id (or a unique prefix). Raises: NotPermitted; UsageError for the last owner's slot."""
        raise NotImplementedError

    def change_passphrase(self, passphrase: Secret) -> KeySlot:
        """Give the slot in use a new passphrase (a new slot replaces it)."""
        raise NotImplementedError

    def export_key(self) -> str:
        """The recovery key again, to be put on paper. Raises: NotPermitted unless this is an owner."""
        raise NotImplementedError

    def close(self) -> None:
        """Give back what was opened; the storage too."""
        raise NotImplementedError
