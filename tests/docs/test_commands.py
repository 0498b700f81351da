"""What the README, CONTRIBUTING and `make help` say about commands is so."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
MAKEFILE = (CHECKOUT / "Makefile").read_text()
TARGETS = set(re.findall(r"^([a-z]+):(?!=)", MAKEFILE, re.MULTILINE))


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md"])
def test_every_make_command_on_the_page_is_a_target(page: str):
    named = set(re.findall(r"\bmake (\w+)", _code(page)))
    assert named, f"{page} names no make command"
    assert named <= TARGETS


def test_the_readme_has_the_two_commands():
    assert {"demo", "test"} <= set(re.findall(r"^make (\w+)", (CHECKOUT / "README.md").read_text(), re.MULTILINE))


def test_make_help_lists_every_target():
    done = subprocess.run(
        ["make", "--no-print-directory", "help"], cwd=CHECKOUT, capture_output=True, text=True, check=True
    )
    listed = set(re.findall(r"^ {2}(\w+)\s+\S", done.stdout, re.MULTILINE))
    assert listed == TARGETS


def test_make_alone_prints_the_help():
    done = subprocess.run(["make", "--no-print-directory"], cwd=CHECKOUT, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("Usage: make TARGET")


@pytest.mark.parametrize("lock", sorted((CHECKOUT / "requirements").glob("*.txt")), ids=lambda path: path.name)
def test_a_lock_holds_names_versions_and_hashes_only(lock: Path):
    allowed = re.compile(r"[a-z0-9-]+==\S+( ; [^:]+)? \\|    --hash=sha256:[0-9a-f]{64}( \\)?")
    odd = [line for line in lock.read_text().splitlines() if not allowed.fullmatch(line)]
    assert odd == []


def _code(page: str) -> str:
    """The code of a page: its fenced blocks and what stands in back quotes."""
    text = (CHECKOUT / page).read_text()
    return "\n".join(re.findall(r"```.*?```|`[^`\n]+`", text, re.DOTALL))
