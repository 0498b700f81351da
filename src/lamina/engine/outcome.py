"""What the verbs report of single ranges."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Difference:
    """One range in which stored data and source disagree, or that could not be read."""

    path: str
    offset: int
    length: int
    reason: str
