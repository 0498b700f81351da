"""Signals, damage and missing things: a clear message, the right exit code, nothing lost."""

from __future__ import annotations

import os
import random
import signal
import subprocess
from pathlib import Path

import pytest

from tests.end_to_end.lamina_cli import Person, events

MIB = 1 << 20
STOP_SIGNALS = [signal.SIGINT, signal.SIGTERM]


@pytest.mark.parametrize("number", STOP_SIGNALS, ids=["INT", "TERM"])
def test_a_signal_stops_a_backup_that_waits_for_its_input(person: Person, number: signal.Signals):
    """Standard input gives some data and then nothing more, as a slow program would."""
    with person.start("backup", "-", "--json", stdin=subprocess.PIPE) as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write(b"x" * 3 * MIB)
        process.stdin.flush()
        started = process.stdout.readline()
        process.send_signal(number)
        rest = process.stdout.read()
        code = process.wait()
    assert code == 130, rest
    assert events(started + rest)[-1]["error"] == "Stopped"
    assert "no snapshots" in person.do("snapshots")


def test_a_stream_cut_off_by_the_same_ctrl_c_is_not_committed(person: Person):
    """A terminal sends Ctrl-C to the whole pipeline: the program in front ends too, which looks like the end of its data."""
    with person.start("backup", "-", "--json", stdin=subprocess.PIPE) as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write(b"x" * 3 * MIB)
        process.stdin.flush()
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        process.stdin.close()
        rest = process.stdout.read()
        code = process.wait()
    assert code == 130, rest
    assert "no snapshots" in person.do("snapshots")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=["INT", "KILL"])
def test_after_an_interrupted_backup_the_next_one_succeeds(person: Person, number: signal.Signals):
    content = random.Random(1).randbytes(24 * MIB)
    person.write("a.img", content)
    with person.start("backup", "a.img", "--json", "--limit-upload", "20MiB") as process:
        assert process.stdout
        for line in process.stdout:
            if b'"progress"' in line:
                break
        process.send_signal(number)
        process.stdout.read()
        code = process.wait()
    assert code == (130 if number == signal.SIGINT else -signal.SIGKILL)
    person.do("backup", "a.img")
    person.do("restore", "latest", "b.img")
    assert (person.directory / "b.img").read_bytes() == content


@pytest.mark.parametrize("style", [["--json"], []], ids=["json", "text"])
@pytest.mark.parametrize("number", STOP_SIGNALS, ids=["INT", "TERM"])
def test_a_signal_while_it_is_compared_says_that_the_snapshot_was_made(
    person: Person, number: signal.Signals, style: list[str]
):
    """Reading it back is made so slow that the signal comes in time; that this has begun is seen in the repository."""
    content = random.Random(1).randbytes(24 * MIB)
    person.write("a.img", content)
    person.write(
        ".config/lamina/lamina.toml",
        f'[repository.slow]\naddress = "{person.repository}"\nlimit_download = "1MiB"\n'.encode(),
    )
    with person.start("-r", "slow", "backup", "a.img", *style) as process:
        assert process.stdout
        assert process.stderr
        _wait_for_a_snapshot(person.repository, process)
        process.send_signal(number)
        output, said = process.stdout.read(), process.stderr.read()
        code = process.wait()
    assert code == 130, said
    (snapshot,) = [path.name for path in (person.repository / "snapshots").iterdir()]
    message = events(output)[-1]["message"] if style else said.decode()
    assert f"snapshot {snapshot[:8]} was made, but not (wholly) compared with its source" in message
    if style:
        assert events(output)[-1]["event"] == "error"
    person.do("restore", "latest", "b.img")
    assert (person.directory / "b.img").read_bytes() == content


def _wait_for_a_snapshot(repository: Path, process: subprocess.Popen[bytes]) -> None:
    while not any((repository / "snapshots").glob("[!.]*")):
        assert process.poll() is None, "it ended before it made a snapshot"


def test_a_signal_while_the_passphrase_is_awaited_ends_the_call(person: Person):
    fifo = person.directory / "fifo"
    os.mkfifo(fifo)
    # the FIFO opens once lamina waits at its other end
    with person.start("snapshots", "--passphrase-file", fifo) as process, fifo.open("wb"):
        process.send_signal(signal.SIGINT)
        code = process.wait()
    assert code == 130


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["backup", "gone.img"], 1, "gone.img"),
        (["backup", "/", "a.img"], 2, "root directory"),
        (["backup", ".", "--hints", "-"], 2, "directory"),
        (["backup"], 2, "nothing was named"),
        (["backup", "/dev/null"], 1, "/dev/null"),
        (["backup", "a.img", "--parent", "nobody@latest"], 1, "nobody"),
        (["backup", "a.img", "--expire", "2001-01-01"], 2, "past"),
        (["backup", "a.img", "--name", ""], 2, "name"),
        (["backup", "a.img", "--tag", "a b"], 2, "tag"),
        (["backup", "a.img", "--chunk-size", "3MiB"], 2, "3"),
        (["restore", "latest", "no/such/directory/b.img"], 1, "no/such"),
        (["restore", "beef", "b.img"], 1, "beef"),
        (["show", "latest:a.img"], 2, "entry"),
        (["key", "remove", "ffff"], 2, "ffff"),
        (["tag", "latest"], 2, "--add"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_done_is_said_with_its_name(person: Person, words: list[str], code: int, says: str):
    person.write("a.img", b"content")
    person.do("backup", "a.img")
    done = person.run(*words)
    assert done.returncode == code, done.stderr
    assert says in done.stderr.decode()
    assert b"Traceback" not in done.stderr


def test_a_damaged_pack_is_found_by_verify_and_restores_no_wrong_byte(newcomer: Person):
    newcomer.do("init", "--no-probe")
    newcomer.write("a.img", random.Random(1).randbytes(MIB))
    newcomer.do("backup", "a.img")
    (pack,) = [path for path in (newcomer.repository / "data").rglob("*") if path.is_file()]
    _flip(pack, pack.stat().st_size // 2)
    done = newcomer.run("verify", "--json")
    assert done.returncode == 1
    assert pack.name in str(events(done.stdout)[-1]["problems"])
    assert newcomer.run("restore", "latest", "b.img").returncode == 1


def test_a_source_that_shrinks_while_it_is_read_makes_a_partial_snapshot(person: Person):
    """The FIFO of the hints holds the call up between opening the source and reading it."""
    person.write("a.img", random.Random(1).randbytes(4 * MIB))
    fifo = person.directory / "hints"
    os.mkfifo(fifo)
    person.do("backup", "a.img")
    with person.start("backup", "a.img", "--hints", fifo) as process, fifo.open("wb") as hints:
        os.truncate(person.directory / "a.img", MIB)
        hints.write(b'[{"offset": 0, "length": 4194304, "exists": "true"}]')
        hints.close()
        assert process.stderr
        said = process.stderr.read()
        code = process.wait()
    assert code in {3, 4}, said
    assert b"a.img" in said


def _flip(path: Path, offset: int) -> None:
    path.chmod(0o600)
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)
        file.seek(offset)
        file.write(bytes([byte[0] ^ 0x40]))
