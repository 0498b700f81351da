"""The rows that are measured on one image."""

from __future__ import annotations

import filecmp
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from benchmarks.comparison import CHANGED_SHARE, Comparison, Setting
from benchmarks.images import change, write_hints
from benchmarks.process import Command, measure, warm
from benchmarks.programs import Lamina, Program
from benchmarks.samples import Sample

ROWS = ("first", "fast", "verified", "unchanged", "changed", "hints", "restore", "limit")
_CHECKOUT = Path(__file__).parents[1]


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


class ImageComparison(Comparison):
    """All rows of *images*."""

    ROWS: ClassVar = ROWS
    _ALONE: ClassVar = frozenset({"fast", "limit"})

    def __init__(self, setting: Setting, images: Images) -> None:
        super().__init__(setting, setting.directory / "current" / "disk.img")
        self._images = images

    def _measure_fast(self) -> None:
        if "lamina" in self._setting.programs:
            options = ("--verify", "none", "--compression", "fast")
            self._measure_elsewhere("first", Lamina(self._place("lamina-fast"), "lamina fast", options))

    def _measure_hints(self) -> None:
        """Only Lamina takes hints. They lead from the base image to a third state, so that all changes are new."""
        if "lamina" not in self._setting.programs:
            return
        self._show(self._images.changed_otherwise)
        program = Lamina(self._place("lamina"))
        parent = "latest~1" if "changed" in self._rows else "latest"
        command = program.backup_with(self._path, "--hints", str(self._images.hints), "--parent", parent)
        self._measure("hints", program, command)

    def _measure_limit(self) -> None:
        self._show_base()
        options = {
            "native calls": ("--level", "3"),
            "native calls, decoded": ("--level", "3", "--decode"),
            "native calls fast": ("--level", "1"),
        }
        for name, chosen in options.items():
            arguments = [sys.executable, "-m", "benchmarks.limits", str(self._path), *chosen]
            self._measure_limit_of(name, Command(arguments, directory=_CHECKOUT))
        copy = self._place("copy.img")
        command = Command(["cp", "--reflink=never", str(self._path), str(copy)], durable=copy)
        self._measure_limit_of("plain copy", command)
        copy.unlink()

    def _measure_limit_of(self, name: str, command: Command) -> None:
        warm(self._path)
        self._samples.add(Sample("limit", name, self._round, measure(command, log=self._setting.log), None))

    def _show_base(self) -> None:
        self._show(self._images.base)

    def _show_changed(self) -> None:
        self._show(self._images.changed)

    def _show_newest(self, program: Program) -> None:
        if program.name == "lamina" and "hints" in self._rows:
            self._show(self._images.changed_otherwise)
        else:
            self._show(self._images.changed if "changed" in self._rows else self._images.base)

    def _check_restored(self, program: Program, restored: Path) -> None:
        if not filecmp.cmp(self._path, restored, shallow=False):
            raise SystemExit(f"{program.name} restored something else than was backed up")

    def _show(self, image: Path) -> None:
        self._path.parent.mkdir(exist_ok=True)
        self._path.unlink(missing_ok=True)
        self._path.hardlink_to(image)
