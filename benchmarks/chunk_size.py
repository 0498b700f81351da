"""What the chunk size of images costs and saves: `python -m benchmarks.chunk_size` prints a table (for the ADR on the default).

For each chunk size and compression, in a repository of its own: a first backup of the realistic image, a second one after
1 % of its 1 MiB pieces changed (as when files are replaced), a third one after 4 KiB changed here and there (as under a
database). What an incremental backup adds is what keeping many snapshots costs.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks.images import KIB, MIB, base_image, change, copy_sparse, data_ranges
from benchmarks.options import DEFAULT_SIZE, add_image_options, parse_names
from benchmarks.process import Command, Figures, measure, warm
from benchmarks.programs import Lamina, compile_lamina
from benchmarks.report import columns
from benchmarks.samples import disk_usage

CHUNK_SIZES = {"512KiB": 512 * KIB, "1MiB": MIB, "2MiB": 2 * MIB, "4MiB": 4 * MIB}
COMPRESSIONS = ("fast", "default")
WRITE_SIZE = 4 * KIB
_USED_PER_WRITE = 16 * MIB  # one small write for every so many used bytes
_HEADER = ("chunk size", "compression", "first s", "CPU s", "MiB", "1 % changed s", "added MiB", "scattered s", "added MiB",
           "anonymous MiB", "native s")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Step:
    """One backup: what it cost, and what the repository grew by."""

    figures: Figures
    added: int  # bytes


def main() -> None:
    arguments = _parse_arguments()
    compile_lamina()
    directory: Path = arguments.directory
    directory.mkdir(parents=True, exist_ok=True)
    base, described = base_image(directory, arguments.size or DEFAULT_SIZE, arguments.content)
    states = (base, directory / "chunk-size-changed.img", directory / "chunk-size-scattered.img")
    change(base, states[1], share=0.01, seed=1)
    writes = _scatter(states[1], states[2], seed=3)
    rows: dict[tuple[str, str], list[tuple[list[Step], Figures]]] = {}
    for number in range(1, arguments.rounds + 1):
        for name in arguments.chunk_sizes:
            for compression in arguments.compressions:
                print(f"round {number} of {arguments.rounds}: {name}, {compression}", file=sys.stderr)
                native = _measure_native(directory, base, CHUNK_SIZES[name], compression)
                steps = list(_measure(directory, states, CHUNK_SIZES[name], compression))
                rows.setdefault((name, compression), []).append((steps, native))
    print(f"{described}; then 1 % of the pieces changed; then {writes} writes of {WRITE_SIZE >> 10} KiB\n")
    print("\n".join(columns(_HEADER, [_row(*key, measured) for key, measured in rows.items()])))
    for state in states[1:]:
        state.unlink()


def _measure(directory: Path, states: tuple[Path, ...], chunk_size: int, compression: str) -> Iterator[Step]:
    """Back up one state after the other."""
    log = directory / "programs.log"
    image = directory / "current" / "disk.img"
    image.parent.mkdir(exist_ok=True)
    program = Lamina(directory / "lamina-chunk-size")
    program.options = ("--verify", "none", "--compression", compression, "--chunk-size", str(chunk_size))
    shutil.rmtree(program.place, ignore_errors=True)
    program.place.mkdir()
    measure(program.init(), log=log)
    before = disk_usage(program.place / "repository")
    for state in states:
        image.unlink(missing_ok=True)
        image.hardlink_to(state)
        warm(image)
        figures = measure(program.backup(image), log=log)
        after = disk_usage(program.place / "repository")
        yield Step(figures, after - before)
        before = after
    shutil.rmtree(program.place)


def _measure_native(directory: Path, image: Path, chunk_size: int, compression: str) -> Figures:
    level = {"fast": "1", "default": "3"}[compression]
    arguments = ["-m", "benchmarks.limits", str(image), "--level", level, "--chunk-size", str(chunk_size)]
    warm(image)
    command = Command([sys.executable, *arguments], directory=Path(__file__).parents[1])
    return measure(command, log=directory / "programs.log")


def _scatter(image: Path, changed: Path, *, seed: int) -> int:
    """Make *changed* a copy of *image* with small writes at random used places; returns how many."""
    copy_sparse(image, changed)
    pages = [at for offset, length in data_ranges(image) for at in range(offset, offset + length, WRITE_SIZE)]
    count = max(1, len(pages) * WRITE_SIZE // _USED_PER_WRITE)
    generator = random.Random(seed)
    with changed.open("r+b") as file:
        for offset in generator.sample(pages, count):
            os.pwrite(file.fileno(), generator.randbytes(WRITE_SIZE), offset)
        os.fsync(file.fileno())
    return count


def _row(name: str, compression: str, measured: list[tuple[list[Step], Figures]]) -> tuple[str, ...]:
    """One line of the table: medians over the rounds."""

    def middle(step: int, value: Callable[[Step], float]) -> float:
        return median(value(steps[step]) for steps, _ in measured)

    return (
        name,
        compression,
        f"{middle(0, _wall):.1f}",
        f"{middle(0, lambda step: step.figures.cpu_s):.1f}",
        f"{middle(0, _added_mib):.0f}",
        f"{middle(1, _wall):.1f}",
        f"{middle(1, _added_mib):.1f}",
        f"{middle(2, _wall):.1f}",
        f"{middle(2, _added_mib):.1f}",
        f"{max(step.figures.rss_anon for steps, _ in measured for step in steps) / MIB:.0f}",
        f"{median(native.wall_s for _, native in measured):.1f}",
    )


def _wall(step: Step) -> float:
    return step.figures.wall_s


def _added_mib(step: Step) -> float:
    return step.added / MIB


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chunk_size", description=(__doc__ or "").split(":")[0])
    add_image_options(parser)
    parser.add_argument("--rounds", type=int, default=2, help="how often everything is measured (default: 2)")
    parser.add_argument("--chunk-sizes", type=parse_names(list(CHUNK_SIZES)), default=list(CHUNK_SIZES))
    parser.add_argument("--compressions", type=parse_names(COMPRESSIONS), default=list(COMPRESSIONS))
    arguments = parser.parse_args()
    arguments.directory = arguments.directory.absolute()
    return arguments


if __name__ == "__main__":
    main()
