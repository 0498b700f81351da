"""Started with standard input, output or error closed, as some daemons do."""

from __future__ import annotations

import subprocess

import pytest

from tests.end_to_end.lamina_cli import LAMINA, TIMEOUT_S, Person


def run_closed(person: Person, closed: str, *words: str) -> subprocess.CompletedProcess[bytes]:
    """Call `lamina` from a shell that closes streams: `<&-`, `>&-` or `2>&-`."""
    return subprocess.run(
        ["sh", "-c", f'exec "$@" {closed}', "sh", *LAMINA, *words],
        cwd=person.directory,
        env=person.environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=TIMEOUT_S,
        check=False,
    )


@pytest.mark.parametrize(
    ("closed", "words"),
    [
        ("<&-", ["backup", "-"]),
        ("<&-", ["backup", "a.img", "--hints", "-"]),
        (">&-", ["restore", "latest", "-"]),
    ],
)
def test_a_closed_stream_that_is_needed_is_named(person: Person, closed: str, words: list[str]):
    person.write("a.img", b"content")
    done = run_closed(person, closed, *words)
    assert done.returncode == 2, done.stderr
    assert b"is closed" in done.stderr
    assert b"hint: " in done.stderr


@pytest.mark.parametrize("style", [[], ["--json"], ["--quiet"]])
def test_without_any_stream_a_backup_is_made_and_nothing_of_ours_gets_their_numbers(person: Person, style: list[str]):
    person.write("a.img", b"content")
    assert run_closed(person, "<&- >&- 2>&-", "backup", "a.img", *style).returncode == 0
    assert run_closed(person, "<&- >&- 2>&-", "backup", "missing.img", *style).returncode == 1
    assert run_closed(person, "<&- >&- 2>&-", "nonsense", *style).returncode == 2
    person.do("restore", "latest", "b.img")
    assert (person.directory / "b.img").read_bytes() == b"content"
    assert person.report("verify")["problems"] == []
