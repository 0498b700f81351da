"""The images that are backed up: the same bytes on every run, made from a directory of real files and a seed."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

KIB, MIB, GIB, TIB = 1 << 10, 1 << 20, 1 << 30, 1 << 40

CHANGE_SIZE = MIB  # what counts as one change: the issue speaks of 1 % of the 1 MiB chunks
_UUID = "6c616d69-6e61-4265-8e63-686d61726b73"
_TIME = 1_700_000_000  # of everything in the file system
_FILLED = 0.82  # share of the image that file contents may take; the rest is inodes, the journal and free space


@dataclass(frozen=True, slots=True)
class Content:
    """What went into a realistic image."""

    directory: str
    files: int
    size: int  # bytes of file contents


def base_image(directory: Path, size: int, content: Path) -> tuple[Path, str]:
    """The realistic image, built unless it lies there from a run before, and what it is."""
    image = directory / f"base-{size >> 20}M.img"
    note = image.with_suffix(".txt")
    if not (image.exists() and note.exists()):
        print(f"building {image.name} from {content}", file=sys.stderr)
        filled = build_realistic(image, size, content)
        note.write_text(
            f"ext4, {size >> 20} MiB, filled from {filled.directory}: "
            f"{filled.files} files with {filled.size >> 20} MiB of content"
        )
    return image, note.read_text()


def build_realistic(image: Path, size: int, content: Path) -> Content:
    """Make *image* an ext4 file system of *size* bytes, filled with files of *content*; the same files, the same bytes.

    Where they do not all fit, a subset is taken that depends on their names alone.
    """
    staged = image.with_name("staged")
    shutil.rmtree(staged, ignore_errors=True)
    count, taken = _stage(content, staged, int(size * _FILLED))
    partial = image.with_suffix(".partial")
    partial.unlink(missing_ok=True)
    with partial.open("wb") as file:
        file.truncate(size)
    options = f"hash_seed={_UUID},root_owner=0:0,nodiscard,lazy_itable_init=0,lazy_journal_init=0"
    subprocess.run(
        ["mkfs.ext4", "-q", "-F", "-U", _UUID, "-E", options, "-m", "0", "-d", str(staged), str(partial)],
        env=_tool_environment(),
        check=True,
    )
    _set_inode_times(partial)
    shutil.rmtree(staged)
    partial.rename(image)
    return Content(str(content), count, taken)


def change(image: Path, changed: Path, *, share: float, seed: int) -> list[tuple[int, int]]:
    """Make *changed* a copy of *image* with *share* of its used 1 MiB pieces replaced; returns the changed ranges.

    A piece is replaced by its own bytes in reverse: as compressible as before, and known to no program.
    """
    copy_sparse(image, changed)
    used = [offset for offset, length in data_ranges(image) for offset in _pieces(offset, length)]
    chosen = sorted(random.Random(seed).sample(used, max(1, round(share * len(used)))))
    with changed.open("r+b") as file:
        for offset in chosen:
            piece = os.pread(file.fileno(), CHANGE_SIZE, offset)
            os.pwrite(file.fileno(), piece[::-1], offset)
        os.fsync(file.fileno())
    return [(offset, CHANGE_SIZE) for offset in chosen]


def spread(image: Path, size: int, pieces: int, base: Path, *, reverse: bool = False) -> list[tuple[int, int]]:
    """Make *image* a sparse file of *size* bytes with *pieces* used 1 MiB pieces of *base*, evenly far apart.

    Returns the ranges they lie at.
    """
    stride = size // pieces // MIB * MIB
    used = [offset for offset, length in data_ranges(base) for offset in _pieces(offset, length)]
    partial = image.with_suffix(".partial")
    with base.open("rb") as source, partial.open("wb") as file:
        file.truncate(size)
        for number in range(pieces):
            piece = os.pread(source.fileno(), CHANGE_SIZE, used[number % len(used)])
            # Its number makes a piece differ from all others even where *base* has fewer.
            piece = number.to_bytes(8, "little") + piece[8:]
            os.pwrite(file.fileno(), piece[::-1] if reverse else piece, number * stride)
        os.fsync(file.fileno())
    partial.rename(image)
    return [(number * stride, CHANGE_SIZE) for number in range(pieces)]


def write_hints(file: Path, ranges: Sequence[tuple[int, int]]) -> None:
    """Write *ranges* as `rbd diff --format json` would."""
    file.write_text(json.dumps([{"offset": at, "length": length, "exists": "true"} for at, length in ranges]))


def data_ranges(image: Path) -> Iterator[tuple[int, int]]:
    """Offset and length of every range of *image* that is no hole."""
    with image.open("rb") as file:
        size, end = os.fstat(file.fileno()).st_size, 0
        while end < size:
            try:
                start = os.lseek(file.fileno(), end, os.SEEK_DATA)
            except OSError:  # ENXIO: nothing but a hole follows
                return
            end = os.lseek(file.fileno(), start, os.SEEK_HOLE)
            yield start, end - start


def copy_sparse(source: Path, target: Path) -> None:
    subprocess.run(["cp", "--sparse=always", "--reflink=never", str(source), str(target)], check=True)


def _pieces(offset: int, length: int) -> range:
    """Where the whole, aligned 1 MiB pieces of a range begin."""
    return range(-(-offset // CHANGE_SIZE) * CHANGE_SIZE, (offset + length) // CHANGE_SIZE * CHANGE_SIZE, CHANGE_SIZE)


def _stage(content: Path, staged: Path, limit: int) -> tuple[int, int]:
    """Copy what fits of *content* with rights and times that do not depend on the machine; returns count and bytes."""
    count = taken = 0
    for path in sorted(_files(content), key=lambda path: blake2b(os.fsencode(path)).digest()):
        source, target = content / path, staged / path
        size = source.stat().st_size
        if taken + size > limit:
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            shutil.copyfile(source, target)
        except PermissionError:  # some files are root's alone; the content is counted, so that it shows
            continue
        target.chmod(0o644)
        count, taken = count + 1, taken + size
    for folder, _, names in os.walk(staged, topdown=False):
        for path in [*(os.path.join(folder, name) for name in names), folder]:
            os.utime(path, (_TIME, _TIME))
    return count, taken


def _files(content: Path) -> Iterator[str]:
    """Every regular file, relative; not the byte code that Python writes whenever it likes."""
    for folder, folders, names in os.walk(content):
        folders[:] = sorted(name for name in folders if name != "__pycache__")
        for name in sorted(names):
            path = os.path.join(folder, name)
            if os.path.isfile(path) and not os.path.islink(path):
                yield os.path.relpath(path, content)


def _set_inode_times(image: Path) -> None:
    """Give every inode the same times: mkfs takes over when the staged copies were made."""
    counted = subprocess.run(
        ["dumpe2fs", "-h", str(image)], env=_tool_environment(), capture_output=True, text=True, check=True
    ).stdout
    fields = dict(line.split(":", 1) for line in counted.splitlines() if ":" in line)
    used = int(fields["Inode count"]) - int(fields["Free inodes"])
    requests = "".join(
        f"sif <{inode}> {field} {value}\n"
        for inode in range(11, used + 1)
        for field, value in (("ctime", f"@{_TIME}"), ("ctime_extra", "0"), ("atime", f"@{_TIME}"), ("atime_extra", "0"))
    )
    subprocess.run(
        ["debugfs", "-w", "-f", "/dev/stdin", str(image)],
        input=requests,
        env=_tool_environment(),
        text=True,
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def _tool_environment() -> dict[str, str]:
    """The tools of e2fsprogs lie where a user's path does not look, and take their clock from here."""
    return {
        **os.environ,
        "PATH": os.environ.get("PATH", "") + ":/usr/local/sbin:/usr/sbin:/sbin",
        "E2FSPROGS_FAKE_TIME": str(_TIME),
    }
