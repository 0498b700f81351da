"""Wildcards as gitignore has them, as regular expressions over bytes. Pure.

The expressions want `re.DOTALL` and take time in proportion to what they are held against, not to a power of it: of the ways in
which all but the last `*` (or `**`) can match, only the first is tried. That is enough, as it leaves most to those behind it.
"""

from __future__ import annotations

import re
import string
from collections.abc import Iterator, Sequence

_STAR = b"*"  # among pieces: any bytes but slashes; every other piece is an expression for one byte
_SLASH = b"/"
_LETTER = rb"[^/]"
_NAMES = rb"(?:[^/]+/)*"
_CLASSES = {
    b"alnum": string.ascii_letters + string.digits,
    b"alpha": string.ascii_letters,
    b"blank": " \t",
    b"cntrl": "".join(map(chr, [*range(32), 127])),
    b"digit": string.digits,
    b"graph": string.ascii_letters + string.digits + string.punctuation,
    b"lower": string.ascii_lowercase,
    b"print": string.ascii_letters + string.digits + string.punctuation + " ",
    b"punct": string.punctuation,
    b"space": string.whitespace,
    b"upper": string.ascii_uppercase,
    b"xdigit": string.hexdigits,
}


def translate_name(pattern: bytes) -> bytes:
    r"""An expression for the names that *pattern* matches. Raises: ValueError for an unfinished pattern.

    >>> translate_name(b"a?*.o")
    b'a[^/][^/]*\\.o'
    """
    return _translate_segment(list(_iter_pieces(pattern)))


def translate_path(pattern: bytes) -> bytes:
    """An expression for the paths that *pattern* matches, names and slashes between them. Raises: ValueError.

    >>> translate_path(b"a/**/b")
    b'a/(?:[^/]+/)*b'
    """
    blocks = _split_blocks(list(_iter_pieces(pattern)))
    first, *others = (b"/".join(_translate_segment(segment) for segment in block) for block in blocks)
    if not others:
        return first
    expression = first + b"/" if first else b""
    *middle, last = others
    for block in filter(None, middle):
        expression += b"(?>" + _NAMES + b"?" + block + b"/)"
    return expression + (_NAMES + last if last else b".+")


def split_literal(pattern: bytes) -> tuple[bool, bytes | None]:
    """Whether *pattern* begins with stars, and what is behind them if that has no wildcards (else None).

    >>> split_literal(b"*.o"), split_literal(b"core"), split_literal(b"a?")
    ((True, b'.o'), (False, b'core'), (False, None))
    """
    literal = pattern.lstrip(b"*")
    return literal != pattern, None if re.search(rb"[*?\[\\]", literal) else literal


def _split_blocks(pieces: Sequence[bytes]) -> list[list[list[bytes]]]:
    """Split at slashes into segments, and these at each `**`; n of these make n + 1 blocks of segments."""
    segments: list[list[bytes]] = [[]]
    for piece in pieces:
        if piece == _SLASH:
            segments.append([])
        else:
            segments[-1].append(piece)
    blocks: list[list[list[bytes]]] = [[]]
    for segment in segments:
        if len(segment) > 1 and set(segment) == {_STAR}:
            blocks.append([])
        else:
            blocks[-1].append(segment)
    return blocks


def _translate_segment(pieces: Sequence[bytes]) -> bytes:
    parts: list[list[bytes]] = [[]]  # what is before, between and behind the stars
    for piece in pieces:
        if piece == _STAR:
            parts.append([])
        else:
            parts[-1].append(piece)
    first, *others = map(b"".join, parts)
    if not others:
        return first
    *middle, last = others
    return first + b"".join(b"(?>" + _LETTER + b"*?" + part + b")" for part in middle if part) + _LETTER + b"*" + last


def _iter_pieces(pattern: bytes) -> Iterator[bytes]:
    position = 0
    while position < len(pattern):
        letter = pattern[position : position + 1]
        position += 1
        if letter == b"[":
            members, position = _parse_set(pattern, position)
            yield _one_of(members)
        elif letter == b"?":
            yield _LETTER
        elif letter == b"\\":
            yield re.escape(_letter_at(pattern, position, "a backslash at the end"))
            position += 1
        else:
            yield letter if letter in {_STAR, _SLASH} else re.escape(letter)


def _parse_set(pattern: bytes, position: int) -> tuple[set[int], int]:
    """The bytes that a set stands for whose `[` is before *position*, and where it ends."""
    negated = pattern[position : position + 1] in {b"!", b"^"}
    position += negated
    members: set[int] = set()
    first = True
    while first or pattern[position : position + 1] != b"]":
        first = False
        if name := re.compile(rb"\[:([^\]]*):\]").match(pattern, position):
            if name[1] not in _CLASSES:
                raise ValueError(f"there is no class {name[0].decode(errors='replace')}")
            members.update(map(ord, _CLASSES[name[1]]))
            position = name.end()
            continue
        low, position = _parse_member(pattern, position)
        high = low
        if pattern[position : position + 1] == b"-" and pattern[position + 1 : position + 2] != b"]":
            high, position = _parse_member(pattern, position + 1)
            if high < low:
                raise ValueError(f"the range {chr(low)}-{chr(high)} runs backwards")
        members.update(range(low, high + 1))
    return (set(range(256)) - members if negated else members), position + 1


def _parse_member(pattern: bytes, position: int) -> tuple[int, int]:
    if pattern[position : position + 1] == b"\\":
        position += 1
    return _letter_at(pattern, position, "a [ without its ]")[0], position + 1


def _letter_at(pattern: bytes, position: int, missing: str) -> bytes:
    if position >= len(pattern):
        raise ValueError(missing)
    return pattern[position : position + 1]


def _one_of(members: set[int]) -> bytes:
    """An expression for one of these bytes, but never for a slash."""
    members = members - {ord("/")}
    if not members:
        raise ValueError("a set of no characters")
    return b"[" + b"".join(b"\\x%02x" % member for member in sorted(members)) + b"]"
