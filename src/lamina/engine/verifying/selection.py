"""Which packs one verify reads: those that were not checked for longest come first (pure)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fractions import Fraction

from lamina.errors import UsageError
from lamina.model.ids import SessionId
from lamina.repository.coverage import MAX_DENOMINATOR, WHOLE
from lamina.repository.object_names import META
from lamina.storage.storage import StoredObject

_LONG_AGO = datetime.min.replace(tzinfo=UTC)
LastChecked = Callable[[StoredObject], datetime | None]  # None: never


@dataclass(frozen=True, slots=True)
class VerifyOptions:
    """What one verify checks, and what it may write."""

    snapshots: frozenset[SessionId] = frozenset()  # check these and what they need; none: everything
    structure_only: bool = False  # read no data packs
    share: Fraction = WHOLE  # of the bytes of all packs that are checked
    older_than: timedelta | None = None  # read only packs that were not checked for so long
    max_time: timedelta | None = None  # begin to read no pack after that
    max_read: int | None = None  # bytes of packs
    record: bool = False  # say in the repository which packs were found whole; a writer's word is not believed there
    mark: bool = False  # say in the repository which snapshots are damaged, and which are whole
    threads: int = 2  # that read packs, each with a whole one in memory; 0: the caller's own

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1 or self.share.denominator > MAX_DENOMINATOR:
            raise UsageError(f"a share of {self.share} makes no sense", hint="write 1/7 or 15%")
        if self.structure_only and (self.share < 1 or self.older_than is not None):
            raise UsageError(
                "the structure is checked as a whole, and no data packs with it", hint="leave one option out"
            )

    @property
    def is_partial(self) -> bool:
        """Whether some packs of what is checked may stay unread."""
        limits = (self.older_than, self.max_time, self.max_read)
        return self.structure_only or self.share < 1 or any(limit is not None for limit in limits)


@dataclass(frozen=True, slots=True)
class History:
    """What is known of runs before this one."""

    last: LastChecked
    runs: Sequence[tuple[datetime, Fraction]] = ()  # that read a share of all packs, to their end: when each began


def parse_share(text: str) -> Fraction:
    """A share as people write it.

    >>> parse_share("1/7"), parse_share("15%"), parse_share("0.5")
    (Fraction(1, 7), Fraction(3, 20), Fraction(1, 2))
    """
    number, percent = text.removesuffix("%"), text.endswith("%")
    try:
        share = Fraction(number) / (100 if percent else 1)
    except (ValueError, ZeroDivisionError):
        share = Fraction(0)
    if not 0 < share <= 1:
        raise UsageError(f"{text!r} is no share", hint="write 1/7 or 15%")
    return share


def choose_packs(
    packs: Sequence[StoredObject], options: VerifyOptions, history: History, now: datetime
) -> list[StoredObject]:
    """The packs to be read, in order: those never checked first, then those whose check is the longest ago.

    Some are read in addition to the share. What came since the last run that was finished: else a repository that grows
    would be late for ever. And what no run has read while shares that add up to the whole were run, this one included: so
    1/7 a run has read after seven runs all that was there before the first of them, whatever came, went or was damaged
    meanwhile.
    """
    if options.structure_only:
        return [pack for pack in packs if pack.name.startswith(META)]
    checked = {pack.name: history.last(pack) for pack in packs}
    wanted = [pack for pack in packs if _is_wanted(checked[pack.name], options.older_than, now)]
    wanted.sort(key=lambda pack: (_order(checked[pack.name]), pack.name))
    latest = max((began for began, _ in history.runs), default=None)
    begin = _first_of_the_whole(options.share, history.runs)
    quota = options.share * sum(pack.size for pack in packs)
    chosen: list[StoredObject] = []
    for pack in wanted:
        last = checked[pack.name]
        came = pack.modified if pack.modified <= now else _LONG_AGO  # a storage whose clock is ahead says nothing of it
        is_new = last is None and latest is not None and latest <= came
        is_due = begin is not None and (came <= begin if last is None else last < begin)
        if quota <= 0 and not (is_new or is_due) and options.share < 1:
            continue
        chosen.append(pack)
        quota -= 0 if is_new else pack.size
    return chosen


def _first_of_the_whole(share: Fraction, runs: Sequence[tuple[datetime, Fraction]]) -> datetime | None:
    """When the last runs whose shares add up to the whole with this *share* began; None: there were not so many."""
    for began, done in sorted(runs, reverse=True):
        share += done
        if share >= WHOLE:
            return began
    return None


def _is_wanted(checked: datetime | None, older_than: timedelta | None, now: datetime) -> bool:
    return checked is None or older_than is None or now - checked >= older_than


def _order(checked: datetime | None) -> tuple[bool, float]:
    return (False, 0.0) if checked is None else (True, checked.timestamp())
