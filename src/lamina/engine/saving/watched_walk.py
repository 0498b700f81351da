"""The steps of a walk, looked up ahead in a thread that may be left behind when a file system does not answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from lamina.engine.saving.watched import NotAnswering, Watch, Watched, WatchedThreads
from lamina.sources.source import Begin, End, FileSource, Folder, Looks, Members, Resume, Step, Unchanged

AHEAD_ENTRIES = 2048  # looked up in one go, while those of the go before are dealt with
_STEP_COST = 8  # entries that a step counts as


class WatchedWalk:
    """All steps of a source; what does not answer within the deadline is yielded with an error, and the walk goes on."""

    def __init__(self, source: FileSource, threads: WatchedThreads, looks: Looks | None = None) -> None:
        """*threads* must be one more than other tasks keep busy; *looks*: as in `FileSource.walk`."""
        self._source = source
        self._threads = threads
        self._looks = looks
        self._inside: list[bytes] = []  # names of the directories that were begun, the source's root first
        self._after: bytes | None = None  # name that was dealt with last in the innermost
        self._avoid: set[tuple[bytes, ...]] = set()
        self._dealt_with: list[Folder] = []  # folders of steps, to be released

    def steps(self, meanwhile: Callable[[], None]) -> Iterator[Step]:
        """Every step, once; its folder can be read from until the next is asked for, and longer by whoever holds it.

        *meanwhile* is called while we wait. Raises: what the source raises, Stopped.
        """
        steps = self._source.walk(None, frozenset(), self._looks)
        try:
            while True:
                try:
                    for step in self._ahead(steps, meanwhile):
                        self._follow(step)
                        yield step
                        if not isinstance(step, Unchanged):
                            self._dealt_with.append(step.folder)  # whoever still needs it holds it
                    return
                except NotAnswering:
                    if self._is_done:
                        return
                    self._avoid.add(self._source.looking_at)
                    steps = self._source.walk(self._resume(), frozenset(self._avoid))
        finally:
            _release(self._dealt_with)

    def _ahead(self, steps: Iterator[Step], meanwhile: Callable[[], None]) -> Iterator[Step]:
        found: list[Step] = []
        pulled = self._pull(steps, found)
        while True:
            try:
                is_more = self._wait(pulled, meanwhile)
            except NotAnswering:
                yield from list(found)  # what came before it stopped answering
                raise
            got, found = found, []
            if is_more:
                pulled = self._pull(steps, found)
            yield from got
            if not is_more:
                return

    def _pull(self, steps: Iterator[Step], found: list[Step]) -> Watched[bool]:
        dealt_with, self._dealt_with = self._dealt_with, []

        def pull(watch: Watch) -> bool:
            _release(
                dealt_with
            )  # here, because closing lets other threads run, and the caller has no time to wait for them
            room = AHEAD_ENTRIES
            while room > 0:
                watch.begin_step()
                step = next(steps, None)
                if step is None:
                    return False
                if not isinstance(step, Unchanged):
                    step.folder.hold()  # it is read from later, when the walk may have left it
                found.append(step)
                room -= _STEP_COST + (len(step.found) if isinstance(step, Members) else 0)
            return True

        return self._threads.submit(pull)

    def _wait(self, pulled: Watched[bool], meanwhile: Callable[[], None]) -> bool:
        last: tuple[bytes, ...] = ()

        def look() -> None:
            nonlocal last
            meanwhile()
            now = self._source.looking_at
            if now is not last:  # it is slow, but it goes on
                last = now
                pulled.watch.begin_step()

        return self._threads.result(pulled, look)

    @property
    def _is_done(self) -> bool:
        """Whether the root was left."""
        return self._after is not None and not self._inside

    def _follow(self, step: Step) -> None:
        """Remember how far the walk came."""
        if isinstance(step, Begin):
            self._inside.append(step.found.name)
            self._after = None
        elif isinstance(step, End):
            self._after = self._inside.pop()
        elif isinstance(step, Unchanged):
            self._after = step.found.name
        elif step.found:
            self._after = step.found[-1].name

    def _resume(self) -> Resume | None:
        return Resume(tuple(self._inside[1:]), self._after) if self._inside else None


def _release(folders: list[Folder]) -> None:
    for folder in folders:
        folder.release()
