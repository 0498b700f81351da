"""The seam under everything: a flat store of write-once objects."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from lamina.errors import ObjectExists, ObjectMissing, StorageUnavailable
from lamina.model.entries import Buffer

Parts = Sequence[Buffer]  # one object's bytes in order, not yet joined


@dataclass(frozen=True, slots=True)
class StoredObject:
    """What a storage says of one object without reading it."""

    name: str
    size: int  # bytes
    modified: datetime  # aware UTC, by the storage's clock; for people and for measuring skew only


class Storage(Protocol):
    """A flat store of write-once objects, named by `/`-separated ASCII paths (see `lamina.storage.names`).

    No object is named like the folder of another: what then happens differs from storage to storage.
    Every implementation promises:

    - atomic: an object is absent or whole, never half-written;
    - durable: when `put` returns, the bytes survive a power cut, also if they were there before; so do the objects that
      were seen directly in that folder, and so does a `delete`: but for names that are hashes, which may lie apart;
    - once: `put` returns only if the name now holds exactly these bytes; if it holds others, they stay and
      `ObjectExists` is raised; of many at once with different bytes exactly one returns;
    - listed: what `put` stored, the next `objects` shows; unfinished writes are never shown;
    - exact: `get_range` returns just the bytes asked for, or raises `ObjectTruncated`;
    - honest: an error is raised, never returned as "nothing there"; only certainty raises `ObjectMissing`;
    - threads: any number of threads may call at once.
    """

    @property
    def address(self) -> str:
        """Where this is, for people; never holds a secret."""
        ...

    def put(self, name: str, parts: Parts) -> None:
        """Store the joined *parts* under *name*, unless it holds other bytes."""
        ...

    def get(self, name: str) -> bytes:
        """Return the whole object."""
        ...

    def get_range(self, name: str, offset: int, length: int) -> bytes:
        """Return exactly *length* bytes from *offset*."""
        ...

    def stat(self, name: str) -> StoredObject:
        """Say how large the object is and when it came."""
        ...

    def objects(self, prefix: str = "") -> Iterator[StoredObject]:
        """Every object whose name begins with *prefix* (in no order); a prefix ends in `/` or is empty."""
        ...

    def delete(self, name: str) -> None:
        """Remove the object; one that is not there is no error."""
        ...

    def close(self) -> None:
        """Give connections back; the object may not be used afterwards."""
        ...


def settle(storage: Storage, name: str, parts: Parts) -> None:
    """Decide a `put` that met an object of its name, or whose answer was lost: read what is there now.

    Equal bytes mean that the put is done. Raises: ObjectExists if they are others; StorageUnavailable if the name is
    free by now, so that the put may be tried again; any other error of reading as it is.
    """
    try:
        found = storage.get(name)
    except ObjectMissing as error:
        raise StorageUnavailable(
            f"{name} in {storage.address} was there and is gone again", hint="try again: the name is free"
        ) from error
    if found != b"".join(parts):
        raise ObjectExists(f"{name} in {storage.address} already holds other bytes; they were not touched")
