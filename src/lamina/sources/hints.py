"""Claims about which ranges of an image changed since another snapshot of it."""

from __future__ import annotations

import heapq
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Annotated, Literal, NamedTuple

import msgspec

from lamina.errors import HintsInvalid

_FORMAT_HINT = "expected is the output of `rbd diff --format json`; `[]` says that nothing changed"


class Range(NamedTuple):
    """One byte range; a tuple because there may be hundreds of thousands."""

    offset: int
    length: int

    @property
    def end(self) -> int:
        return self.offset + self.length


class Claim(IntEnum):
    """What the hints say of one chunk position they touch."""

    READ = 0  # some of it may have changed: read it
    ZEROED = 1  # every byte of it is zero now


@dataclass(frozen=True, slots=True)
class ChangedRanges:
    """All that changed, if the hints tell the truth: what is in neither list is as it was.

    Each list is sorted, and its ranges neither overlap nor touch. Where the lists overlap, the range is read.
    """

    changed: tuple[Range, ...] = ()
    zeroed: tuple[Range, ...] = ()  # certainly zero now

    def positions(self, size: int, chunk_size: int) -> Iterator[tuple[int, Claim]]:
        """Each chunk position touched in an image of *size* bytes, in order and once.

        >>> hints = ChangedRanges(changed=(Range(5, 1),), zeroed=(Range(6, 6),))
        >>> [(position, claim.name) for position, claim in hints.positions(12, 4)]
        [(1, 'READ'), (2, 'ZEROED')]
        """
        changed = _touched(self.changed, size, chunk_size, whole=Claim.READ)
        zeroed = _touched(self.zeroed, size, chunk_size, whole=Claim.ZEROED)
        last = -1
        for position, claim in heapq.merge(changed, zeroed):  # of two claims on one position READ comes first
            if position != last:
                yield position, claim
                last = position


def parse_rbd_diff(data: bytes, *, size: int) -> ChangedRanges:
    """Read what `rbd diff --format json` printed about an image of *size* bytes.

    Entries may be in any order and overlap. Raises: HintsInvalid, which names the entry.
    """
    entries = _decode(data)
    for number, entry in enumerate(entries, 1):
        if entry.offset + entry.length > size:
            raise HintsInvalid(
                f"entry {number} of the hints ends at {entry.offset + entry.length}, the image has {size} bytes",
                hint="make the hints from the same image and snapshot that is backed up",
            )
    return ChangedRanges(
        changed=_merged(Range(entry.offset, entry.length) for entry in entries if entry.exists in (True, "true")),
        zeroed=_merged(Range(entry.offset, entry.length) for entry in entries if entry.exists in (False, "false")),
    )


_Size = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


class _Entry(msgspec.Struct):
    """One object of the list; Ceph writes `exists` as a string."""

    offset: _Size
    length: _Size
    exists: bool | Literal["true", "false"]


def _decode(data: bytes) -> list[_Entry]:
    try:
        return msgspec.json.decode(data, type=list[_Entry])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise HintsInvalid(f"the hints cannot be used: {_place_in_words(str(error))}", hint=_FORMAT_HINT) from error


def _place_in_words(message: str) -> str:
    """Turn msgspec's "... - at `$[3].offset`" into "entry 4, offset: ...".

    >>> _place_in_words("Expected `int`, got `str` - at `$[3].offset`")
    'entry 4, offset: Expected `int`, got `str`'
    """
    found = re.fullmatch(r"(.*) - at `\$\[(\d+)\]\.?(\w*)`", message)
    if found is None:
        return message
    text, index, field = found.groups()
    return f"entry {int(index) + 1}{', ' if field else ''}{field}: {text}"


def _merged(ranges: Iterable[Range]) -> tuple[Range, ...]:
    """Sort *ranges* and join those that overlap or touch; empty ones vanish."""
    result: list[Range] = []
    start = end = 0
    for offset, length in sorted(ranges):
        if not length:
            continue
        if offset > end:
            if end > start:
                result.append(Range(start, end - start))
            start = offset
        end = max(end, offset + length)
    if end > start:
        result.append(Range(start, end - start))
    return tuple(result)


def _touched(ranges: Iterable[Range], size: int, chunk_size: int, *, whole: Claim) -> Iterator[tuple[int, Claim]]:
    """The positions that *ranges* touch: *whole* where one covers every byte of the chunk, else READ; may repeat one."""
    for offset, length in ranges:
        end = min(offset + length, size)
        if offset >= end:
            continue
        for position in range(offset // chunk_size, -(-end // chunk_size)):
            covered = offset <= position * chunk_size and min(size, (position + 1) * chunk_size) <= end
            yield position, whole if covered else Claim.READ
