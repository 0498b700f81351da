"""The options that the programs of this folder share."""

from __future__ import annotations

import argparse
import re
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.images import GIB, KIB, MIB

DEFAULT_SIZE = 4 * GIB


def add_image_options(parser: argparse.ArgumentParser) -> None:
    """Which data, from what, where; `size` stays None unless given."""
    parser.add_argument("--size", type=_parse_size, help="of the realistic image, like 8GiB (default: 4GiB)")
    parser.add_argument(
        "--content", type=Path, default=Path("/usr"), help="what image and trees are made of (default: /usr)"
    )
    add_directory(parser)


def add_directory(parser: argparse.ArgumentParser) -> None:
    """Where."""
    directory = Path(tempfile.gettempdir()) / "lamina-benchmarks"
    parser.add_argument(
        "--directory", type=Path, default=directory, help="where everything lies (default: %(default)s)"
    )


def parse_names(known: Sequence[str]) -> Callable[[str], list[str]]:
    """Take a comma-separated list of *known* names."""

    def parse(text: str) -> list[str]:
        names = text.split(",")
        if odd := [name for name in names if name not in known]:
            raise argparse.ArgumentTypeError(f"{', '.join(odd)}: choose from {', '.join(known)}")
        return names

    return parse


def _parse_size(text: str) -> int:
    found = re.fullmatch(r"(\d+)(KiB|MiB|GiB)", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no size like 512MiB or 4GiB")
    return int(found[1]) * {"KiB": KIB, "MiB": MIB, "GiB": GIB}[found[2]]
