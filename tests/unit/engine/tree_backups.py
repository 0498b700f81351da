"""Directories of this machine, backed up into small repositories by the engine, and what is stored of them."""

from __future__ import annotations

import os
import random
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from lamina.engine.backup import BackupOptions, BackupReport, Input, backup
from lamina.model.entries import EntryState, EntryType
from lamina.repository.contents import cut_part, iter_parts
from lamina.repository.trees import directory_nodes, walk_tree
from lamina.sources.source import FileSource
from lamina.testing.moody_files import HastyClock, Moods, MoodyFiles
from lamina.testing.repositories import SmallRepository

NOISE = random.Random(6).randbytes(1 << 20)
CONTENTS = {
    "a": b"first",
    "b/c/deep": b"in depth",
    "b/c/other": b"",
    "b/large": NOISE,
    "d/one": b"1",
    "d/two": b"2" * 5000,
}
LATER = datetime(2100, 1, 1, tzinfo=UTC)  # nothing made during a test is fresh then


class Stored(NamedTuple):
    """One entry of a snapshot, or one object of a file system."""

    type: EntryType
    mode: int
    mtime_ns: int
    content: bytes = b""
    target: bytes = b""
    state: EntryState = EntryState.WHOLE
    links: int = 1


def later(small: SmallRepository) -> SmallRepository:
    """The same repository with its clock far in the future."""
    small.clock = HastyClock(LATER)
    return small


def save(
    small: SmallRepository,
    source: Path | FileSource,
    *,
    path: str = "tree",
    holder: str = "owner",
    moods: Moods | None = None,
    cache: Path | None = None,
    **options: Any,
) -> tuple[BackupReport, MoodyFiles]:
    """Back a directory up, and say what the source was asked."""
    repository = small.open(holder, cache=cache)
    files = MoodyFiles(source, moods) if isinstance(source, Path) else source
    try:
        report = backup(
            repository, [Input(path, files)], BackupOptions(**{"name": "files", **options}), small.operation()
        )
        return report, files
    finally:
        files.close()
        repository.close()


def stored(small: SmallRepository, snapshot: str = "latest", path: str = "tree") -> dict[str, Stored]:
    """What a snapshot holds below *path*, contents included."""
    repository = small.open()
    reader = repository.reader()
    found = {}
    for name, entry in walk_tree(reader, repository.find_snapshot(snapshot).root):
        content = b""
        if entry.content is not None:
            content = b"".join(
                bytes(part.length) if part.chunk is None else bytes(cut_part(part, reader.get_data(part.chunk)))
                for part in iter_parts(reader, entry.content)
            )
        if name.startswith(path + "/"):
            data = entry.metadata
            links = 1 if entry.is_directory else data.links
            found[name[len(path) + 1 :]] = Stored(
                entry.type, data.mode, data.mtime_ns, content, entry.target, entry.state, links
            )
    repository.close()
    return found


def present(directory: Path) -> dict[str, Stored]:
    """What lies in a directory now."""
    from lamina.sources.inodes import found_of

    found = {}
    for above, folders, files in os.walk(directory):
        for name in (*folders, *files):
            path = os.path.join(above, name)
            one = found_of(os.fsencode(name), os.lstat(path), {})
            is_file = one.type is EntryType.FILE
            found[os.path.relpath(path, directory)] = Stored(
                one.type,
                one.metadata.mode,
                one.metadata.mtime_ns,
                Path(path).read_bytes() if is_file else b"",
                os.fsencode(os.readlink(path)) if one.type is EntryType.SYMLINK else b"",
                EntryState.WHOLE,
                1 if one.type is EntryType.DIRECTORY else one.metadata.links,
            )
    return found


def make(directory: Path, contents: Mapping[str, bytes]) -> Path:
    """Files, and the directories that lead to them."""
    for name, content in contents.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return directory


def objects(small: SmallRepository) -> set[str]:
    """Names of all that is stored."""
    return {found.name for found in small.storage.objects()}


def nodes(small: SmallRepository, snapshot: str = "latest") -> set[bytes]:
    """The ids of all directory nodes of a snapshot."""
    repository = small.open()
    reader = repository.reader()
    root = repository.find_snapshot(snapshot).root
    directories = [root, *(entry.child for _, entry in walk_tree(reader, root) if entry.child is not None)]
    found = {node.id for one in directories for node in directory_nodes(reader, one)}
    repository.close()
    return found | set(directories)
