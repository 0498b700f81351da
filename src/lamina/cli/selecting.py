"""The snapshots that the words of a call stand for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lamina.errors import UsageError
from lamina.model.paths import parse_snapshot_path

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lamina.cli.call import Call
    from lamina.model.snapshots import Snapshot
    from lamina.repository.repository import Repository

SELECTOR_HELP = (
    "an id or its beginning, a number (0: the newest), latest, latest~2, NAME@latest, or an expression"
    " (see `lamina snapshots -h`) for one snapshot"
)
SELECTORS_HELP = (
    "ids, numbers (0: the newest), latest, NAME@latest~2, all, name:N, tag:T, ranges of dates, or any expression"
    " (see `lamina snapshots -h`)"
)
GRAMMAR = """\
SNAPSHOT is an expression:
  3fa94c01          an id, or its beginning of at least four digits
  0, 1, ...         the newest, the one before (up to three digits; then latest~1234)
  latest, latest~2  the newest, two before it; first, first~1: the oldest, the next
  web@latest~1      of the snapshots of one name
  all  partial  protected  removed
  name:N  tag:T  host:H  trust:fresh  trust:verified  trust:distrusted
  2026-01-31  2026-01-31T18:00
  A..B              from A to B, both included: dates, or what names one snapshot; A.. and ..B are open
  first(S)  last(S)  not(S)  reverse(S)  (S)
  A & B  A, B       what is in both; one after the other (& binds tighter)
Texts with blanks, colons or other signs of these stand in quotes: name:'web server'. Days begin in --timezone.
"""


def find_snapshot(call: Call, repository: Repository, text: str, *, removed: bool = False) -> Snapshot:
    """The one snapshot that *text* stands for. Raises: UsageError, SnapshotMissing, SnapshotAmbiguous, NotPermitted."""
    return repository.find_snapshot(text, removed=removed, zone=call.zone)


def find_snapshots(
    call: Call, repository: Repository, texts: Sequence[str], *, removed: bool = False
) -> list[Snapshot]:
    """What all *texts* stand for, in the order given, each once. Raises: as `find_snapshot`."""
    return repository.select_snapshots([whole(text) for text in texts], removed=removed, zone=call.zone)


def whole(text: str) -> str:
    """*text*, unless it names an entry of a snapshot. Raises: UsageError."""
    wanted = parse_snapshot_path(text)
    if wanted.path is not None:
        raise UsageError(f"{text!r} names an entry, where a whole snapshot is meant", hint=f"write {wanted.snapshot}")
    return wanted.snapshot
