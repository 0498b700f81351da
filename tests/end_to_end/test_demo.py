"""`make demo` does what the README says, on the machine that the README speaks of."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.end_to_end.minimal_debian import CHECKOUT, minimal_debian

PROMISE = "Both images came back byte for byte."

pytestmark = pytest.mark.slow


@pytest.mark.integration
@pytest.mark.root
@pytest.mark.timeout(600)
def test_the_demo_sets_itself_up_on_a_minimal_debian(tmp_path: Path):
    with minimal_debian(tmp_path) as machine:
        as_nobody = machine.run("setpriv --reuid=65534 --clear-groups scripts/bootstrap demo", timeout_s=60)
        first = machine.run("make demo", timeout_s=400)
        again = machine.run("scripts/bootstrap demo", timeout_s=100)
    assert as_nobody.returncode == 1, "who may not install is told what to install"
    assert "apt-get install --no-install-recommends python3-venv" in as_nobody.stderr
    assert first.returncode == 0, first.stdout + first.stderr
    assert PROMISE in first.stdout
    assert (again.returncode, again.stdout, again.stderr) == (0, "", ""), "a second call must find everything in place"


@pytest.mark.skipif(os.geteuid() == 0, reason="root runs it in a minimal Debian")
@pytest.mark.timeout(300)
def test_the_demo_runs_for_a_user():
    done = subprocess.run(
        [sys.executable, "scripts/demo.py"], cwd=CHECKOUT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert PROMISE in done.stdout
