"""A tree as a zip stream."""

from __future__ import annotations

import stat
import struct
import zipfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import IO, Any, ClassVar

from lamina.model.entries import Buffer, Entry, EntryType
from lamina.repository.chunks import ChunkReader
from lamina.repository.contents import ContentPart, iter_parts

LEVEL = 1  # of deflate: whoever wants it small compresses a tar
_UNIX = 3  # "made by": the upper half of the external attributes is a mode
_FIRST, _LAST = (1980, 1, 1, 0, 0, 0), (2107, 12, 31, 23, 59, 58)  # what a zip can say of times
_TIME = struct.Struct("<HHBi")  # extra field UT: what unzip restores times from
_OWNER = struct.Struct("<HHBBIBI")  # extra field ux: numeric owner and group
_ZIP64 = 1 << 31
_TYPES = {EntryType.DIRECTORY: stat.S_IFDIR, EntryType.FILE: stat.S_IFREG, EntryType.SYMLINK: stat.S_IFLNK}


class _End:
    """The member is complete."""


class ZipPacker:
    """Packs entries; see `Packer`. About 1 KB stays in memory for each entry, as a zip ends in a list of all."""

    CANNOT: ClassVar[frozenset[EntryType]] = frozenset(EntryType) - frozenset(_TYPES)

    def __init__(self, reader: ChunkReader, write: Callable[[Buffer], None], warn: Callable[[str], None]) -> None:
        self._reader = reader
        self._warn = warn
        self._zip = zipfile.ZipFile(_Unseekable(write), "w", zipfile.ZIP_DEFLATED, compresslevel=LEVEL)
        self._member: IO[bytes] | None = None
        self._lost = {"file flags": 0, "extended attributes and ACLs": 0, "their being one file with another name": 0}

    def pack(self, name: bytes, entry: Entry) -> Iterator[tuple[object, ContentPart | None]]:
        lost = self._lost
        lost["file flags"] += bool(entry.metadata.flags)
        lost["extended attributes and ACLs"] += bool(entry.metadata.xattrs)
        lost["their being one file with another name"] += entry.metadata.links > 1 and not entry.is_directory
        member = self._info(name, entry)
        yield member, None
        if entry.type is EntryType.SYMLINK:
            yield entry.target, None
        elif entry.content is not None:
            yield from ((b"", part) for part in iter_parts(self._reader, entry.content))
        yield _End(), None

    def write(self, step: object, data: memoryview | None) -> None:
        if isinstance(step, zipfile.ZipInfo):
            if step.filename in self._zip.NameToInfo:
                self._warn(f"{step.filename}: a zip would have two entries of this name; this one gets another")
                step.filename += f".{len(self._zip.NameToInfo)}"
            self._member = self._zip.open(step, "w", force_zip64=step.file_size >= _ZIP64)
            return
        assert self._member is not None  # noqa: S101 - `pack` begins with the member
        if isinstance(step, _End):
            self._member.close()
        else:
            assert isinstance(step, bytes)  # noqa: S101 - as `pack` made it
            self._member.write(step if data is None else data)

    def finish(self) -> None:
        self._zip.close()
        for what, count in self._lost.items():
            if count:
                self._warn(f"a zip cannot hold {what}: {count} entries have lost that")

    def _info(self, name: bytes, entry: Entry) -> zipfile.ZipInfo:
        data = entry.metadata
        info = zipfile.ZipInfo(self._text(name), _date(data.mtime_ns))
        info.create_system = _UNIX
        info.external_attr = (_TYPES[entry.type] | data.mode) << 16 | (0x10 if entry.is_directory else 0)
        info.compress_type = zipfile.ZIP_STORED if entry.content is None else zipfile.ZIP_DEFLATED
        info.file_size = entry.content.size if entry.content is not None else len(entry.target)
        with suppress(struct.error):  # before 1901 or after 2038: the date alone has to do
            info.extra += _TIME.pack(0x5455, 5, 1, data.mtime_ns // 10**9)
        info.extra += _OWNER.pack(0x7875, 11, 1, 4, data.uid & 0xFFFFFFFF, 4, data.gid & 0xFFFFFFFF)
        return info

    def _text(self, name: bytes) -> str:
        """The name as a zip can have it: UTF-8, and no other entry's."""
        try:
            text = name.decode()
        except UnicodeDecodeError:
            text = name.decode("utf-8", "backslashreplace")
            self._warn(f"{text}: a zip cannot hold this name; in the archive it has backslashes where it is no UTF-8")
        return text


class _Unseekable:
    """What ZipFile writes to when nothing can be written again."""

    def __init__(self, write: Callable[[Buffer], None]) -> None:
        self._write = write

    def write(self, data: Buffer) -> int:
        self._write(data)
        return len(data)

    def flush(self) -> None:
        """Nothing is kept back here."""

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(name)


def _date(nanoseconds: int) -> tuple[int, int, int, int, int, int]:
    try:
        when = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=nanoseconds // 10**9)
    except OverflowError:
        return _FIRST if nanoseconds < 0 else _LAST
    found = (when.year, when.month, when.day, when.hour, when.minute, when.second)
    return min(max(found, _FIRST), _LAST)
