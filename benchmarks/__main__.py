"""`python -m benchmarks`: build the images, run the programs in turn, print the tables."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks import comparison, sparse
from benchmarks.comparison import Comparison, Images
from benchmarks.images import MIB, base_image
from benchmarks.machine import machine_facts
from benchmarks.options import DEFAULT_SIZE, add_image_options, parse_names
from benchmarks.process import CommandFailed
from benchmarks.programs import Borg, Lamina, Restic, compile_lamina, install_rivals
from benchmarks.report import Run
from benchmarks.samples import Samples
from benchmarks.sparse import SparseImages

ROWS = (*comparison.ROWS, *sparse.ROWS)
PROGRAMS = ("lamina", "restic", "borg")
QUICK_SIZE = 64 * MIB


def main() -> None:
    arguments = _parse_arguments()
    install_rivals(arguments.programs)
    compile_lamina()
    directory: Path = arguments.directory
    directory.mkdir(parents=True, exist_ok=True)
    samples = Samples()
    facts = machine_facts(directory) | _versions(arguments.programs)
    base, described = base_image(directory, arguments.size, arguments.content)
    facts |= {
        "image": described,
        "rounds": str(arguments.rounds),
        "page cache": "warm for all: read once before each run",
    }
    try:
        _measure(arguments, base, samples)
    except CommandFailed as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        sys.exit(1)
    finally:
        _publish(Run(facts, samples), directory, arguments.page)


def _measure(arguments: argparse.Namespace, base: Path, samples: Samples) -> None:
    directory: Path = arguments.directory
    if set(arguments.only) & set(comparison.ROWS):
        images = Images.of(base)
        Comparison(directory, images, arguments.only, arguments.programs, samples).run(arguments.rounds)
    if "lamina" not in arguments.programs:
        return
    scale = QUICK_SIZE / DEFAULT_SIZE if arguments.quick else 1.0
    sparse_images = SparseImages(directory, base, scale=scale, samples=samples)
    if "memory" in arguments.only:
        sparse_images.measure_memory()
    if "hint-scaling" in arguments.only:
        sparse_images.measure_hint_scaling(arguments.rounds)


def _publish(run: Run, directory: Path, page: Path | None) -> None:
    """Print the tables and keep them; also of a run that was interrupted."""
    if not list(run.samples):
        return
    print(run.as_text())
    (directory / "results.md").write_text(run.as_markdown())
    (directory / "results.json").write_text(json.dumps(run.as_document(), indent=1, ensure_ascii=False) + "\n")
    if page is not None:
        run.write_page(page)
    print(f"\nAll figures: {directory / 'results.json'}; as Markdown: {directory / 'results.md'}")


def _versions(names: Sequence[str]) -> dict[str, str]:
    nowhere = Path("/nonexistent")
    return {
        program.name: program.version()
        for program in (Lamina(nowhere), Restic(nowhere), Borg(nowhere))
        if program.name in names
    }


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure Lamina, restic and borg on the same images in alternation, and print ratios and targets.",
    )
    add_image_options(parser)
    parser.add_argument("--quick", action="store_true", help="a smoke test: 64 MiB, one round; figures mean nothing")
    parser.add_argument("--rounds", type=int, help="how often everything is measured (default: 3)")
    parser.add_argument("--only", type=parse_names(ROWS), default=list(ROWS), help=f"some of {','.join(ROWS)}")
    parser.add_argument(
        "--programs", type=parse_names(PROGRAMS), default=list(PROGRAMS), help=f"some of {','.join(PROGRAMS)}"
    )
    parser.add_argument("--page", type=Path, help="also put the tables between the marks of this Markdown page")
    arguments = parser.parse_args()
    arguments.size = arguments.size or (QUICK_SIZE if arguments.quick else DEFAULT_SIZE)
    arguments.rounds = arguments.rounds or (1 if arguments.quick else 3)
    arguments.directory = arguments.directory.absolute()
    return arguments


if __name__ == "__main__":
    main()
