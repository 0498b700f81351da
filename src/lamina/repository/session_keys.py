"""The two random keys of one session, sealed to those who may read with them (spec: session keys)."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass, field
from enum import IntEnum

from lamina.crypto.envelope import ALGORITHM, EnvelopeKey, seal_to
from lamina.crypto.hashing import public_hash
from lamina.crypto.keys import OWNER_SLOT, KeyBundle
from lamina.errors import Damaged
from lamina.model.ids import RepositoryId, SessionId
from lamina.repository.format import encode_record
from lamina.repository.records import EpochRecord, KeyEntry, Recipient


class Purpose(IntEnum):
    """What a session key opens."""

    CONTENT = 1
    METADATA = 2


@dataclass(frozen=True, slots=True)
class Reader:
    """Somebody a key is sealed to."""

    slot: bytes
    epoch: int
    public: bytes


@dataclass(frozen=True, slots=True)
class SessionKeys:
    """What a writer seals with, and the entries that let others open it."""

    content: bytes = field(repr=False)
    metadata: bytes = field(repr=False)
    content_entry: KeyEntry
    metadata_entry: KeyEntry

    def hashes(self) -> list[bytes]:
        """What the start record signs, so that the origin of every blob is signed."""
        return [entry_hash(self.content_entry), entry_hash(self.metadata_entry)]


def entry_hash(entry: KeyEntry) -> bytes:
    """Tells one key entry from every other."""
    return public_hash([encode_record(entry)])


def reader_slot(entry: KeyEntry) -> bytes:
    """The slot that an entry is sealed to besides the owner; the owner's zeros if there is none."""
    return next((recipient.slot for recipient in entry.recipients if recipient.slot != OWNER_SLOT), OWNER_SLOT)


def make_session_keys(
    repository: RepositoryId, session: SessionId, epoch: EpochRecord, own_slot: tuple[bytes, bytes] | None
) -> SessionKeys:
    """Two fresh keys: content for the owner only, metadata for the owner and the writer's slot (id and public key)."""
    owner = Reader(OWNER_SLOT, epoch.number, epoch.public)
    readers = [owner] if own_slot is None else [owner, Reader(own_slot[0], 0, own_slot[1])]
    content, metadata = os.urandom(32), os.urandom(32)
    return SessionKeys(
        content,
        metadata,
        _seal_entry(repository, session, Purpose.CONTENT, content, [owner]),
        _seal_entry(repository, session, Purpose.METADATA, metadata, readers),
    )


def _seal_entry(
    repository: RepositoryId, session: SessionId, purpose: Purpose, key: bytes, readers: list[Reader]
) -> KeyEntry:
    recipients = [
        Recipient(r.slot, r.epoch, ALGORITHM, seal_to(r.public, key, _info(repository, session, purpose, r.epoch)))
        for r in readers
    ]
    return KeyEntry(session, purpose, recipients)


def _info(repository: bytes, session: bytes, purpose: int, epoch: int) -> bytes:
    return b"lamina/1" + repository + session + bytes([purpose]) + epoch.to_bytes(4, "little")


class KeyOpener:
    """Opens key entries with the bundle at hand; every entry only once."""

    def __init__(self, repository: RepositoryId, bundle: KeyBundle, slot: bytes) -> None:
        self._repository = repository
        self._bundle = bundle
        self._slot = OWNER_SLOT if bundle.root is not None else slot
        self._private: dict[int, EnvelopeKey] = {}  # by epoch
        self._opened: dict[bytes, bytes | None] = {}
        self._lock = threading.Lock()

    def find_key(self, entry: KeyEntry, purpose: Purpose) -> bytes | None:
        """The session key of *entry*, or None if it is not sealed to us. Raises: Damaged, also if it has another purpose."""
        if entry.purpose != purpose:
            raise Damaged(f"a key of session {entry.session.hex()} stands where one of another purpose belongs")
        mark = entry_hash(entry)
        with self._lock:
            if mark not in self._opened:
                self._opened[mark] = self._open(entry)
            return self._opened[mark]

    def _open(self, entry: KeyEntry) -> bytes | None:
        for recipient in entry.recipients:
            if recipient.slot != self._slot:
                continue
            if recipient.algorithm != ALGORITHM or not 0 <= recipient.epoch < 1 << 32:
                raise Damaged(
                    f"a key of session {entry.session.hex()} is sealed with the unknown algorithm {recipient.algorithm}"
                    f" in epoch {recipient.epoch}"
                )
            private = self._private.get(recipient.epoch)
            if private is None:
                private = self._private[recipient.epoch] = self._bundle.envelope_key(recipient.epoch)
            return private.unseal(
                recipient.envelope, _info(self._repository, entry.session, entry.purpose, recipient.epoch)
            )
        return None
