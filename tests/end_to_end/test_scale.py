"""A million chunks: every step works, and none needs much memory. How long each takes is no matter of a test."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
CHUNKS = 1_000_000
MOST = 256 << 20  # bytes of anonymous memory, as for ten million
INDEX = 60  # bytes a chunk on the disk: a row of 48, and what belongs to its pack

pytestmark = [pytest.mark.slow, pytest.mark.integration]


@pytest.mark.timeout(900)
def test_a_million_chunks_are_found_marked_and_pruned_in_little_memory(tmp_path: Path):
    options = ("--chunks", str(CHUNKS), "--snapshots", "300", "--sparse", "0", "--directory", str(tmp_path))
    command = [sys.executable, "-m", "benchmarks.scale", *options]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    document = json.loads((tmp_path / "results-scale.json").read_text())
    peaks = {step["what"]: step["figures"]["rss_anon"] for step in document["steps"]}
    assert {"prune --dry-run (mark, choose)", "snapshots, warm", "backup of 1 MiB, no local cache"} <= peaks.keys()
    assert [what for what, peak in peaks.items() if not 0 < peak <= MOST] == [], peaks
    (sizes,) = document["sizes"]
    assert 48 <= float(sizes["index, bytes a chunk"]) <= INDEX
    assert float(sizes["local cache, bytes a chunk"]) <= INDEX
