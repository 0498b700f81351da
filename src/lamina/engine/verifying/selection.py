"""Which packs one verify reads: those that were not checked for longest come first (pure)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from fractions import Fraction

from lamina.errors import UsageError
from lamina.model.ids import SessionId
from lamina.repository.object_names import META
from lamina.storage.storage import StoredObject

WHOLE = Fraction(1)
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
        if not 0 < self.share <= 1:
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
    packs: Sequence[StoredObject], options: VerifyOptions, last: LastChecked, latest: datetime | None, now: datetime
) -> list[StoredObject]:
    """The packs to be read, in order: those never checked first, then those whose check is the longest ago.

    Packs that came after *latest*, when the run before began, are read in addition to the share: so 1/7 a run has read after
    seven runs all that was there before the first of them, however much came meanwhile.
    """
    if options.structure_only:
        return [pack for pack in packs if pack.name.startswith(META)]
    checked = {pack.name: last(pack) for pack in packs}
    due = [pack for pack in packs if _is_due(checked[pack.name], options.older_than, now)]
    due.sort(key=lambda pack: (_order(checked[pack.name]), pack.name))
    quota = options.share * sum(pack.size for pack in packs)
    chosen: list[StoredObject] = []
    for pack in due:
        is_new = checked[pack.name] is None and latest is not None and latest <= pack.modified <= now
        if quota <= 0 and not is_new and options.share < 1:
            continue
        chosen.append(pack)
        quota -= 0 if is_new else pack.size
    return chosen


def _is_due(checked: datetime | None, older_than: timedelta | None, now: datetime) -> bool:
    return checked is None or older_than is None or now - checked >= older_than


def _order(checked: datetime | None) -> tuple[bool, float]:
    return (False, 0.0) if checked is None else (True, checked.timestamp())
