"""What the verbs report of single ranges and entries."""

from __future__ import annotations

from dataclasses import dataclass

from lamina.model.entries import EntryState


@dataclass(frozen=True, slots=True)
class Difference:
    """One range in which stored data and source disagree, or that could not be read."""

    path: str
    offset: int
    length: int
    reason: str


@dataclass(frozen=True, slots=True)
class Missing:
    """One range of a file that cannot be restored, or a whole file or directory (of length 0)."""

    path: str  # of a single file as stored; in a tree, where it would be
    offset: int
    length: int
    object: str  # that should hold it: a pack, or a chunk that is in none
    reason: str


@dataclass(frozen=True, slots=True)
class Flaw:
    """One entry that is not as it should be."""

    path: str
    state: EntryState
    reason: str
