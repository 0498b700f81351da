"""What was measured: one sample a run, and what can be said of several."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks.process import Figures

_PROGRAM_ORDER = (
    "lamina",
    "lamina fast",
    "restic",
    "borg",
    "native calls",
    "native calls, decoded",
    "native calls fast",
    "plain copy",
)


@dataclass(frozen=True, slots=True)
class Sample:
    """One measured run of one program."""

    row: str
    program: str
    round: int
    figures: Figures
    repository_size: int | None  # bytes on disk after the run


class Samples:
    """Every sample of one benchmark run."""

    def __init__(self) -> None:
        self._samples: list[Sample] = []

    def __iter__(self) -> Iterator[Sample]:
        return iter(self._samples)

    def add(self, sample: Sample) -> None:
        self._samples.append(sample)

    def get(self, row: str, program: str, number: int) -> Sample:
        """The sample of round *number*. Raises: KeyError."""
        for sample in self._samples:
            if (sample.row, sample.program, sample.round) == (row, program, number):
                return sample
        raise KeyError(f"{program} was not measured for {row} in round {number}")

    def of(self, row: str, program: str) -> list[Sample]:
        return [sample for sample in self._samples if (sample.row, sample.program) == (row, program)]

    def pairs(self) -> list[tuple[str, str]]:
        """Every row and program that was measured; rows in the order they first came, then programs likewise."""
        rows = list(dict.fromkeys(sample.row for sample in self._samples))
        programs = sorted({sample.program for sample in self._samples}, key=_PROGRAM_ORDER.index)
        return [(row, program) for row in rows for program in programs if self.of(row, program)]

    def ratio(
        self, one: tuple[str, str], other: tuple[str, str], value: Callable[[Sample], float | None]
    ) -> float | None:
        """The median over the rounds of *value* of *one* ÷ *value* of *other*; None where they were not measured.

        Rounds are compared with themselves because a machine's speed drifts from minute to minute.
        """
        others = {sample.round: value(sample) for sample in self.of(*other)}
        ratios = []
        for sample in self.of(*one):
            above, below = value(sample), others.get(sample.round)
            if above is not None and below:
                ratios.append(above / below)
        return median(ratios) if ratios else None


def wall(sample: Sample) -> float:
    return sample.figures.wall_s


def disk_usage(folder: Path) -> int:
    """Bytes that the files below *folder* take on the disk, as `du` counts them."""
    return sum(
        os.lstat(os.path.join(parent, name)).st_blocks * 512 for parent, _, names in os.walk(folder) for name in names
    )
