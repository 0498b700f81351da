"""Commands as sources: what they print is believed only if they end well."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from lamina.errors import SourceMissing, SourceUnreadable, Stopped, UsageError
from lamina.sources import child
from lamina.sources.command import CommandSource
from lamina.testing.repositories import SmallRepository

ENVIRONMENT = {"PATH": os.environ["PATH"]}
Start = Callable[..., CommandSource]


@pytest.fixture
def stop() -> threading.Event:
    return threading.Event()


@pytest.fixture
def start(stop: threading.Event) -> Iterator[Start]:
    """Make a source of a command's words, and close it at the end."""
    sources = []

    def make(*words: str, environment: Mapping[str, str] = ENVIRONMENT) -> CommandSource:
        sources.append(CommandSource(words, name="dump.sql", environment=environment, stop=stop))
        return sources[-1]

    yield make
    for source in sources:
        source.close()


def read(source: CommandSource, size: int = 1000) -> bytes:
    """What one call gives."""
    buffer = bytearray(size)
    return bytes(buffer[: source.read_into(memoryview(buffer))])


def test_the_output_comes_in_whole_buffers_until_it_ends(start: Start):
    source = start("sh", "-c", "printf 12345; printf 67890")
    assert [read(source, 4) for _ in range(4)] == [b"1234", b"5678", b"90", b""]


def test_a_long_output_comes_whole(start: Start):
    source = start(
        sys.executable, "-c", "import os\nfor number in range(300): os.write(1, bytes([number % 256]) * 10_000)"
    )
    assert read(source, 4_000_000) == b"".join(bytes([number % 256]) * 10_000 for number in range(300))


def test_words_are_not_read_by_a_shell(start: Start):
    assert read(start("echo", "$HOME", "; false", "*")) == b"$HOME ; false *\n"


def test_the_command_has_no_input(start: Start):
    assert read(start("cat")) == b""


def test_the_command_knows_no_passphrase(start: Start):
    secrets = {
        "LAMINA_PASSPHRASE": "sesame",
        "LAMINA_PASSPHRASE_COMMAND": "echo sesame",
        "LAMINA_PASSPHRASE_FILE": "/s",
    }
    assert read(start("env", environment={**ENVIRONMENT, **secrets, "KEPT": "yes"})).split(b"\n")[1:] == [
        b"KEPT=yes",
        b"",
    ]


@pytest.mark.parametrize("buffer", [3, 4, 1000], ids=["part", "all", "more than all"])
def test_half_a_dump_is_no_dump(start: Start, buffer: int):
    source = start("sh", "-c", "printf half; echo disk is full >&2; exit 3")
    with pytest.raises(SourceUnreadable, match=r"dump\.sql: sh ended with exit status 3: disk is full"):
        while read(source, buffer):
            pass
    with pytest.raises(SourceUnreadable, match="exit status 3"):
        read(source, buffer)


def test_a_command_that_is_killed_fails(start: Start):
    with pytest.raises(SourceUnreadable, match="sh was killed by SIGKILL"):
        read(start("sh", "-c", "printf half; kill -9 $$"))


def test_a_command_that_fails_after_its_output_ended_fails(start: Start):
    with pytest.raises(SourceUnreadable, match="exit status 7"):
        read(start("sh", "-c", "printf whole; exec >&-; exit 7"))


def test_what_it_says_never_blocks_it(start: Start):
    script = "import sys\nfor n in range(160): sys.stderr.write('x' * 65535 + '\\n')\nprint('done')"
    assert read(start(sys.executable, "-c", script)) == b"done\n"


def test_its_last_words_are_shown_as_far_as_they_are_fit_to_print(start: Start):
    script = "import sys\nfor n in range(9999): print('line', n, '\\033[31m\\a', file=sys.stderr)\nsys.exit(1)"
    with pytest.raises(SourceUnreadable) as caught:
        read(start(sys.executable, "-c", script))
    assert caught.value.message.endswith("exit status 1: " + " / ".join(f"line {n}  [31m" for n in range(9994, 9999)))


def test_arguments_are_not_shown(start: Start):
    with pytest.raises(SourceUnreadable) as caught:
        read(start("sh", "-c", "exit 1", "--password=sesame"))
    assert "sesame" not in caught.value.message


def test_a_missing_program_is_noticed_before_anything_is_done(start: Start, tmp_path: Path):
    (tmp_path / "not-executable").write_text("#!/bin/sh\n")
    for name in ("no-such-program-anywhere", "/no/such/program", str(tmp_path / "not-executable")):
        with pytest.raises(SourceMissing, match="there is no program"):
            start(name)
    with pytest.raises(UsageError, match="empty"):
        start()


def test_a_program_that_cannot_be_started_is_named(start: Start, tmp_path: Path):
    program = tmp_path / "no-interpreter"
    program.write_text("#!/no/such/interpreter\n")
    program.chmod(0o755)
    with pytest.raises(SourceUnreadable, match=r"cannot start .*no-interpreter"):
        read(start(str(program)))


def test_nothing_runs_before_the_first_read(start: Start, tmp_path: Path):
    source = start("touch", str(tmp_path / "ran"))
    assert not (tmp_path / "ran").exists()
    read(source)
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize("script", ["exec sleep 1000", "exec >&-; exec sleep 1000"], ids=["silent", "output ended"])
def test_the_stop_button_ends_the_wait(start: Start, stop: threading.Event, script: str):
    source = start("sh", "-c", f"echo begun; {script}")
    assert read(source, 6) == b"begun\n"
    timer = threading.Timer(0.05, stop.set)
    timer.start()
    with pytest.raises(Stopped, match="sh"):
        read(source)
    timer.join()


def test_the_stop_button_ends_an_output_without_end(start: Start, stop: threading.Event):
    source = start("yes")
    assert read(source) == b"y\n" * 500
    stop.set()
    with pytest.raises(Stopped):
        read(source, 1 << 20)


@pytest.mark.parametrize("trap", ["", "trap '' TERM;"], ids=["obeys", "ignores SIGTERM"])
def test_closing_ends_the_command_and_all_it_started(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trap: str
):
    """A named pipe ends when nobody has it open for writing any more."""
    monkeypatch.setattr(child, "GRACE_S", 0.2)
    os.mkfifo(tmp_path / "alive")
    with open(os.open(tmp_path / "alive", os.O_RDONLY | os.O_NONBLOCK), "rb") as alive:
        source = start("sh", "-c", f"{trap} exec 3>'{tmp_path}/alive'; sleep 1000 & echo begun; wait; sleep 1000")
        assert read(source, 6) == b"begun\n"
        source.close()
        os.set_blocking(alive.fileno(), True)
        assert alive.read() == b""


def test_closing_twice_is_harmless_and_a_command_that_ended_is_left_alone(start: Start):
    source = start("true")
    source.close()
    assert read(source) == b""
    source.close()
    source.close()


def test_what_a_command_leaves_running_does_not_hold_up_its_failure(start: Start):
    """It inherited standard error, which therefore does not end."""
    source = start("sh", "-c", "sleep 1000 >/dev/null & echo $!; echo why >&2; exit 1")
    left = int(read(source, 1).decode() + _line(source))
    try:
        with pytest.raises(SourceUnreadable, match="exit status 1: why"):
            read(source)
    finally:
        subprocess.run(["kill", str(left)], check=True)


def _line(source: CommandSource) -> str:
    text = ""
    while not text.endswith("\n"):
        text += read(source, 1).decode()
    return text


def test_a_failed_command_makes_no_snapshot(small: SmallRepository, start: Start):
    with pytest.raises(SourceUnreadable, match="exit status 1"):
        small.back_up(start("sh", "-c", "head -c 300000 /dev/zero; exit 1"))
    assert small.snapshots() == []


def test_what_a_command_prints_is_backed_up(small: SmallRepository, start: Start):
    small.back_up(start("sh", "-c", "head -c 300000 /dev/zero; echo end"))
    assert small.restore("latest") == bytes(300000) + b"end\n"
