"""Which snapshots somebody means: expressions over ids, numbers, names, tags, dates, and the lists they stand for. Pure.

`parse` (in `selector_text.py`) makes the values below from text; `select` says which snapshots a value stands for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from enum import Enum

from lamina.errors import NotPermitted, SnapshotAmbiguous, SnapshotMissing
from lamina.model.snapshots import Snapshot, Trust

HashName = Callable[[str], bytes]
_SHOWN = 5  # ids named in an error


class Field(Enum):
    """What of a snapshot a text is held against."""

    NAME = "name"
    TAG = "tag"
    HOST = "host"


class State(Enum):
    """What a snapshot is, or is not."""

    PARTIAL = "partial"
    PROTECTED = "protected"
    REMOVED = "removed"


@dataclass(frozen=True, slots=True)
class All:
    """Every snapshot, oldest first."""


@dataclass(frozen=True, slots=True)
class ById:
    """The one snapshot whose id begins so."""

    prefix: str  # hex, lower case


@dataclass(frozen=True, slots=True)
class ByAge:
    """One snapshot, counted from the newest or from the oldest; of one name, or of all."""

    back: int  # 0: the first one met
    name: str | None = None
    oldest: bool = False  # counted from the oldest


@dataclass(frozen=True, slots=True)
class Having:
    """Those whose name, host or one of whose tags is this text."""

    field: Field
    text: str


@dataclass(frozen=True, slots=True)
class Trusted:
    """Those of which this is known."""

    trust: Trust


@dataclass(frozen=True, slots=True)
class Being:
    """Those in this state."""

    state: State


@dataclass(frozen=True, slots=True)
class Moment:
    """A day, a minute or a second, as precisely as it was written; a range includes what began in it."""

    begin: datetime  # without a zone: in that of whoever asks
    length: timedelta

    def bounds(self, zone: tzinfo) -> tuple[datetime, datetime]:
        """When it begins, and when it is over; a day may have 23 or 25 hours."""
        begin = self.begin if self.begin.tzinfo is not None else self.begin.replace(tzinfo=zone)
        if self.length >= timedelta(days=1):
            return begin.astimezone(UTC), (begin + self.length).astimezone(UTC)  # by the clock on the wall
        return begin.astimezone(UTC), begin.astimezone(UTC) + self.length


@dataclass(frozen=True, slots=True)
class Between:
    """Those from one end to the other, both included, whichever is the older; an end that is left out is open."""

    one: Selector | Moment | None  # a selector that stands for one snapshot
    other: Selector | Moment | None


@dataclass(frozen=True, slots=True)
class First:
    """The first of a list; none of an empty one."""

    of: Selector


@dataclass(frozen=True, slots=True)
class Last:
    """The last of a list; none of an empty one."""

    of: Selector


@dataclass(frozen=True, slots=True)
class Not:
    """All others, oldest first."""

    of: Selector


@dataclass(frozen=True, slots=True)
class Reversed:
    """A list from its end to its beginning."""

    of: Selector


@dataclass(frozen=True, slots=True)
class Both:
    """Those of the first list that are in every other, in the order of the first."""

    parts: tuple[Selector, ...]


@dataclass(frozen=True, slots=True)
class Either:
    """One list after the other, each snapshot once."""

    parts: tuple[Selector, ...]


Selector = All | ById | ByAge | Having | Trusted | Being | Between | First | Last | Not | Reversed | Both | Either


def select(
    selector: Selector, snapshots: Sequence[Snapshot], zone: tzinfo, hash_name: HashName | None = None
) -> list[Snapshot]:
    """The snapshots that *selector* stands for, in its order.

    *snapshots* are all there are, oldest first. Days begin where *zone* says. *hash_name* tells names that this key
    cannot read by their keyed hashes; without it, what hinges on such a name is refused rather than guessed.
    Raises: SnapshotMissing and SnapshotAmbiguous for what must name one snapshot and does not; NotPermitted.
    """
    return [snapshots[place] for place in _Selection(snapshots, zone, hash_name).places(selector)]


class _Selection:
    """One list of snapshots that selectors are held against; a snapshot's place is its number in that list."""

    def __init__(self, snapshots: Sequence[Snapshot], zone: tzinfo, hash_name: HashName | None) -> None:
        self._snapshots = snapshots
        self._zone = zone
        self._hash_name = hash_name

    def places(self, selector: Selector) -> list[int]:
        """Where the snapshots stand that *selector* stands for, in its order."""
        match selector:
            case ById() | ByAge():
                return [self._single(selector)]
            case Between(one, other):
                return self._between(one, other)
            case First(of):
                return self.places(of)[:1]
            case Last(of):
                return self.places(of)[-1:]
            case Reversed(of):
                return self.places(of)[::-1]
            case Not(of):
                left_out = set(self.places(of))
                return [place for place in range(len(self._snapshots)) if place not in left_out]
            case Either(parts):
                return list(dict.fromkeys(place for part in parts for place in self.places(part)))
            case Both(parts):
                first, *others = (self.places(part) for part in parts)
                common = set(first).intersection(*others)
                return [place for place in first if place in common]
            case _:
                return [place for place, one in enumerate(self._snapshots) if self._fits(one, selector)]

    def _fits(self, snapshot: Snapshot, selector: All | Having | Trusted | Being) -> bool:
        match selector:
            case All():
                return True
            case Trusted(trust):
                return snapshot.trust is trust
            case Being(state):
                return bool(getattr(snapshot, state.value))
            case Having(field, text):
                return self._has(snapshot, field, text)

    def _has(self, snapshot: Snapshot, field: Field, text: str) -> bool:
        if snapshot.readable:
            return text in {Field.NAME: (snapshot.name,), Field.HOST: (snapshot.host,), Field.TAG: snapshot.tags}[field]
        if self._hash_name is None or field is Field.HOST:
            hidden = sum(not one.readable for one in self._snapshots)
            raise NotPermitted(
                f"whether {field.value} {text!r} fits {hidden} snapshots cannot be told with this key",
                hint="name snapshots by their ids (see `lamina snapshots`), or use an owner's passphrase",
            )
        hashes = snapshot.tag_hashes if field is Field.TAG else {snapshot.name_hash}
        return self._hash_name(text) in hashes

    def _single(self, selector: ById | ByAge) -> int:
        return self._by_id(selector.prefix) if isinstance(selector, ById) else self._by_age(selector)

    def _by_id(self, prefix: str) -> int:
        found = [place for place, one in enumerate(self._snapshots) if one.id.hex().startswith(prefix)]
        if not found:
            raise SnapshotMissing(f"no snapshot has an id that begins with {prefix!r}", hint="see `lamina snapshots`")
        if len(found) > 1:
            ids = ids_of(self._snapshots[place] for place in found)
            raise SnapshotAmbiguous(f"{prefix!r} fits {len(found)} snapshots: {ids}", hint="give more digits")
        return found[0]

    def _by_age(self, wanted: ByAge) -> int:
        fitting = self.places(All() if wanted.name is None else Having(Field.NAME, wanted.name))
        of_name = "" if wanted.name is None else f" of the name {wanted.name!r}"
        if not fitting:
            raise SnapshotMissing(f"there is no snapshot{of_name} yet", hint="see `lamina snapshots`")
        if wanted.back >= len(fitting):
            raise SnapshotMissing(
                f"there are only {len(fitting)} snapshots{of_name}, and number {wanted.back} was asked for"
                " (they are counted from 0)",
                hint="see `lamina snapshots`",
            )
        return fitting[wanted.back if wanted.oldest else -1 - wanted.back]

    def _between(self, one: Selector | Moment | None, other: Selector | Moment | None) -> list[int]:
        low, high = (None if end is None else self._edge(end) for end in (one, other))
        if low is not None and high is not None and low.is_behind(high):
            low, high = high, low
        return [
            place
            for place, snapshot in enumerate(self._snapshots)
            if (low is None or low.is_reached(place, snapshot))
            and (high is None or not high.is_passed(place, snapshot))
        ]

    def _edge(self, end: Selector | Moment) -> _Edge:
        if isinstance(end, Moment):
            return _Edge(None, *end.bounds(self._zone))
        places = self.places(end)
        snapshot = only([self._snapshots[place] for place in places], "the end of the range")
        return _Edge(places[0], snapshot.started, snapshot.started)


@dataclass(frozen=True, slots=True)
class _Edge:
    """One end of a range: a place in the list, or a time."""

    place: int | None
    begin: datetime
    over: datetime

    def is_behind(self, other: _Edge) -> bool:
        if self.place is not None and other.place is not None:
            return self.place > other.place
        return (self.begin, self.over) > (other.begin, other.over)  # the same answer from both ends

    def is_reached(self, place: int, snapshot: Snapshot) -> bool:
        return place >= self.place if self.place is not None else snapshot.started >= self.begin

    def is_passed(self, place: int, snapshot: Snapshot) -> bool:
        return place > self.place if self.place is not None else snapshot.started >= self.over


def only(found: Sequence[Snapshot], what: str) -> Snapshot:
    """The one snapshot that was found for *what*. Raises: SnapshotMissing, SnapshotAmbiguous if there is none, or several."""
    if not found:
        raise SnapshotMissing(f"no snapshot fits {what}", hint="see `lamina snapshots`")
    if len(found) > 1:
        raise SnapshotAmbiguous(
            f"{what} fits {len(found)} snapshots, where one is meant: {ids_of(found)}",
            hint="name one of them, or write last(…)",
        )
    return found[0]


def ids_of(snapshots: Iterable[Snapshot]) -> str:
    """The ids of some snapshots, for an error."""
    ids = [one.id.hex()[:16] for one in snapshots]
    return ", ".join(ids[:_SHOWN]) + (", …" if len(ids) > _SHOWN else "")
