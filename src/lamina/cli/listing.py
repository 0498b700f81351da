"""Entries of snapshots as lines for people. Pure."""

from __future__ import annotations

import stat
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from lamina.cli.text import format_time, table
from lamina.model.entries import Entry, EntryState, EntryType
from lamina.model.moments import from_ns
from lamina.model.quantities import format_size

if TYPE_CHECKING:
    from lamina.engine.outcome import Missing
    from lamina.model.snapshots import Snapshot

_MINUTE_NS = 60 * 10**9
_MODES = {
    EntryType.DIRECTORY: stat.S_IFDIR,
    EntryType.FILE: stat.S_IFREG,
    EntryType.SYMLINK: stat.S_IFLNK,
    EntryType.FIFO: stat.S_IFIFO,
    EntryType.SOCKET: stat.S_IFSOCK,
    EntryType.CHARACTER_DEVICE: stat.S_IFCHR,
    EntryType.BLOCK_DEVICE: stat.S_IFBLK,
    EntryType.UNKNOWN: 0,
}


def shown_name(name: str) -> str:
    r"""A name or path on one line, whatever bytes it has: control characters and what is no UTF-8 as escapes.

    >>> print(shown_name("a\nb\udcff"))
    a\nb\xff
    """
    return name if name.isprintable() else "".join(map(_shown_letter, name))


def _shown_letter(letter: str) -> str:
    if letter.isprintable():
        return letter
    if "\udc80" <= letter <= "\udcff":
        return f"\\x{ord(letter) - 0xDC00:02x}"
    return letter.encode("unicode_escape").decode()


@lru_cache(maxsize=4096)
def _shown_minute(minute: int) -> str:
    moment = from_ns(minute * _MINUTE_NS)
    try:
        return format_time(moment) if moment is not None else f"minute {minute}"
    except (OverflowError, ValueError, OSError):  # a year that the zone's rules do not know
        return f"minute {minute}"


def shown_time(nanoseconds: int) -> str:
    """A time of a file in the zone of this machine."""
    return _shown_minute(nanoseconds // _MINUTE_NS)


def remark(entry: Entry) -> str:
    """What a person should know about an entry that is not whole; empty for most."""
    if entry.is_flawed:
        return f"  ({entry.state.name.lower()}{f': {shown_name(entry.error)}' if entry.error else ''})"
    if entry.totals is not None and entry.totals.flawed:
        return f"  ({entry.totals.flawed} below are not whole)"
    return ""


class EntryLines:
    """Lines like those of `ls -l`; columns grow as names of owners ask for it."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._users = _names(snapshot.users)
        self._groups = _names(snapshot.groups)
        self._width = [0, 0]

    def line(self, path: str, entry: Entry) -> str:
        """One line; *path* is what the entry is called in it."""
        data = entry.metadata
        user, group = self._users(data.uid), self._groups(data.gid)
        width = self._width
        if len(user) > width[0] or len(group) > width[1]:
            self._width = width = [max(len(user), width[0]), max(len(group), width[1])]
        size = ", ".join(map(str, entry.special)) if entry.special is not None else format_size(entry.size)
        name = shown_name(path)
        if entry.type is EntryType.SYMLINK:
            name += f" -> {shown_name(entry.target.decode('utf-8', 'surrogateescape'))}"
        elif entry.type is EntryType.DIRECTORY:
            name += "/"
        if entry.state > EntryState.FRESH or entry.totals is not None:
            name += remark(entry)
        mode = stat.filemode(_MODES[entry.type] | data.mode)
        when = "" if data.is_implied else shown_time(data.mtime_ns)
        return f"{mode} {user:{width[0]}} {group:{width[1]}} {size:>10} {when:20} {name}"


def _names(known: Mapping[int, str]) -> Callable[[int], str]:
    return lru_cache(maxsize=1024)(lambda number: shown_name(known.get(number, "")) or str(number))


def missing_lines(missing: Sequence[Missing]) -> list[str]:
    """The map of what could not be restored."""
    rows = [[shown_name(one.path), str(one.offset), str(one.length), one.object] for one in missing]
    return table(["MISSING", "OFFSET", "LENGTH", "NEEDS"], rows, right=["OFFSET", "LENGTH"]) if rows else []
