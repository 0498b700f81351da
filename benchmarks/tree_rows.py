"""The rows that are measured on one file tree."""

from __future__ import annotations

import os
import time
from itertools import islice
from pathlib import Path
from typing import ClassVar

from benchmarks.comparison import CHANGED_SHARE, Comparison, Setting
from benchmarks.process import Command, measure, run_apart, warm
from benchmarks.programs import Program
from benchmarks.samples import Sample
from benchmarks.trees import Tree, change_files, first_difference

ROWS = ("first", "verified", "unchanged", "changed", "restore", "list", "find")
REAL, TINY, TRIPLE = "usr", "tiny", "3 × tiny"  # what the rows' names begin with


FEW_FILES = 10_000  # whose removal makes nobody wait
RECENT_S = 61.0  # RECENTCY_MIN of fs/ext4/ialloc.c, and a second


class TreeComparison(Comparison):
    """All rows of *tree*, which is changed where it lies."""

    ROWS: ClassVar = ROWS

    def __init__(self, setting: Setting, tree: Tree, subject: str) -> None:
        super().__init__(setting, tree.path, subject)
        self._tree = tree

    def _measure_restore(self) -> None:
        """Beside the programs, the same tree copied by `cp`: less than that no restore can take."""
        super()._measure_restore()
        if len(self._programs) == 1:
            return  # nothing is compared
        copy = self._place("restored")
        warm(self._path)
        command = Command(["cp", "-a", str(self._path), str(copy)], durable=copy)
        figures = measure(command, log=self._setting.log)
        self._samples.add(Sample(f"{self._prefix}restore", "plain copy", self._round, figures, None))
        self._remove_restored(copy)

    def _remove_restored(self, folder: Path) -> None:
        """Wait, too: ext4 looks at each inode that was deleted within the last minute before it takes another."""
        super()._remove_restored(folder)
        os.sync()
        if self._tree.files > FEW_FILES:
            time.sleep(RECENT_S)

    def _measure_list(self) -> None:
        for program in self._in_turn():
            lines = self._measure_output("list", program, program.list_all())
            if lines < self._tree.files:
                raise SystemExit(f"{program.name} listed {lines} of {self._tree.files} files")

    def _measure_find(self) -> None:
        for program in self._in_turn():
            if not self._measure_output("find", program, program.find(self._tree.needle), self._tree.needle):
                raise SystemExit(f"{program.name} did not find {self._tree.needle}")

    def _measure_output(self, row: str, program: Program, command: Command, text: str = "") -> int:
        """How many lines of what *command* printed hold *text*."""
        printed = self._place("printed.log")
        printed.unlink(missing_ok=True)
        self._measure(row, program, command, reads=program.place, log=printed)
        with printed.open("rb") as lines:
            return sum(text.encode() in line for line in islice(lines, 2, None))  # the first two show the command

    def _show_base(self) -> None:
        """It lies there."""

    def _show_changed(self) -> None:
        # Every other call takes the one before back; to the repositories of a round, the new state is new all the same.
        run_apart(change_files, self._tree.path, CHANGED_SHARE, 1)

    def _show_newest(self, program: Program) -> None:
        """It lies there."""

    def _check_restored(self, program: Program, restored: Path) -> None:
        if difference := first_difference(self._tree.path, restored):
            raise SystemExit(f"{program.name} restored something else than was backed up: {difference}")
