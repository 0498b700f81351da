"""All that prints: text for people, JSON Lines events for machines, one line and a hint for errors."""

from __future__ import annotations

import contextlib
import io
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TextIO

from lamina.cli.text import printable
from lamina.errors import LaminaError

if TYPE_CHECKING:
    from lamina.model.operation import Clock, Progress

SCHEMA = 1  # of the JSON events (docs/reference/json.md)


@dataclass(frozen=True, slots=True)
class Style:
    """How this call speaks."""

    json: bool = False
    quiet: bool = False
    verbose: bool = False
    data_on_stdout: bool = False  # text and events go to standard error then


class Output:
    """What one call says, and where.

    Results go to standard output, everything about the way there to standard error; with `--json` all events go to standard
    output. Data on standard output moves everything else to standard error.
    """

    def __init__(self, style: Style, stdout: TextIO | None, stderr: TextIO | None) -> None:
        """A stream that is None was closed by whoever started us, who does not want to hear of it."""
        stdout, stderr = stdout or _Nowhere(), stderr or _Nowhere()
        self.style = style
        self._stderr = stderr
        self._results = stderr if style.data_on_stdout else stdout
        for stream in (stdout, stderr):
            if isinstance(stream, io.TextIOWrapper):  # and not one of a test
                stream.reconfigure(errors="backslashreplace")

    def event(self, name: str, /, **fields: Any) -> None:
        """One JSON event; nothing in text mode."""
        if self.style.json:
            event = {"schema": SCHEMA, "event": name, **fields}
            self._print(f"{json.dumps(event, ensure_ascii=False)}\n")

    def events(self, name: str, documents: Iterable[Mapping[str, Any]]) -> None:
        """Many events of one kind, printed at once."""
        if self.style.json:
            events = ({"schema": SCHEMA, "event": name, **document} for document in documents)
            self._print("".join(f"{json.dumps(event, ensure_ascii=False)}\n" for event in events))

    def report(self, verb: str, document: Mapping[str, Any], lines: Sequence[str] = ()) -> None:
        """What came of the call: the last event, or *lines* for a person."""
        self.event("report", verb=verb, **document)
        self.lines(lines)

    def lines(self, lines: Sequence[str]) -> None:
        """Results for a person; nothing with `--json`."""
        if not self.style.json:
            self._print("".join(f"{printable(line)}\n" for line in lines))

    def raw(self, text: str) -> None:
        """Text that is itself what was asked for, whatever the style (a completion script)."""
        self._print(text)

    def _print(self, text: str) -> None:
        """Print a result. Raises: LaminaError if it cannot be written; BrokenPipeError if nobody reads it."""
        try:
            print(text, end="", file=self._results, flush=True)
        except BrokenPipeError:
            raise
        except OSError as error:
            detach(self._results)
            raise LaminaError(f"what came of it cannot be written to the output: {error.strerror}") from error

    def note(self, text: str) -> None:
        """Something worth knowing on the way; silent with `--quiet`."""
        if self.style.json:
            self.event("message", level="info", text=text)
        elif not self.style.quiet:
            print(printable(text), file=self._stderr, flush=True)

    def detail(self, text: str) -> None:
        """Something only `--verbose` wants to know."""
        if self.style.verbose:
            self.note(text)

    def warning(self, text: str) -> None:
        """Something a person should do something about; never silent."""
        if self.style.json:
            self.event("message", level="warning", text=text)
        else:
            print(f"lamina: warning: {printable(text)}", file=self._stderr, flush=True)

    def error(self, error: LaminaError, exit_code: int) -> None:
        """What went wrong, and what to do next."""
        if self.style.json:
            kind = type(error).__name__
            self.event("error", error=kind, message=error.message, hint=error.hint, exit_code=exit_code)
            return
        print(f"lamina: {printable(error.message)}", file=self._stderr)
        if error.hint:
            print(f"hint: {printable(error.hint)}", file=self._stderr)
        self._stderr.flush()

    def crash(self, error: BaseException, log_file: str | None) -> None:
        """A fault of our own: one line, and where the traceback is."""
        what = printable(f"{type(error).__name__}: {error}").splitlines()[0]
        if self.style.verbose:
            import traceback

            traceback.print_exception(error, file=self._stderr)
        where = f"the traceback is in {log_file}" if log_file else "run it again with -v to see the traceback"
        message = f"unexpected fault, which is a bug in Lamina: {what}"
        if self.style.json:
            self.event("error", error="UnexpectedFault", message=message, hint=where, exit_code=1)
        else:
            print(f"lamina: {message}\nhint: {where}; please report it", file=self._stderr, flush=True)

    @contextlib.contextmanager
    def progress(self, clock: Clock) -> Iterator[Progress]:
        """A `Progress` for one operation, in the style of this call and of the terminal."""
        from lamina.cli import progress

        if self.style.json:
            yield progress.EventProgress(self.event, clock)
        elif self.style.quiet or not self._stderr.isatty():
            yield progress.PlainProgress(self.note, clock)
        else:
            with progress.terminal_progress(self._stderr, clock) as shown:
                yield shown


class _Nowhere(io.StringIO):
    """Takes text and keeps none of it."""

    def write(self, text: str) -> int:
        return len(text)


def ask_secret(question: str) -> str:
    """Ask the person at the terminal, without showing what is typed."""
    import getpass

    return getpass.getpass(f"{question}: ")


def can_ask() -> bool:
    """Whether somebody sits at a terminal (the question goes there even if standard input and output are redirected)."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True


def detach(stream: TextIO | None) -> None:
    """Send what is still buffered for an output that takes nothing more nowhere, so that the interpreter ends quietly."""
    if stream is None:
        return
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
