"""Trees of files, described so that two can be compared, and random ones made from plain values."""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from hypothesis import strategies as st

from lamina.testing.zoo import noise, read_flags

MIB = 1 << 20
_BLOCK = 128 << 10
_SPARSE_FROM = 2 * MIB  # what holds less than this may be restored with its holes filled


class Described(NamedTuple):
    """All of one object that a backup must bring back."""

    type: int  # as stat.S_IFMT has it
    mode: int
    uid: int
    gid: int
    mtime_ns: int
    size: int  # of a regular file
    content: str  # a hash of a regular file's content; says why it could not be read
    target: bytes  # of a symbolic link
    rdev: int
    xattrs: tuple[tuple[bytes, bytes], ...]
    flags: int
    first_name: bytes  # the first of the paths here that lead to the same object
    is_sparse: bool  # most of it takes no space


def describe_tree(directory: Path | bytes) -> dict[bytes, Described]:
    """What lies in *directory*, by relative path; `.` is itself. What cannot be read is described as such."""
    root = os.fsencode(directory)
    found: dict[bytes, Described] = {}
    first_names: dict[tuple[int, int], bytes] = {}
    for path in _paths(root):
        status = os.lstat(path)
        name = os.path.relpath(path, root)
        first = first_names.setdefault((status.st_dev, status.st_ino), name)
        found[name] = _describe(path, status, first)
    return found


def differences(expected: Mapping[bytes, Described], got: Mapping[bytes, Described]) -> list[str]:
    """What tells two trees apart, one line for each object and field, for people; none if they are equal.

    >>> differences({}, {})
    []
    """
    lines = [f"{name!r} is missing" for name in sorted(expected.keys() - got.keys())]
    lines += [f"{name!r} is too much" for name in sorted(got.keys() - expected.keys())]
    for name in sorted(expected.keys() & got.keys()):
        for field, wanted, found in zip(Described._fields, expected[name], got[name], strict=True):
            if wanted != found:
                lines.append(f"{name!r}: {field} should be {wanted!r} and is {found!r}")
    return lines


def _paths(root: bytes) -> Iterator[bytes]:
    """Every path, a directory before what is in it, in the order of the names' bytes."""
    todo = [root]
    while todo:
        path = todo.pop()
        yield path
        if stat.S_ISDIR(os.lstat(path).st_mode):
            try:
                names = os.listdir(path) if os.access(path, os.X_OK) else []
            except PermissionError:
                names = []  # nobody can tell; its mode says so
            todo.extend(os.path.join(path, name) for name in sorted(names, reverse=True))


def _describe(path: bytes, status: os.stat_result, first_name: bytes) -> Described:
    kind = stat.S_IFMT(status.st_mode)
    is_file = kind == stat.S_IFREG
    return Described(
        type=kind,
        mode=stat.S_IMODE(status.st_mode),
        uid=status.st_uid,
        gid=status.st_gid,
        mtime_ns=status.st_mtime_ns,
        size=status.st_size if is_file else 0,
        content=_hash(path, status.st_size) if is_file else "",
        target=os.readlink(path) if kind == stat.S_IFLNK else b"",
        rdev=status.st_rdev if kind in {stat.S_IFCHR, stat.S_IFBLK} else 0,
        xattrs=_xattrs(path),
        flags=read_flags(path) if kind in {stat.S_IFREG, stat.S_IFDIR} else 0,
        first_name=first_name,
        is_sparse=is_file and status.st_size >= _SPARSE_FROM and status.st_blocks * 512 < status.st_size // 2,
    )


def _hash(path: bytes, size: int) -> str:
    """Of where there are other bytes than zeros, and which: holes of a vast file need not be read."""
    from hashlib import sha256

    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except PermissionError:
        return "may not be read"
    total = sha256()
    try:
        for offset in _blocks_with_data(fd, size):
            block = os.pread(fd, _BLOCK, offset)
            if block.strip(b"\0"):
                total.update(offset.to_bytes(8, "big") + block)
    finally:
        os.close(fd)
    return total.hexdigest()


def _blocks_with_data(fd: int, size: int) -> Iterator[int]:
    """Offsets of the blocks that are not wholly within a hole."""
    offset = 0
    while offset < size:
        try:
            data = os.lseek(fd, offset, os.SEEK_DATA)
        except OSError as error:
            if error.errno != errno.ENXIO:  # there is nothing but a hole from here on
                raise
            return
        end = os.lseek(fd, data, os.SEEK_HOLE)
        start = max(offset, data - data % _BLOCK)
        yield from range(start, end, _BLOCK)
        offset = start + -(-(end - start) // _BLOCK) * _BLOCK


def _xattrs(path: bytes) -> tuple[tuple[bytes, bytes], ...]:
    found = []
    for name in sorted(os.fsencode(name) for name in os.listxattr(path, follow_symlinks=False)):
        try:
            found.append((name, os.getxattr(path, name, follow_symlinks=False)))
        except PermissionError:
            found.append((name, b"may not be read"))
    return tuple(found)


class Edit(NamedTuple):
    """One change of a tree, as a plain value: `where` and `other` choose among what is there, so that every edit does something."""

    kind: str
    where: int
    other: int
    name: bytes
    size: int
    mtime_ns: int


_OF_FILES = ("rewrite", "rewrite-in-secret", "append", "truncate", "extend")  # extended by a hole
CREATE = ("file", "directory", "symlink", "fifo", "hardlink")
CHANGE = (
    "remove", "rename", "replace", "chmod", "chown", "touch", "xattr", *_OF_FILES,
)  # fmt: skip

_NAMES = st.one_of(
    st.sampled_from([b"a", b"b", b"c", b"A", b"a.txt", b"\n", b"\xff", b"-", b" "]),
    st.binary(min_size=1, max_size=8).filter(lambda name: name not in {b".", b".."} and not set(name) & set(b"/\0")),
)
_SIZES = st.one_of(
    st.sampled_from([0, 1, 4095, 4096, 65_536, 300_000, 1_100_000]),
    st.integers(0, 5000),
)  # around the sizes of chunks, and many small ones
_TIMES = st.one_of(st.integers(-(10**18), 4 * 10**18), st.sampled_from([0, -1, 10**18, 1_500_000_000_000_000_000]))


def trees(max_size: int = 15) -> st.SearchStrategy[list[Edit]]:
    """Edits that make a tree in an empty directory."""
    return st.lists(_edits_of(CREATE), min_size=1, max_size=max_size)


def edits(max_size: int = 8) -> st.SearchStrategy[list[Edit]]:
    """Any edits of any tree."""
    return st.lists(_edits_of(CREATE + CHANGE), min_size=1, max_size=max_size)


def _edits_of(kinds: tuple[str, ...]) -> st.SearchStrategy[Edit]:
    return st.builds(Edit, st.sampled_from(kinds), st.integers(0, 40), st.integers(0, 40), _NAMES, _SIZES, _TIMES)


def apply(changes: list[Edit], directory: Path) -> None:
    """Make the *changes* below *directory*, one after the other; what makes no sense where it is meant is left out."""
    root = os.fsencode(directory)
    for edit in changes:
        if edit.kind in CREATE:
            path = os.path.join(_choose(root, edit.where, stat.S_IFDIR) or root, edit.name)
            if not os.path.lexists(path):
                _create(edit, path, _choose(root, edit.other, stat.S_IFREG))
        else:
            found = _choose(root, edit.where, stat.S_IFREG if edit.kind in _OF_FILES else 0)
            if found is not None:
                _change(edit, found, _choose(root, edit.other, stat.S_IFDIR) or root)


def _choose(root: bytes, number: int, kind: int = 0) -> bytes | None:
    """One of the paths below *root* that lead to the *kind* of object (0: any)."""
    paths = [path for path in _paths(root) if path != root and kind in {0, stat.S_IFMT(os.lstat(path).st_mode)}]
    return paths[number % len(paths)] if paths else None


def _create(edit: Edit, path: bytes, file: bytes | None) -> None:
    match edit.kind:
        case "file":
            _write(path, noise(edit.size, edit.other))
            os.utime(path, ns=(0, edit.mtime_ns))
        case "directory":
            os.mkdir(path)
        case "symlink":
            os.symlink(noise(1 + edit.size % 100, edit.other).replace(b"\0", b"/"), path)
        case "fifo":
            os.mkfifo(path)
        case "hardlink" if file is not None:
            os.link(file, path)


def _change(edit: Edit, path: bytes, folder: bytes) -> None:
    match edit.kind:
        case "remove":
            _remove(path)
        case "rename":
            target = os.path.join(folder, edit.name)
            if not os.path.lexists(target) and not (target + b"/").startswith(path + b"/"):
                os.rename(path, target)
        case "replace":
            was_directory = stat.S_ISDIR(os.lstat(path).st_mode)
            _remove(path)
            if was_directory:
                _write(path, noise(edit.size, edit.other))
            else:
                os.mkdir(path)
                _write(os.path.join(path, edit.name), noise(edit.size, edit.other))
        case "chmod" | "chown" | "touch" | "xattr":
            _change_metadata(edit, path)
        case _:
            _change_content(edit, path)


def _change_metadata(edit: Edit, path: bytes) -> None:
    is_link = stat.S_ISLNK(os.lstat(path).st_mode)
    is_root = os.geteuid() == 0
    if edit.kind == "touch":
        os.utime(path, ns=(0, edit.mtime_ns), follow_symlinks=False)
    elif edit.kind == "chmod" and not is_link:
        os.chmod(path, (edit.size % 0o10000) | (0 if is_root else 0o700))  # others than root must still get in
    elif edit.kind == "chown" and is_root:
        os.chown(path, edit.where, edit.other, follow_symlinks=False)
    elif edit.kind == "xattr" and os.path.isfile(path) and not is_link:
        with suppress(OSError):  # there are file systems without
            os.setxattr(path, b"user.%d" % (edit.other % 3), noise(edit.size % 200, edit.where))


def _change_content(edit: Edit, path: bytes) -> None:
    before = os.lstat(path)
    with open(path, "r+b") as file:
        match edit.kind:
            case "rewrite":
                file.truncate(0)
                file.write(noise(edit.size, edit.other))
            case "rewrite-in-secret":
                file.write(noise(before.st_size, edit.other))
            case "append":
                file.seek(0, os.SEEK_END)
                file.write(noise(edit.size, edit.other))
            case "truncate":
                file.truncate(edit.size)
            case "extend":
                file.truncate(before.st_size + 3 * MIB)
    if edit.kind == "rewrite-in-secret":
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def _write(path: bytes, content: bytes) -> None:
    with open(path, "xb") as file:
        file.write(content)


def _remove(path: bytes) -> None:
    if stat.S_ISDIR(os.lstat(path).st_mode):
        shutil.rmtree(path)
    else:
        os.unlink(path)
