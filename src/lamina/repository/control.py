"""Signed control records: everything in a repository but packs and key slots (spec: signed records).

A record's *structure* is sealed under the structure key, which every role holds; its *body* (names) under the metadata key
of its session. Who wrote it stands beside it: a certificate of the owner's, and a signature over name and bytes.
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

import msgspec

from lamina.crypto import aead
from lamina.crypto.certificates import CERTIFICATE_SIZE, Certificate, decode_certificate
from lamina.crypto.hashing import HASH_SIZE, derive
from lamina.crypto.signing import SIGNATURE_SIZE, SigningKey, is_signed
from lamina.errors import Damaged, RecordForged
from lamina.model.entries import Buffer
from lamina.model.ids import RepositoryId, SessionId
from lamina.model.snapshots import Role
from lamina.repository.format import (
    Kind,
    decode_object,
    decode_record,
    encode_header,
    encode_object,
    encode_record,
)
from lamina.storage.storage import Storage

_SIZE = struct.Struct("<I")
_SALT_SIZE = 32
_DOMAIN = b"lamina/1 record"

_WRITERS = frozenset({Role.OWNER, Role.WRITER})
_KEEPERS = frozenset({Role.OWNER, Role.STEWARD})
_ANYBODY = frozenset(Role)
MAY_WRITE: dict[Kind, frozenset[Role]] = {  # threat model G5: who is believed for what
    Kind.FORMAT: frozenset({Role.OWNER}),
    Kind.EPOCH: frozenset({Role.OWNER}),
    Kind.START: _ANYBODY,  # a prune is a session too
    Kind.CAUGHT_UP: _ANYBODY,
    Kind.DELTA: _ANYBODY,
    Kind.SNAPSHOT: _WRITERS,
    Kind.ATTRIBUTES: _ANYBODY,  # a writer's only for its own snapshot: see attributes.py
    Kind.ABORT: _KEEPERS,
    Kind.REMOVAL: _KEEPERS,
    Kind.GENERATION_OPEN: _KEEPERS,
    Kind.GENERATION_CLOSED: _KEEPERS,
    Kind.SEGMENT: _KEEPERS,
    Kind.MANIFEST: _KEEPERS,
    Kind.COVERAGE: _KEEPERS,
}

LAST_NUMBER = 99_999_999  # eight digits, so that names sort as their numbers do
_NUMBERED = re.compile("(?:.*/|.*epoch-)([0-9]{8})")

Structure = TypeVar("Structure", bound=msgspec.Struct)


@dataclass(frozen=True, slots=True)
class Signed(Generic[Structure]):
    """One record that was read, checked and is believed."""

    name: str
    kind: Kind
    structure: Structure
    body: bytes  # still sealed; empty: none
    signer: Certificate
    hash: bytes  # of the whole object


@dataclass(frozen=True, slots=True)
class Signer:
    """Who writes records here and now."""

    certificate: bytes
    key: SigningKey
    slot: bytes
    role: Role


class ControlRecords:
    """Writes and reads the signed records of one repository."""

    def __init__(
        self, storage: Storage, repository: RepositoryId, structure_key: bytes, owner_verify_key: bytes, signer: Signer
    ) -> None:
        self._storage = storage
        self._repository = repository
        self._structure_key = structure_key
        self._owner_verify_key = owner_verify_key
        self.signer = signer

    def write(
        self, kind: Kind, name: str, structure: msgspec.Struct, body: bytes = b"", *, signed_as: str = ""
    ) -> None:
        """Put a record under *name*. Raises: ObjectExists if another is there already."""
        self._storage.put(name, [self.encode(kind, signed_as or name, structure, body)])

    def encode(self, kind: Kind, name: str, structure: msgspec.Struct, body: bytes = b"") -> bytes:
        """The bytes of a record that is signed for *name*."""
        salt = os.urandom(_SALT_SIZE)
        sealed = aead.seal(self._key(kind, salt), encode_record(structure), self._aad(name))
        unsigned = b"".join(
            (salt, _SIZE.pack(len(sealed)), sealed, _SIZE.pack(len(body)), body, self.signer.certificate)
        )
        signature = self.signer.key.sign(self._message(kind, name, unsigned))
        return encode_object(kind, unsigned + signature)

    def read(self, name: str, kind: Kind, structure: type[Structure]) -> Signed[Structure]:
        """Get and check one record. Raises: ObjectMissing, Damaged (RecordForged: not by one who may), FormatUnknown."""
        return self.decode(self._storage.get(name), name, {kind: structure})

    def decode(
        self, data: bytes, name: str, kinds: dict[Kind, type[Structure]], *, signed_as: str = ""
    ) -> Signed[Structure]:
        """Check the bytes of a record found under *name*. Raises: as `read`."""
        kind, payload = decode_object(data, *kinds, name=name)
        sealed, body, certificate, signature, salt = _split(payload, name)
        signer = decode_certificate(certificate, repository=self._repository, owner_verify_key=self._owner_verify_key)
        message = self._message(kind, signed_as or name, bytes(payload[:-SIGNATURE_SIZE]))
        if signer is None or not is_signed(signer.verify_key, signature, message):
            raise RecordForged(f"{name} is not signed by a key of this repository", hint="it is ignored")
        if signer.role not in MAY_WRITE[kind]:
            raise RecordForged(
                f"{name} is signed by a {signer.role.value} key, which may not write it", hint="it is ignored"
            )
        plain = aead.unseal(self._key(kind, salt), sealed, self._aad(signed_as or name), what=name)
        return Signed(name, kind, decode_record(plain, kinds[kind], name=name), bytes(body), signer, data[-HASH_SIZE:])

    def numbered(
        self, names: Iterable[str], kind: Kind, structure: type[Structure], warn: Callable[[str], None]
    ) -> Iterator[Signed[Structure]]:
        """The believed records among the *names* of a numbered series, in order.

        Forged ones are left out. So are damaged ones, but *warn* is told: they must not hide what stands beside them.
        """
        for name in sorted(name for name in names if record_number(name) is not None):
            try:
                yield self.read(name, kind, structure)
            except RecordForged:
                continue
            except Damaged as error:
                warn(f"{error.message}; what it said is not known: run `lamina verify`")

    def _key(self, kind: Kind, salt: bytes) -> bytes:
        return derive(self._structure_key, "lamina/1 record", bytes([kind]), salt)

    def _aad(self, name: str) -> bytes:
        return self._repository + name.encode("ascii")

    def _message(self, kind: Kind, name: str, unsigned: bytes) -> bytes:
        label = name.encode("ascii")
        return b"".join(
            (_DOMAIN, self._repository, len(label).to_bytes(2, "little"), label, encode_header(kind), unsigned)
        )


def record_number(name: str) -> int | None:
    """The number at the end of a numbered record's name: eight digits, so that names sort as their numbers do.

    >>> record_number("attributes/00ff/00000012"), record_number("attributes/00ff/1")
    (12, None)
    """
    found = _NUMBERED.fullmatch(name)
    return int(found[1]) if found else None


def _split(payload: memoryview, name: str) -> tuple[memoryview, memoryview, bytes, bytes, bytes]:
    """Sealed structure, body, certificate, signature and salt of a record's payload."""
    rest = payload[_SALT_SIZE:]
    fields = []
    for _ in range(2):
        if len(rest) < _SIZE.size:
            raise Damaged(f"{name} ends too early")
        size = _SIZE.unpack_from(rest)[0]
        fields.append(rest[_SIZE.size : _SIZE.size + size])
        rest = rest[_SIZE.size + size :]
    if len(rest) != CERTIFICATE_SIZE + SIGNATURE_SIZE:
        raise Damaged(f"{name} has the wrong length")
    certificate, signature = bytes(rest[:CERTIFICATE_SIZE]), bytes(rest[CERTIFICATE_SIZE:])
    return fields[0], fields[1], certificate, signature, bytes(payload[:_SALT_SIZE])


def seal_body(metadata_key: bytes, session: SessionId, record: msgspec.Struct, repository: RepositoryId) -> bytes:
    """Seal the part of a record that names things under its session's metadata key."""
    salt = os.urandom(_SALT_SIZE)
    aad = repository + session + b"body"
    return salt + aead.seal(derive(metadata_key, "lamina/1 body", salt), encode_record(record), aad)


def unseal_body(
    metadata_key: bytes, session: SessionId, body: Buffer, kind: type[Structure], repository: RepositoryId
) -> Structure:
    """Open what `seal_body` sealed. Raises: Damaged."""
    what = f"the names of snapshot {session.hex()}"
    salt, sealed = bytes(body[:_SALT_SIZE]), body[_SALT_SIZE:]
    plain = aead.unseal(derive(metadata_key, "lamina/1 body", salt), sealed, repository + session + b"body", what=what)
    return decode_record(plain, kind, name=what)
