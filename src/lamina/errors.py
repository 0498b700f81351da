"""Everything Lamina raises on purpose.

    LaminaError
    ├── UsageError                what was asked for makes no sense
    ├── StorageError              the place under the repository
    │   ├── ObjectMissing             a name that is certainly not there
    │   ├── ObjectExists              the name already holds other bytes
    │   ├── ObjectTruncated           fewer bytes came than the object must have
    │   ├── StorageUnavailable        no answer, or a passing fault: worth another try
    │   ├── StorageDenied             the storage refuses our credentials
    │   ├── StorageFull               no space left
    │   └── StorageUnsuitable         it does not keep the promises we need
    ├── RepositoryError           the format on top of the storage
    │   ├── RepositoryMissing         there is none at this address
    │   ├── RepositoryExists          there is one already
    │   ├── FormatUnknown             written by a newer Lamina
    │   ├── WrongPassphrase           no key slot opens with it
    │   ├── NotPermitted              the role of this key does not allow it
    │   ├── Damaged                   stored bytes are not what was stored
    │   │   ├── ChunkMissing              content that a snapshot needs is nowhere
    │   │   └── RecordForged              a record signed by nobody who may write it
    │   ├── SessionAborted            a prune gave this session up
    │   ├── PruneRefused              something is not as it must be: nothing is deleted
    │   ├── SnapshotMissing           no such snapshot, or none of that name
    │   ├── SnapshotAmbiguous         an id prefix that fits several
    │   └── EntryMissing              no such path in the snapshot
    ├── SourceError               where data comes from
    │   ├── SourceMissing             it is not there
    │   ├── SourceUnreadable          it is there and cannot be read
    │   └── HintsInvalid              a list of changed ranges that cannot be used
    ├── TargetError               where data goes back to
    │   ├── TargetExists              something is there and --force was not given
    │   ├── TargetTooSmall            the data does not fit
    │   └── TargetUnwritable          it cannot be written (full, read-only, gone)
    ├── HookFailed                a command to be run before or after a backup
    └── Stopped                   the user or the system asked us to stop

Each message says what happened to which thing; `hint` says what to do next. No error of reading is ever turned into
"there is nothing": only `ObjectMissing` says that, and only a storage that knows may raise it.
"""

from __future__ import annotations


class LaminaError(Exception):
    """Something Lamina can explain: what happened, and what to do next."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def say_too(self, what: str) -> None:
        """Add to the message what else follows from it."""
        self.message += f"; {what}"
        self.args = (self.message,)


class UsageError(LaminaError):
    """What was asked for makes no sense; nothing was done."""


class StorageError(LaminaError):
    """The storage under the repository failed."""


class ObjectMissing(StorageError):
    """The storage is certain that it holds no object of this name."""


class ObjectExists(StorageError):
    """The name already holds other bytes; they were not touched."""


class ObjectTruncated(StorageError):
    """Fewer bytes came back than the object must have."""


class StorageUnavailable(StorageError):
    """No answer, or a passing fault; the same call may succeed later."""


class StorageDenied(StorageError):
    """The storage refuses our credentials or our rights."""


class StorageFull(StorageError):
    """No space (or quota) is left in the storage."""


class StorageUnsuitable(StorageError):
    """The storage does not keep a promise that a repository rests on."""


class RepositoryError(LaminaError):
    """The repository cannot do what was asked."""


class RepositoryMissing(RepositoryError):
    """There is no repository at this address."""


class RepositoryExists(RepositoryError):
    """There is a repository at this address already."""


class FormatUnknown(RepositoryError):
    """An object needs a newer Lamina than this one."""


class WrongPassphrase(RepositoryError):
    """No key slot opens with this passphrase or key."""


class NotPermitted(RepositoryError):
    """The role of the key in use does not allow this."""


class Damaged(RepositoryError):
    """Stored bytes are not what was stored, or not by whom they claim."""


class ChunkMissing(Damaged):
    """A chunk that a snapshot needs is in no pack of the index."""


class RecordForged(Damaged):
    """A record is not signed, or by a key whose role may not write it; it is never believed."""


class SessionAborted(RepositoryError):
    """A prune gave this session up before it could commit."""


class PruneRefused(RepositoryError):
    """A prune found something that is not as it must be, and deleted nothing."""


class SnapshotMissing(RepositoryError):
    """No snapshot answers to this name or id."""


class SnapshotAmbiguous(RepositoryError):
    """The id prefix fits more than one snapshot."""


class EntryMissing(RepositoryError):
    """The snapshot has no entry of this path."""


class SourceError(LaminaError):
    """A source cannot be backed up."""


class SourceMissing(SourceError):
    """The source does not exist."""


class SourceUnreadable(SourceError):
    """The source exists and cannot be read (here)."""


class HintsInvalid(SourceError):
    """The list of changed ranges is malformed or does not fit the source."""


class TargetError(LaminaError):
    """A target cannot take the data."""


class TargetExists(TargetError):
    """Something is there already; it was not touched."""


class TargetTooSmall(TargetError):
    """The data does not fit into the target."""


class TargetUnwritable(TargetError):
    """The target cannot be written: full, read-only or gone."""


class HookFailed(LaminaError):
    """A command that was to be run before or after a backup failed, or took too long."""


class Stopped(LaminaError):
    """The operation was asked to stop and stopped cleanly."""
