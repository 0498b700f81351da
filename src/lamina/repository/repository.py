"""A repository: create it, open it, and the facade the engine and the faces use."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import Any

from lamina.chunking.chunker import FixedChunker
from lamina.crypto.certificates import owner_certificate
from lamina.crypto.keys import OWNER_SLOT, KeyBundle
from lamina.crypto.passphrases import format_recovery_key, new_root
from lamina.errors import (
    Damaged,
    NotPermitted,
    RepositoryError,
    SnapshotMissing,
    UsageError,
)
from lamina.model.ids import RepositoryId, SessionId
from lamina.model.operation import Operation
from lamina.model.process import Process
from lamina.model.secret import Secret
from lamina.model.snapshots import KeySlot, Role, Snapshot, Trust
from lamina.repository.access import Access
from lamina.repository.attributes import write_removal
from lamina.repository.birth import check_free, first_epoch, first_format, new_birth, read_birth
from lamina.repository.blobs import BlobSealer
from lamina.repository.chunks import ChunkReader
from lamina.repository.control import ControlRecords, Signer
from lamina.repository.format import Kind
from lamina.repository.generations import await_burial
from lamina.repository.index import Index
from lamina.repository.keyring import Keyring, Unlocked
from lamina.repository.manifests import Manifests, check_not_protected
from lamina.repository.object_names import EPOCHS, FORMATS, ROOT, numbered
from lamina.repository.parameters import read_parameters, renew_parameters
from lamina.repository.records import RemovalRecord, from_us, to_us
from lamina.repository.session_keys import KeyOpener
from lamina.repository.sessions import Announced, Parent, Session, announce, open_session
from lamina.repository.writer import EncodingOptions
from lamina.storage.storage import Storage


@dataclass(frozen=True, slots=True)
class CreateOptions:
    """Choices that a repository keeps for life."""

    chunk_size: int = 1 << 20  # default of images, bytes
    label: str = ""  # of the first key slot


class Repository:
    """One deduplicating, encrypted store of snapshots, opened with one key."""

    def __init__(self, access: Access, keyring: Keyring, unlocked: Unlocked, operation: Operation) -> None:
        self.access = access
        self.index = Index(access.cache, operation.progress.message)
        self._keyring = keyring
        self._unlocked = unlocked
        self._operation = operation
        self._manifests = Manifests(access, operation.progress.message)
        self._reader: ChunkReader | None = None
        for name in access.damaged:
            operation.progress.message(f"{name} is damaged or gone: nothing can be written here until `lamina repair`")

    @property
    def id(self) -> RepositoryId:
        """The repository's id."""
        return self.access.repository

    @property
    def role(self) -> Role:
        """What the key in use may do."""
        return self.access.role

    @property
    def storage(self) -> Storage:
        """Where the repository lies."""
        return self.access.storage

    @staticmethod
    def create(
        storage: Storage, passphrase: Secret, options: CreateOptions, operation: Operation, *, cache: Path | None = None
    ) -> tuple[Repository, str]:
        """Make a new repository; returns it and the recovery key, to be shown once.

        Raises: RepositoryExists, StorageError.
        """
        FixedChunker(options.chunk_size)
        check_free(storage)
        now = operation.clock.now()
        root = new_root()
        owner = KeyBundle.from_root(root)
        signing = owner.signing_key()
        birth = new_birth(owner.structure_key, signing.public)
        certificate = owner_certificate(signing.public).encode(birth.repository, signing)
        signer = Signer(certificate, signing, OWNER_SLOT, Role.OWNER)
        control = ControlRecords(storage, birth.repository, owner.structure_key, signing.public, signer)
        control.write(Kind.FORMAT, numbered(FORMATS, 1), first_format(to_us(now), options.chunk_size))
        control.write(Kind.EPOCH, numbered(EPOCHS, 0), first_epoch(owner.envelope_key(0).public))
        keyring = Keyring(storage, birth.repository, signing.public)
        keyring.add(owner, Role.OWNER, passphrase, label=options.label, now=now)
        storage.put(ROOT, [birth.encode()])  # last: from here on there is a repository
        unlocked = keyring.unlock(passphrase)
        access = _open_access(storage, birth.repository, unlocked, cache)
        return Repository(access, keyring, unlocked, operation), format_recovery_key(root)

    @staticmethod
    def open(storage: Storage, credential: Secret, operation: Operation, *, cache: Path | None = None) -> Repository:
        """Open with a passphrase or a recovery key. *cache*: directory that may be deleted at any time; None: none.

        Raises: RepositoryMissing, WrongPassphrase, FormatUnknown, Damaged, StorageError.
        """
        birth = read_birth(storage)
        keyring = Keyring(storage, birth.repository, birth.owner_verify_key)
        memory = cache / birth.repository.hex() / "slot" if cache is not None else None
        unlocked = keyring.unlock(credential, first=_recall(memory))
        _remember(memory, unlocked.object)
        birth.check(unlocked.bundle.structure_key)
        access = _open_access(storage, birth.repository, unlocked, cache)
        return Repository(access, keyring, unlocked, operation)

    def begin(self, process: Process, options: EncodingOptions, operation: Operation) -> Session:
        """Begin to write; what was read before is read anew. Raises: NotPermitted, StorageError, Damaged."""
        return self.begin_announced(self.announce(process, operation), options, operation)

    def announce(self, process: Process, operation: Operation) -> Announced:
        """Let prunes know of a session that is about to begin. Raises: NotPermitted, StorageError, Damaged."""
        if self.access.damaged:
            raise Damaged(
                f"{self.access.damaged[0]} is damaged or gone: nobody knows what writers have to go by",
                hint="`lamina repair`, with an owner's key, puts another in its place",
            )
        return announce(self.access, process, operation)

    def begin_announced(self, announced: Announced, options: EncodingOptions, operation: Operation) -> Session:
        """Begin a session that was announced; what was read before is read anew. Raises: StorageError, Damaged."""
        self.index.forget_session()
        session = open_session(self.access, self.index, announced, options, operation)
        self._reader = session.reader
        return session

    def renew_parameters(self) -> list[str]:
        """Put new records in place of those that all writers go by and that are damaged; names them. Raises: NotPermitted."""
        self._check_owner("say what all writers go by")
        storage, control, now = self.access.storage, self.access.control, self._operation.clock.now()
        renewed = list(renew_parameters(storage, control, self._unlocked.bundle, now))
        found = read_parameters(storage, control)
        self.access = replace(self.access, format=found.format, epoch=found.epoch, damaged=found.damaged)
        return renewed

    def through(self, index: Index, storage: Storage) -> Repository:
        """The same repository, read through another index and another storage; it must not be closed."""
        access = replace(self.access, storage=storage, damaged=())
        other = Repository(access, self._keyring, self._unlocked, self._operation)
        other.index = index
        other._reader = ChunkReader(other.access, index)
        return other

    def parent(self, snapshot: Snapshot) -> Parent:
        """*snapshot* as a session may rely on it."""
        return Parent(snapshot.id, snapshot.root, lambda: self._manifests.is_there(snapshot.id))

    def reader(self) -> ChunkReader:
        """What reads chunks; loads the index at the first call. Raises: StorageError, Damaged."""
        if self._reader is None:
            self.index.load(self.access.storage, self.access.control)
            self._reader = ChunkReader(self.access, self.index)
        return self._reader

    def uncached_reader(self) -> ChunkReader:
        """The same, believing only what the storage itself says. Raises: StorageError, Damaged."""
        self.ignore_cache()
        self._reader = None
        return self.reader()

    def ignore_cache(self) -> None:
        """From now on, believe only what the storage itself says, whatever was remembered of it."""
        self.index.ignore_cache()
        self._manifests.ignore_cache()

    def snapshots(self, *, removed: bool = False) -> list[Snapshot]:
        """Every snapshot, oldest first; with *removed* also those forgotten and not yet pruned."""
        return self._manifests.all(removed=removed)

    def get_snapshot(self, session: SessionId) -> Snapshot:
        """The snapshot that a session made. Raises: SnapshotMissing, Damaged."""
        return self._manifests.get(session)

    def find_snapshot(self, text: str, *, removed: bool = False, zone: tzinfo = UTC) -> Snapshot:
        """The one snapshot that the selector *text* stands for; days begin where *zone* says.

        With *removed*, one that was forgotten and not yet pruned if no other fits.
        Raises: UsageError, SnapshotMissing, SnapshotAmbiguous, NotPermitted.
        """
        return self._manifests.find(text, zone, removed=removed)

    def select_snapshots(self, texts: Sequence[str], *, removed: bool = False, zone: tzinfo = UTC) -> list[Snapshot]:
        """The snapshots that the selectors *texts* stand for, in their order, each once; *removed* as in `snapshots`.

        Raises: as `find_snapshot`.
        """
        return self._manifests.select(texts, zone, removed=removed)

    def edit(
        self,
        snapshot: Snapshot,
        *,
        add_tags: Sequence[str] = (),
        remove_tags: Sequence[str] = (),
        trust: Trust | None = None,
        damaged: int | None = None,
        note: str | None = None,
    ) -> Snapshot:
        """Change attributes of a snapshot by a new numbered record. Raises: NotPermitted, ObjectExists."""
        changes: dict[str, Any] = {"trust": trust, "damaged": damaged, "note": note}
        given = {name: value for name, value in changes.items() if value is not None}
        return self._manifests.edit(snapshot, add_tags=add_tags, remove_tags=remove_tags, **given)

    def protect(self, snapshot: Snapshot, *, protected: bool = True) -> Snapshot:
        """Let a snapshot be one that cannot be forgotten, or not any more.

        Raises: NotPermitted, ObjectExists; RepositoryError if it was forgotten meanwhile, or a prune may have buried it.
        """
        self.check_keeper("protect snapshots, or end that")
        changed = self._manifests.edit(snapshot, add_tags=(), remove_tags=(), protected=protected)
        if protected:
            if self.get_snapshot(snapshot.id).removed:
                raise RepositoryError(
                    f"snapshot {snapshot.short_id} is forgotten: that it is protected now does not bring it back",
                    hint="`lamina unforget` does, as long as no prune has buried it",
                )
            # it may have been brought back too late: then a prune did not see the protection either
            await_burial(self.access.storage, self.access.control, snapshot, self._operation)
        return changed

    def expire(self, snapshot: Snapshot, when: datetime | None) -> Snapshot:
        """Set when a snapshot expires; None: never. Raises: NotPermitted, ObjectExists."""
        self.check_keeper("change when snapshots expire")
        return self._manifests.edit(snapshot, add_tags=(), remove_tags=(), expires=when)

    def forget(self, snapshot: Snapshot) -> None:
        """Mark a snapshot as removed; its space stays until a prune. Raises: NotPermitted, UsageError."""
        self.check_keeper("forget snapshots")
        check_not_protected(self.get_snapshot(snapshot.id))  # somebody may have protected it since it was listed
        self._put_removal(snapshot, removed=True)
        with suppress(SnapshotMissing):  # a prune was fast
            now = self.get_snapshot(snapshot.id)
            if now.protected:  # since we looked; who does it from now on is told that it is removed
                self.unforget(snapshot)
                check_not_protected(now)

    def unforget(self, snapshot: Snapshot) -> Snapshot:
        """Take a `forget` back. Raises: NotPermitted; RepositoryError if a prune was faster."""
        self.check_keeper("bring snapshots back")
        self._put_removal(snapshot, removed=False)
        await_burial(self.access.storage, self.access.control, snapshot, self._operation)
        return replace(snapshot, removed=False)

    def keys(self) -> list[KeySlot]:
        """Every key slot, oldest first. Raises: Damaged, StorageError."""
        slots = {
            found.record.slot: KeySlot(
                found.record.slot.hex(),
                found.certificate.role,
                found.record.label,
                from_us(found.record.created),
                current=found.record.slot == self._unlocked.slot,
            )
            for found in self._keyring.slots(
                self._operation.progress.message
            )  # a changed passphrase may have left two objects of one slot
        }
        return sorted(slots.values(), key=lambda slot: slot.created)

    def add_key(self, role: Role, passphrase: Secret, *, label: str = "") -> KeySlot:
        """Add a key slot. Raises: NotPermitted unless this is an owner."""
        self._check_owner("add keys")
        now = self._operation.clock.now()
        slot = self._keyring.add(self._unlocked.bundle, role, passphrase, label=label, now=now)
        return KeySlot(slot.hex(), role, label, now, current=False)

    def remove_key(self, slot: str) -> KeySlot:
        """Remove a slot by id (or a unique prefix). Raises: NotPermitted; UsageError for the last owner's slot."""
        self._check_owner("remove keys")
        slots = self.keys()
        found = [item for item in slots if slot and item.id.startswith(slot.lower())]
        if len(found) != 1:
            raise UsageError(f"{slot!r} fits {len(found)} key slots", hint="see `lamina key list`")
        if found[0].role is Role.OWNER and sum(item.role is Role.OWNER for item in slots) == 1:
            raise UsageError("this is the last owner's key; it stays", hint="add another owner first")
        self._keyring.remove(bytes.fromhex(found[0].id))
        return found[0]

    def change_passphrase(self, passphrase: Secret) -> KeySlot:
        """Give the slot in use a new passphrase. Raises: UsageError if opened with the recovery key."""
        self._keyring.rewrap(self._unlocked, passphrase, now=self._operation.clock.now())
        return next(slot for slot in self.keys() if slot.current)

    def export_key(self) -> str:
        """The recovery key again, to be put on paper. Raises: NotPermitted unless this is an owner."""
        self._check_owner("export the recovery key")
        root = self._unlocked.bundle.root
        assert root is not None  # noqa: S101 - owners have it
        return format_recovery_key(root)

    def check_slot(self, name: str) -> None:
        """Check a key slot object as far as that goes without its passphrase. Raises: Damaged, StorageError."""
        self._keyring.check(name)

    def close(self) -> None:
        """Give back what was opened; the storage too."""
        self.index.close()
        self.access.storage.close()

    def _put_removal(self, snapshot: Snapshot, *, removed: bool) -> None:
        record = RemovalRecord(removed, to_us(self._operation.clock.now()))
        write_removal(self.access.storage, self.access.control, snapshot.id, record, self._operation.progress.message)

    def _check_owner(self, what: str) -> None:
        if self.role is not Role.OWNER:
            raise NotPermitted(f"a {self.role.value} key may not {what}", hint="use an owner's passphrase")

    def check_keeper(self, what: str) -> None:
        """Refuse a key that may not decide which snapshots live. Raises: NotPermitted."""
        if self.role is Role.WRITER:
            raise NotPermitted(
                f"a {self.role.value} key may not {what}", hint="use an owner's or a steward's passphrase"
            )


def _open_access(storage: Storage, repository: RepositoryId, unlocked: Unlocked, cache: Path | None) -> Access:
    bundle = unlocked.bundle
    control = ControlRecords(storage, repository, bundle.structure_key, unlocked.owner_verify_key, unlocked.signer)
    own_slot = (unlocked.signer.slot, unlocked.envelope_public) if unlocked.envelope_public else None
    parameters = read_parameters(storage, control)
    return Access(
        storage=storage,
        repository=repository,
        role=bundle.role,
        control=control,
        sealer=BlobSealer(repository, bundle.structure_key),
        opener=KeyOpener(repository, bundle, unlocked.signer.slot),
        format=parameters.format,
        epoch=parameters.epoch,
        structure_key=bundle.structure_key,
        id_key=bundle.id_key,
        chunker_key=bundle.chunker_key,
        cache_key=bundle.cache_key(),
        own_slot=own_slot,
        cache=cache / repository.hex() if cache is not None else None,
        damaged=parameters.damaged,
    )


def _recall(memory: Path | None) -> str:
    """The slot that opened last time; a cache that cannot be read costs only time."""
    try:
        return memory.read_text("ascii", "replace") if memory is not None else ""
    except OSError:
        return ""


def _remember(memory: Path | None, slot: str) -> None:
    if memory is None or not slot or _recall(memory) == slot:
        return
    with suppress(OSError):
        memory.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        memory.write_text(slot, "ascii")
