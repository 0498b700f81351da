"""What `lamina` does before it does anything."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.end_to_end.lamina_cli import Person, events

HEAVY = ("rich", "cryptography", "msgspec", "blake3", "backports.zstd", "obstore", "shtab", "asyncio", "subprocess",
         "importlib.metadata", "lamina.engine", "lamina.repository.repository", "lamina.storage")  # fmt: skip


@pytest.mark.parametrize("words", [["--version"], ["--help"], ["backup", "--help"]], ids=" ".join)
def test_what_answers_at_once_imports_nothing_heavy(words: list[str]):
    program = f"import sys; from lamina.cli.main import main; assert main({words!r}) == 0; print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "lamina" in done.stdout
    assert set(HEAVY) & set(done.stderr.split()) == set()


def test_a_usage_error_is_one_line_a_hint_and_exit_code_2(newcomer: Person):
    done = newcomer.run("backup", "a.img", "--frobnicate")
    assert done.returncode == 2
    assert done.stdout == b""
    first, second = done.stderr.decode().splitlines()
    assert first.startswith("lamina: ")
    assert second.startswith("hint: ")


def test_there_is_no_repository_in_a_missing_or_an_empty_directory(newcomer: Person):
    assert newcomer.run("snapshots").returncode == 10
    newcomer.repository.mkdir()
    assert newcomer.run("snapshots").returncode == 10


def test_without_a_terminal_the_hint_says_how_to_give_the_passphrase(newcomer: Person):
    newcomer.repository.mkdir()
    variables = newcomer.environment()
    del variables["LAMINA_PASSPHRASE"]
    done = subprocess.run(
        [sys.executable, "-m", "lamina", "snapshots"], env=variables, stdin=subprocess.DEVNULL, capture_output=True,
        start_new_session=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert b"--passphrase-file" in done.stderr


def test_an_output_nobody_reads_is_no_fault(newcomer: Person):
    with newcomer.start("completion", "bash") as process:
        assert process.stdout
        process.stdout.close()
        assert process.stderr
        assert process.stderr.read() == b""


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
def test_there_is_a_completion_for_each_shell(newcomer: Person, shell: str):
    assert "snapshots" in newcomer.do("completion", shell)


def test_a_storage_is_probed_without_passphrase_or_repository(newcomer: Person):
    newcomer.repository.mkdir()
    report = newcomer.report("storage", "probe")
    assert report["suitable"] is True
    assert all(check["ok"] for check in report["checks"] if check["required"])
    assert [path for path in newcomer.repository.rglob("*") if path.is_file()] == [], "what it stored, it removed"


def test_with_json_an_error_is_the_last_event(newcomer: Person):
    done = newcomer.run("snapshots", "--json")
    last = events(done.stdout)[-1]
    assert (last["event"], last["error"], last["exit_code"]) == ("error", "RepositoryMissing", done.returncode)


def test_an_output_that_is_full_is_said_without_a_traceback(newcomer: Person):
    with open("/dev/full", "wb") as full, newcomer.start("completion", "bash", stdout=full) as process:
        assert process.stderr
        assert b"No space left" in process.stderr.read()
        assert process.wait() == 1


def test_who_stops_listening_to_the_events_does_not_stop_the_backup(newcomer: Person):
    newcomer.do("init", "--no-probe")
    newcomer.write("a.img", bytes(range(256)) * 40_000)
    with newcomer.start("backup", "a.img", "--json") as process:
        assert process.stdout
        process.stdout.readline()
        process.stdout.close()
        process.wait()
    assert "a.img" in newcomer.do("snapshots")
