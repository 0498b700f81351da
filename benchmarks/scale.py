"""What the number of chunks and snapshots costs: `python -m benchmarks.scale` prints a table.

Repositories of a million and of ten million chunks are made without the bytes of their data packs (see `hollow`); everything
that is timed is the program as it comes. What grows with the chunks is told per chunk, and so what a hundred million would
take.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

from benchmarks.hollow import fill
from benchmarks.images import MIB, TIB
from benchmarks.machine import machine_facts
from benchmarks.options import add_directory
from benchmarks.process import Command, Figures, measure, run_apart
from benchmarks.programs import PASSPHRASE, Lamina, compile_lamina
from benchmarks.report import columns
from benchmarks.samples import disk_usage
from lamina.model.ids import ChunkId
from lamina.model.operation import Operation
from lamina.model.secret import Secret
from lamina.repository.index import Index
from lamina.repository.repository import Repository
from lamina.storage.backends.local import LocalStorage

_HUGE = 100_000_000  # chunks, to which the figures are extended
_LOOK_UPS = 200_000
_PIECES = 6 * 1024  # 1 MiB each, spread over 6 TiB
_HEADER = ("chunks", "what", "wall s", "CPU s", "anonymous MiB", "max RSS MiB")


@dataclass(frozen=True, slots=True)
class Step:
    """One command, and what it cost."""

    chunks: int
    what: str
    figures: Figures

    @property
    def row(self) -> tuple[str, ...]:
        one = self.figures
        memory = (f"{one.rss_anon / MIB:.0f}", f"{one.max_rss / MIB:.0f}")
        return f"{self.chunks:,}", self.what, f"{one.wall_s:.2f}", f"{one.cpu_s:.2f}", *memory


def main() -> None:
    arguments = _parse_arguments()
    if arguments.look_ups:
        look_up(arguments.look_ups)
        return
    compile_lamina()
    directory: Path = arguments.directory
    directory.mkdir(parents=True, exist_ok=True)
    steps: list[Step] = []
    sizes: list[tuple[str, ...]] = []
    for chunks in arguments.chunks:
        scale = Scale(directory, chunks, arguments.snapshots)
        steps += scale.run()
        sizes.append(scale.sizes())
    if arguments.sparse:
        steps += sparse_increment(directory, arguments.sparse)
    for name, fact in machine_facts(directory).items():
        print(f"{name}: {fact}")
    print("", *columns(_HEADER, [step.row for step in steps]), sep="\n")
    header = ("chunks", "index, bytes a chunk", "local cache, bytes a chunk", "look-ups a second")
    print("", *columns(header, sizes), sep="\n")
    print("", *_extended(steps), sep="\n")
    document = {
        "steps": [asdict(step) for step in steps],
        "sizes": [dict(zip(header, one, strict=True)) for one in sizes],
    }
    (directory / "results-scale.json").write_text(json.dumps(document, indent=1) + "\n")


@dataclass(slots=True)
class Scale:
    """One repository and what is done with it."""

    directory: Path
    chunks: int
    snapshots: int

    def run(self) -> Iterator[Step]:
        """Raises: CommandFailed."""
        program, tiny = Lamina(self._place), self._place / "tiny.img"
        shutil.rmtree(self._place, ignore_errors=True)
        self._place.mkdir()
        tiny.write_bytes(os.urandom(MIB))
        measure(program.init(), log=self._log)
        print(f"making {self.chunks:,} chunks and {self.snapshots:,} snapshots", file=sys.stderr)
        run_apart(fill, self._place, PASSPHRASE, self.chunks, self.snapshots)
        yield self._step("first prune: fold what all sessions wrote", program.run("prune"))
        yield self._step("prune that finds nothing to do", program.run("prune"))
        yield self._step("prune --dry-run (mark, choose)", program.run("prune", "--dry-run"))
        shutil.rmtree(self._place / "cache")
        yield self._step("snapshots, no local cache", program.run("snapshots"))
        yield self._step("snapshots, warm", program.run("snapshots"))
        shutil.rmtree(self._place / "cache")
        yield self._step("backup of 1 MiB, no local cache", program.backup(tiny))
        yield self._step("backup of 1 MiB, unchanged", program.backup(tiny))

    def sizes(self) -> tuple[str, ...]:
        """What each chunk takes, and how fast one is found; then all is removed."""
        index = disk_usage(self._place / "repository" / "index") / self.chunks
        cache = disk_usage(self._place / "cache") / self.chunks
        command = [sys.executable, "-m", "benchmarks.scale", "--look-ups", str(self._place)]
        done = subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, text=True, check=True)
        shutil.rmtree(self._place)
        return f"{self.chunks:,}", f"{index:.1f}", f"{cache:.1f}", f"{float(done.stdout):,.0f}"

    @property
    def _place(self) -> Path:
        return self.directory / f"scale-{self.chunks}"

    @property
    def _log(self) -> Path:
        return self.directory / "programs.log"

    def _step(self, what: str, command: Command) -> Step:
        print(what, file=sys.stderr)
        return Step(self.chunks, what, measure(command, log=self._log))


def look_up(place: Path) -> None:
    """Print how many look-ups a second the index of the repository in *place* answers; every second chunk is known."""
    cache = next(path for path in (place / "cache").rglob("*.table")).parent.parent
    repository = Repository.open(
        LocalStorage(place / "repository"), Secret(PASSPHRASE.encode()), Operation(), cache=cache
    )
    repository.reader()
    wanted = _some_known(repository.index, _LOOK_UPS // 2)
    wanted += [ChunkId(os.urandom(32)) for _ in range(_LOOK_UPS // 2)]
    random.Random(1).shuffle(wanted)
    begun = time.perf_counter()
    found = sum(repository.index.find(chunk) is not None for chunk in wanted)
    print(len(wanted) / (time.perf_counter() - begun))
    assert found >= _LOOK_UPS // 4
    repository.close()


def _some_known(index: Index, count: int) -> list[ChunkId]:
    """Chunks from all over the tables."""
    tables = index.tables()
    total = sum(len(table) for table in tables)
    step = max(1, total // count)
    return [ChunkId(row[0]) for table in tables for row in islice(table.rows(), 0, None, step)]


def sparse_increment(directory: Path, size: int) -> Iterator[Step]:
    """The second, unchanged backup of an image of *size* bytes with little data in it. Raises: CommandFailed."""
    place, image = directory / "scale-sparse", directory / "scale-sparse.img"
    program = Lamina(place)
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    log = directory / "programs.log"
    with image.open("wb") as file:
        file.truncate(size)
        generator = random.Random(1)
        for number in range(_PIECES):
            file.seek(size // _PIECES * number // MIB * MIB)
            file.write(generator.randbytes(MIB))
    measure(program.init(), log=log)
    title = f"{size / TIB:g} TiB sparse, {_PIECES // 1024} GiB of data"
    for what in ("first backup", "unchanged"):
        before = disk_usage(place / "repository")
        figures = measure(program.backup(image), log=log)
        added = disk_usage(place / "repository") - before
        yield Step(size // MIB, f"{title}: {what} (adds {added / MIB:,.2f} MiB)", figures)
    image.unlink()
    shutil.rmtree(place)


def _extended(steps: Sequence[Step]) -> list[str]:
    """For every step that was measured at two sizes: the straight line through both, at a hundred million chunks."""
    lines = []
    for what in dict.fromkeys(step.what for step in steps):
        same = sorted((step for step in steps if step.what == what), key=lambda step: step.chunks)
        if len(same) < 2:
            continue
        few, many = same[0], same[-1]
        slope = (many.figures.wall_s - few.figures.wall_s) / (many.chunks - few.chunks)
        memory = (many.figures.rss_anon - few.figures.rss_anon) / (many.chunks - few.chunks)
        wall_s = many.figures.wall_s + slope * (_HUGE - many.chunks)
        anonymous = many.figures.rss_anon + memory * (_HUGE - many.chunks)
        lines.append(
            f"{what}: {slope * 1e6:.2f} s and {memory * 1e6 / MIB:.1f} MiB a million chunks;"
            f" a hundred million: {wall_s:.0f} s, {anonymous / MIB:.0f} MiB"
        )
    return lines


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=(__doc__ or "").split(":")[0])
    add_directory(parser)
    parser.add_argument(
        "--chunks",
        type=lambda text: [int(float(one)) for one in text.split(",")],
        default=[1_000_000, 10_000_000],
        help="how many, of each repository (default: 1e6,1e7)",
    )
    parser.add_argument("--snapshots", type=int, default=10_000, help="beside those of the chunks (default: 10000)")
    parser.add_argument(
        "--sparse", type=int, default=6 * TIB, help="bytes of the sparse image (default: 6 TiB); 0: none"
    )
    parser.add_argument("--look-ups", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    arguments.directory = arguments.directory.absolute()
    return arguments


if __name__ == "__main__":
    main()
