"""What directories looked like in the parent, so that their nodes need no reading; and in this snapshot, for the next run."""

from __future__ import annotations

import struct

from lamina.model.entries import Entry, EntryState, EntryType, Metadata
from lamina.model.looks import LOOK_OF_DIRECTORY, MOST_MEMBERS, TYPE_BITS, device_number, join_looks, look_of
from lamina.repository.directories import EntryRecord
from lamina.repository.looks import Looks

_WHOLE, _DIRECTORY = int(EntryState.WHOLE), int(EntryType.DIRECTORY)


class Recall:
    """Stamps of the directories of one tree (`lamina.sources.source.Looks`): the parent's, and the new snapshot's as they come."""

    def __init__(self, looks: Looks) -> None:
        self.is_empty = not len(looks)
        self.stamps: list[bytes] = []  # of this snapshot
        self.place = looks.place
        self._looks = looks

    def recall(self, place: bytes, look: bytes) -> bytes | None:
        """See `Looks`."""
        stamp = self._looks.stamp(place, look)
        return stamp if self._looks.knows(stamp) else None

    def begin_again(self) -> None:
        """Forget everything."""
        self.is_empty = True
        self.stamps.clear()

    def note(self, place: bytes, look: bytes) -> None:
        """A directory at that place is stored with that look, and a backup of the same would store the same."""
        self.stamps.append(self._looks.stamp(place, look))


class GrowingLook:
    """The look that a directory will have if it does not change any more: taken from what is stored of it."""

    def __init__(self) -> None:
        self._names: list[bytes] = []
        self._members: list[bytes] = []
        self._is_plain = True

    def keep(self, record: EntryRecord) -> None:
        """The next entry, as it stands in the parent."""
        if record.type == _DIRECTORY:
            self._add(record.name, LOOK_OF_DIRECTORY)
        elif record.state == _WHOLE:
            mode, special = TYPE_BITS.get(record.type, 0) | record.mode, record.special
            number = 0 if special is None else device_number(special)
            fields = (mode, record.uid, record.gid, record.mtime_ns, record.ctime_ns, record.inode, record.links)
            self._add(record.name, _packed(*fields, record.device, number, record.size))
        else:
            self._is_plain = False

    def add(self, entry: Entry) -> None:
        """The next entry, which is new."""
        if entry.is_directory:
            self._add(entry.name, LOOK_OF_DIRECTORY)
        elif entry.state is EntryState.WHOLE:
            self._add(entry.name, _look(entry.type, entry.metadata, entry.special, entry.size))
        else:
            self._is_plain = False

    def finish(self, metadata: Metadata) -> bytes | None:
        """The look of the whole; None if a look would not tell that nothing has changed."""
        own = _look(_DIRECTORY, metadata, None, 0)
        return join_looks(own, self._names, self._members) if self._is_plain and own else None

    def _add(self, name: bytes, look: bytes) -> None:
        if not look or len(self._names) == MOST_MEMBERS:
            self._is_plain = False
        if self._is_plain:
            self._names.append(name)
            self._members.append(look)
        else:
            self._names, self._members = [], []


def _look(type_: int, metadata: Metadata, special: tuple[int, int] | None, size: int) -> bytes:
    mode, uid, gid, mtime_ns, ctime_ns, inode, links, device = metadata[:8]
    number = 0 if special is None else device_number(special)
    bits = TYPE_BITS.get(type_, 0)
    return _packed(bits | mode, uid, gid, mtime_ns, ctime_ns, inode, links, device, number, size)


def _packed(*fields: int) -> bytes:
    """Nothing for numbers that are larger than a kernel's."""
    try:
        return look_of(*fields)
    except struct.error:
        return b""
