"""Run the proof at its full length, and sum up what was tried: `make soak`.

The same tests as in CI, with `LAMINA_SOAK=1`: they then turn to every object, moment and step instead of some, and fuzz
some hundred times as long. The last result stands in docs/concepts/proof.md.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

TESTS = (
    "tests/fuzz",
    "tests/faults/test_bit_flips.py",
    "tests/faults/test_zoo.py",
    "tests/faults/test_zoo_repair.py",
    "tests/faults/test_power_cuts.py",
    "tests/faults/test_full_disk.py",
    "tests/end_to_end/test_kill.py",
    "tests/simulation/test_plants.py",
)
TIMEOUT_S = 6 * 3600  # of one test


def main() -> int:
    arguments = _arguments()
    environment = os.environ | {"LAMINA_SOAK": "1", "HYPOTHESIS_PROFILE": "deep"}
    begun = datetime.now(UTC)
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        tested = _run(
            "-m", "pytest", "-q", "-n", str(arguments.workers), "--dist", "worksteal", "--timeout", str(TIMEOUT_S),
            f"--junitxml={report}", *arguments.tests, environment=environment,
        )  # fmt: skip
        counts = _counts(report)
    simulated = 0
    if arguments.seeds:
        simulated = _run(
            "-m", "tests.simulation", "--seeds", str(arguments.seeds), "--first", "1", environment=environment
        )
    _print_summary(begun, counts, arguments.seeds)
    return tested or simulated


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="processes (default: one a processor)")
    parser.add_argument(
        "--seeds", type=int, default=20_000, help="of the simulator; 0 leaves it out (default: %(default)s)"
    )
    parser.add_argument("tests", nargs="*", default=TESTS, help="tests to run (default: all that have a full length)")
    return parser.parse_args()


def _run(*words: str, environment: dict[str, str]) -> int:
    return subprocess.run([sys.executable, *words], env=environment, check=False).returncode


def _counts(report: Path) -> Counter[str]:
    """What the tests noted of themselves, summed up, and how they ended."""
    counts: Counter[str] = Counter()
    if not report.exists():
        return counts
    for case in ET.parse(report).getroot().iter("testcase"):
        counts["tests"] += 1
        counts["failures"] += case.find("failure") is not None or case.find("error") is not None
        for noted in case.iter("property"):
            counts[noted.attrib["name"]] += int(noted.attrib["value"])
    return counts


def _print_summary(begun: datetime, counts: Counter[str], seeds: int) -> None:
    hours = (datetime.now(UTC) - begun).total_seconds() / 3600
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False).stdout
    print(
        f"\nsoak of {begun:%Y-%m-%d}, {commit.strip() or 'no commit'}, Python {platform.python_version()}, {hours:.1f} h"
    )
    for name, count in sorted(counts.items()):
        print(f"  {name:24}{count:>14,}")
    if seeds:
        print(f"  {'simulated seeds':24}{seeds:>14,}   (their line stands above)")


if __name__ == "__main__":
    sys.exit(main())
