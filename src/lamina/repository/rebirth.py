"""Make lamina.json again: all that it says follows from the recovery key and from any pack."""

from __future__ import annotations

from collections.abc import Iterator

from lamina.crypto.certificates import owner_certificate
from lamina.crypto.keys import OWNER_SLOT, KeyBundle
from lamina.crypto.passphrases import parse_recovery_key
from lamina.errors import Damaged, FormatUnknown, ObjectMissing, ObjectTruncated, UsageError, WrongPassphrase
from lamina.model.ids import RepositoryId
from lamina.model.secret import Secret
from lamina.model.snapshots import Role
from lamina.repository.birth import Birth, birth_mac
from lamina.repository.control import ControlRecords, Signer
from lamina.repository.format import PACK_HEADER_SIZE, Kind, decode_pack_header
from lamina.repository.object_names import DATA, FORMATS, META, ROOT, SESSIONS
from lamina.repository.records import FormatRecord, StartRecord
from lamina.storage.storage import Storage

_LOOKED_AT = 20  # packs, and records: several may be damaged


def recreate_birth(storage: Storage, recovery_key: Secret) -> RepositoryId:
    """Put lamina.json where it is missing, once a record shows that the key is this repository's.

    Raises: UsageError, WrongPassphrase; ObjectExists if something is there; Damaged if no pack says whose it is.
    """
    root = parse_recovery_key(recovery_key)
    if root is None:
        raise UsageError("lamina.json can only be made again with the recovery key", hint="give it as the passphrase")
    owner = KeyBundle.from_root(root)
    ids = list(dict.fromkeys(_named_in_packs(storage)))
    for repository in ids:
        if _fits(storage, owner, repository):
            verify_key = owner.signing_key().public
            birth = Birth(repository, verify_key, birth_mac(owner.structure_key, repository, verify_key))
            storage.put(ROOT, [birth.encode()])
            return repository
    if ids:
        raise WrongPassphrase("this recovery key belongs to another repository", hint="compare the address")
    raise Damaged("no pack says of which repository it is", hint="restore lamina.json from a copy of the storage")


def _named_in_packs(storage: Storage) -> Iterator[RepositoryId]:
    """Of which repository the first packs say that they are."""
    for folder in (META, DATA):
        for _, item in zip(range(_LOOKED_AT), storage.objects(folder), strict=False):
            try:
                yield decode_pack_header(storage.get_range(item.name, 0, PACK_HEADER_SIZE), name=item.name).repository
            except (Damaged, FormatUnknown, ObjectMissing, ObjectTruncated):
                continue


def _fits(storage: Storage, owner: KeyBundle, repository: RepositoryId) -> bool:
    """Whether a signed record shows that *owner* is the owner of that repository."""
    signing = owner.signing_key()
    signer = Signer(owner_certificate(signing.public).encode(repository, signing), signing, OWNER_SLOT, Role.OWNER)
    control = ControlRecords(storage, repository, owner.structure_key, signing.public, signer)
    for folder, kind, record in ((FORMATS, Kind.FORMAT, FormatRecord), (SESSIONS, Kind.START, StartRecord)):
        for _, item in zip(range(_LOOKED_AT), storage.objects(folder), strict=False):
            try:
                control.read(item.name, kind, record)
            except (Damaged, FormatUnknown, ObjectMissing):
                continue
            return True
    return False
