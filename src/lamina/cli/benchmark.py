"""`lamina benchmark`: how fast this machine hashes, compresses and seals, and what that recommends."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from lamina.cli import exit_codes
from lamina.cli.arguments import Verbs
from lamina.cli.text import table
from lamina.model.quantities import KIB, MIB, format_size

if TYPE_CHECKING:
    from lamina.cli.call import Call
    from lamina.model.operation import Clock

CHUNK_SIZES = (256 * KIB, MIB, 4 * MIB)
SECONDS_EACH = 0.4
SLOWEST_FAST_ENOUGH = 100 * MIB  # bytes a second and core: a disk or a network is rarely faster per core


@dataclass(frozen=True, slots=True)
class Measured:
    """The speed of one step on one core."""

    step: str
    chunk_size: int
    bytes_per_s: float
    ratio: float  # plain bytes for each stored byte

    def document(self) -> dict[str, Any]:
        return {
            "step": self.step,
            "chunk_size": self.chunk_size,
            "bytes_per_s": round(self.bytes_per_s),
            "ratio": round(self.ratio, 2),
        }


def add_to(verbs: Verbs) -> None:
    verbs.add(
        "benchmark",
        summary="measure hashing, compression and encryption on this machine",
        about="Uses one core, no storage and no repository, and takes about ten seconds.",
        examples=("lamina benchmark",),
        run=run_benchmark,
    )


def run_benchmark(call: Call) -> int:
    from lamina.wiring import tune_memory

    tune_memory()
    with call.operation() as operation:
        measured = []
        for step, chunk_size, run in _steps():
            operation.check_stop()
            operation.progress.start(f"{step}, chunks of {format_size(chunk_size)}", None)
            measured.append(_measure(step, chunk_size, run, operation.clock))
    compression = recommended(measured)
    rows = [
        [one.step, format_size(one.chunk_size), f"{format_size(one.bytes_per_s)}/s", f"{one.ratio:.2f}"]
        for one in measured
    ]
    lines = [
        *table(["STEP (ONE CORE)", "CHUNK", "SPEED", "RATIO"], rows, right=["CHUNK", "SPEED", "RATIO"]),
        f"recommended: --compression {compression} (the hardest one that does {format_size(SLOWEST_FAST_ENOUGH)}/s a core)",
    ]
    document = {"steps": [one.document() for one in measured], "compression": compression}
    call.output.report("benchmark", document, lines)
    return exit_codes.DONE


def recommended(measured: list[Measured]) -> str:
    """The compression that stores least among those fast enough; `fast` if none is."""
    usable = [one for one in measured if one.step.startswith("compress ") and one.bytes_per_s >= SLOWEST_FAST_ENOUGH]
    if not usable:
        return "fast"
    return max(usable, key=lambda one: one.ratio).step.removeprefix("compress ")


def sample(size: int) -> bytes:
    """Bytes that compress about threefold, as the content of a disk does: text of many words, records, and noise."""
    chance = random.Random(size)  # noqa: S311 - the same bytes on every machine, not a secret
    words = [bytes(chance.choices(range(97, 123), k=chance.randint(2, 11))) for _ in range(4000)]
    pieces: list[bytes] = []
    length = 0
    while length < size:
        kind = chance.random()
        if kind < 0.6:
            piece = b" ".join(chance.choices(words, k=400))
        elif kind < 0.85:
            start = chance.getrandbits(32)
            piece = b"".join((start + 24 * n).to_bytes(8, "little") + bytes(8) for n in range(128))
        else:
            piece = chance.randbytes(1024)
        pieces.append(piece)
        length += len(piece)
    return b"".join(pieces)[:size]


def _steps() -> list[tuple[str, int, Callable[[], int]]]:
    """Each step with its chunk size and a function that does it once and says how many bytes came out."""
    from lamina.crypto import aead, hashing
    from lamina.filters import pipeline, zstd

    key = bytes(range(32))

    def hashed(chunk: bytes) -> int:
        hashing.keyed_hash(key, chunk)
        return len(chunk)

    def sealed(chunk: bytes) -> int:
        return len(aead.seal(key, chunk, b""))

    def compressed(chunk: bytes, level: int) -> int:
        return len(zstd.compress(chunk, level))

    steps: list[tuple[str, int, Callable[[], int]]] = []
    for chunk_size in CHUNK_SIZES:
        chunk = sample(chunk_size)
        steps.append(("hash", chunk_size, partial(hashed, chunk)))
        steps.append(("seal", chunk_size, partial(sealed, chunk)))
    chunk = sample(MIB)
    for name, level in pipeline.LEVELS.items():
        if level is not None:
            steps.append((f"compress {name}", MIB, partial(compressed, chunk, level)))
    return steps


def _measure(step: str, chunk_size: int, run: Callable[[], int], clock: Clock) -> Measured:
    came_out = run()  # once for the caches
    rounds, began = 0, clock.monotonic()
    while (elapsed := clock.monotonic() - began) < SECONDS_EACH:
        run()
        rounds += 1
    return Measured(step, chunk_size, rounds * chunk_size / elapsed, chunk_size / came_out)
