"""Names and places: under which path a source is stored, what a snapshot is called, how a part of one is named. Pure."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lamina.errors import UsageError

STDIN = "-"
MAX_DEPTH = 256  # names in a stored path; far more than any file system is used with
MAX_NAME = 255  # bytes of each: what Linux allows, so that whatever was stored can be restored


@dataclass(frozen=True, slots=True)
class SnapshotPath:
    """A snapshot, or one entry of it, as the user named it."""

    snapshot: str  # still to be looked up
    path: str | None = None  # as stored; None: all of it


def source_path(text: str, cwd: str) -> str:
    """Where a source given as *text* lies, normalised: as the user named it, but absolute if that is not below *cwd*.

    >>> source_path("./a.img", "/home/u"), source_path("../b", "/home/u"), source_path(".", "/home/u")
    ('a.img', '/home/b', '/home/u')
    """
    if not text or "\0" in text:
        raise UsageError(f"{text!r} is not the path of a source")
    path = posixpath.normpath(text)
    if path in {".", ".."} or path.startswith("../"):
        path = posixpath.normpath(posixpath.join(cwd, path))
    return path


def stored_path(text: str, cwd: str) -> str:
    """The path a source given as *text* is stored under: relative, `/`-separated, without `..`; "" for the root directory.

    >>> stored_path("./a.img", "/home/u"), stored_path("/dev/vg/a", "/home/u"), stored_path("/", "/home/u")
    ('a.img', 'dev/vg/a', '')
    """
    path = source_path(text, cwd).lstrip("/")
    _check_restorable(path)
    return path


def _check_restorable(path: str) -> None:
    """Raise UsageError for a path under which nothing could be restored below a directory."""
    names = path.split("/")
    if len(names) > MAX_DEPTH:
        raise UsageError(
            f"the stored path of {len(names)} names, {path[:40]!r}…, is too deep",
            hint=f"it may have {MAX_DEPTH}: change into a directory above the source and name it from there",
        )
    long = next((name for name in names if len(name.encode("utf-8", "surrogateescape")) > MAX_NAME), None)
    if long is not None:
        raise UsageError(f"the name {long[:40]!r}… is too long to be stored", hint=f"it may have {MAX_NAME} bytes")


def check_distinct(paths: Iterable[str]) -> None:
    """Raise UsageError if two sources would be stored under one path, or one inside another."""
    seen: set[str] = set()
    for path in paths:
        if path in seen:
            raise UsageError(
                f"two sources would be stored as {path!r}", hint="give one of them another path, or back it up alone"
            )
        seen.add(path)
    if "" in seen and len(seen) > 1:
        raise UsageError("everything lies in the root directory, which is a source too", hint="back it up alone")
    for path in seen:
        parent = posixpath.dirname(path)
        while parent:
            if parent in seen:
                raise UsageError(f"{path!r} would be stored inside {parent!r}, which is a source too")
            parent = posixpath.dirname(parent)


def default_name(paths: Sequence[str], host: str) -> str:
    """What a snapshot is called unless the user says so: the base name of the only source, otherwise the host."""
    return (posixpath.basename(paths[0]) if len(paths) == 1 else "") or host


def check_name(name: str) -> str:
    """Return *name* if a snapshot may be called so. Raises: UsageError."""
    if not name or not name.isprintable() or name != name.strip():
        raise UsageError(
            f"{name!r} cannot be the name of a snapshot",
            hint="use printable characters, without blanks around them (--name)",
        )
    return name


def check_tag(tag: str) -> str:
    """Return *tag* if a snapshot may be tagged so. Raises: UsageError."""
    if not tag or not tag.isprintable() or "," in tag or any(letter.isspace() for letter in tag):
        raise UsageError(f"{tag!r} cannot be a tag", hint="use printable characters without blanks and commas")
    return tag


def parse_snapshot_path(text: str) -> SnapshotPath:
    """Read `SNAPSHOT` or `SNAPSHOT:PATH`; the snapshot is the longest beginning that the grammar of selectors knows.

    >>> parse_snapshot_path("vm@latest~1:disk.img")
    SnapshotPath(snapshot='vm@latest~1', path='disk.img')
    >>> parse_snapshot_path("3fa94c01").path is None
    True
    """
    from lamina.model.selector_text import split_path  # not before it is needed: every start would pay for it

    snapshot, path = split_path(text)
    if path is None:
        return SnapshotPath(snapshot)
    path = posixpath.normpath("/" + path).lstrip("/")
    return SnapshotPath(snapshot, path or None)
