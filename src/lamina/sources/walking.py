"""The walk over a local tree of files."""

from __future__ import annotations

import errno
import os
from bisect import bisect_right
from collections.abc import Collection, Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import partial

from lamina.model.entries import EntryType, Metadata
from lamina.model.looks import MOST_MEMBERS
from lamina.sources.file_list import Wanted
from lamina.sources.folders import Identity, LocalFolder, QuietOpener
from lamina.sources.inodes import found_of
from lamina.sources.listing import Looking, failed, glance, is_cache_tag, list_names, text
from lamina.sources.selection import CACHEDIR_TAG, Selection
from lamina.sources.source import MEMBERS, Begin, End, Found, Looks, Members, Resume, Same, Step, Unchanged

OPEN_FOLDERS = 128  # that a walk itself keeps open
_REPLACED = "it is replaced again and again"
_AVOIDED = "it did not answer"
_VANISHED = "it vanished while the backup ran"  # or it seems so: what is mounted when it is needed is just not there
_NO_DIRECTORY = "it is no directory, and something in it was asked for by name"
_LOOP = "it is the same directory as one that it lies in (a loop of mounts)"

_GONE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})  # what was a directory is none any more


@dataclass(frozen=True, slots=True)
class Rules:
    """What a walk is to look at, and what all walks of a run share."""

    selection: Selection
    wanted: Wanted | None  # None: everything
    devices: dict[int, int]  # st_dev → ordinal
    opener: QuietOpener
    base: bytes  # the absolute path of the source, with a slash at the end; for rules on whole paths


class _Frame:
    """A directory that the walk is in."""

    __slots__ = (
        "avoided",
        "below",
        "device",
        "error",
        "folder",
        "looks_again",
        "named",
        "names",
        "next",
        "place",
        "relative_size",
        "tagged",
        "wanted",
    )

    def __init__(self, folder: LocalFolder, device: int, wanted: Wanted | None) -> None:
        self.folder = folder
        self.device = device  # of the file system to stay on, if the walk stays on one
        self.wanted = wanted
        self.named: Collection[bytes] = ()  # what no rule leaves out
        self.names: Sequence[bytes] = ()  # what is in it, sorted
        self.next = 0  # which of them is to be looked at next
        self.tagged: bytes | None = None  # the name for whose sake nothing else is saved
        self.relative_size = 0  # bytes of the relative path of the directory above
        self.avoided: Collection[bytes] = ()  # what is not to be touched
        self.error = ""  # why the rest of it cannot be looked at
        self.place = b""  # what stands for where it lies, if looks are compared
        self.below: Sequence[tuple[bytes, os.stat_result]] | None = (
            None  # the directories in it, if all else needs no look
        )
        self.looks_again = 0


class Walk:
    """One walk over a tree, see `FileSource.walk`; it keeps at most `OPEN_FOLDERS` directories open that nobody else holds."""

    def __init__(
        self, root: LocalFolder, rules: Rules, avoid: AbstractSet[tuple[bytes, ...]], looks: Looks | None = None
    ) -> None:
        """*root* is open and held for as long as the walk goes on; *avoid* and *looks*: as in `FileSource.walk`."""
        # What it looks at: a directory and a name in it. A new object for each, so that a watcher can tell that it is stuck.
        self.mark: tuple[LocalFolder | None, bytes] = (None, b"")
        self._root = root
        self._rules = rules
        self._avoid = avoid
        self._looks = looks
        self._selection = rules.selection
        self._asks = not rules.selection.keeps_all
        self._asks_only_directories = rules.selection.keeps_files
        self._needs_paths = rules.selection.needs_paths
        self._frames: list[_Frame] = []
        self._inside: set[Identity | None] = set()  # the directories of all frames
        self._closed = 0  # how many of the first frames' folders the walk holds no longer
        self._relative = b""  # path of the last frame with a slash at the end; kept only if rules need it

    def steps(self, resume: Resume | None) -> Iterator[Step]:
        try:
            if resume is not None:
                yield from self._go_on(resume)
            elif () in self._avoid:
                yield from _unreadable(self._root, Found(b"", EntryType.DIRECTORY, Metadata(links=0)), _AVOIDED)
            else:
                yield from self._begin(*self._root_frame())
            while self._frames:
                frame = self._frames[-1]
                members, below = self._look_on(frame)
                if members:
                    yield Members(frame.folder, members)
                if below is not None:
                    yield from self._enter(frame, below)
                elif frame.next >= len(frame.names):
                    yield End(frame.folder)
                    self._leave()
        finally:
            for frame in self._frames[self._closed :]:
                frame.folder.release()
            self._frames.clear()

    def _root_frame(self) -> tuple[_Frame, Found]:
        self._root.hold()
        status = os.fstat(self._root.descriptor())
        return _Frame(self._root, status.st_dev, self._rules.wanted), found_of(b"", status, self._rules.devices)

    def _go_on(self, resume: Resume) -> Iterator[Step]:
        """Be where another walk was; leave the directories that nobody can go on in."""
        if () in self._avoid:
            yield from _ends(self._root, resume.inside, _AVOIDED)
            yield End(self._root, _AVOIDED)
            return
        frame, _ = self._root_frame()
        error = self._push_behind(frame, (*resume.inside, resume.after)[0])
        if error:
            yield from _ends(self._root, resume.inside, error)
            yield End(self._root, error)
            return
        for depth, name in enumerate(resume.inside):
            below, error = self._open_again(frame, name)
            if below is not None:
                error = self._push_behind(below, (*resume.inside, resume.after)[depth + 1])
            if error or below is None:
                yield from _ends(frame.folder, resume.inside[depth:], error)
                return
            frame = below

    def _open_again(self, frame: _Frame, name: bytes) -> tuple[_Frame | None, str]:
        """Open a directory that a walk was in; None if that cannot be, and why."""
        if name in frame.avoided:
            return None, _AVOIDED
        try:
            return self._open_below(frame, name, owner=-1)[0], ""
        except OSError as error:
            return None, _VANISHED if error.errno in _GONE else text(error)

    def _push_behind(self, frame: _Frame, name: bytes | None) -> str:
        """Go on in a directory behind a name; returns why that cannot be, or nothing."""
        error = self._fill(frame)
        if error:
            frame.folder.release()
            return error
        self._push(frame)
        frame.next = 0 if name is None else bisect_right(frame.names, name)
        return ""

    def _look_on(self, frame: _Frame) -> tuple[list[Found], Found | None]:
        """Look at some more of what is in a directory, up to the next directory there, which comes second."""
        if frame.below is not None and not frame.error and frame.next < len(frame.below):
            frame.next += 1
            return [], found_of(*frame.below[frame.next - 1], self._rules.devices)
        members: list[Found] = []
        start = frame.next
        frame.next = end = min(start + MEMBERS, len(frame.names))
        selects = self._asks or bool(frame.named)
        asks_all = bool(frame.named) or not self._asks_only_directories
        stat_of, devices = os.stat, self._rules.devices
        folder, avoided = frame.folder, frame.avoided
        fd = -1 if frame.error else folder.descriptor()
        for number in range(start, end):
            name = frame.names[number]
            self.mark = folder, name
            try:
                if name in avoided:
                    raise TimeoutError(errno.ETIMEDOUT, _AVOIDED)
                found = found_of(name, stat_of(name, dir_fd=fd, follow_symlinks=False), devices)
            except OSError as error:
                known = failed(frame, name, error)
                if known is None:
                    continue
                found = known
            if selects and (asks_all or found.type is not EntryType.FILE):
                chosen = self._select(frame, found)
                if chosen is None:
                    continue
                found = chosen
            if found.type is EntryType.DIRECTORY:
                frame.next = number + 1
                return members, found
            members.append(found)
        return members, None

    def _select(self, frame: _Frame, found: Found) -> Found | None:
        """The object, unless a rule leaves it out."""
        name = found.name
        if name in frame.named:
            wanted = frame.wanted.children.get(name) if frame.wanted is not None else None
            if wanted is None or not wanted.children or found.type in {EntryType.DIRECTORY, EntryType.UNKNOWN}:
                return found
            return found._replace(error=_NO_DIRECTORY)
        relative = self._relative + name if self._needs_paths else b""
        absolute = self._rules.base + relative
        leaves_out = self._selection.leaves_out
        if leaves_out(absolute, relative, name, is_directory=found.type is EntryType.DIRECTORY, size=found.size):
            return None
        if found.type is EntryType.UNKNOWN and leaves_out(absolute, relative, name, is_directory=True, size=0):
            return None  # it may be a directory, and a rule is about directories of that name
        return found

    def _enter(self, frame: _Frame, found: Found) -> Iterable[Step]:
        """Go into a directory that was just seen, or say what became of it."""
        name = found.name
        for _ in range(2):
            try:
                below, opened = self._open_below(frame, name, owner=found.metadata.uid)
            except OSError as error:
                if error.errno not in _GONE:
                    return _unreadable(LocalFolder(frame.folder, name), found, text(error))
            else:
                return self._begin(below, opened)
            again = self._look_again(frame, name)
            if again is None:
                return ()
            if again.type is not EntryType.DIRECTORY:
                return (Members(frame.folder, [again]),)
            found = again
        return _unreadable(LocalFolder(frame.folder, name), found, _REPLACED)

    def _look_again(self, frame: _Frame, name: bytes) -> Found | None:
        try:
            status = os.stat(name, dir_fd=frame.folder.descriptor(), follow_symlinks=False)
        except OSError as error:
            found = failed(frame, name, error)
        else:
            found = found_of(name, status, self._rules.devices)
        return None if found is None else self._select(frame, found)

    def _open_below(self, frame: _Frame, name: bytes, *, owner: int) -> tuple[_Frame, Found]:
        """Open a directory in that of *frame*. Raises: OSError."""
        self.mark = frame.folder, name
        wanted = frame.wanted.children.get(name) if frame.wanted is not None else None
        search_only = wanted is not None and not wanted.whole
        folder, status = frame.folder.open_below(name, self._rules.opener, owner=owner, search_only=search_only)
        device = frame.device if wanted is None else status.st_dev  # a mount point that was asked for is entered
        return _Frame(folder, device, wanted), found_of(name, status, self._rules.devices)

    def _begin(self, frame: _Frame, found: Found) -> Iterable[Step]:
        """Go into an open directory that the walk holds."""
        error = self._fill(frame)
        if error:
            return self._turn_away(frame, found, error)
        self._push(frame)
        same = self._recall(frame, found)
        if same is not None and not same.directories and len(self._frames) > 1:
            self._leave()
            return (Unchanged(found, same),)
        return (Begin(frame.folder, found, frame.place, same),)

    def _turn_away(self, frame: _Frame, found: Found, error: str) -> Iterator[Step]:
        try:
            yield from _unreadable(frame.folder, found, error)
        finally:
            frame.folder.release()

    def _recall(self, frame: _Frame, found: Found) -> Same | None:
        """Whether the innermost directory looks as it did when it was saved; then only directories in it are met."""
        looks = self._looks
        if looks is None:
            return None
        is_root = len(self._frames) == 1
        frame.place = looks.place(*(b"", b"") if is_root else (self._frames[-2].place, frame.folder.name))
        if looks.is_empty or len(frame.names) > MOST_MEMBERS:
            return None
        select = partial(self._select, frame) if self._asks or frame.named else None
        asks_all = bool(frame.named) or not self._asks_only_directories
        seen = glance(found, frame.folder, frame.names, Looking(self, self._rules.devices, select, asks_all))
        stamp = looks.recall(frame.place, seen.look) if seen is not None else None
        if seen is None or stamp is None:
            return None
        frame.below = seen.below
        frame.names = [name for name, _ in seen.below]
        return Same(stamp, seen.names, len(seen.below), seen.users, seen.groups)

    def _fill(self, frame: _Frame) -> str:
        """Find the names to look at in a directory; returns why it cannot be looked into, or nothing."""
        folder, wanted = frame.folder, frame.wanted
        if self._avoid:
            here = folder.names
            frame.avoided = frozenset(names[-1] for names in self._avoid if names and names[:-1] == here)
        if folder.identity in self._inside:
            return _LOOP
        if self._frames and folder.name == self._frames[-1].tagged:
            return ""  # it stands for its neighbours, without its content
        if self._selection.one_file_system and folder.identity is not None and folder.identity[0] != frame.device:
            return ""
        named = wanted.children.keys() if wanted is not None else ()
        frame.named = named
        if wanted is not None and not wanted.whole:
            frame.names = sorted(named)
            return ""
        try:
            fd = folder.descriptor()
            names = list_names(fd)
            frame.tagged = self._find_tag(fd, names)
        except OSError as error:
            return text(error)
        if frame.tagged is not None:
            frame.named = frozenset({frame.tagged, *named})
            names = list(frame.named)
        elif named:
            names = list({*names, *named})
        names.sort()
        frame.names = names
        return ""

    def _find_tag(self, fd: int, names: Sequence[bytes]) -> bytes | None:
        """The name for whose sake nothing else is saved of a directory."""
        selection = self._selection
        if not selection.caches and not selection.if_present:
            return None
        tag = selection.leaves_out_content(frozenset(names))
        return None if tag == CACHEDIR_TAG and tag not in selection.if_present and not is_cache_tag(fd) else tag

    def _push(self, frame: _Frame) -> None:
        if self._frames and self._needs_paths:
            frame.relative_size = len(self._relative)
            self._relative += frame.folder.name + b"/"
        self._frames.append(frame)
        self._inside.add(frame.folder.identity)
        if len(self._frames) - self._closed > OPEN_FOLDERS:
            self._frames[self._closed].folder.release()
            self._closed += 1

    def _leave(self) -> None:
        """Go back to the directory above, which may have been closed meanwhile."""
        left = self._frames.pop()
        self._inside.discard(left.folder.identity)
        self._relative = self._relative[: left.relative_size]
        if self._frames and self._closed == len(self._frames):
            frame = self._frames[-1]
            self.mark = frame.folder.parent, frame.folder.name
            frame.folder.hold()
            self._closed -= 1
            try:
                frame.folder.reopen_from(left.folder)
            except OSError as error:
                frame.error = f"the way back to the directory it lies in is lost: {text(error)}"
        left.folder.release()


def _unreadable(folder: LocalFolder, found: Found, error: str) -> Iterator[Step]:
    yield Begin(folder, found._replace(error=error))
    yield End(folder)


def _ends(above: LocalFolder, names: Sequence[bytes], error: str) -> Iterator[Step]:
    """Leave directories that nobody can go on in."""
    folders: list[LocalFolder] = []
    for name in names:
        folders.append(LocalFolder(folders[-1] if folders else above, name))
    for folder in reversed(folders):
        yield End(folder, error)
