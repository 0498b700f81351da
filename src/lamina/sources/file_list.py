"""Which objects a list of paths names (`--files-from`). Pure."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field

from lamina.errors import UsageError


def parse_file_list(data: bytes, *, null: bool | None = None) -> list[bytes]:
    r"""The paths in a list, one a line, or up to a NUL each with *null*; None: with a NUL anywhere, they end in NULs.

    Every byte counts: there are no comments, no wildcards, and blanks and carriage returns are part of a name. Empty entries do
    not count. Raises: UsageError for a NUL in a list of lines.

    >>> parse_file_list(b"a b\n# c\n"), parse_file_list(b"a\nb\0")
    ([b'a b', b'# c'], [b'a\nb'])
    """
    if null is None:
        null = b"\0" in data
    if not null and b"\0" in data:
        raise UsageError("there is a NUL in a list of paths that is to be read by lines", hint="no path can hold one")
    return [path for path in data.split(b"\0" if null else b"\n") if path]


@dataclass(slots=True)
class Wanted:
    """One object that a list names, or a directory on the way to one.

    In a whole one, what is not among the children is wanted too; what is, was asked for by name (or leads to what was).
    """

    children: dict[bytes, Wanted] = field(default_factory=dict)  # what the list names in it
    whole: bool = False  # it is named, or something above it is: all below is wanted


_NAMED = Wanted(whole=True)  # one for all that have nothing named below them: a list may name millions


def build_wanted(paths: Iterable[bytes], *, root: bytes = b"") -> Wanted:
    """The paths as a tree, seen from the directory they are relative to; the result is not to be changed.

    *root* is the absolute path of that directory; absolute paths need it. `.` and `..` are resolved by the names alone, without
    a look at links. The same paths in another order give the same tree. Raises: UsageError for a path that leaves the directory.

    >>> wanted = build_wanted([b"etc/ssh", b"./etc//hosts"])
    >>> sorted(wanted.children), sorted(wanted.children[b"etc"].children), wanted.children[b"etc"].whole
    ([b'etc'], [b'hosts', b'ssh'], False)
    """
    top = Wanted()
    for path in paths:
        names = _names_below(path, root)
        if not names:
            top.whole = True
            continue
        node = top
        for name in names[:-1]:
            node = _own_child(node, name)
        if names[-1] in node.children:
            _own_child(node, names[-1]).whole = True
        else:
            node.children[names[-1]] = _NAMED
    _spread(top)
    return top


def _names_below(path: bytes, root: bytes) -> list[bytes]:
    if path.startswith(b"/") and not root:
        raise UsageError(f"{_shown(path)} is an absolute path", hint="a list names paths relative to the source")
    above = [name for name in root.split(b"/") if name]
    names = [] if path.startswith(b"/") else above.copy()
    for name in path.split(b"/"):
        if name == b"..":
            if not names and not root:
                raise _outside(path)
            del names[-1:]  # above the root of the file system is itself
        elif name not in {b"", b"."}:
            names.append(name)
    if names[: len(above)] != above:
        raise _outside(path)
    return names[len(above) :]


def _outside(path: bytes) -> UsageError:
    return UsageError(
        f"{_shown(path)} lies outside the directory that the list is about",
        hint="name a source that all paths of the list are in",
    )


def _own_child(node: Wanted, name: bytes) -> Wanted:
    """The child of that name, made unless it is there, and no other's."""
    child = node.children.get(name)
    if child is None or child is _NAMED:
        child = node.children[name] = Wanted(whole=child is _NAMED)
    return child


def _spread(top: Wanted) -> None:
    """Make whole what is below a whole node."""
    waiting = [top]
    while waiting:
        node = waiting.pop()
        for child in node.children.values():
            if child is not _NAMED:
                child.whole |= node.whole
                waiting.append(child)


def _shown(path: bytes) -> str:
    return repr(os.fsdecode(path))
