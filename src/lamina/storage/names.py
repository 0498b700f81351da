"""What an object may be called, and how names are spread over directories. Pure."""

from __future__ import annotations

import re

from lamina.errors import UsageError

_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*(?:/[A-Za-z0-9_-][A-Za-z0-9._-]*)*")
_HASH = re.compile(r"[0-9a-f]{64}")


def is_name(text: str) -> bool:
    """Whether an object may be called so: ASCII letters, digits and `._-` between slashes, no part begins with a dot."""
    return _NAME.fullmatch(text) is not None


def check_name(name: str) -> str:
    """Return *name* if an object may be called so. Raises: UsageError."""
    if not is_name(name):
        raise UsageError(
            f"{name!r} cannot be the name of an object",
            hint="use letters, digits and ._- between slashes; no part may be empty or begin with a dot",
        )
    return name


def check_prefix(prefix: str) -> str:
    """Return *prefix* if it is empty or a name with a slash behind it. Raises: UsageError."""
    if prefix and not (prefix.endswith("/") and is_name(prefix[:-1])):
        raise UsageError(f"{prefix!r} cannot be the prefix of a listing", hint="a prefix is empty or ends in /")
    return prefix


def spread_name(name: str) -> str:
    """The path an object lies at: a hash is spread over two levels of 256 directories, so that none grows huge.

    >>> spread_name("data/" + "ab12" + 60 * "0")[:13]
    'data/ab/12/ab'
    >>> spread_name("lamina.json")
    'lamina.json'
    """
    folder, slash, last = name.rpartition("/")
    if _HASH.fullmatch(last) is None:
        return name
    return f"{folder}{slash}{last[:2]}/{last[2:4]}/{last}"


def flat_name(path: str) -> str | None:
    """The name of the object at *path*, or None if no object can lie there: the inverse of `spread_name`.

    >>> flat_name(spread_name("data/" + 64 * "a")) == "data/" + 64 * "a"
    True
    >>> flat_name("data/" + 64 * "a") is None
    True
    """
    if not is_name(path):
        return None
    *folders, last = path.split("/")
    if _HASH.fullmatch(last) is None:
        return path
    if folders[-2:] != [last[:2], last[2:4]]:
        return None
    return "/".join([*folders[:-2], last])
