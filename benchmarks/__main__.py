"""`python -m benchmarks`: build images and trees, run the programs in turn, print the tables."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks import image_rows, sparse, tree_rows
from benchmarks.comparison import NAMES, Setting
from benchmarks.image_rows import ImageComparison, Images
from benchmarks.images import MIB, base_image
from benchmarks.machine import machine_facts
from benchmarks.options import DEFAULT_SIZE, add_image_options, parse_names
from benchmarks.process import CommandFailed, run_apart
from benchmarks.programs import Borg, Lamina, Restic, compile_lamina, install_rivals
from benchmarks.report import Run
from benchmarks.samples import Samples
from benchmarks.sparse import SparseImages
from benchmarks.tree_rows import REAL, TINY, TRIPLE, TreeComparison
from benchmarks.trees import copy_files, make_tiny_files

ROWS = tuple(dict.fromkeys((*image_rows.ROWS, *tree_rows.ROWS, *sparse.ROWS)))
SECTIONS = {"images": ("images",), "usr": ("usr",), "tiny": ("tiny", "triple")}  # what stands in one table
PARTS = tuple(part for parts in SECTIONS.values() for part in parts)
QUICK_PARTS = ("images", "usr", "tiny")
QUICK_SIZE = 64 * MIB
DEFAULT_FILES, QUICK_FILES = 1_000_000, 5_000


def main() -> None:
    arguments = _parse_arguments()
    install_rivals(arguments.programs)
    compile_lamina()
    directory: Path = arguments.directory
    directory.mkdir(parents=True, exist_ok=True)
    try:
        for section, parts in SECTIONS.items():
            chosen = [part for part in parts if part in arguments.parts]
            if chosen:
                _measure(arguments, section, chosen)
    except CommandFailed as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        sys.exit(1)


def _measure(arguments: argparse.Namespace, section: str, parts: Sequence[str]) -> None:
    """Measure what stands in one table, and publish it; also what there is of a run that is interrupted."""
    samples = Samples()
    facts = machine_facts(arguments.directory) | _versions(arguments.programs)
    facts |= {"rounds": str(arguments.rounds), "page cache": "warm for all: read once before each run"}
    try:
        for part in parts:
            if part == "images":
                _measure_images(arguments, samples, facts)
            else:
                _measure_tree(arguments, part, samples, facts)
    finally:
        _publish(Run(section, facts, samples), arguments.directory, arguments.page)


def _measure_images(arguments: argparse.Namespace, samples: Samples, facts: dict[str, str]) -> None:
    directory: Path = arguments.directory
    base, facts["image"] = base_image(directory, arguments.size, arguments.content)
    if set(arguments.only) & set(image_rows.ROWS):
        setting = Setting(directory, directory / "programs.log", arguments.only, arguments.programs, samples)
        ImageComparison(setting, Images.of(base)).run(arguments.rounds)
    if "lamina" not in arguments.programs:
        return
    scale = QUICK_SIZE / DEFAULT_SIZE if arguments.quick else 1.0
    sparse_images = SparseImages(directory, base, scale=scale, samples=samples)
    if "memory" in arguments.only:
        sparse_images.measure_memory()
    if "hint-scaling" in arguments.only:
        sparse_images.measure_hint_scaling(arguments.rounds)


def _measure_tree(arguments: argparse.Namespace, part: str, samples: Samples, facts: dict[str, str]) -> None:
    """Build a tree, measure it, and remove it with all else that the part made: it takes much space and is soon made again."""
    subject, build, files, rounds, programs = {
        "usr": (REAL, copy_files, max(1, arguments.files // 10), arguments.rounds, arguments.programs),
        "tiny": (TINY, make_tiny_files, arguments.files, arguments.rounds, arguments.programs),
        "triple": (TRIPLE, make_tiny_files, 3 * arguments.files, 1, ["lamina"]),
    }[part]
    if not set(programs) & set(arguments.programs) or not set(arguments.only) & set(tree_rows.ROWS):
        return
    directory: Path = arguments.directory / "trees"
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    print(f"building {subject}: {files:,} files from {arguments.content}", file=sys.stderr)
    try:
        tree = run_apart(build, directory / part, arguments.content, files)
        facts[subject] = tree.description
        setting = Setting(directory, arguments.directory / "programs.log", arguments.only, programs, samples)
        TreeComparison(setting, tree, subject).run(rounds)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _publish(run: Run, directory: Path, page: Path | None) -> None:
    """Print the tables and keep them; also of a run that was interrupted."""
    if not list(run.samples):
        return
    print(run.as_text())
    document, tables = (directory / f"results-{run.section}.{ending}" for ending in ("json", "md"))
    tables.write_text(run.as_markdown())
    document.write_text(json.dumps(run.as_document(), indent=1, ensure_ascii=False) + "\n")
    if page is not None:
        run.write_page(page)
    print(f"\nAll figures: {document}; as Markdown: {tables}\n")


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
        description="Measure Lamina, restic and borg on the same data in alternation, and print ratios and targets.",
    )
    add_image_options(parser)
    parser.add_argument(
        "--quick", action="store_true", help="a smoke test: little data, one round; figures mean nothing"
    )
    parser.add_argument("--parts", type=parse_names(PARTS), help=f"some of {','.join(PARTS)} (default: all)")
    parser.add_argument(
        "--files",
        type=int,
        help="how many tiny files (default: 1000000); usr is a tenth of it, triple three times as many",
    )
    parser.add_argument("--rounds", type=int, help="how often everything is measured (default: 3)")
    parser.add_argument("--only", type=parse_names(ROWS), default=list(ROWS), help=f"some of {','.join(ROWS)}")
    parser.add_argument("--programs", type=parse_names(NAMES), default=list(NAMES), help=f"some of {','.join(NAMES)}")
    parser.add_argument("--page", type=Path, help="also put each table between its marks on this Markdown page")
    arguments = parser.parse_args()
    arguments.size = arguments.size or (QUICK_SIZE if arguments.quick else DEFAULT_SIZE)
    arguments.files = arguments.files or (QUICK_FILES if arguments.quick else DEFAULT_FILES)
    arguments.parts = arguments.parts or list(QUICK_PARTS if arguments.quick else PARTS)
    arguments.rounds = arguments.rounds or (1 if arguments.quick else 3)
    arguments.directory = arguments.directory.absolute()
    return arguments


if __name__ == "__main__":
    main()
