"""What a command prints, as long as it ends well."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Mapping, Sequence
from threading import Event

from lamina.errors import SourceMissing, SourceUnreadable, Stopped, UsageError
from lamina.sources.child import Child, program
from lamina.sources.stoppable import LOOK_EVERY_S, StoppableInput
from lamina.sources.stream import PRIVATE, StdinSource


class CommandSource:
    """A command's standard output as a `StreamSource`.

    The first `read_into` starts the command, so that it waits for nothing else. Its output ends only if it ends with
    exit status 0; else the last `read_into` raises `SourceUnreadable`: half a dump is no dump. Once *stop* is set,
    reading raises `Stopped`. `close` ends what still runs.
    """

    def __init__(self, words: Sequence[str], *, name: str, environment: Mapping[str, str], stop: Event) -> None:
        """Raises: UsageError without *words*, SourceMissing if there is no such program."""
        if not words:
            raise UsageError("the command to back up from is empty", hint="name a program and its arguments")
        if shutil.which(words[0], path=environment.get("PATH", os.defpath)) is None:
            raise SourceMissing(
                f"there is no program {program(words)} to back up {name} from",
                hint="check its name, the PATH, and that it may be executed; a command line of the shell needs sh -c",
            )
        self.name = name
        self.metadata = PRIVATE
        self._words = tuple(words)
        self._environment = environment
        self._stop = stop
        self._child: Child | None = None
        self._output: StdinSource | None = None

    def read_into(self, buffer: memoryview) -> int:
        child, output = self._started()
        count = output.read_into(buffer)
        if count < len(buffer):
            self._check_ending(child)
        return count

    def close(self) -> None:
        """End the command and all that it started, if it has not ended."""
        if self._child is not None:
            self._child.end()

    def _started(self) -> tuple[Child, StdinSource]:
        if self._child is None or self._output is None:
            try:
                self._child = Child(self._words, self._environment, output=True)
            except (OSError, ValueError) as error:
                raise SourceUnreadable(
                    f"cannot start {program(self._words)} to back up {self.name}: {error}",
                    hint="try the command by hand",
                ) from error
            reader = StoppableInput(self._child.descriptor, self._stop, f"what {program(self._words)} prints")
            self._output = StdinSource(io.BufferedReader(reader), name=self.name)
        return self._child, self._output

    def _check_ending(self, child: Child) -> None:
        """Wait until the command has ended, and well. Raises: SourceUnreadable, Stopped."""
        status = None
        while status is None and not self._stop.is_set():
            status = child.wait(LOOK_EVERY_S)
        if status == 0:
            return
        if status is None or self._stop.is_set():  # who stops us, a shutdown say, may have ended it as well
            raise Stopped(f"stopped while {program(self._words)} was running", hint="run the same command again")
        raise SourceUnreadable(
            f"cannot back up {self.name}: {program(self._words)} {child.ending(status)}",
            hint="what it printed is no whole dump, so there is no snapshot; mend the command and run it again",
        )
