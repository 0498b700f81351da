"""The file trees that are backed up: a copy of real files, and very many tiny ones made from real names and text.

What builds or reads a whole tree at once runs in a process of its own (`run_apart`), so that the measuring one stays small.
"""

from __future__ import annotations

import itertools
import os
import random
import re
import shutil
import stat
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

from benchmarks.images import KIB, MIB

LARGEST_TINY = 4 * KIB
_TYPICAL_TINY, _TINY_SPREAD = 6.7, 1.0  # of a log-normal size: half of all files below 0.8 KiB, a mean of about 1.1 KiB
_EMPTY_SHARE = 0.02
_TEXT_SIZE = 128 * MIB  # of real text that the tiny files are slices of: far more than a program compresses at once
_DEEPEST = 8
_NEWEST, _AGE = 1_700_000_000_000_000_000, 3 * 365 * 86_400 * 1_000_000_000  # nanoseconds: times lie in three years
_READ_SIZE = 128 * KIB  # more would be made and thrown away for every tiny file
_PLAIN_NAME = re.compile(r"\w[\w.-]*")  # no pattern in anyone's language


@dataclass(frozen=True, slots=True)
class Tree:
    """A tree that was built."""

    path: Path
    files: int
    size: int  # bytes of the files' contents
    origin: str
    needle: str  # the name of one of its files

    @property
    def description(self) -> str:
        return f"{self.files:,} files with {self.size >> 20} MiB of content, {self.origin}"


def copy_files(tree: Path, content: Path, files: int) -> Tree:
    """Copy *files* regular files of *content*, and their share of its links, with all that belongs to them.

    Which ones are taken depends on their names alone; if there are fewer, all are.
    """
    shutil.rmtree(tree, ignore_errors=True)
    tree.mkdir(parents=True)
    found = list(_members(content))
    cut = sorted(_rank(name) for name, is_file in found if is_file)[:files][-1:]
    names = [name for name, _ in found if cut and _rank(name) <= cut[0]]
    folders = {parent for name in names for parent in _parents(name)}
    # A directory's times hold only if what is in it follows directly.
    wanted = sorted([*names, *folders], key=lambda name: name.split("/"))
    _pipe_tar(content, tree, wanted)
    sizes = [os.lstat(tree / name).st_size for name, is_file in found if is_file and (tree / name).exists()]
    needle = next(name.rsplit("/", 1)[-1] for name in reversed(names) if _PLAIN_NAME.fullmatch(name.rsplit("/", 1)[-1]))
    return Tree(tree, len(sizes), sum(sizes), f"copied from {content}", needle)


def make_tiny_files(tree: Path, content: Path, files: int) -> Tree:
    """Make *files* files of 0 to 4 KiB with names and slices of text found below *content*; the same each time."""
    shutil.rmtree(tree, ignore_errors=True)
    generator = random.Random(files)
    found = [name for name, is_file in _members(content) if is_file]
    words = sorted({part for name in found for part in name.split("/")[:-1]})
    names = sorted({name.rsplit("/", 1)[-1] for name in found}.difference(words))
    text = _text(content, found)
    folders = _grow_folders(generator, words, max(files // 1000, min(1000, files // 50), 1))
    size, needle = 0, ""
    for folder, count in zip(folders, _shares(generator, files, len(folders)), strict=True):
        path = tree / folder
        path.mkdir(parents=True)
        for name in _distinct_names(generator, names, count):
            size += _write_tiny(f"{path}/{name}", text, generator)
            needle = name if _PLAIN_NAME.fullmatch(name) else needle
    for folder in folders:
        _set_time(str(tree / folder), generator)
    return Tree(tree, files, size, f"in {len(folders)} directories, slices of text of {content}", needle)


def change_files(tree: Path, share: float, seed: int) -> int:
    """Replace the content of *share* of the files by the same bytes in reverse; returns of how many.

    They are as compressible as before and known to no program; a second call with the same *seed* takes the first one back.
    """
    generator = random.Random(seed)
    count = 0
    for path in _regular_files(tree):
        if generator.random() < share:
            status = os.stat(path)
            os.chmod(path, status.st_mode | stat.S_IWUSR)
            with open(path, "r+b") as file:
                content = file.read()
                file.seek(0)
                file.write(content[::-1])
            os.chmod(path, stat.S_IMODE(status.st_mode))
            count += 1
    return count


def first_difference(tree: Path, restored: Path) -> str | None:
    """What differs between two trees: kinds, contents, rights, owners, times, links or extended attributes."""
    pending = [""]
    while pending:
        name = pending.pop()
        one, other = f"{tree}{name}", f"{restored}{name}"
        if not os.path.lexists(other):
            return f"{other} is missing"
        status = os.lstat(one)
        if aspect := _differing_aspect(one, status, other):
            return f"{other}: {aspect}"
        if stat.S_ISDIR(status.st_mode):
            names = os.listdir(one)
            if set(names) != set(os.listdir(other)):
                return f"{other}: other names"
            pending += [f"{name}/{each}" for each in names]
    return None


def _members(content: Path) -> Iterator[tuple[str, bool]]:
    """What can be read below *content* and is no directory: relative name, and whether it is a regular file."""
    for folder, folders, names in os.walk(content):
        folders.sort()
        for name in sorted(names):
            path = os.path.join(folder, name)
            mode = os.lstat(path).st_mode
            if stat.S_ISLNK(mode) or (stat.S_ISREG(mode) and os.access(path, os.R_OK)):
                yield os.path.relpath(path, content), stat.S_ISREG(mode)


def _rank(name: str) -> bytes:
    return blake2b(os.fsencode(name), digest_size=16).digest()


def _parents(name: str) -> Iterator[str]:
    while "/" in name:
        name = name.rsplit("/", 1)[0]
        yield name


def _pipe_tar(source: Path, target: Path, names: Iterable[str]) -> None:
    """Copy *names* with hard links, owners, times in nanoseconds and extended attributes."""
    listed = target.with_name(f"{target.name}.names")
    listed.write_bytes(b"".join(os.fsencode(name) + b"\0" for name in names))
    attributes = ("--xattrs", "--xattrs-include=*")
    reading = ["tar", "--directory", str(source), "--create", "--format=posix", *attributes, "--no-recursion", "--null"]
    writing = ["tar", "--directory", str(target), "--extract", "--preserve-permissions", *attributes]
    with subprocess.Popen([*reading, f"--files-from={listed}"], stdout=subprocess.PIPE) as reader:
        subprocess.run(writing, stdin=reader.stdout, check=True)
    if reader.returncode:
        raise SystemExit(f"{source} could not be copied: tar ended with {reader.returncode}")
    listed.unlink()


def _text(content: Path, names: Sequence[str]) -> bytes:
    """Text of files of *content*, taken here and there."""
    parts: list[bytes] = []
    size = 0
    for name in random.Random(0).sample(names, len(names)):
        path = content / name
        if LARGEST_TINY <= path.stat().st_size <= MIB and b"\0" not in (data := path.read_bytes()):
            parts.append(data)
            size += len(data)
            if size >= _TEXT_SIZE:
                break
    if size <= LARGEST_TINY:
        raise SystemExit(f"{content} holds too little text to make files of; name another directory with --content")
    return b"".join(parts)


def _grow_folders(generator: random.Random, words: Sequence[str], count: int) -> list[str]:
    """Relative paths of *count* directories, several levels deep, parents first."""
    folders = ["."]
    taken = set(folders)
    while len(folders) < count:
        parent = generator.choice(folders)
        path = os.path.normpath(os.path.join(parent, generator.choice(words)))
        if path not in taken and path.count("/") < _DEEPEST:
            folders.append(path)
            taken.add(path)
    return folders


def _shares(generator: random.Random, total: int, parts: int) -> list[int]:
    """Divide *total* unevenly, as directories are."""
    sums = list(itertools.accumulate(generator.lognormvariate(0, 0.7) for _ in range(parts)))
    bounds = [0, *(round(total * one / sums[-1]) for one in sums)]
    return [end - start for start, end in itertools.pairwise(bounds)]


def _distinct_names(generator: random.Random, names: Sequence[str], count: int) -> Iterator[str]:
    taken: set[str] = set()
    for number in range(count):
        name = generator.choice(names)
        while name in taken:
            name = f"{number}-{name[:200]}"
        taken.add(name)
        yield name


def _write_tiny(path: str, text: bytes, generator: random.Random) -> int:
    size = min(LARGEST_TINY, int(generator.lognormvariate(_TYPICAL_TINY, _TINY_SPREAD)))
    if generator.random() < _EMPTY_SHARE:
        size = 0
    start = generator.randrange(len(text) - size)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    try:
        os.write(descriptor, text[start : start + size])
    finally:
        os.close(descriptor)
    _set_time(path, generator)
    return size


def _set_time(path: str, generator: random.Random) -> None:
    modified = _NEWEST - generator.randrange(_AGE)
    os.utime(path, ns=(modified, modified))


def _regular_files(tree: Path) -> Iterator[str]:
    for folder, folders, names in os.walk(tree):
        folders.sort()
        for name in sorted(names):
            path = os.path.join(folder, name)
            if stat.S_ISREG(os.lstat(path).st_mode):
                yield path


def _differing_aspect(one: str, first: os.stat_result, other: str) -> str | None:
    second = os.lstat(other)
    for aspect in ("st_mode", "st_uid", "st_gid", "st_mtime_ns"):
        if getattr(first, aspect) != getattr(second, aspect):
            return f"{aspect.removeprefix('st_')} {getattr(first, aspect)} became {getattr(second, aspect)}"
    if stat.S_ISLNK(first.st_mode):
        return None if os.readlink(one) == os.readlink(other) else "another target"
    if _attributes(one) != _attributes(other):
        return "other extended attributes"
    if stat.S_ISREG(first.st_mode):
        if first.st_nlink != second.st_nlink:
            return f"{first.st_nlink} names became {second.st_nlink}"
        if first.st_size != second.st_size or not _is_same_content(one, other):
            return "other content"
    return None


def _attributes(path: str) -> list[tuple[str, bytes]]:
    return sorted((name, os.getxattr(path, name)) for name in os.listxattr(path))


def _is_same_content(one: str, other: str) -> bool:
    first, second = os.open(one, os.O_RDONLY), os.open(other, os.O_RDONLY)
    try:
        while (data := os.read(first, _READ_SIZE)) == os.read(second, _READ_SIZE):
            if len(data) < _READ_SIZE:
                return True
    finally:
        os.close(first)
        os.close(second)
    return False
