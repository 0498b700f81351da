"""Rows that are measured program after program, round after round, whatever it is that is backed up."""

from __future__ import annotations

import shutil
import sys
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from benchmarks.process import Command, Figures, measure, warm
from benchmarks.programs import Borg, Lamina, Program, Restic
from benchmarks.samples import Sample, Samples, disk_usage

CHANGED_SHARE = 0.01
NAMES = ("lamina", "restic", "borg")


@dataclass(frozen=True, slots=True)
class Setting:
    """Where is measured, which rows of which programs, and where the figures go."""

    directory: Path
    log: Path
    rows: Sequence[str]
    programs: Sequence[str]
    samples: Samples

    @property
    def rivals(self) -> list[Program]:
        """The programs to measure, each with a place of its own."""
        known: list[Program] = [
            kind(self.directory / name) for kind, name in zip((Lamina, Restic, Borg), NAMES, strict=True)
        ]
        return [program for program in known if program.name in self.programs]


class Comparison(ABC):
    """Backups and restores of what lies at *path*; rows are measured in the order of `ROWS`."""

    ROWS: ClassVar[Sequence[str]] = ("first", "verified", "unchanged", "changed", "restore")
    _ALONE: ClassVar[frozenset[str]] = frozenset()  # rows that need no first backup

    def __init__(self, setting: Setting, path: Path, subject: str = "") -> None:
        self._setting, self._samples, self._rows = setting, setting.samples, setting.rows
        self._path = path  # the same for the programs whatever its state
        self._prefix = subject and f"{subject}: "
        self._programs = setting.rivals
        self._round = 0

    def run(self, rounds: int) -> None:
        needs_first = set(self.ROWS).difference(self._ALONE).intersection(self._rows)
        for self._round in range(1, rounds + 1):
            for row in self.ROWS:
                if row in self._rows or (row == "first" and needs_first):
                    print(f"round {self._round} of {rounds}: {self._prefix}{row}", file=sys.stderr)
                    getattr(self, f"_measure_{row}")()

    @abstractmethod
    def _show_base(self) -> None:
        """Let the programs find the first state at their path."""

    @abstractmethod
    def _show_changed(self) -> None:
        """Let the programs find the state in which 1 % is changed."""

    @abstractmethod
    def _show_newest(self, program: Program) -> None:
        """Let the state be found that *program* saw last."""

    @abstractmethod
    def _check_restored(self, program: Program, restored: Path) -> None:
        """Compare *restored* with what is at the path. Raises: SystemExit."""

    def _measure_first(self) -> None:
        self._show_base()
        for program in self._in_turn():
            self._start_repository(program)
            self._measure("first", program, program.backup(self._path))

    def _measure_verified(self) -> None:
        """Lamina as it comes against restic's backup, measured above, and the check its manual recommends."""
        for program in self._programs:
            if isinstance(program, Lamina):
                self._measure_elsewhere("verified", Lamina(self._place("lamina-verified"), options=()))
            if isinstance(program, Restic):
                first = self._samples.get(f"{self._prefix}first", program.name, self._round).figures
                self._measure("verified", program, program.check(), before=first)

    def _measure_unchanged(self) -> None:
        self._show_base()
        for program in self._in_turn():
            self._measure("unchanged", program, program.backup(self._path))

    def _measure_changed(self) -> None:
        self._show_changed()
        for program in self._in_turn():
            self._measure("changed", program, program.backup(self._path))

    def _measure_restore(self) -> None:
        """The newest snapshot to a new place, which must then be durable; compared outside the clock."""
        for program in self._in_turn():
            self._show_newest(program)
            folder = self._place("restored")
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            self._measure("restore", program, program.restore(self._path, folder), reads=program.place)
            self._check_restored(program, folder / self._path.name)
            self._remove_restored(folder)

    def _remove_restored(self, folder: Path) -> None:
        """Make room for the next restore, so that it meets what the one before met."""
        shutil.rmtree(folder)

    def _in_turn(self) -> list[Program]:
        """The programs; who begins changes from round to round."""
        first = self._round % len(self._programs)
        return self._programs[first:] + self._programs[:first]

    def _place(self, name: str) -> Path:
        return self._setting.directory / name

    def _start_repository(self, program: Program) -> None:
        shutil.rmtree(program.place, ignore_errors=True)
        program.place.mkdir()
        measure(program.init(), log=self._setting.log)

    def _measure_elsewhere(self, row: str, program: Program) -> None:
        """Add a sample for a first backup to a repository that nothing else needs."""
        self._show_base()
        self._start_repository(program)
        self._measure(row, program, program.backup(self._path))
        shutil.rmtree(program.place)

    def _measure(
        self,
        row: str,
        program: Program,
        command: Command,
        *,
        before: Figures | None = None,
        reads: Path | None = None,
        log: Path | None = None,
    ) -> None:
        """Add a sample for *row*; what ran *before* counts as part of it."""
        warm(reads or self._path)
        figures = measure(command, log=log or self._setting.log)
        if before is not None:
            figures = before + figures
        size = disk_usage(program.place / "repository")
        self._samples.add(Sample(self._prefix + row, program.name, self._round, figures, size))
