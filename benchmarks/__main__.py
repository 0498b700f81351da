"""`python -m benchmarks`: build the images, run the programs in turn, print the tables."""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks import comparison, sparse
from benchmarks.comparison import Comparison, Images
from benchmarks.images import GIB, KIB, MIB, build_realistic
from benchmarks.machine import machine_facts
from benchmarks.process import CommandFailed
from benchmarks.programs import Borg, Lamina, Restic, install_rivals
from benchmarks.report import Run
from benchmarks.samples import Samples
from benchmarks.sparse import SparseImages

ROWS = (*comparison.ROWS, *sparse.ROWS)
PROGRAMS = ("lamina", "restic", "borg")
QUICK_SIZE = 64 * MIB
DEFAULT_SIZE = 4 * GIB


def main() -> None:
    arguments = _parse_arguments()
    install_rivals(arguments.programs)
    directory: Path = arguments.directory
    directory.mkdir(parents=True, exist_ok=True)
    samples = Samples()
    facts = machine_facts(directory) | _versions(arguments.programs)
    base, described = _base_image(directory, arguments.size, arguments.content)
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


def _base_image(directory: Path, size: int, content: Path) -> tuple[Path, str]:
    """The realistic image, built unless it lies there from a run before, and what it is."""
    image = directory / f"base-{size >> 20}M.img"
    note = image.with_suffix(".txt")
    if not (image.exists() and note.exists()):
        print(f"building {image.name} from {content}", file=sys.stderr)
        filled = build_realistic(image, size, content)
        note.write_text(
            f"ext4, {size >> 20} MiB, filled from {filled.directory}: "
            f"{filled.files} files with {filled.size >> 20} MiB of content"
        )
    return image, note.read_text()


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
    default = Path(tempfile.gettempdir()) / "lamina-benchmarks"
    parser.add_argument("--quick", action="store_true", help="a smoke test: 64 MiB, one round; figures mean nothing")
    parser.add_argument("--size", type=_parse_size, help="of the realistic image, like 8GiB (default: 4GiB)")
    parser.add_argument("--rounds", type=int, help="how often everything is measured (default: 3)")
    parser.add_argument("--only", type=_parse_names(ROWS), default=list(ROWS), help=f"some of {','.join(ROWS)}")
    parser.add_argument(
        "--programs", type=_parse_names(PROGRAMS), default=list(PROGRAMS), help=f"some of {','.join(PROGRAMS)}"
    )
    parser.add_argument("--content", type=Path, default=Path("/usr"), help="what fills the image (default: /usr)")
    parser.add_argument("--directory", type=Path, default=default, help="where everything lies (default: %(default)s)")
    parser.add_argument("--page", type=Path, help="also put the tables between the marks of this Markdown page")
    arguments = parser.parse_args()
    arguments.size = arguments.size or (QUICK_SIZE if arguments.quick else DEFAULT_SIZE)
    arguments.rounds = arguments.rounds or (1 if arguments.quick else 3)
    arguments.directory = arguments.directory.absolute()
    return arguments


def _parse_size(text: str) -> int:
    found = re.fullmatch(r"(\d+)(KiB|MiB|GiB)", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no size like 512MiB or 4GiB")
    return int(found[1]) * {"KiB": KIB, "MiB": MIB, "GiB": GIB}[found[2]]


def _parse_names(known: Sequence[str]) -> Callable[[str], list[str]]:
    """Take a comma-separated list of *known* names."""

    def parse(text: str) -> list[str]:
        names = text.split(",")
        if odd := [name for name in names if name not in known]:
            raise argparse.ArgumentTypeError(f"{', '.join(odd)}: choose from {', '.join(known)}")
        return names

    return parse


if __name__ == "__main__":
    main()
