"""What an opened repository gives to its parts: the storage, the keys of this role, the parameters all writers share."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from lamina.chunking.chunker import Chunker
from lamina.chunking.fastcdc import FastCdc
from lamina.crypto.keys import OWNER_SLOT
from lamina.errors import Damaged, FormatUnknown, NotPermitted, UsageError
from lamina.model.ids import RepositoryId
from lamina.model.snapshots import Role
from lamina.repository.blobs import BlobSealer, ChunkNamer
from lamina.repository.control import ControlRecords
from lamina.repository.records import EpochRecord, FormatRecord
from lamina.repository.session_keys import KeyOpener
from lamina.storage.storage import Storage


@dataclass(frozen=True, slots=True)
class Access:
    """One key's access to one repository."""

    storage: Storage
    repository: RepositoryId
    role: Role
    control: ControlRecords
    sealer: BlobSealer
    opener: KeyOpener
    format: FormatRecord
    epoch: EpochRecord
    structure_key: bytes = field(repr=False)
    id_key: bytes | None = field(repr=False)  # None: a steward's
    chunker_key: bytes | None = field(repr=False)  # likewise
    own_slot: tuple[bytes, bytes] | None  # a writer's slot and envelope public key
    cache: Path | None
    cache_key: bytes = field(repr=False)  # of this key holder alone: only it may read what it keeps in caches
    damaged: tuple[str, ...] = ()  # records of parameters that nobody can read any more: nothing may be written

    def namer(self) -> ChunkNamer:
        """Names content. Raises: NotPermitted for a steward."""
        if self.id_key is None:
            raise NotPermitted(
                f"a {self.role.value} key cannot name content", hint="use an owner's or a writer's passphrase"
            )
        return ChunkNamer(self.id_key)

    def chunker(self) -> Chunker:
        """Cuts content as every writer of this repository does.

        Raises: NotPermitted for a steward; FormatUnknown; Damaged if the sizes in the format record make no sense.
        """
        if self.chunker_key is None:
            raise NotPermitted(
                f"a {self.role.value} key cannot cut content", hint="use an owner's or a writer's passphrase"
            )
        record = self.format
        if record.chunker != "fastcdc":
            raise FormatUnknown(
                f"the repository cuts content with {record.chunker!r}, which this Lamina does not know",
                hint="upgrade Lamina",
            )
        try:
            return FastCdc(record.chunker_min, record.chunker_average, record.chunker_max, self.chunker_key)
        except UsageError as error:
            raise Damaged(
                f"the repository's format record makes no sense: {error.message}",
                hint="if a newer Lamina wrote it, upgrade; else restore format/ from a copy of the storage",
            ) from error

    @property
    def reader_slot(self) -> bytes:
        """The slot that may read what this key writes, besides the owner."""
        return self.own_slot[0] if self.own_slot is not None else OWNER_SLOT
