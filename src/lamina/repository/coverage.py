"""Which packs were verified when, and how deep (spec: coverage). Records of it only save time: none is ever needed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from contextlib import suppress
from datetime import datetime, timedelta
from enum import IntEnum
from fractions import Fraction

from lamina.errors import Damaged, FormatUnknown, ObjectExists, ObjectMissing, RepositoryError, StorageError
from lamina.model.ids import PackId
from lamina.repository.access import Access
from lamina.repository.control import LAST_NUMBER, record_number
from lamina.repository.format import Kind
from lamina.repository.object_names import COVERAGE, numbered
from lamina.repository.records import CheckedPacks, CoverageRecord, FinishedRun, from_us, to_us
from lamina.storage.storage import Storage

PREFIX = 8  # bytes of a pack's id that a record gives: two packs alike in them cost a check that comes later, no more
FOLD = 16  # records beside the newest folded one, from which on the next contains them all
TRIES = 8  # numbers tried while others are faster
WHOLE = Fraction(1)  # share of all packs
MAX_DENOMINATOR = 1_000_000  # of shares: who reads a millionth at a time does not verify
_SKEW = timedelta(days=1)  # a time further ahead than this is a clock's mistake: nobody checked anything in the future


class Depth(IntEnum):
    """How deep packs are checked."""

    BYTES = 1  # they fit their name, and hold what their footer lists
    CONTENT = 2  # and every chunk in them opens and has the content that its id names


class Coverage:
    """When each pack was last found whole, as owners and stewards recorded it."""

    def __init__(self) -> None:
        self._times: defaultdict[Depth, dict[bytes, int]] = defaultdict(dict)
        self._runs: dict[tuple[int, int], Fraction] = {}  # those that were finished, by time and depth: their shares
        self._newest = 0  # time of whatever is known
        self._known: set[int] = set()  # numbers of the records that were read
        self._folded = 0  # the newest record that contains others contains all up to this one
        self.names: frozenset[str] = frozenset()  # of the objects that were there

    def verified(self, pack: PackId, depth: Depth) -> datetime | None:
        """When a pack was last found whole at *depth* or deeper; None: never, as far as is known."""
        times = [self._times[one].get(pack[:PREFIX]) for one in Depth if one >= depth]
        known = [time for time in times if time is not None]
        return from_us(max(known)) if known else None

    def runs(self, depth: Depth) -> list[tuple[datetime, Fraction]]:
        """The runs at *depth* or deeper that read a share of all packs, to their end: when each began, and that share."""
        return [(from_us(time), share) for (time, one), share in self._runs.items() if one >= depth]

    def stamp(self, now: datetime) -> datetime:
        """When a run begins that begins *now*: after all that is known, although clocks may differ by a day."""
        return max(now, from_us(self._newest + 1))

    def add(self, packs: Iterable[PackId], depth: Depth, time: datetime) -> None:
        """Take note that packs were found whole."""
        self._add([pack[:PREFIX] for pack in packs], depth, to_us(time))

    def load(self, access: Access, now: datetime) -> None:
        """Read what is recorded; what is damaged or not believed is passed over. Raises: StorageError."""
        self._times.clear()
        self._runs.clear()
        self._known.clear()
        self._folded = self._newest = 0
        self.names = frozenset(found.name for found in access.storage.objects(COVERAGE))
        names = {number: name for name in self.names if (number := record_number(name)) is not None}
        for number in sorted(names, reverse=True):
            if number <= self._folded:
                break
            try:
                record = access.control.read(names[number], Kind.COVERAGE, CoverageRecord).structure
            except (Damaged, FormatUnknown, ObjectMissing):
                continue  # `verify` names it; here it means that more is checked
            self._known.add(number)
            self._folded = max(self._folded, min(record.folded, number - 1))
            for group in record.checked:
                self._take(group, now)
            for run in record.runs:
                self._take_run(run, now)

    def record(
        self, access: Access, packs: Collection[PackId], depth: Depth, now: datetime, share: Fraction | None = None
    ) -> None:
        """Record that *packs* were found whole by a run that began *now*; every so often in one record with all that is known.

        *share*: of all packs, if the run has read it and is finished. Only owners and stewards are believed.
        Raises: StorageError, RepositoryError.
        """
        self._note(packs, depth, now, share)
        for _ in range(TRIES):
            number = self._next_number(access)
            folds = len(self._known) >= FOLD
            record = self._all() if folds else _one(packs, depth, now, share)
            try:
                access.control.write(Kind.COVERAGE, numbered(COVERAGE, number), record)
            except ObjectExists:
                self.load(access, now)  # what others recorded meanwhile
                self._note(packs, depth, now, share)
                continue
            self._known.add(number)
            if folds:
                self._forget_folded(access.storage, record.folded)
            return
        raise RepositoryError(
            "what was verified cannot be recorded: others were faster each time", hint="it only costs time"
        )

    def keep_only(self, packs: Iterable[PackId]) -> None:
        """Let go of all that is known of other packs: they are gone."""
        there = {pack[:PREFIX] for pack in packs}
        for times in self._times.values():
            for gone in times.keys() - there:
                del times[gone]

    def _note(self, packs: Collection[PackId], depth: Depth, now: datetime, share: Fraction | None) -> None:
        self.add(packs, depth, now)
        if share is not None:
            self._add_run(to_us(now), depth, share)

    def _take(self, group: CheckedPacks, now: datetime) -> None:
        """Add what one record says of packs."""
        if _is_believable(group, now):
            prefixes = (group.packs[at : at + PREFIX] for at in range(0, len(group.packs), PREFIX))
            self._add(prefixes, _depth(group), group.time)

    def _take_run(self, run: FinishedRun, now: datetime) -> None:
        """Add what one record says of a run."""
        if _is_believable(run, now) and 0 < run.numerator <= run.denominator <= MAX_DENOMINATOR:
            self._add_run(run.time, _depth(run), Fraction(run.numerator, run.denominator))

    def _add(self, prefixes: Iterable[bytes], depth: Depth, time: int) -> None:
        times = self._times[depth]
        for prefix in prefixes:
            times[prefix] = max(time, times.get(prefix, time))
        self._newest = max(self._newest, time)

    def _add_run(self, time: int, depth: Depth, share: Fraction) -> None:
        self._runs[time, depth] = share
        self._newest = max(self._newest, time)

    def _all(self) -> CoverageRecord:
        """All that is known and of use, for one record."""
        return CoverageRecord(max(self._known), self._groups(), self._last_runs())

    def _last_runs(self) -> list[FinishedRun]:
        """For each depth the newest runs that have read everything together: nobody asks for earlier ones."""
        total: defaultdict[int, Fraction] = defaultdict(Fraction)
        kept: list[FinishedRun] = []
        for (time, depth), share in sorted(self._runs.items(), reverse=True):
            if total[depth] < WHOLE:
                total[depth] += share
                kept.append(_run(time, depth, share))
        return kept[::-1]

    def _groups(self) -> list[CheckedPacks]:
        """Packs by time and depth."""
        found: defaultdict[tuple[int, int], list[bytes]] = defaultdict(list)
        for depth, times in self._times.items():
            for prefix, time in times.items():
                found[time, depth].append(prefix)
        return [_group(time, depth, prefixes) for (time, depth), prefixes in sorted(found.items())]

    def _next_number(self, access: Access) -> int:
        """Behind the newest believed record: what nobody believes does not decide where the series goes on."""
        for number in range(max(self._known, default=0) + 1, LAST_NUMBER + 1):
            if numbered(COVERAGE, number) not in self.names:
                return number
        raise RepositoryError(f"no number is left under {COVERAGE} in {access.storage.address}")

    def _forget_folded(self, storage: Storage, folded: int) -> None:
        """Delete the records that the newest contains; those that stay only take space."""
        for name in sorted(self.names):
            number = record_number(name)
            if number is not None and number <= folded:
                with suppress(StorageError):
                    storage.delete(name)
        self._known = {number for number in self._known if number > folded}


def _one(packs: Collection[PackId], depth: Depth, now: datetime, share: Fraction | None) -> CoverageRecord:
    """What one run found, for a record."""
    groups = [_group(to_us(now), depth, (pack[:PREFIX] for pack in packs))] if packs else []
    return CoverageRecord(0, groups, [_run(to_us(now), depth, share)] if share is not None else [])


def _is_believable(said: CheckedPacks | FinishedRun, now: datetime) -> bool:
    return 0 <= said.time <= to_us(now + _SKEW) and said.depth >= Depth.BYTES


def _depth(said: CheckedPacks | FinishedRun) -> Depth:
    """How deep something was checked; a depth that is not known is a deeper one."""
    return Depth(min(said.depth, max(Depth)))


def _run(time: int, depth: int, share: Fraction) -> FinishedRun:
    return FinishedRun(time, depth, share.numerator, share.denominator)


def _group(time: int, depth: int, prefixes: Iterable[bytes]) -> CheckedPacks:
    return CheckedPacks(time, depth, b"".join(sorted(prefixes)))
