"""`kill -9` at any moment: the next run succeeds, uses what is there, and meets no lock."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess

import pytest

from tests.end_to_end.lamina_cli import Person

KILLS = 12
SIZE = 6 << 20  # bytes: with the limit below an upload takes about a second
LIMIT = "8MiB"


@pytest.mark.slow
def test_killed_at_random_moments(person: Person):
    seed = int(os.environ.get("LAMINA_TEST_SEED", "0")) or (1 if os.environ.get("CI") else random.getrandbits(32))
    print(f"LAMINA_TEST_SEED={seed}")
    rng = random.Random(seed)
    content = rng.randbytes(SIZE)
    person.write("a.img", content)
    killed = 0
    for number in range(KILLS):
        content = content[: SIZE // 2] + rng.randbytes(64 << 10) + content[SIZE // 2 + (64 << 10) :]
        person.write("a.img", content)
        with person.start("backup", "a.img", "--chunk-size", "64KiB", "--limit-upload", LIMIT) as process:
            try:
                process.wait(timeout=rng.uniform(0.05, 1.6))
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                killed += 1
            process.communicate()
        assert process.returncode in (0, -signal.SIGKILL), f"kill {number} of seed {seed}"
    assert killed, f"every run ended before it was killed (seed {seed})"
    assert person.report("verify")["problems"] == []
    person.do("backup", "a.img", "--chunk-size", "64KiB")
    again = person.report("backup", "a.img", "--chunk-size", "64KiB")
    assert again["new_bytes"] == 0
    person.do("restore", "latest", "b.img")
    assert (person.directory / "b.img").read_bytes() == content


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["INT", "TERM"])
def test_what_a_stopped_run_uploaded_is_used_again(person: Person, number: signal.Signals):
    """Packs are full at 32 MiB: one of the two is stored for certain when 80 MiB were read."""
    content = random.Random(number).randbytes(96 << 20)
    person.write("a.img", content)
    with person.start("backup", "a.img", "--limit-upload", "64MiB", "--json", "--compression", "off") as process:
        assert process.stdout
        for line in process.stdout:
            if json.loads(line).get("stored_bytes"):
                break
        process.send_signal(number)
        process.stdout.read()
        code = process.wait()
    assert code == 130
    report = person.report("backup", "a.img", "--compression", "off")
    assert report["new_bytes"] < len(content) - (16 << 20), "what was uploaded is not uploaded again"
