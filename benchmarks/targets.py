"""What the project asks of itself, beside what was measured. A missed target is printed as missed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.samples import Sample, Samples, wall
from benchmarks.sparse import HINTED_LARGE, HINTED_SMALL
from benchmarks.tree_rows import REAL, TINY, TRIPLE

MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Verdict:
    """One target and what came of it."""

    title: str
    wanted: str
    measured: float | None  # None: not measured in this run
    met: bool | None

    @property
    def met_text(self) -> str:
        return {True: "yes", False: "NO", None: "not measured"}[self.met]

    @property
    def measured_text(self) -> str:
        return (
            "–" if self.measured is None else f"{self.measured:.2f}" if self.measured < 10 else f"{self.measured:.0f}"
        )


def verdicts(section: str, samples: Samples) -> list[Verdict]:
    """Every target of a section in the order of the table."""
    if section == "images":
        return _image_verdicts(samples)
    if section == "usr":
        return _tree_verdicts(samples, REAL)
    return [*_tree_verdicts(samples, TINY), *_tree_memory_verdicts(samples)]


def _image_verdicts(samples: Samples) -> list[Verdict]:
    lamina, restic, borg = ("first", "lamina"), ("first", "restic"), ("first", "borg")
    return [
        _at_most("first backup: Lamina ÷ restic, wall time", 0.60, samples.ratio(lamina, restic, wall)),
        _at_most("first backup: Lamina ÷ borg, wall time", 0.60, samples.ratio(lamina, borg, wall)),
        _at_most("first backup: Lamina ÷ restic, repository size", 1.03, samples.ratio(lamina, restic, _size)),
        _at_most(
            "first backup, `--compression fast`: Lamina ÷ restic, wall time",
            0.45,
            samples.ratio(("first", "lamina fast"), restic, wall),
        ),
        _at_least(
            "first backup: native calls alone ÷ Lamina, wall time",
            0.80,
            samples.ratio(("limit", "native calls"), lamina, wall),
        ),
        _at_most(
            "first backup with its verification: Lamina ÷ restic's backup and check --read-data, wall time",
            1.0,
            samples.ratio(("verified", "lamina"), ("verified", "restic"), wall),
        ),
        _at_most(
            "unchanged second backup: Lamina ÷ restic, wall time",
            0.35,
            samples.ratio(("unchanged", "lamina"), ("unchanged", "restic"), wall),
        ),
        _at_most(
            "hinted backup: 10 × the image size with as many changes ÷ the image, wall time",
            1.3,
            samples.ratio((HINTED_LARGE, "lamina"), (HINTED_SMALL, "lamina"), wall),
        ),
        _at_most(
            "restore: Lamina ÷ restic, wall time",
            0.70,
            samples.ratio(("restore", "lamina"), ("restore", "restic"), wall),
        ),
        _at_most("peak anonymous memory of every run of Lamina, MiB", 256, _peak_mib(samples, lambda _: True)),
    ]


def _tree_verdicts(samples: Samples, subject: str) -> list[Verdict]:
    def ratio(row: str, rival: str, value: Callable[[Sample], float | None] = wall) -> float | None:
        return samples.ratio((f"{subject}: {row}", "lamina"), (f"{subject}: {row}", rival), value)

    return [
        _at_most(f"{subject}: first backup: Lamina ÷ restic, wall time", 0.70, ratio("first", "restic")),
        _at_most(f"{subject}: first backup: Lamina ÷ restic, repository size", 1.03, ratio("first", "restic", _size)),
        _at_most(f"{subject}: unchanged second backup: Lamina ÷ restic, wall time", 0.40, ratio("unchanged", "restic")),
        _at_most(f"{subject}: unchanged second backup: Lamina ÷ borg, wall time", 0.20, ratio("unchanged", "borg")),
        _at_most(f"{subject}: restore: Lamina ÷ restic, wall time", 0.80, ratio("restore", "restic")),
    ]


def _tree_memory_verdicts(samples: Samples) -> list[Verdict]:
    one = _peak_mib(samples, lambda row: row.startswith(f"{TINY}: "))
    three = _peak_mib(samples, lambda row: row.startswith(f"{TRIPLE}: "))
    return [
        _at_most(f"{TINY}: peak anonymous memory of every run of Lamina, MiB", 256, one),
        _at_most(f"{TRIPLE} ÷ {TINY}: that peak", 1.3, three / one if one and three else None),
    ]


def _at_most(title: str, limit: float, measured: float | None) -> Verdict:
    return Verdict(title, f"≤ {limit:g}", measured, None if measured is None else measured <= limit)


def _at_least(title: str, limit: float, measured: float | None) -> Verdict:
    return Verdict(title, f"≥ {limit:g}", measured, None if measured is None else measured >= limit)


def _size(sample: Sample) -> float | None:
    return sample.repository_size


def _peak_mib(samples: Samples, counts: Callable[[str], bool]) -> float | None:
    """The most that any run of Lamina took in the rows that count."""
    peaks = [
        sample.figures.rss_anon for sample in samples if sample.program.startswith("lamina") and counts(sample.row)
    ]
    return max(peaks) / MIB if peaks else None
