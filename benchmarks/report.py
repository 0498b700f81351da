"""The tables of one run, as text and as Markdown, and every figure as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.samples import Sample, Samples, wall
from benchmarks.targets import MIB, Verdict, verdicts

TITLES = {
    "first": "first backup",
    "verified": "first backup, then checked",
    "unchanged": "second backup, unchanged",
    "changed": "second backup, 1 % changed",
    "hints": "second backup, 1 % changed, with hints",
    "restore": "restore",
    "list": "list the newest snapshot",
    "find": "find a name in all snapshots",
    "limit": "physical limit",
}
_BEGIN = "<!-- results of {}: written by `python -m benchmarks --page` -->\n"
_END = "<!-- end of results of {} -->\n"
_HEADER = ("what", "program", "wall s", "CPU s", "anonymous MiB", "max RSS MiB", "repository MiB", "÷ restic", "÷ borg")
_TARGETS_HEADER = ("target", "wanted", "measured", "met")
_DRIFT = 0.25  # of the time: how much foreign load makes a run doubtful


@dataclass(frozen=True, slots=True)
class Run:
    """Everything one run of the benchmarks says of one table."""

    section: str
    facts: dict[str, str]  # machine, versions, images: what one must know to read the figures
    samples: Samples

    @property
    def verdicts(self) -> list[Verdict]:
        return verdicts(self.section, self.samples)

    def as_text(self) -> str:
        return "\n".join(
            [
                *(f"{name}: {value}" for name, value in self.facts.items()),
                "",
                *columns(_HEADER, self._rows()),
                "",
                *columns(_TARGETS_HEADER, self._targets()),
                *(f"\n{note}" for note in self._doubts()),
            ]
        )

    def as_markdown(self) -> str:
        return "\n".join(
            [
                *(f"- {name}: {value}" for name, value in self.facts.items()),
                "",
                *_markdown(_HEADER, self._rows()),
                "",
                *_markdown(_TARGETS_HEADER, self._targets()),
                *(f"\n{note}" for note in self._doubts()),
                "",
            ]
        )

    def as_document(self) -> dict[str, Any]:
        """All figures, unrounded; bytes and seconds."""
        return {
            "facts": self.facts,
            "samples": [asdict(sample) for sample in self.samples],
            "targets": [asdict(verdict) for verdict in self.verdicts],
        }

    def write_page(self, page: Path) -> None:
        """Put the tables between the two marks that *page* has for them."""
        begin, end = _BEGIN.format(self.section), _END.format(self.section)
        before, rest = page.read_text().split(begin, 1)
        page.write_text(f"{before}{begin}\n{self.as_markdown()}\n{end}{rest.split(end, 1)[1]}")

    def _rows(self) -> list[tuple[str, ...]]:
        return [self._row(row, program) for row, program in self.samples.pairs()]

    def _row(self, row: str, program: str) -> tuple[str, ...]:
        samples = self.samples.of(row, program)
        figures = [sample.figures for sample in samples]
        sizes = [sample.repository_size for sample in samples if sample.repository_size is not None]
        return (
            _title(row),
            program,
            _spread_text([one.wall_s for one in figures]),
            f"{median(one.cpu_s for one in figures):.1f}",
            f"{max(one.rss_anon for one in figures) / MIB:.0f}",
            f"{max(one.max_rss for one in figures) / MIB:.0f}",
            f"{median(sizes) / MIB:.0f}" if sizes else "–",
            self._ratio_text(row, program, "restic"),
            self._ratio_text(row, program, "borg"),
        )

    def _ratio_text(self, row: str, program: str, rival: str) -> str:
        """Wall time ÷ the rival's in the same row; hints and the limit stand beside what they replace."""
        beside = {"hints": "changed", "limit": "first"}.get(row, row)
        ratio = self.samples.ratio((row, program), (beside, rival), wall)
        return "–" if ratio is None or program == rival else f"{ratio:.2f}"

    def _targets(self) -> list[tuple[str, ...]]:
        return [(one.title, one.wanted, one.measured_text, one.met_text) for one in self.verdicts]

    def _doubts(self) -> list[str]:
        """What a reader should know of a machine that was not quiet."""
        noisy = [sample for sample in self.samples if _is_noisy(sample)]
        if not noisy:
            return []
        text = (
            f"{len(noisy)} of {len(list(self.samples))} runs met other load (more than {_DRIFT:.0%} of a core); "
            "repeat on a quiet machine before trusting small differences."
        )
        return [text]


def _title(row: str) -> str:
    """What a reader calls *row*; of a tree, behind the tree's name."""
    subject, colon, step = row.rpartition(": ")
    return f"{subject}{colon}{TITLES.get(step, step)}"


def _is_noisy(sample: Sample) -> bool:
    """Kernel threads that write back belong to the program but are not counted as its own; hence the generous bound."""
    return sample.figures.others_cpu_s > _DRIFT * sample.figures.wall_s


def _spread_text(values: Sequence[float]) -> str:
    if len(values) == 1:
        return f"{values[0]:.1f}"
    return f"{median(values):.1f} ({min(values):.1f}–{max(values):.1f})"


def columns(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Left-aligned words, right-aligned figures."""
    widths = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header))]
    words = 2 if len(header) > 4 else 1
    return [
        "  ".join(
            cell.ljust(width) if column < words else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in (header, *rows)
    ]


def _markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    words = 2 if len(header) > 4 else 1
    rule = [":--" if column < words else "--:" for column in range(len(header))]
    return [f"| {' | '.join(row)} |" for row in (header, rule, *rows)]
