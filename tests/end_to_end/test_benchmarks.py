"""`python -m benchmarks` prints its table; what the figures are is no matter of a test."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
LAMINA_ROWS = {"first", "verified", "unchanged", "changed", "hints", "restore"}
TREE_ROWS = ("first", "verified", "unchanged", "changed", "restore", "list", "find")

pytestmark = [pytest.mark.slow, pytest.mark.integration]


def run_benchmarks(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "benchmarks", *arguments], cwd=CHECKOUT, capture_output=True, text=True, check=False
    )


def test_a_quick_run_of_lamina_alone_measures_every_row_of_images(tmp_path: Path):
    page = tmp_path / "page.md"
    page.write_text(
        "before\n<!-- results of images: written by `python -m benchmarks --page` -->\nold\n<!-- end of results of images -->\nafter\n"
    )
    done = run_benchmarks(
        "--quick", "--parts", "images", "--programs", "lamina", "--directory", str(tmp_path), "--page", str(page)
    )
    assert done.returncode == 0, done.stdout + done.stderr
    document = json.loads((tmp_path / "results-images.json").read_text())
    samples = document["samples"]
    assert {sample["row"] for sample in samples if sample["program"] == "lamina"} >= LAMINA_ROWS
    assert {"native calls", "plain copy"} <= {sample["program"] for sample in samples}
    assert all(sample["figures"]["wall_s"] > 0 for sample in samples)
    assert all(sample["figures"]["rss_anon"] > 0 for sample in samples if sample["program"] == "lamina")
    assert len([row for row in samples if row["row"].startswith("sparse ")]) == 6
    assert {target["met"] for target in document["targets"]} >= {None}, "nothing is compared with who did not run"
    assert "second backup, unchanged" in done.stdout
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text
    assert "| second backup, unchanged | lamina |" in text


def test_a_quick_run_of_lamina_alone_measures_every_row_of_trees(tmp_path: Path):
    options = ("--parts", "usr,tiny,triple", "--files", "1000", "--rounds", "2")
    done = run_benchmarks("--quick", *options, "--programs", "lamina", "--directory", str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    real, tiny = (json.loads((tmp_path / f"results-{section}.json").read_text()) for section in ("usr", "tiny"))
    subjects = {"usr": 2, "tiny": 2, "3 × tiny": 1}
    rows = [sample["row"] for sample in (*real["samples"], *tiny["samples"])]
    assert sorted(rows) == sorted(f"{tree}: {row}" for tree, count in subjects.items() for row in TREE_ROWS * count)
    assert real["facts"]["usr"].startswith("100 files")
    assert tiny["facts"]["3 × tiny"].startswith("3,000 files")
    measured = {target["title"]: target["measured"] for target in tiny["targets"]}
    assert measured["3 × tiny ÷ tiny: that peak"] > 0
    assert "usr: second backup, unchanged" in done.stdout
    assert not (tmp_path / "trees").exists(), "what takes much space is removed"


def test_a_program_or_row_that_does_not_exist_is_refused(tmp_path: Path):
    done = run_benchmarks("--only", "frist", "--directory", str(tmp_path))
    assert done.returncode == 2
    assert "frist: choose from first, fast" in done.stderr
