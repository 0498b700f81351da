"""The seams through which data comes in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from typing import NamedTuple, Protocol, runtime_checkable

from lamina.model.entries import EntryType, Extent, Metadata


@runtime_checkable
class ImageSource(Protocol):
    """One image of a known size that can be read anywhere.

    Every implementation promises:

    - `size` is the size when it was opened and does not change; `name` is what the user called it;
    - `extents` are sorted, disjoint and cover exactly 0 … size; a hole certainly reads as zeros;
    - `read_into` fills the buffer from *offset*, whatever the device's own block size; fewer bytes than asked for mean that the
      source ends there now; any fault raises `SourceUnreadable`; any number of threads may call at once;
    - reading does not flood the page cache: what was brought in by us is let go again, what was there before may stay;
    - `stable` says that nobody is expected to write to it during the run (a regular file), so that a whole comparison makes
      sense; `changed` says whether it was seen to change since it was opened.
    """

    name: str
    size: int
    stable: bool
    metadata: Metadata

    def extents(self) -> Iterator[Extent]: ...

    def read_into(self, offset: int, buffer: memoryview) -> int: ...

    def changed(self) -> bool: ...

    def close(self) -> None: ...


class StreamSource(Protocol):
    """One byte stream of unknown length that can be read once, front to back.

    `read_into` fills the whole buffer unless the stream ends; 0 means the end; a fault raises `SourceUnreadable`.
    """

    name: str
    metadata: Metadata

    def read_into(self, buffer: memoryview) -> int: ...

    def close(self) -> None: ...


class Found(NamedTuple):
    """One object as a walk met it: what can be known without opening it."""

    name: bytes  # the last component of its path; empty for the root of a source
    type: EntryType
    metadata: Metadata  # without birth time, flags and extended attributes
    size: int = 0  # bytes of a regular file's content
    special: tuple[int, int] | None = None  # major and minor number of a device
    error: str = ""  # why it (or what is in it) cannot be looked at


class Folder(Protocol):
    """One directory that a walk is in, or was in.

    It can be read from (`FileSource.open`, `describe`) until its `End` was yielded, and longer by whoever holds it.
    """

    @property
    def path(self) -> bytes:
        """Where it lies, for people."""

    def hold(self) -> None: ...

    def release(self) -> None: ...


class Looks(Protocol):
    """What directories of another run of the same source looked like (see `lamina.model.looks`).

    - `place` is what stands for a directory: its name and the place of the directory above (both empty: of the root);
    - `recall` gives the stamp of the directory at a place, if that is one it knows, with this look;
    - `is_empty`: it knows none.
    """

    is_empty: bool

    def place(self, above: bytes, name: bytes) -> bytes: ...

    def recall(self, place: bytes, look: bytes) -> bytes | None: ...


class Same(NamedTuple):
    """Said of a directory with a look that is known: all that is in it was looked at, and none of it but directories follows."""

    stamp: bytes
    names: Sequence[bytes]  # of what is in it and is no directory
    directories: int  # in it
    users: AbstractSet[int]  # who own what is in it
    groups: AbstractSet[int]


class Begin(NamedTuple):
    """A walk goes into a directory; what follows up to its `End` is in it. With `found.error` nothing follows but the `End`."""

    folder: Folder
    found: Found
    place: bytes = b""  # if looks are compared
    same: Same | None = None


class Members(NamedTuple):
    """Some of what is in a directory and is no directory itself, at most `MEMBERS`."""

    folder: Folder
    found: Sequence[Found]


class End(NamedTuple):
    """A walk leaves a directory; with an error, nobody knows what is in it behind the last name that was yielded."""

    folder: Folder
    error: str = ""


class Unchanged(NamedTuple):
    """A directory with a look that is known and without directories in it; it is not gone into."""

    found: Found
    same: Same


Step = Begin | Members | End | Unchanged
MEMBERS = 1024  # of one step: what a walk looks ahead stays small


class OpenFile(Protocol):
    """One regular file, open.

    - `found` is what it is now that it is open: size and times may differ from what the walk saw;
    - `metadata` is all of it, birth time, flags and extended attributes included;
    - `read_into` fills the buffer from where the last call ended, fewer bytes at the end of the file, 0 behind it;
    - `has_holes` says whether some of it was never written; `image` is the same file as an image, open as long as this one;
    - `changed` says whether it was seen to change since it was opened;
    - any fault raises `SourceUnreadable`.
    """

    found: Found

    def metadata(self) -> Metadata: ...

    def read_into(self, buffer: memoryview) -> int: ...

    def has_holes(self) -> bool: ...

    def image(self) -> ImageSource: ...

    def changed(self) -> bool: ...

    def close(self) -> None: ...


class Resume(NamedTuple):
    """Where a walk goes on: behind the name *after* (None: from the first name on) in the innermost of the directories it is in."""

    inside: tuple[bytes, ...]  # names that lead from the root of the source to that directory
    after: bytes | None


@runtime_checkable
class FileSource(Protocol):
    """A tree of files.

    Every implementation promises:

    - `walk` yields a directory before what is in it, and what is in it in the order of the names' bytes, so that steps of
      subdirectories stand between `Members` of their parent; what the selection leaves out is not yielded; what cannot be looked
      at is yielded with an `error`, never left out; what vanishes while the walk looks at it is left out;
    - `looking_at` is another object whenever the walk looks at something else, and its names lead from the root to it: whoever
      watches can see that a file system does not answer;
    - `walk` with *resume* goes on where another walk, that is not advanced any more, got stuck: it yields no `Begin` for the
      directories it is in, but their `End`, with an error if it cannot go on there; what *avoid* names is not touched, but
      yielded with an error;
    - `walk` with *looks* may say of a directory that it and what is directly in it is the same, and pass over what is no directory
      (if something else follows nevertheless, it was not the same in the end), or over all of it if there are no directories in it
      and it is not the root;
    - `open` and `describe` may be called by any thread while the walk goes on, and follow no link;
    - `open` raises `SourceMissing` if the file vanished, `SourceUnreadable` if it cannot be read or is no regular file any more;
    - `read_small` is the quick way for the many: all metadata and the content of a regular file that fits into memory, if it was
      just what *found* says before and after it was read; None in any other case, and `open` tells more;
    - `describe` gives an object's whole metadata, and the target of a symbolic link (else empty), and raises the same; of a
      directory, *folder* is its own;
    - `look` finds the object that names lead to, with its folder held for the caller; it raises the same.
    """

    name: str

    @property
    def looking_at(self) -> tuple[bytes, ...]: ...

    def walk(
        self,
        resume: Resume | None = None,
        avoid: AbstractSet[tuple[bytes, ...]] = frozenset(),
        looks: Looks | None = None,
    ) -> Iterator[Step]: ...

    def open(self, folder: Folder, found: Found) -> OpenFile: ...

    def read_small(self, folder: Folder, found: Found) -> tuple[Metadata, bytes] | None: ...

    def describe(self, folder: Folder, found: Found) -> tuple[Metadata, bytes]: ...

    def look(self, names: Sequence[bytes]) -> tuple[Folder, Found]: ...

    def close(self) -> None: ...
