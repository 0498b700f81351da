"""What a person would want to know of a storage before trusting it: does it keep its promises, how fast is it?"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta

from lamina.errors import (
    ObjectExists,
    ObjectMissing,
    ObjectTruncated,
    StorageDenied,
    StorageError,
    StorageFull,
    StorageUnavailable,
)
from lamina.model.operation import Operation
from lamina.model.quantities import MIB, format_size
from lamina.storage.storage import Storage

_SPEED_SIZE = 8 * MIB  # long enough to count on a fast line, short enough to wait for on a slow one
_RACERS = 8
_SKEW_ALLOWED = timedelta(minutes=5)  # S3 itself refuses requests at 15 minutes
_CONTENT = bytes(range(256)) * 16


@dataclass(frozen=True, slots=True)
class ProbeCheck:
    """One promise, and whether it was kept."""

    name: str
    ok: bool
    detail: str
    required: bool = True  # a repository rests on it


@dataclass(frozen=True, slots=True)
class ProbeReport:
    """What a probe found."""

    address: str
    checks: tuple[ProbeCheck, ...]
    skew: timedelta  # the storage's clock less ours
    upload_bytes_per_s: float  # one object of 8 MiB
    download_bytes_per_s: float

    @property
    def suitable(self) -> bool:
        """Whether a repository may lie there."""
        return all(check.ok for check in self.checks if check.required)


def probe(storage: Storage, operation: Operation) -> ProbeReport:
    """Try every promise out, below a random name in `probe/`, and remove what was made.

    Raises: StorageDenied, StorageFull, StorageUnavailable and Stopped as they come: they say nothing of the promises.
    """
    return _Probe(storage, operation).run()


class _Probe:
    """One run: the names it made, so that they can be removed."""

    def __init__(self, storage: Storage, operation: Operation) -> None:
        self._storage = storage
        self._operation = operation
        self._folder = f"probe/{secrets.token_hex(8)}/"
        self._made: list[str] = []
        self._skew = timedelta(0)
        self._rates = (0.0, 0.0)

    def run(self) -> ProbeReport:
        required: list[tuple[str, Callable[[], str]]] = [
            ("create-if-absent", self._check_create),
            ("create-if-absent, raced for", self._check_race),
            ("read after write", self._check_read),
            ("listing", self._check_listing),
            ("range reads", self._check_ranges),
            ("missing objects", self._check_missing),
        ]
        optional = [("deletion", self._check_delete), ("clock", self._check_clock), ("speed", self._check_speed)]
        try:
            checks = [self._run_check(name, check, required=True) for name, check in required]
            checks += [self._run_check(name, check, required=False) for name, check in optional]
        except BaseException:
            self._clean_up()
            raise
        left = self._clean_up()
        if left:
            checks.append(ProbeCheck("cleaning up", ok=False, detail=f"left {left} objects in probe/", required=False))
        return ProbeReport(self._storage.address, tuple(checks), self._skew, *self._rates)

    def _run_check(self, name: str, check: Callable[[], str], *, required: bool) -> ProbeCheck:
        self._operation.check_stop()
        try:
            return ProbeCheck(name, ok=True, detail=check(), required=required)
        except _Broken as broken:
            return ProbeCheck(name, ok=False, detail=str(broken), required=required)
        except (StorageDenied, StorageFull, StorageUnavailable):
            raise
        except StorageError as error:
            return ProbeCheck(name, ok=False, detail=error.message, required=required)

    def _check_create(self) -> str:
        name = self._put("create", _CONTENT)
        _expect(not self._overwrites(name, b"other bytes"), "a second put of other bytes was accepted")
        _expect(self._storage.get(name) == _CONTENT, "the second put replaced the first object")
        self._storage.put(name, [_CONTENT])  # the same bytes again are no error
        return "a second put was refused"

    def _check_race(self) -> str:
        name = self._folder + "race"
        self._made.append(name)
        contents = [f"racer {number}".encode() * 100 for number in range(_RACERS)]
        with ThreadPoolExecutor(_RACERS) as pool:
            lost = list(pool.map(lambda content: not self._overwrites(name, content), contents))
        winners = [content for content, late in zip(contents, lost, strict=True) if not late]
        _expect(len(winners) == 1, f"{len(winners)} of {_RACERS} puts at once were told that they won")
        _expect(self._storage.get(name) == winners[0], "the object is not what the winner put")
        return f"one of {_RACERS} won"

    def _check_read(self) -> str:
        for number in range(4):
            content = _CONTENT + bytes([number])
            _expect(self._storage.get(self._put(f"read-{number}", content)) == content, "other bytes came back")
        return "what was put came back"

    def _check_listing(self) -> str:
        folder = f"{self._folder}list/"
        names = {self._put(f"list/{number}", b"x" * (number + 1)) for number in range(3)}
        _expect(self._list(folder) == names, "an object just put is not listed")
        gone = names.pop()
        try:
            self._storage.delete(gone)
        except StorageDenied:
            return "new objects are listed (deleting is not allowed with these credentials)"
        _expect(self._list(folder) == names, "an object just deleted is still listed")
        return "new objects are listed, deleted ones are not"

    def _check_ranges(self) -> str:
        name = self._put("range", _CONTENT)
        size = len(_CONTENT)
        for offset, length in ((0, 16), (1000, 24), (size - 16, 16), (0, size)):
            data = self._storage.get_range(name, offset, length)
            _expect(data == _CONTENT[offset : offset + length], f"range {offset}+{length} came back wrong")
        try:
            self._storage.get_range(name, size - 8, 16)
        except ObjectTruncated:
            return "exact, and honest beyond the end"
        raise _Broken("a range beyond the end was answered")

    def _check_missing(self) -> str:
        for read in (self._storage.get, self._storage.stat):
            try:
                read(self._folder + "missing")
            except ObjectMissing:
                continue
            raise _Broken("an object that is not there was answered")
        return "said to be missing"

    def _check_delete(self) -> str:
        name = self._put("delete", _CONTENT)
        try:
            self._storage.delete(name)
            self._storage.delete(name)
        except StorageDenied as error:
            raise _Broken("not allowed with these credentials (enough to back up, not to prune)") from error
        try:
            self._storage.get(name)
        except ObjectMissing:
            return "done at once"
        raise _Broken("a deleted object can still be read")

    def _check_clock(self) -> str:
        before = self._operation.clock.now()
        stored = self._storage.stat(self._put("clock", _CONTENT))
        middle = before + (self._operation.clock.now() - before) / 2
        self._skew = stored.modified - middle
        seconds = abs(self._skew.total_seconds())
        _expect(abs(self._skew) <= _SKEW_ALLOWED, f"{seconds:.0f} s away from ours; one of the two is wrong")
        return f"{seconds:.0f} s away from ours"

    def _check_speed(self) -> str:
        clock, content = self._operation.clock, secrets.token_bytes(_SPEED_SIZE)
        begin = clock.monotonic()
        name = self._put("speed", content)
        middle = clock.monotonic()
        _expect(self._storage.get(name) == content, "other bytes came back")
        spans = (middle - begin, clock.monotonic() - middle)
        up, down = (_SPEED_SIZE / max(span, 1e-6) for span in spans)
        self._rates = (up, down)
        return f"upload {format_size(up)}/s, download {format_size(down)}/s"

    def _put(self, last: str, content: bytes) -> str:
        name = self._folder + last
        self._made.append(name)
        self._storage.put(name, [content])
        return name

    def _overwrites(self, name: str, content: bytes) -> bool:
        try:
            self._storage.put(name, [content])
        except ObjectExists:
            return False
        return True

    def _list(self, folder: str) -> set[str]:
        return {stored.name for stored in self._storage.objects(folder)}

    def _clean_up(self) -> int:
        """Remove what was made; returns how many objects could not be removed."""
        left = 0
        for name in self._made:
            try:
                self._storage.delete(name)
            except StorageError:
                left += 1
        return left


class _Broken(Exception):
    """A promise was not kept; the text says how."""


def _expect(kept: bool, otherwise: str) -> None:
    if not kept:
        raise _Broken(otherwise)
