"""Prune as a person meets it: look, wait, go on, give up, refuse."""

from __future__ import annotations

import random
import signal
import subprocess
from pathlib import Path

from tests.end_to_end.lamina_cli import Person, events

MIB = 1 << 20
PRUNE = ("prune", "--undo-window", "0")


def content(seed: int) -> bytes:
    return random.Random(seed).randbytes(3 * MIB)


def packs(person: Person) -> int:
    """Bytes of all data packs."""
    return sum(path.stat().st_size for path in (person.repository / "data").rglob("*") if path.is_file())


def start_backup(person: Person) -> subprocess.Popen[bytes]:
    """A backup that has begun and waits for its data."""
    before = set(person.repository.glob("sessions/*/start"))
    running = person.start("backup", "-", "--name", "pipe", stdin=subprocess.PIPE)
    while set(person.repository.glob("sessions/*/start")) <= before:
        assert running.poll() is None
    return running


def test_space_comes_back(person: Person):
    person.write("old", content(1))
    person.write("new", content(2))
    person.do("backup", "old", "--name", "old")
    person.do("backup", "new", "--name", "new")
    gone = person.report("forget", "old@latest", "--force")["snapshots"]
    kept = person.report("prune")
    assert (kept["generation"], kept["undoable"]["count"]) == (None, 1), "it can still be brought back"
    told = person.do("prune", "--timezone", "Pacific/Kiritimati")
    assert "1 forgotten snapshot can still be brought back" in told
    assert "+14:00 on" in told
    planned = person.report(*PRUNE, "--dry-run")
    assert planned["buried"] == gone
    before = packs(person)
    assert "would come back" in person.do(*PRUNE, "--dry-run")
    done = person.report(*PRUNE)
    assert (done["buried"], done["finished"], done["freed_bytes"]) == (gone, True, planned["freed_bytes"])
    assert done["undoable"] == {"count": 0, "until": None}
    assert packs(person) <= before - 3 * MIB
    assert person.run("unforget", gone[0]).returncode == 1
    person.do("restore", "new@latest", "back")
    assert Path(person.directory / "back").read_bytes() == content(2)
    assert "nothing to prune" in person.do(*PRUNE)


def test_a_backup_that_runs_is_waited_for_and_the_next_prune_goes_on(person: Person):
    person.write("old", content(1))
    person.do("backup", "old", "--name", "old")
    running = start_backup(person)
    person.do("forget", "old@latest", "--force")
    waiting = person.report(*PRUNE, "--wait", "0")
    assert (waiting["finished"], len(waiting["waits_for"])) == (False, 1)
    assert "waiting for session" in person.do(*PRUNE, "--wait", "0")
    assert person.report(*PRUNE, "--dry-run")["takes_over"]
    _, said = running.communicate(content(1))  # what it finds in the repository, it finds in condemned packs
    assert running.returncode == 0, said.decode()
    assert person.report(*PRUNE)["finished"]
    person.do("restore", "pipe@latest", "back")
    assert Path(person.directory / "back").read_bytes() == content(1)


def test_a_backup_that_was_killed_on_this_host_is_given_up_at_once(person: Person):
    person.write("old", content(1))
    person.do("backup", "old", "--name", "old")
    running = start_backup(person)
    running.send_signal(signal.SIGKILL)
    running.communicate()
    person.do("forget", "old@latest", "--force")
    done = person.report(*PRUNE, "--wait", "0")
    assert (done["finished"], len(done["aborted"])) == (True, 1)
    assert packs(person) == 0


def test_a_prune_that_finds_something_amiss_says_so_with_its_own_code(newcomer: Person, new_repository: Path):
    import shutil

    shutil.copytree(new_repository, newcomer.repository)
    newcomer.write("old", content(1))
    snapshot = newcomer.report("backup", "old")["snapshot"]
    record = newcomer.repository / "snapshots" / snapshot
    record.chmod(0o600)
    record.write_bytes(record.read_bytes()[:-1])
    refused = newcomer.run(*PRUNE, "--json")
    assert refused.returncode == 6
    assert events(refused.stdout)[-1]["error"] == "PruneRefused"
