"""The simulator finds nothing: 2,000 seeds, or as many as LAMINA_SEEDS says; and it is one to be believed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

CHECKOUT = Path(__file__).parents[2]
SEEDS = int(os.environ.get("LAMINA_SEEDS", "2000"))
BATCH = 50
# What has to happen again and again, or nothing is proved; each name is one of the oracle's counts.
HAPPENS = (
    "commits",
    "generations",
    "crashes",
    "restores",
    "unforgets",
    "buried",
    "aborted",
    "caught up",
    "waiting prunes",
    "verifies",
    "protects",
)


def simulate(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the simulator in a process of its own: hashes of strings must be the same each time."""
    command = [sys.executable, "-m", "tests.simulation", "--jobs", "1", *arguments]
    environment = {**os.environ, "PYTHONHASHSEED": "0"}
    return subprocess.run(command, cwd=CHECKOUT, env=environment, capture_output=True, text=True)


def counted(run: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """The document that a run ends with."""
    return json.loads(run.stdout.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.parametrize("first", range(1, SEEDS + 1, BATCH))
def test_nothing_that_was_promised_is_lost(first: int):
    run = simulate("--seeds", str(min(BATCH, SEEDS + 1 - first)), "--first", str(first), "--json")
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.slow
def test_everything_that_can_go_wrong_does():
    run = simulate("--seeds", "100", "--json")
    counts = counted(run)["counts"]
    assert [name for name in HAPPENS if counts.get(name, 0) < 10] == [], counts
    assert counts["commits"] > 1000
    assert counts["generations"] > 200


def test_a_seed_replays_exactly_whatever_ran_before_it():
    first, second = (simulate("--seeds", "1", "--first", "8", "--trace").stdout.splitlines() for _ in range(2))
    assert first == second
    assert len(first) > 500
    after_another = simulate("--seeds", "2", "--first", "7", "--trace").stdout.splitlines()
    assert after_another[-len(first) : -1] == first[:-1]
    assert after_another[: len(first) - 1] != first[:-1]
