"""What the key at hand may read of a snapshot, said before anything is tried."""

from __future__ import annotations

from lamina.errors import NotPermitted
from lamina.model.snapshots import Role, Snapshot
from lamina.repository.repository import Repository


def check_names(repository: Repository, snapshot: Snapshot) -> None:
    """Raise NotPermitted if this key cannot read the names in a snapshot."""
    if not snapshot.readable:
        raise NotPermitted(
            f"a {repository.role.value} key cannot read the names in snapshot {snapshot.short_id}",
            hint="use an owner's passphrase, or the key that made the snapshot",
        )


def check_contents(repository: Repository) -> None:
    """Raise NotPermitted if this key cannot read contents."""
    if repository.role is not Role.OWNER:
        raise NotPermitted(
            f"a {repository.role.value} key cannot read content back",
            hint="use an owner's passphrase or the recovery key",
        )
