"""Look into snapshots: what is in a directory, and what is in a file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from lamina.engine.looking.ahead import read_ahead
from lamina.engine.permits import check_contents, check_names
from lamina.errors import UsageError
from lamina.model.entries import Entry, EntryState
from lamina.model.operation import Operation
from lamina.model.snapshots import Snapshot
from lamina.repository.contents import ContentPart, iter_parts
from lamina.repository.repository import Repository
from lamina.repository.trees import get_entry, read_directory, walk_tree
from lamina.targets.target import StreamTarget


class Listed(NamedTuple):
    """One entry and where it lies."""

    path: str  # as stored
    entry: Entry


def list_entries(
    repository: Repository, snapshot: Snapshot, path: str | None, *, recursive: bool = False
) -> Iterator[Listed]:
    """What is in a directory of a snapshot (its root without *path*), or at any depth below; a file stands for itself.

    Raises: EntryMissing, NotPermitted, Damaged, ChunkMissing.
    """
    check_names(repository, snapshot)
    reader = repository.reader()
    top = get_entry(reader, snapshot.root, path or "")
    if top.child is None:
        yield Listed(path or "", top)
        return
    prefix = f"{path}/" if path else ""
    if recursive:
        yield from map(Listed._make, walk_tree(reader, top.child, prefix))
        return
    for entry in read_directory(reader, top.child):
        yield Listed(prefix + entry.name.decode("utf-8", "surrogateescape"), entry)


def find_files(repository: Repository, snapshot: Snapshot, paths: Sequence[str]) -> list[Listed]:
    """The files at *paths*, all looked up before any is read.

    Raises: EntryMissing, NotPermitted; UsageError for what has no content.
    """
    check_contents(repository)
    found = [Listed(path, get_entry(repository.reader(), snapshot.root, path)) for path in paths]
    for path, entry in found:
        if entry.content is None and entry.state is not EntryState.UNREAD:
            what = entry.type.name.lower().replace("_", " ")
            raise UsageError(
                f"{path!r} is a {what}, which has no content",
                hint=f"`lamina dump {snapshot.short_id}:{path}` packs a whole directory" if entry.is_directory else "",
            )
    return found


def write_contents(
    repository: Repository, files: Iterable[Listed], target: StreamTarget, operation: Operation
) -> tuple[str, ...]:
    """Write the contents one after the other; returns what of them the backup could not read.

    Raises: Damaged, ChunkMissing, TargetError, StorageError, Stopped.
    """
    unread: dict[str, None] = {}  # in order, each once

    def parts() -> Iterator[tuple[None, ContentPart | None]]:
        for path, entry in files:
            if entry.is_flawed and entry.state is not EntryState.CHANGED:
                unread[path] = None
            for part in iter_parts(repository.reader(), entry.content) if entry.content is not None else ():
                if part.unread:
                    unread[path] = None
                yield None, part

    for _, data in read_ahead(repository, parts(), operation):
        if data is not None:
            target.write(data)
            operation.progress.advance(read=len(data))
    return tuple(unread)
