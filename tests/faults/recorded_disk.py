"""A directory whose every change is written down, and what a power cut would have left of it at any moment."""

from __future__ import annotations

import os
import stat
import threading
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from lamina.storage.backends import local, local_files
from lamina.storage.names import flat_name
from lamina.testing.storages import MemoryStorage

Keep = Callable[
    [int], bool
]  # whether a change that nobody waited for survived all the same, by its place in the journal


@dataclass(frozen=True, slots=True)
class Event:
    """One change, or the word that changes are durable: `sync` of a file or a directory covers all before it."""

    what: str  # entry, unlink, write, sync, mark
    where: str = ""  # path of a directory, or the number of a file
    name: str = ""  # in the directory
    file: str = ""  # number of the file that gets the name; empty: a directory
    data: Any = b""


@dataclass
class RecordedDisk:
    """Stands in for `os` in the local storage: it does what is asked for, and writes it down.

    What a file system promises: a file's bytes are durable after fsync of the file, a name after fsync of its directory.
    Everything else may survive a power cut or not, each change by itself.
    """

    root: Path
    events: list[Event] = field(default_factory=list)
    _files: dict[int, str] = field(default_factory=dict)  # inode → number of the file
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for module in (local, local_files):
            monkeypatch.setattr(module, "os", self)

    def mark(self, data: Any) -> None:
        """Note that somebody was told something."""
        with self._lock:
            self.events.append(Event("mark", data=data))

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def open(self, path: str, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        with self._lock:
            descriptor = os.open(path, flags, mode, dir_fd=dir_fd)
            if flags & os.O_TMPFILE == os.O_TMPFILE or flags & os.O_CREAT:
                number = self._files[os.fstat(descriptor).st_ino] = str(len(self.events))
                self.events.append(Event("write", number))
                if flags & os.O_CREAT:
                    self._entry(path, dir_fd, number)
            return descriptor

    def writev(self, descriptor: int, views: Sequence[memoryview]) -> int:
        with self._lock:
            written = os.writev(descriptor, views)
            data = b"".join(views)[:written]
            self.events.append(Event("write", self._files[os.fstat(descriptor).st_ino], data=data))
            return written

    def fsync(self, descriptor: int) -> None:
        with self._lock:
            os.fsync(descriptor)
            info = os.fstat(descriptor)
            is_directory = stat.S_ISDIR(info.st_mode)
            where = os.readlink(f"/proc/self/fd/{descriptor}") if is_directory else self._files[info.st_ino]
            self.events.append(Event("sync", where))

    def link(self, source: str, name: str, *, src_dir_fd: int, dst_dir_fd: int, follow_symlinks: bool) -> None:
        with self._lock:
            number = self._files[os.stat(source, dir_fd=src_dir_fd).st_ino]
            os.link(source, name, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd, follow_symlinks=follow_symlinks)
            self._entry(name, dst_dir_fd, number)

    def mkdir(self, path: str, mode: int = 0o777, *, dir_fd: int | None = None) -> None:
        with self._lock:
            os.mkdir(path, mode, dir_fd=dir_fd)
            self._entry(path, dir_fd, "")

    def unlink(self, path: str, *, dir_fd: int | None = None) -> None:
        with self._lock:
            os.unlink(path, dir_fd=dir_fd)
            where, name = self._place(path, dir_fd)
            self.events.append(Event("unlink", where, name))

    def after_power_cut(self, end: int, keep: Keep) -> MemoryStorage | None:
        """The objects that are there if the power fails after *end* events; None if not even their directory is."""
        durable = self._durable(end)
        contents: defaultdict[str, bytes] = defaultdict(bytes)
        names: dict[str, str] = {}  # path → number of its file
        for place, event in enumerate(self.events[:end]):
            if event.what not in {"write", "entry", "unlink"} or not (
                durable.get(event.where, -1) > place or keep(place)
            ):
                continue
            if event.what == "write":
                contents[event.where] += event.data
            elif event.what == "entry":
                names[f"{event.where}/{event.name}"] = event.file
            else:
                names.pop(f"{event.where}/{event.name}", None)
        if names.get(str(self.root)) != "":
            return None
        storage = MemoryStorage()
        for path, number in names.items():
            if number and self._is_reached(path, names):
                flat = flat_name(str(Path(path).relative_to(self.root)))
                if flat is not None:
                    storage.put(flat, [contents[number]])
        return storage

    def _durable(self, end: int) -> dict[str, int]:
        """Up to which event the changes of each file and directory are durable."""
        return {event.where: place for place, event in enumerate(self.events[:end]) if event.what == "sync"}

    def _is_reached(self, path: str, names: dict[str, str]) -> bool:
        above = os.path.dirname(path)
        return above == str(self.root) or (names.get(above) == "" and self._is_reached(above, names))

    def _entry(self, path: str, dir_fd: int | None, number: str) -> None:
        where, name = self._place(path, dir_fd)
        self.events.append(Event("entry", where, name, number))

    def _place(self, path: str, dir_fd: int | None) -> tuple[str, str]:
        start = "" if dir_fd is None else os.readlink(f"/proc/self/fd/{dir_fd}")
        where, _, name = f"{start}/{path}".lstrip("/").rpartition("/")
        return f"/{where}", name
