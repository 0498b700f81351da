"""Who can open the repository, and what never shows."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from tests.end_to_end.lamina_cli import Person, events


def test_init_shows_the_recovery_key_once_and_it_opens_the_repository(newcomer: Person):
    report = newcomer.report("init", "--label", "first")
    assert newcomer.run("init").returncode == 1, "a second init must not touch the repository"
    key = report["recovery_key"]
    lost = Person(newcomer.directory, passphrase=key)
    (slot,) = [one for one in events(lost.do("key", "list", "--json").encode()) if one["event"] == "key"]
    assert (slot["role"], slot["label"]) == ("owner", "first")
    assert key in lost.do("key", "export")
    assert lost.report("verify")["problems"] == []


def test_a_wrong_passphrase_is_exit_code_12(person: Person):
    assert Person(person.directory, passphrase="wrong").run("snapshots").returncode == 12


def test_keys_are_added_changed_and_removed(person: Person):
    secret = person.write("writer.passphrase", b"another one\n")
    secret.chmod(0o600)
    added = person.report("key", "add", "--role", "writer", "--label", "web", "--new-passphrase-file", secret)
    writer = Person(person.directory, passphrase="another one")
    current = [one for one in events(writer.do("key", "list", "--json").encode()) if one.get("current")]
    assert [(one["id"], one["role"]) for one in current] == [(added["id"], "writer")]
    assert writer.run("key", "export").returncode == 1
    person.do("key", "remove", added["id"][:8])
    assert writer.run("snapshots").returncode == 12


def test_the_passphrase_can_be_changed(newcomer: Person):
    newcomer.do("init", "--no-probe")
    new = newcomer.write("new", b"new words")
    new.chmod(0o600)
    newcomer.do("key", "passphrase", "--new-passphrase-file", new)
    assert newcomer.run("snapshots").returncode == 12
    Person(newcomer.directory, passphrase="new words").do("verify")


@pytest.mark.parametrize(
    "words", [["snapshots"], ["snapshots", "-v"], ["snapshots", "--json"], ["key", "list"]], ids=" ".join
)
def test_the_passphrase_is_in_no_output_and_no_log(person: Person, words: list[str]):
    log = person.directory / "log"
    for passphrase, code in ((person.passphrase, 0), ("wrong but secret", 12)):
        done = Person(person.directory, passphrase=passphrase).run(*words, "--log-file", log)
        assert done.returncode == code
        assert passphrase.encode() not in done.stdout + done.stderr + log.read_bytes()


def test_the_passphrase_shows_in_no_process_list_and_no_child_inherits_it(person: Person):
    """The passphrase command, a child of lamina, says what it sees of its parent and of its own environment."""
    seen = person.directory / "seen"
    spy = person.write("spy", f"#!/bin/sh\ncat /proc/$PPID/cmdline > {seen}; env >> {seen}; echo wrong\n".encode())
    spy.chmod(0o700)
    assert person.run("snapshots", "--passphrase-command", spy).returncode == 12
    text = seen.read_bytes()
    assert b"snapshots" in text
    assert person.passphrase.encode() not in text


def test_a_file_that_everybody_can_read_gives_a_warning(person: Person):
    words = person.write("p", person.passphrase.encode() + b"\n")
    words.chmod(0o644)
    done = person.run("snapshots", "--passphrase-file", words)
    assert done.returncode == 0
    assert b"chmod 600" in done.stderr


def test_a_profile_names_repository_and_passphrase(person: Person):
    person.write("p", person.passphrase.encode()).chmod(0o600)
    person.write(
        ".config/lamina/lamina.toml", b'[repository.home]\naddress = "~/repository"\npassphrase_file = "../../p"\n'
    )
    variables = {name: value for name, value in person.environment().items() if not name.startswith("LAMINA_")}
    person.environment = lambda: variables  # type: ignore[method-assign]
    person.do("-r", "home", "snapshots")
    assert person.run("snapshots").returncode == 2


def test_a_person_at_a_terminal_is_asked_twice_and_sees_nothing_typed(newcomer: Person):
    variables = newcomer.environment()
    del variables["LAMINA_PASSPHRASE"]
    shown, status = _at_a_terminal(["init", "--no-probe"], variables, [b"typed words\n", b"typed words\n"])
    assert status == 0, shown
    assert b"again" in shown
    assert b"typed words" not in shown
    assert Person(newcomer.directory, passphrase="typed words").report("verify")["problems"] == []
    shown, status = _at_a_terminal(["key", "passphrase"], variables, [b"typed words\n", b"one\n", b"other\n"])
    assert status == 2, shown
    assert b"differ" in shown


# Makes its standard input the controlling terminal (the place where getpass asks), then becomes lamina.
_TAKE_TERMINAL = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
    "os.execv(sys.executable, [sys.executable, '-m', 'lamina', *sys.argv[1:]])"
)


def _at_a_terminal(words: list[str], variables: dict[str, str], answers: list[bytes]) -> tuple[bytes, int]:
    """Call lamina at a terminal and type each answer when it asks; returns what was shown, and the exit code."""
    ours, theirs = os.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", _TAKE_TERMINAL, *words],
        env=variables, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
    )  # fmt: skip
    os.close(theirs)
    shown, waiting, answered = b"", list(answers), 0
    with suppress(OSError):  # Linux's way to say that the other side is closed
        while piece := os.read(ours, 4096):
            shown += piece
            while waiting and shown.count(b": ") > answered:
                answered += 1
                os.write(ours, waiting.pop(0))
    os.close(ours)
    return shown, process.wait()


def test_the_log_says_what_was_done(person: Person, tmp_path: Path):
    log = tmp_path / "log.jsonl"
    person.do("snapshots", "--log-file", log)
    lines = log.read_text().splitlines()
    assert len(lines) == 2
    assert '"exit_code": 0' in lines[1]
