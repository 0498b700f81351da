from __future__ import annotations

import json
import os
import signal
import stat
import sys
from pathlib import Path

import pytest

from lamina.cli.main import main
from lamina.errors import Stopped
from lamina.model.operation import Operation
from lamina.wiring import Signals


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    for name in ("LAMINA_REPOSITORY", "LAMINA_PASSPHRASE", "LAMINA_PASSPHRASE_FILE", "LAMINA_PASSPHRASE_COMMAND"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_without_a_repository_the_hint_says_how_to_name_one(capsys: pytest.CaptureFixture[str]):
    assert main(["snapshots"]) == 2
    assert "-r REPOSITORY" in capsys.readouterr().err


def test_a_missing_directory_is_no_repository(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    words = ["-r", str(tmp_path / "nothing"), "snapshots", "--passphrase-command", "echo words"]
    assert main(words) == 10
    assert str(tmp_path / "nothing") in capsys.readouterr().err


def test_a_missing_source_costs_no_passphrase(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["-r", str(tmp_path), "backup", str(tmp_path / "gone.img")]) == 1
    assert "gone.img" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [["backup", "a", "b", "--hints", "h"], ["backup", "-", "--hints", "-"], ["restore", "latest", "-", "--verify"]],
)
def test_options_that_contradict_each_other_are_refused(words: list[str]):
    assert main(["-r", "/nowhere", *words]) == 2


def test_json_is_json_even_for_a_usage_error(capsys: pytest.CaptureFixture[str]):
    assert main(["frobnicate", "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["error"] == "UsageError"


@pytest.mark.parametrize("suffix", ["log", "jsonl"])
def test_the_log_file_has_a_line_for_start_error_and_end(tmp_path: Path, suffix: str):
    log = tmp_path / f"lamina.{suffix}"
    assert main(["snapshots", "--log-file", str(log)]) == 2
    lines = log.read_text().splitlines()
    assert len(lines) == 3
    if suffix == "jsonl":
        assert [json.loads(line)["message"] for line in lines] == ["start", "no repository was named", "end"]
        assert json.loads(lines[2])["exit_code"] == 2


def test_a_new_log_file_is_its_owners_alone(tmp_path: Path):
    log = tmp_path / "log"
    before = os.umask(0o022)
    try:
        main(["snapshots", "--log-file", str(log)])
    finally:
        os.umask(before)
    assert stat.S_IMODE(log.stat().st_mode) == 0o600


def test_a_log_file_is_appended_to_and_keeps_its_mode(tmp_path: Path):
    log = tmp_path / "log"
    log.write_text("earlier\n")
    log.chmod(0o640)
    main(["snapshots", "--log-file", str(log)])
    assert log.read_text().startswith("earlier\n")
    assert stat.S_IMODE(log.stat().st_mode) == 0o640


@pytest.mark.parametrize(
    ("stream", "words"),
    [
        ("stdin", ["backup", "-"]),
        ("stdin", ["backup", "a.img", "--hints", "-"]),
        ("stdout", ["restore", "latest", "-"]),
    ],
)
def test_a_closed_stream_that_is_needed_is_a_usage_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], stream: str, words: list[str]
):
    (tmp_path / "a.img").write_bytes(b"x")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, stream, None)
    assert main(["-r", "/nowhere", *words]) == 2
    assert "is closed" in capsys.readouterr().err


def test_a_log_file_that_cannot_be_written_is_a_usage_error(tmp_path: Path):
    assert main(["snapshots", "--log-file", str(tmp_path / "no" / "such")]) == 2


def test_an_unexpected_fault_is_logged_with_its_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setitem(sys.modules, "shtab", None)  # a broken installation
    log = tmp_path / "log"
    assert main(["completion", "bash", "--log-file", str(log)]) == 1
    assert "Traceback" in log.read_text()
    assert "Traceback" not in capsys.readouterr().err


def test_the_first_signal_presses_the_stop_button_and_the_second_interrupts():
    signals, operation = Signals(), Operation()
    with signals.caught(), signals.stopping(operation):
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(Stopped):
            operation.check_stop()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)


def test_outside_an_operation_a_signal_interrupts_at_once():
    before = signal.getsignal(signal.SIGTERM)
    with Signals().caught(), pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before
