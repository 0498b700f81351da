"""A local directory in which objects misbehave exactly when and as a test says."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lamina.model.entries import Metadata
from lamina.sources.files import LocalFiles
from lamina.sources.local_file import LocalFile
from lamina.sources.selection import Selection
from lamina.sources.source import Folder, Found, ImageSource
from lamina.testing.clocks import FrozenClock

Moment = Literal["look", "open", "read", "describe", "changed"]
_OF_FILES: tuple[Moment, ...] = ("open", "read", "changed")
Moods = Mapping[tuple[Moment, bytes], Callable[[], None]]


class MoodyFiles(LocalFiles):
    """A `FileSource` that calls the mood of an object before it does something with it: it may hang, raise, or meddle.

    `calls` is all that was done, as (moment, name).
    """

    def __init__(self, root: Path, moods: Moods | None = None) -> None:
        self._moods = moods or {}
        self.calls: list[tuple[Moment, bytes]] = []
        super().__init__(os.fsencode(root), _Looking(meet=self.meet), devices={})

    def meet(self, moment: Moment, name: bytes) -> None:
        """Do what the test wants at this moment."""
        self.calls.append((moment, name))
        mood = self._moods.get((moment, name))
        if mood is not None:
            mood()

    def done(self, moment: Moment) -> list[bytes]:
        """The names of what that was done with so far, each once, sorted."""
        return sorted({name for when, name in self.calls if when == moment})

    def open(self, folder: Folder, found: Found) -> LocalFile:
        self.meet("open", found.name)
        return _MoodyFile(super().open(folder, found), self.meet)

    def read_small(self, folder: Folder, found: Found) -> tuple[Metadata, bytes] | None:
        if any((moment, found.name) in self._moods for moment in _OF_FILES):
            return None
        self.calls.append(("read", found.name))
        return super().read_small(folder, found)

    def describe(self, folder: Folder, found: Found) -> tuple[Metadata, bytes]:
        self.meet("describe", found.name)
        return super().describe(folder, found)


@dataclass(frozen=True)
class _Looking(Selection):
    """Keeps everything, and tells what is looked at."""

    meet: Callable[[Moment, bytes], None] | None = None

    @property
    def keeps_all(self) -> bool:
        return False

    @property
    def keeps_files(self) -> bool:
        return False

    def leaves_out(self, absolute: bytes, relative: bytes, name: bytes, *, is_directory: bool, size: int) -> bool:  # noqa: ARG002
        if self.meet is not None:
            self.meet("look", name)
        return False


class _MoodyFile(LocalFile):
    """An open file."""

    def __init__(self, file: LocalFile, meet: Callable[[Moment, bytes], None]) -> None:
        self._file = file
        self._meet = meet
        self._image = None
        self.found = file.found

    def metadata(self) -> Metadata:
        return self._file.metadata()

    def read_into(self, buffer: memoryview) -> int:
        self._meet("read", self.found.name)
        return self._file.read_into(buffer)

    def has_holes(self) -> bool:
        return self._file.has_holes()

    def image(self) -> ImageSource:
        return self._file.image()

    def changed(self) -> bool:
        self._meet("changed", self.found.name)
        return self._file.changed()

    def close(self) -> None:
        self._file.close()


class HastyClock(FrozenClock):
    """A clock that jumps while somebody waits for what hangs: each of the next calls of the main thread is minutes later."""

    jumps = 0

    def monotonic(self) -> float:
        if self.jumps and threading.current_thread() is threading.main_thread():
            self.jumps -= 1
            self.sleep(200)
        return super().monotonic()


class Hanging:
    """A mood: whoever meets it for the first time gets no answer until the test is over."""

    def __init__(self, clock: HastyClock) -> None:
        self._clock = clock
        self._released = threading.Event()
        self._met = False

    def __call__(self) -> None:
        if not self._met:
            self._met = True
            self._clock.jumps = 20
            self._released.wait()

    def release(self) -> None:
        """Answer at last."""
        self._released.set()
