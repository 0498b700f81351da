"""Pack a snapshot, or a part of it, into one stream: tar or zip."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from lamina.engine.archives.tar import TarPacker
from lamina.engine.archives.zip import ZipPacker
from lamina.engine.looking.ahead import read_ahead
from lamina.engine.permits import check_contents
from lamina.model.entries import Buffer, Entry, EntryState, EntryType
from lamina.model.operation import Operation
from lamina.model.snapshots import Snapshot
from lamina.repository.contents import ContentPart
from lamina.repository.repository import Repository
from lamina.repository.trees import get_entry, walk_tree
from lamina.targets.target import StreamTarget

ZIP_NAME_MAX = 16_000  # bytes; the format has room for 65,535, into which four for each that is no UTF-8 must fit


class ArchiveFormat(Enum):
    """How a tree is packed."""

    TAR = "tar"  # PAX: everything but sockets and file flags
    ZIP = "zip"  # files, directories, symbolic links; modes, numeric owners, times in seconds


@dataclass(frozen=True, slots=True)
class DumpPlan:
    """What is to be packed, and how."""

    snapshot: Snapshot
    path: str  # as stored; empty: everything
    top: Entry
    format: ArchiveFormat


@dataclass(frozen=True, slots=True)
class DumpReport:
    """What came of it."""

    entries: int
    size: int  # bytes of contents, holes included
    unread: int  # entries of which the backup could not read something
    left_out: int  # entries that the format cannot hold, or of which there is nothing


class Packer(Protocol):
    """Makes an archive: `pack` says what an entry becomes, `write` takes the same again with the bytes, later."""

    def pack(self, name: bytes, entry: Entry) -> Iterator[tuple[object, ContentPart | None]]: ...

    def write(self, step: object, data: memoryview | None) -> None: ...

    def finish(self) -> None: ...


def plan_dump(repository: Repository, snapshot: Snapshot, path: str | None, format_: ArchiveFormat) -> DumpPlan:
    """Look up what is to be packed. Raises: EntryMissing, NotPermitted, Damaged."""
    check_contents(repository)
    return DumpPlan(snapshot, path or "", get_entry(repository.reader(), snapshot.root, path or ""), format_)


def dump(
    repository: Repository, plan: DumpPlan, target: StreamTarget, operation: Operation, warn: Callable[[str], None]
) -> DumpReport:
    """Write the archive; *warn* is told of everything that is not in it as it was.

    Of a directory, names are relative to it. Raises: Damaged, ChunkMissing, TargetError, StorageError, Stopped.
    """
    run = _Run(repository, plan, warn)
    packer = _packer(repository, plan, target.write, warn)
    operation.progress.start("dump", plan.top.size if plan.path else plan.snapshot.size)
    for step, data in read_ahead(repository, run.steps(packer), operation):
        packer.write(step, data)
        if data is not None:
            operation.progress.advance(read=len(data))
    packer.finish()
    return DumpReport(run.entries, run.size, run.unread, run.left_out)


def _packer(
    repository: Repository, plan: DumpPlan, write: Callable[[Buffer], None], warn: Callable[[str], None]
) -> Packer:
    if plan.format is ArchiveFormat.TAR:
        return TarPacker(repository.reader(), plan.snapshot, write, warn)
    return ZipPacker(repository.reader(), write, warn)


class _Run:
    """One archive in the making."""

    def __init__(self, repository: Repository, plan: DumpPlan, warn: Callable[[str], None]) -> None:
        self._reader = repository.reader()
        self._plan = plan
        self._warn = warn
        self.entries = self.size = self.unread = self.left_out = 0

    def steps(self, packer: Packer) -> Iterator[tuple[object, ContentPart | None]]:
        for path, name, entry in self._members():
            self._note_state(path, entry)
            why = self._why_not(name, entry)
            if why:
                self.left_out += 1
                self._warn(f"{path}: {why}; it is not in the archive")
                continue
            self.entries += 1
            self.size += entry.content.size if entry.content is not None else 0
            is_torn = False
            for step, part in packer.pack(name, entry):
                is_torn = is_torn or (part is not None and part.unread)
                yield step, part
            if is_torn and not entry.is_flawed:
                self.unread += 1
                self._warn(f"{path}: some of it could not be read when the snapshot was made")

    def _members(self) -> Iterator[tuple[str, bytes, Entry]]:
        """Stored path, name in the archive and entry of everything below the top, which only stands for itself if it was saved."""
        path, top = self._plan.path, self._plan.top
        if not top.is_directory:
            yield path, posixpath.basename(path).encode("utf-8", "surrogateescape"), top
            return
        if path and not top.metadata.is_implied:
            yield path, b"./", top
        for inside, entry in walk_tree(self._reader, top.child, "") if top.child is not None else ():
            if entry.is_directory and entry.metadata.is_implied:
                continue  # it only leads to what was saved; unpacking makes it
            name = inside.encode("utf-8", "surrogateescape") + (b"/" if entry.is_directory else b"")
            yield posixpath.join(path, inside), name, entry

    def _note_state(self, path: str, entry: Entry) -> None:
        if entry.state in _SAID:
            self.unread += 1
            self._warn(f"{path}: {_SAID[entry.state]}{f' ({entry.error})' if entry.error else ''}")

    def _why_not(self, name: bytes, entry: Entry) -> str:
        if entry.state is EntryState.UNREAD and not entry.is_directory and entry.content is None and not entry.target:
            return "nothing of it is known"
        if entry.type in self._cannot:
            return f"a {self._plan.format.value} cannot hold a {entry.type.name.lower().replace('_', ' ')}"
        if self._plan.format is ArchiveFormat.ZIP and len(name) > ZIP_NAME_MAX:
            return "its path is too long for a zip"
        return ""

    @property
    def _cannot(self) -> frozenset[EntryType]:
        return TarPacker.CANNOT if self._plan.format is ArchiveFormat.TAR else ZipPacker.CANNOT


_SAID = {
    EntryState.CHANGED: "it changed while it was read",
    EntryState.UNREAD: "it could not be read when the snapshot was made",
    EntryState.KEPT: "it could not be read when the snapshot was made; an earlier snapshot's content stands there",
}
