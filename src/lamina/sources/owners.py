"""What this machine calls users and groups."""

from __future__ import annotations

import grp
import pwd
from collections.abc import Callable, Iterable


def user_names(numbers: Iterable[int]) -> dict[int, str]:
    """The names of users; who has none here is left out."""
    return _names(numbers, lambda number: pwd.getpwuid(number).pw_name)


def group_names(numbers: Iterable[int]) -> dict[int, str]:
    """The names of groups; what has none here is left out."""
    return _names(numbers, lambda number: grp.getgrgid(number).gr_name)


def _names(numbers: Iterable[int], look_up: Callable[[int], str]) -> dict[int, str]:
    found = {}
    for number in numbers:
        try:
            found[number] = look_up(number)
        except (KeyError, OverflowError):
            continue  # nobody here is called so, and no machine has such a number
    return found
