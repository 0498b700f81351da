"""What can be changed of a snapshot after its commit, and whether it was removed (spec: attributes, removals)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from lamina.crypto.certificates import Certificate
from lamina.errors import Damaged, RepositoryError
from lamina.model.ids import SessionId
from lamina.model.snapshots import Role, Trust
from lamina.repository.control import LAST_NUMBER, ControlRecords, record_number
from lamina.repository.decisions import make_commits_durable
from lamina.repository.format import Kind
from lamina.repository.object_names import REMOVALS, numbered, session_folder
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
    number: int = 0  # of the newest record that was believed; 0: none
    damaged: int = 0  # depth of the verify that found damage, if it is distrusted for that alone


def fold_attributes(
    control: ControlRecords, names: Sequence[str], writer: Certificate | None, first: Attributes, warn: Warn
) -> Attributes:
    """*first*, changed by every record among *names* that may be believed. Raises: StorageError.

    Owner and steward are believed in everything. The snapshot's own *writer* (None: nobody) is believed only as long as no other
    record is, and only where it cannot cost the snapshot its life: trust, tags and note — so that a stolen writer key cannot
    expire, unprotect or rewrite snapshots.
    """
    now = first
    for signed in control.numbered(names, Kind.ATTRIBUTES, AttributesRecord, warn):
        is_writer = signed.signer.role is Role.WRITER
        if is_writer and (writer is None or now.number or signed.signer.slot != writer.slot):
            continue
        try:
            said = decode_attributes(signed.structure, signed.name, signed.body or now.body)
        except Damaged as error:
            warn(f"{error.message}; it is left out")
            continue
        if not is_writer:
            now = said
        elif set(said.tag_hashes) >= set(now.tag_hashes):
            now = replace(now, trust=said.trust, tag_hashes=said.tag_hashes, body=said.body, number=said.number)
    return now


def decode_attributes(record: AttributesRecord, name: str, body: bytes) -> Attributes:
    """What the record under *name* says. Raises: Damaged."""
    try:
        trust = Trust(record.trust)
    except ValueError:
        raise Damaged(f"{name} speaks of a trust that does not exist: {record.trust[:20]!r}") from None
    expires = from_us(record.expires) if record.expires is not None else None
    tag_hashes = tuple(record.tag_hashes)
    return Attributes(trust, expires, record.protected, tag_hashes, body, record_number(name) or 0, record.damaged)


@dataclass(frozen=True, slots=True)
class Removal:
    """What the tombstones of one snapshot say."""

    removed: bool = False
    number: int = 0  # of the newest record that was believed; 0: none


def fold_removals(control: ControlRecords, names: Sequence[str], warn: Warn) -> Removal:
    """What the newest believed tombstone among *names* says. Raises: StorageError."""
    now = Removal()
    for signed in control.numbered(names, Kind.REMOVAL, RemovalRecord, warn):
        now = Removal(signed.structure.removed, record_number(signed.name) or 0)
    return now


def names_of(storage: Storage, folder: str, session: SessionId) -> list[str]:
    """The records of one session in *folder*."""
    return [found.name for found in storage.objects(session_folder(folder, session))]


def write_removal(
    storage: Storage, control: ControlRecords, session: SessionId, record: RemovalRecord, warn: Warn
) -> None:
    """Put the next tombstone (or its undoing). Raises: ObjectExists if another was faster."""
    make_commits_durable(storage, session)
    names = names_of(storage, REMOVALS, session)
    name = next_name(REMOVALS, session, names, after=fold_removals(control, names, warn).number)
    control.write(Kind.REMOVAL, name, record)


def next_name(folder: str, session: SessionId, taken: Collection[str], *, after: int) -> str:
    """The first free name behind the newest believed record: what nobody believes may not decide where a series goes on.

    Raises: RepositoryError if the series is full.
    """
    for number in range(after + 1, LAST_NUMBER + 1):
        name = numbered(session_folder(folder, session), number)
        if name not in taken:
            return name
    raise RepositoryError(f"no number is left under {session_folder(folder, session)}")
