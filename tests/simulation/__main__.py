"""Run seeds of the simulator: `python -m tests.simulation --seeds 60 --first 1`. See docs/concepts/proof.md."""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
from collections import Counter
from collections.abc import Iterator

from tests.simulation.run import Outcome, run_task

TOLD = 10  # seeds that lost anything; of more only the number
HASH_SEED = "0"  # the order of sets of strings is part of a run


def main() -> int:
    """Run what the command line says; 1 if anything was lost."""
    options = _options()
    if os.environ.get("PYTHONHASHSEED") != HASH_SEED:
        os.environ["PYTHONHASHSEED"] = HASH_SEED
        os.execv(sys.executable, [sys.executable, "-m", "tests.simulation", *sys.argv[1:]])
    counts: Counter[str] = Counter()
    lost: list[int] = []
    for outcome in _outcomes(options):
        counts.update(outcome.counts)
        counts["seeds"] += 1
        if len(lost) < TOLD:
            _tell(outcome, options)
        if outcome.losses:
            lost.append(outcome.seed)
            if options.until_lost:
                break
    if options.json:
        print(json.dumps({"counts": dict(counts), "lost": lost}))
    else:
        _summarise(options, counts, lost)
    return 1 if lost else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="simulate", description="Simulate many clients of one repository.")
    parser.add_argument("--seeds", type=int, default=60, help="how many seeds to run")
    parser.add_argument("--first", type=int, default=1, help="the first of them")
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)), help="processes at a time")
    parser.add_argument(
        "--plant", default="", help="leave out one rule of the protocol: see tests/simulation/plants.py"
    )
    parser.add_argument("--until-lost", action="store_true", help="stop at the first seed that loses anything")
    parser.add_argument("--trace", action="store_true", help="print every step")
    parser.add_argument("--details", action="store_true", help="print all that was counted")
    parser.add_argument("--json", action="store_true", help="end with a JSON document")
    return parser.parse_args()


def _outcomes(options: argparse.Namespace) -> Iterator[Outcome]:
    tasks = [(seed, options.plant, options.trace) for seed in range(options.first, options.first + options.seeds)]
    if options.jobs == 1 or len(tasks) == 1:
        yield from map(run_task, tasks)
        return
    with multiprocessing.get_context("fork").Pool(options.jobs) as pool:
        yield from pool.imap_unordered(run_task, tasks)


def _tell(outcome: Outcome, options: argparse.Namespace) -> None:
    for line in outcome.trace:
        print(line)
    for loss in outcome.losses[:5]:
        print(f"seed {outcome.seed}: {loss}")
    if outcome.losses and not options.trace and not options.plant:
        print(f"seed {outcome.seed}: `make simulate SEEDS=1 SEED={outcome.seed} ARGS=--trace` shows every step")


def _summarise(options: argparse.Namespace, counts: Counter[str], lost: list[int]) -> None:
    if options.details:
        for name, count in sorted(counts.items()):
            print(f"{name}: {count:,}")
    print(
        f"{counts['seeds']:,} seeds from {options.first}, {counts['commits']:,} commits, "
        f"{counts['generations']:,} prune generations, {counts['crashes']:,} crashes, {len(lost):,} losses"
    )


if __name__ == "__main__":
    sys.exit(main())
