"""The rows that are measured on one image, program after program, round after round."""

from __future__ import annotations

import filecmp
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.images import change, write_hints
from benchmarks.process import Command, Figures, measure, warm
from benchmarks.programs import Borg, Lamina, Program, Restic
from benchmarks.samples import Sample, Samples, disk_usage

ROWS = ("first", "fast", "verified", "unchanged", "changed", "hints", "restore", "limit")
CHANGED_SHARE = 0.01
CHECKOUT = Path(__file__).parents[1]


@dataclass(frozen=True, slots=True)
class Images:
    """The one image in its three states; the third is reached from the first, not from the second."""

    base: Path
    changed: Path
    changed_otherwise: Path
    hints: Path  # what differs between the first and the third

    @classmethod
    def of(cls, base: Path) -> Images:
        """Make the other two from *base*."""
        images = cls(base, *(base.with_name(name) for name in ("changed.img", "changed-otherwise.img", "hints.json")))
        change(base, images.changed, share=CHANGED_SHARE, seed=1)
        write_hints(images.hints, change(base, images.changed_otherwise, share=CHANGED_SHARE, seed=2))
        return images


class Comparison:
    """All rows, measured in *directory*; what came of each run is added to *samples*."""

    def __init__(
        self, directory: Path, images: Images, rows: Sequence[str], programs: Sequence[str], samples: Samples
    ) -> None:
        self._directory, self._images, self._samples = directory, images, samples
        self._rows = rows
        all_programs: list[Program] = [
            Lamina(directory / "lamina"),
            Restic(directory / "restic"),
            Borg(directory / "borg"),
        ]
        self._programs = [program for program in all_programs if program.name in programs]
        self._names = [program.name for program in self._programs]
        self._image = directory / "current" / "disk.img"  # the same path whatever the state
        self._log = directory / "programs.log"
        self._round = 0

    def run(self, rounds: int) -> None:
        for self._round in range(1, rounds + 1):
            for row in ROWS:
                if row in self._rows or (row == "first" and self._needs_first()):
                    print(f"round {self._round} of {rounds}: {row}", file=sys.stderr)
                    getattr(self, f"_measure_{row}")()

    def _needs_first(self) -> bool:
        return bool({"verified", "unchanged", "changed", "hints", "restore"} & set(self._rows))

    def _measure_first(self) -> None:
        self._show(self._images.base)
        for program in self._in_turn():
            self._start_repository(program)
            self._measure("first", program, program.backup(self._image))

    def _measure_fast(self) -> None:
        if "lamina" in self._names:
            self._show(self._images.base)
            program = Lamina(self._place("lamina-fast"), "lamina fast", ("--verify", "none", "--compression", "fast"))
            self._start_repository(program)
            self._measure("first", program, program.backup(self._image))
            shutil.rmtree(program.place)

    def _measure_verified(self) -> None:
        """Lamina as it comes against restic's backup, measured above, and the check its manual recommends."""
        self._show(self._images.base)
        if "lamina" in self._names:
            program = Lamina(self._place("lamina-verified"), options=())
            self._start_repository(program)
            self._measure("verified", program, program.backup(self._image))
            shutil.rmtree(program.place)
        if "restic" in self._names:
            restic = Restic(self._place("restic"))
            first = self._samples.get("first", "restic", self._round).figures
            self._measure("verified", restic, restic.check(), before=first)

    def _measure_unchanged(self) -> None:
        self._show(self._images.base)
        for program in self._in_turn():
            self._measure("unchanged", program, program.backup(self._image))

    def _measure_changed(self) -> None:
        self._show(self._images.changed)
        for program in self._in_turn():
            self._measure("changed", program, program.backup(self._image))

    def _measure_hints(self) -> None:
        """Only Lamina takes hints. They lead from the base image to a third state, so that all changes are new."""
        if "lamina" not in self._names:
            return
        self._show(self._images.changed_otherwise)
        program = Lamina(self._place("lamina"))
        parent = "latest~1" if "changed" in self._rows else "latest"
        command = program.backup_with(self._image, "--hints", str(self._images.hints), "--parent", parent)
        self._measure("hints", program, command)

    def _measure_restore(self) -> None:
        """The newest snapshot to a new file, which must then be durable; compared with the image outside the clock."""
        for program in self._in_turn():
            self._show(self._newest(program))
            folder = self._place("restored")
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            self._measure("restore", program, program.restore(self._image, folder), reads=program.place)
            if not filecmp.cmp(self._image, folder / self._image.name, shallow=False):
                raise SystemExit(f"{program.name} restored something else than was backed up")
            shutil.rmtree(folder)

    def _measure_limit(self) -> None:
        self._show(self._images.base)
        options = {
            "native calls": ("--level", "3"),
            "native calls, decoded": ("--level", "3", "--decode"),
            "native calls fast": ("--level", "1"),
        }
        for name, chosen in options.items():
            arguments = [sys.executable, "-m", "benchmarks.limits", str(self._image), *chosen]
            self._measure_named("limit", name, Command(arguments, directory=CHECKOUT))
        copy = self._directory / "copy.img"
        command = Command(["cp", "--reflink=never", str(self._image), str(copy)], durable=copy)
        self._measure_named("limit", "plain copy", command)
        copy.unlink()

    def _newest(self, program: Program) -> Path:
        """The state of the image that *program* saw last."""
        if program.name == "lamina" and "hints" in self._rows:
            return self._images.changed_otherwise
        return self._images.changed if "changed" in self._rows else self._images.base

    def _in_turn(self) -> list[Program]:
        """The programs; who begins changes from round to round."""
        first = self._round % len(self._programs)
        return self._programs[first:] + self._programs[:first]

    def _place(self, name: str) -> Path:
        return self._directory / name

    def _show(self, image: Path) -> None:
        """Let the programs find *image* at the one path they know."""
        self._image.parent.mkdir(exist_ok=True)
        self._image.unlink(missing_ok=True)
        self._image.hardlink_to(image)

    def _start_repository(self, program: Program) -> None:
        shutil.rmtree(program.place, ignore_errors=True)
        program.place.mkdir()
        measure(program.init(), log=self._log)

    def _measure(
        self,
        row: str,
        program: Program,
        command: Command,
        *,
        before: Figures | None = None,
        reads: Path | None = None,
    ) -> None:
        """Add a sample for *row*; what ran *before* counts as part of it."""
        warm(reads or self._image)
        figures = measure(command, log=self._log)
        if before is not None:
            figures = before + figures
        size = disk_usage(program.place / "repository")
        self._samples.add(Sample(row, program.name, self._round, figures, size))

    def _measure_named(self, row: str, name: str, command: Command) -> None:
        warm(self._image)
        self._samples.add(Sample(row, name, self._round, measure(command, log=self._log), None))
