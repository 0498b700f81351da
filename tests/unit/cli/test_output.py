from __future__ import annotations

import io
import json
from datetime import timedelta

import pytest

from lamina.cli.output import Output, Style
from lamina.cli.progress import EventProgress, PlainProgress
from lamina.cli.text import framed, pairs, printable, table
from lamina.errors import UsageError


class Written:
    """An output and what it wrote."""

    def __init__(self, **style: bool) -> None:
        self.stdout, self.stderr = io.StringIO(), io.StringIO()
        self.output = Output(Style(**style), self.stdout, self.stderr)

    def events(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.stdout.getvalue().splitlines()]


class HandClock:
    """A clock that goes when it is told to."""

    def __init__(self) -> None:
        self.time = 100.0

    def monotonic(self) -> float:
        return self.time


def test_an_error_is_one_line_and_a_hint_on_standard_error():
    written = Written()
    written.output.error(UsageError("no such thing", hint="try another"), 2)
    assert written.stderr.getvalue() == "lamina: no such thing\nhint: try another\n"
    assert written.stdout.getvalue() == ""


def test_with_json_an_error_is_an_event_on_standard_output():
    written = Written(json=True)
    written.output.error(UsageError("no such thing", hint="try another"), 2)
    assert written.events() == [
        {"schema": 1, "event": "error", "error": "UsageError", "message": "no such thing", "hint": "try another",
         "exit_code": 2}
    ]  # fmt: skip
    assert written.stderr.getvalue() == ""


def test_with_data_on_standard_output_nothing_else_goes_there():
    for as_json in (False, True):
        written = Written(json=as_json, data_on_stdout=True)
        written.output.report("restore", {"size": 1}, ["done"])
        written.output.warning("careful")
        written.output.note("by the way")
        assert written.stdout.getvalue() == ""
        assert len(written.stderr.getvalue().splitlines()) == 3


def test_an_event_may_have_a_field_called_name():
    written = Written(json=True)
    written.output.event("snapshot", name="vm")
    assert written.events() == [{"schema": 1, "event": "snapshot", "name": "vm"}]


def test_quiet_keeps_results_and_warnings():
    written = Written(quiet=True)
    written.output.note("by the way")
    written.output.warning("careful")
    written.output.lines(["result"])
    assert written.stderr.getvalue() == "lamina: warning: careful\n"
    assert written.stdout.getvalue() == "result\n"


@pytest.mark.parametrize("verbose", [False, True])
def test_a_crash_says_where_the_traceback_is(verbose: bool):
    written = Written(verbose=verbose)
    try:
        raise ZeroDivisionError("of our own")
    except ZeroDivisionError as fault:
        written.output.crash(fault, None)
    text = written.stderr.getvalue()
    assert "ZeroDivisionError: of our own" in text
    assert ("Traceback" in text) is verbose


def test_a_crash_without_a_message_is_still_said():
    written = Written()
    written.output.crash(RuntimeError("two\nlines"), "/var/log/lamina")
    assert len(written.stderr.getvalue().splitlines()) == 2
    assert "/var/log/lamina" in written.stderr.getvalue()


def test_control_characters_of_stored_names_are_shown_and_not_obeyed():
    assert printable("a\x1b[31mb\r") == "a\\x1b[31mb\\r"
    assert "\x1b" not in "".join(table(["NAME"], [["\x1b[2J"]]))
    assert "\x1b" not in "".join(pairs([("name", "\x1b[2J")]))


def test_the_lines_of_a_frame_are_equally_long():
    assert len({len(line) for line in framed(["a", "bcd", ""])}) == 1


def test_progress_speaks_once_a_minute_where_there_is_no_terminal():
    clock, said = HandClock(), list[str]()
    progress = PlainProgress(said.append, clock)  # type: ignore[arg-type]
    progress.start("reading", 1000)
    for _ in range(130):
        clock.time += 1
        progress.advance(read=5)
    assert len(said) == 2
    assert "reading" in said[0]
    assert "left" in said[0]


def test_progress_events_come_once_a_second_and_hold_the_sums():
    clock, written = HandClock(), Written(json=True)
    progress = EventProgress(written.output.event, clock)  # type: ignore[arg-type]
    progress.start("reading", 100)
    for _ in range(4):
        clock.time += 0.5
        progress.advance(read=10, new=2, stored=1)
    events = written.events()
    assert [event["read_bytes"] for event in events] == [0, 20, 40]
    assert events[-1] == {
        "schema": 1, "event": "progress", "phase": "reading", "total_bytes": 100, "read_bytes": 40, "new_bytes": 8,
        "stored_bytes": 4, "elapsed_s": 2.0,
    }  # fmt: skip


def test_the_progress_line_fits_into_80_columns():
    clock, said = HandClock(), list[str]()
    progress = PlainProgress(said.append, clock)  # type: ignore[arg-type]
    progress.start("backup", 2 << 40)
    clock.time += 4000
    progress.advance(read=999 << 30, new=999 << 30, stored=999 << 30)
    assert len(said[0]) <= 80
    assert said[0].endswith(" left")


def test_the_time_left_follows_the_speed_so_far():
    clock = HandClock()
    progress = PlainProgress(lambda _: None, clock)  # type: ignore[arg-type]
    progress.start("reading", 100)
    assert progress.left_s() is None
    progress.advance(read=25)
    clock.time += timedelta(seconds=10).total_seconds()
    assert progress.left_s() == 30
