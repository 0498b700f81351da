"""`kill -9` at any moment: the next run succeeds, uses what is there, and meets no lock."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import threading
from collections import Counter
from collections.abc import Callable

import pytest

from tests.end_to_end.lamina_cli import Person, events

KILLS = 500 if os.environ.get("LAMINA_SOAK") else 50
SIZE = 6 << 20  # bytes; half of it is new each time, so that with the limit below an upload takes about half a second
LIMIT = "8MiB"
KEPT = 3  # snapshots; older ones are forgotten, so that a prune has something to do
PRUNE = ("prune", "--undo-window", "0h", "--wait", "0")


class Victims:
    """Backups, forgets and prunes of one repository, of which some die; `promised` is what was acknowledged and is wanted."""

    def __init__(self, person: Person, rng: random.Random) -> None:
        self.person = person
        self.rng = rng
        self.content = rng.randbytes(SIZE)
        self.promised: dict[str, bytes] = {}
        self.kills: Counter[str] = Counter()

    def run_and_kill(self) -> None:
        """A backup and a prune at once; each is let live, or killed at some moment if it is still there then."""
        half = SIZE // 2
        self.content = self.content[half:] + self.rng.randbytes(half)
        self.person.write("a.img", self.content)
        words = ("backup", "a.img", "--chunk-size", "64KiB", "--limit-upload", LIMIT, "--json")
        with self.person.start(*words) as backup, self.person.start(*PRUNE, "--json") as prune:
            threads = [
                threading.Thread(target=self._kill, args=(name, process, self._moment()))
                for name, process in (("backup", backup), ("prune", prune))
            ]
            for thread in threads:
                thread.start()
            output = backup.stdout.read() if backup.stdout else b""
            said = prune.stdout.read() if prune.stdout else b""
            for thread in threads:
                thread.join()
        assert backup.returncode in (0, -signal.SIGKILL)
        assert prune.returncode in (0, -signal.SIGKILL), said.decode()
        if backup.returncode == 0:
            self.promised[events(output)[-1]["snapshot"]] = self.content

    def forget_old_ones(self) -> None:
        for snapshot in list(self.promised)[:-KEPT]:
            del self.promised[snapshot]
            self.person.do("forget", snapshot, "--force")

    def _moment(self) -> float | None:
        return self.rng.uniform(0.2, 2.5) if self.rng.random() < 0.7 else None

    def _kill(self, name: str, process: subprocess.Popen[bytes], seconds: float | None) -> None:
        try:
            process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            self.kills[name] += 1

    def check(self) -> None:
        """Nothing is wrong, and all that was promised comes back."""
        assert self.person.report("verify")["problems"] == []
        for snapshot, content in self.promised.items():
            self.person.do("restore", snapshot, "b.img", "--force")
            assert (self.person.directory / "b.img").read_bytes() == content, f"snapshot {snapshot}"


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_backups_and_prunes_killed_at_random_moments(person: Person, record_property: Callable[[str, object], None]):
    seed = int(os.environ.get("LAMINA_TEST_SEED", "0")) or (1 if os.environ.get("CI") else random.getrandbits(32))
    print(f"LAMINA_TEST_SEED={seed}")
    victims = Victims(person, random.Random(seed))
    while victims.kills.total() < KILLS:
        victims.run_and_kill()
        victims.forget_old_ones()
    victims.check()
    assert victims.promised, "no backup ever ended"
    assert min(victims.kills["backup"], victims.kills["prune"]) > KILLS // 10, victims.kills
    person.do(*PRUNE)
    assert person.report(*PRUNE)["waits_for"] == [], "those who were killed are known to be dead"
    victims.check()
    person.do("backup", "a.img", "--chunk-size", "64KiB")
    assert person.report("backup", "a.img", "--chunk-size", "64KiB")["new_bytes"] == 0
    record_property("programs killed", victims.kills.total())


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
