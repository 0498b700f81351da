"""Damage to a storage, as bit rot and attackers do it; and a storage that remembers every state it was in."""

from __future__ import annotations

from collections.abc import Iterator

from lamina.storage.backends.memory import MemoryStorage
from lamina.storage.storage import Parts, Storage, StoredObject


def replace_object(storage: Storage, name: str, data: bytes) -> None:
    """Make *name* hold *data*, whatever it held before."""
    storage.delete(name)
    storage.put(name, [data])


def flip_bit(storage: Storage, name: str, offset: int) -> None:
    """Turn one bit over in the byte at *offset* (negative: from the end)."""
    data = bytearray(storage.get(name))
    data[offset] ^= 0x10
    replace_object(storage, name, bytes(data))


def cut_object(storage: Storage, name: str, size: int) -> None:
    """Keep only the first *size* bytes of an object."""
    replace_object(storage, name, storage.get(name)[:size])


def swap_objects(storage: Storage, one: str, other: str) -> None:
    """Let two objects change places."""
    first, second = storage.get(one), storage.get(other)
    replace_object(storage, one, second)
    replace_object(storage, other, first)


def copy_storage(storage: Storage) -> MemoryStorage:
    """A copy in memory of all a storage holds, to be damaged at will."""
    copied = MemoryStorage(address=f"a copy of {storage.address}")
    for found in storage.objects():
        copied.put(found.name, [storage.get(found.name)])
    return copied


class RecordingStorage:
    """*storage*, with every put noted in order: `states` plays them back, as crashes would have left them."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._before = copy_storage(storage)
        self._puts: list[tuple[str, bytes]] = []

    def states(self) -> Iterator[MemoryStorage]:
        """A copy of the storage as it was before the first put since, after the first, after the second, …"""
        for count in range(len(self._puts) + 1):
            state = copy_storage(self._before)
            for name, data in self._puts[:count]:
                state.put(name, [data])
            yield state

    @property
    def address(self) -> str:
        return self._storage.address

    def put(self, name: str, parts: Parts) -> None:
        self._storage.put(name, parts)
        self._puts.append((name, b"".join(parts)))

    def get(self, name: str) -> bytes:
        return self._storage.get(name)

    def get_range(self, name: str, offset: int, length: int) -> bytes:
        return self._storage.get_range(name, offset, length)

    def stat(self, name: str) -> StoredObject:
        return self._storage.stat(name)

    def objects(self, prefix: str = "") -> Iterator[StoredObject]:
        return self._storage.objects(prefix)

    def delete(self, name: str) -> None:
        self._storage.delete(name)

    def close(self) -> None:
        self._storage.close()
