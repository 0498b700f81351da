"""What size alone costs: memory for sparse images, and time for hints where little changed in much."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from benchmarks.images import GIB, MIB, TIB, data_ranges, spread, write_hints
from benchmarks.process import Command, measure, warm
from benchmarks.programs import Lamina
from benchmarks.samples import Sample, Samples, disk_usage

ROWS = ("memory", "hint-scaling")
HINTED_SMALL, HINTED_LARGE = "hinted, small image", "hinted, 10 × the size"
_PIECES = 2048  # 1 MiB each: the data in a sparse image
_CHANGES = 1024  # 1 MiB each: 1 % of 100 GiB


class SparseImages:
    """Lamina alone on sparse images in *directory*; *scale* makes all of them smaller for a quick look."""

    def __init__(self, directory: Path, base: Path, *, scale: float, samples: Samples) -> None:
        self._directory, self._base, self._scale, self._samples = directory, base, scale, samples
        self._image = directory / "current" / "disk.img"
        self._log = directory / "programs.log"

    def measure_memory(self) -> None:
        """Peak memory of backup, a second backup and restore, of a large and of a huge image with as much data."""
        for size in (10 * GIB, TIB):
            self._measure_memory(int(size * self._scale))

    def _measure_memory(self, size: int) -> None:
        title = f"sparse {_size_text(size)}"
        print(title, file=sys.stderr)
        self._image.parent.mkdir(exist_ok=True)
        self._image.unlink(missing_ok=True)
        spread(self._image, size, self._count(_PIECES), self._base)
        program = self._start(Lamina(self._directory / "lamina-sparse", options=()))
        self._measure(f"{title}: backup with verification", program, program.backup(self._image))
        program.options = ("--verify", "none")
        self._measure(f"{title}: second backup", program, program.backup(self._image))
        folder = self._directory / "restored"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        self._measure(f"{title}: restore", program, program.restore(self._image, folder))
        _check_same(self._image, folder / self._image.name)
        for used in (folder, program.place):
            shutil.rmtree(used)
        self._image.unlink()

    def measure_hint_scaling(self, rounds: int) -> None:
        """As many hinted changes in a large image and in one ten times as large, first backed up unchanged."""
        states: dict[str, tuple[Path, Path]] = {}
        hints = self._directory / "hints"
        hints.mkdir(exist_ok=True)
        for title, size in ((HINTED_SMALL, 10 * GIB), (HINTED_LARGE, 100 * GIB)):
            before, after = (self._directory / f"{title}-{state}.img" for state in ("before", "after"))
            scaled, count = int(size * self._scale), self._count(_CHANGES)
            spread(before, scaled, count, self._base)
            write_hints(hints / f"{title}.json", spread(after, scaled, count, self._base, reverse=True))
            states[title] = before, after
        for number in range(1, rounds + 1):
            print(f"hints, round {number} of {rounds}", file=sys.stderr)
            for title, (before, after) in states.items():
                self._measure_hinted(title, before, after, hints / f"{title}.json", number)
        for images in states.values():
            for image in images:
                image.unlink()
        shutil.rmtree(hints)

    def _measure_hinted(self, title: str, before: Path, after: Path, hints: Path, number: int) -> None:
        program = self._start(Lamina(self._directory / "lamina-sparse"))
        self._show(before)
        measure(program.backup(self._image), log=self._log)
        self._show(after)
        self._measure(title, program, program.backup_with(self._image, "--hints", str(hints)), number)
        shutil.rmtree(program.place)

    def _count(self, pieces: int) -> int:
        return max(4, int(pieces * self._scale))

    def _show(self, image: Path) -> None:
        self._image.parent.mkdir(exist_ok=True)
        self._image.unlink(missing_ok=True)
        self._image.hardlink_to(image)

    def _start(self, program: Lamina) -> Lamina:
        shutil.rmtree(program.place, ignore_errors=True)
        program.place.mkdir()
        measure(program.init(), log=self._log)
        return program

    def _measure(self, row: str, program: Lamina, command: Command, number: int = 1) -> None:
        warm(self._image)
        figures = measure(command, log=self._log)
        self._samples.add(Sample(row, program.name, number, figures, disk_usage(program.place / "repository")))


def _check_same(image: Path, restored: Path) -> None:
    """Compare where *image* has data, and see that *restored* has none elsewhere. Raises: SystemExit."""
    ranges = list(data_ranges(image))
    with image.open("rb") as one, restored.open("rb") as other:
        same = os.fstat(one.fileno()).st_size == os.fstat(other.fileno()).st_size and all(
            os.pread(one.fileno(), min(MIB, end - at), at) == os.pread(other.fileno(), min(MIB, end - at), at)
            for end, start in ((offset + length, offset) for offset, length in ranges)
            for at in range(start, end, MIB)
        )
    if not same:
        raise SystemExit(f"{restored} differs from what was backed up")
    if sum(length for _, length in data_ranges(restored)) > 1.1 * sum(length for _, length in ranges):
        raise SystemExit(f"{restored} is not sparse")


def _size_text(size: int) -> str:
    for unit, name in ((TIB, "TiB"), (GIB, "GiB")):
        if size >= unit:
            return f"{size / unit:.3g} {name}"
    return f"{size / MIB:.3g} MiB"
