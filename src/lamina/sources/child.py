"""Commands that we start: without a shell, a terminal or our passphrase, and such that they can be ended."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import IO

SECRETS = "LAMINA_PASSPHRASE"  # variables that begin so are inherited by nobody
GRACE_S = 5.0  # from SIGTERM to SIGKILL
_KEPT_BYTES = 4096
_KEPT_LINES = 5  # of the last words: what fits into a message


class Child:
    """A running command. What it says on standard error is read all the time, so that it never waits for us.

    It leads a session of its own: no key pressed at a terminal reaches it, it can ask nobody for a password, and all
    that it starts can be ended with it.
    """

    def __init__(self, words: Sequence[str], environment: Mapping[str, str], *, output: bool) -> None:
        """Start it; with *output* its standard output is ours to read, else it is part of what it says.

        Raises: OSError; ValueError for words that no program can be given.
        """
        self._process = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE if output else subprocess.STDOUT,
            env={name: value for name, value in environment.items() if not name.startswith(SECRETS)},
            start_new_session=True,
            bufsize=0,
        )
        self._output = self._process.stdout if output else None
        said = self._process.stderr if output else self._process.stdout
        assert said is not None  # noqa: S101 - it is a pipe
        self._words = _LastWords(said)

    @property
    def descriptor(self) -> int:
        """Of its standard output, until it is ended."""
        assert self._output is not None  # noqa: S101 - asked for with *output*
        return self._output.fileno()

    def wait(self, seconds: float) -> int | None:
        """How it ended: exit status, or minus the signal that killed it; None if it still runs after *seconds*."""
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def end(self) -> None:
        """End it and all that it started: SIGTERM, and SIGKILL for what has not ended after a while."""
        if self._process.returncode is None:  # else its number may be another's by now
            self._signal(signal.SIGTERM)
            self._words.wait(GRACE_S)  # for all who hold its standard error, its children too
            self.wait(GRACE_S)
            self._signal(signal.SIGKILL)  # to whatever is left of the group; a number is not used again that soon
            self.wait(GRACE_S)  # not for ever: a process that waits for a dead disk cannot be killed
        if self._output is not None:
            self._output.close()

    def ending(self, status: int) -> str:
        """How it ended, and its last words, for a message."""
        how = f"ended with exit status {status}" if status >= 0 else f"was killed by {_signal_name(-status)}"
        self._words.wait(1.0)  # there may be more in the pipe; but what it left running may hold that open for ever
        words = self._words.text()
        return f"{how}: {words}" if words else how

    def _signal(self, number: int) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)


class _LastWords:
    """Reads a pipe to its end in a thread and keeps the last of it."""

    def __init__(self, pipe: IO[bytes]) -> None:
        self._pipe = pipe
        self._kept = b""
        self._thread = threading.Thread(target=self._read, name="last words", daemon=True)
        self._thread.start()

    def wait(self, seconds: float) -> None:
        """Wait for the end of the pipe, but no longer than *seconds*."""
        self._thread.join(seconds)

    def text(self) -> str:
        lines = self._kept.decode(errors="replace").split("\n")
        whole = lines[1:] if len(self._kept) == _KEPT_BYTES and len(lines) > 1 else lines
        shown = [printable for line in whole if (printable := _printable(line))]
        return " / ".join(shown[-_KEPT_LINES:])

    def _read(self) -> None:
        with self._pipe:
            while piece := self._pipe.read(1 << 16):
                self._kept = (self._kept + piece)[-_KEPT_BYTES:]


def program(words: Sequence[str]) -> str:
    """A command's program, for messages: its arguments may be secret, and what we say ends in logs."""
    return shlex.quote(words[0])


def _printable(line: str) -> str:
    """A line that moves no cursor and rings no bell."""
    return "".join(letter if letter.isprintable() else " " for letter in line).strip()


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
