"""What can be changed of a snapshot after its commit, and whether it was removed (spec: attributes, removals)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from lamina.crypto.certificates import Certificate
from lamina.model.ids import SessionId
from lamina.model.snapshots import Role, Trust
from lamina.repository.control import ControlRecords, record_number
from lamina.repository.format import Kind, session_name
from lamina.repository.records import AttributesRecord, RemovalRecord, from_us
from lamina.storage.storage import Storage

Warn = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Attributes:
    """The attributes of one snapshot as they stand now."""

    trust: Trust = Trust.FRESH
    expires: datetime | None = None
    protected: bool = False
    tag_hashes: tuple[bytes, ...] = ()
    body: bytes = b""  # sealed tags and note; empty: those of the snapshot itself
    number: int = 0  # of the newest record in the storage, believed or not


def fold_attributes(
    control: ControlRecords, names: Sequence[str], writer: Certificate, first: Attributes, warn: Warn
) -> Attributes:
    """*first*, changed by every record among *names* that may be believed. Raises: Damaged, StorageError.

    Owner and steward are believed in everything. The snapshot's own writer is believed only in its first record, and only
    where it cannot cost the snapshot its life: trust, tags and note — so that a stolen writer key cannot expire, unprotect
    or rewrite snapshots.
    """
    now = first
    for signed in control.numbered(names, Kind.ATTRIBUTES, AttributesRecord, warn):
        record, number = signed.structure, record_number(signed.name) or 0
        said = Attributes(
            Trust(record.trust),
            from_us(record.expires) if record.expires is not None else None,
            record.protected,
            tuple(record.tag_hashes),
            signed.body or now.body,
            number,
        )
        if signed.signer.role is not Role.WRITER:
            now = said
        elif number == 1 and signed.signer.slot == writer.slot and set(said.tag_hashes) >= set(now.tag_hashes):
            now = replace(now, trust=said.trust, tag_hashes=said.tag_hashes, body=said.body)
    return replace(now, number=newest_number(names))


def is_removed(control: ControlRecords, names: Sequence[str], warn: Warn) -> bool:
    """Whether the newest believed tombstone among *names* says removed. Raises: Damaged, StorageError."""
    removed = False
    for signed in control.numbered(names, Kind.REMOVAL, RemovalRecord, warn):
        removed = signed.structure.removed
    return removed


def names_of(storage: Storage, folder: str, session: SessionId) -> list[str]:
    """The records of one session in *folder*."""
    return [found.name for found in storage.objects(session_name(folder, session) + "/")]


def write_removal(storage: Storage, control: ControlRecords, session: SessionId, *, removed: bool, time: int) -> None:
    """Put the next tombstone (or its undoing). Raises: ObjectExists if another was faster."""
    number = newest_number(names_of(storage, "removed", session)) + 1
    control.write(Kind.REMOVAL, session_name("removed", session, number), RemovalRecord(removed, time))


def newest_number(names: Sequence[str]) -> int:
    """The highest number in a numbered series; 0 if it is empty."""
    return max((record_number(name) or 0 for name in names), default=0)
