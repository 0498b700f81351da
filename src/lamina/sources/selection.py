"""Which objects of a tree are saved: rules as in gitignore, a size limit and directories marked by a file. Pure.

What a pattern means:

- `*` stands for any bytes of a name, `?` for one byte, `[a-z]` for one of these, `[!a-z]` for one of all others; none of them
  stands for a slash; a backslash takes the meaning from the next character;
- a whole name `**` stands for any number of names, also none; at the end it stands for at least one;
- without a slash, or with one at the end only: it matches a name at any depth;
- with a slash in the middle, or `./` in front: it matches a path from the directory that was given as the source;
- with a slash in front: it matches a path from the root of the file system;
- with a slash at the end: it matches directories only (a link to one is none);
- of all rules that match, the last decides; what no rule matches is saved;
- below a directory that is left out, nothing can be taken in again, as nobody looks there.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from itertools import groupby
from typing import NamedTuple

from lamina.errors import UsageError
from lamina.sources.wildcards import split_literal, translate_name, translate_path

CACHEDIR_TAG = b"CACHEDIR.TAG"
CACHEDIR_SIGNATURE = b"Signature: 8a477f597d28d172789f06886806bc55"  # how such a file begins: bford.info/cachedir
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class Anchor(Enum):
    """Where a pattern is held against an object."""

    NAME = "name"  # its last name, at any depth
    SOURCE = "source"  # its path from the directory given as the source
    ROOT = "root"  # its path from the root of the file system


@dataclass(frozen=True, slots=True)
class Rule:
    """One pattern, and whether it leaves out or takes in again."""

    pattern: bytes  # without the slashes (or `./`) around it
    exclude: bool
    directories_only: bool = False
    anchor: Anchor = Anchor.NAME


def parse_rule(text: str | bytes, *, exclude: bool) -> Rule:
    """The rule that a pattern stands for. Raises: UsageError for one that could never match.

    >>> parse_rule("*.o", exclude=True)
    Rule(pattern=b'*.o', exclude=True, directories_only=False, anchor=<Anchor.NAME: 'name'>)
    >>> parse_rule("/var/cache/", exclude=True)
    Rule(pattern=b'var/cache', exclude=True, directories_only=True, anchor=<Anchor.ROOT: 'root'>)
    """
    given = os.fsencode(text)
    _check_prefix(given)
    pattern = re.sub(rb"/+", b"/", given)
    directories_only = pattern.endswith(b"/")
    pattern = pattern.removesuffix(b"/")
    if pattern.startswith(b"/"):
        anchor, pattern = Anchor.ROOT, pattern[1:]
    elif pattern.startswith(b"./"):
        anchor, pattern = Anchor.SOURCE, pattern[2:]
    else:
        anchor = Anchor.SOURCE if b"/" in pattern else Anchor.NAME
    if not pattern or b"\0" in pattern or not {b".", b".."}.isdisjoint(pattern.split(b"/")):
        raise UsageError(
            f"the pattern {_shown(given)} can match nothing",
            hint="a pattern consists of names and wildcards; `.` (but for one in front), `..` and nothing are no names",
        )
    last = re.sub(rb"\A(?:\*\*/)+", b"", pattern)
    if last != pattern and b"/" not in last:  # a name at any depth: no path needs to be built for it
        anchor, pattern = Anchor.NAME, last
    rule = Rule(pattern, exclude, directories_only, anchor)
    _expression(rule)  # complains of what cannot be read
    return rule


def _check_prefix(pattern: bytes) -> None:
    """Raise UsageError for what has a meaning elsewhere and none here."""
    if pattern.startswith(b"!"):
        raise UsageError(
            f"the pattern {_shown(pattern)} begins with an exclamation mark",
            hint="to take something in again, use --include; for a name that begins so, write \\!",
        )
    if pattern.startswith(b"~/"):
        raise UsageError(
            f"the pattern {_shown(pattern)} begins with ~/, which the shell did not replace",
            hint="write the path of the home directory, or ./~/ if a directory has that name",
        )


def rule_for_path(path: str | bytes) -> Rule:
    """A rule that leaves out the one directory at an absolute path, whatever letters its names are made of."""
    pattern = re.sub(rb"([\\*?\[\]])", rb"\\\1", os.fsencode(path).strip(b"/"))
    return Rule(pattern, exclude=True, directories_only=True, anchor=Anchor.ROOT)


def parse_rules_file(data: bytes, name: str) -> list[Rule]:
    r"""The rules in a file: a pattern a line, as gitignore has them; *name* is what errors call the file.

    Blank lines and those that begin with `#` say nothing; `!` in front takes in again; blanks at the end do not count, unless a
    backslash is before them; `\#` and `\!` are for names that begin so. Raises: UsageError, which names the line.
    """
    rules = []
    for number, line in enumerate(data.removeprefix(_BYTE_ORDER_MARK).split(b"\n"), 1):
        pattern = _without_blanks(line.removesuffix(b"\r"))
        if not pattern or pattern.startswith(b"#"):
            continue
        exclude = not pattern.startswith(b"!")
        try:
            rules.append(parse_rule(pattern if exclude else pattern[1:], exclude=exclude))
        except UsageError as error:
            raise UsageError(f"{name}, line {number}: {error.message}", hint=error.hint) from error
    return rules


def _without_blanks(line: bytes) -> bytes:
    stripped = line.rstrip(b" ")
    backslashes = len(stripped) - len(stripped.rstrip(b"\\"))
    return stripped + b" " if backslashes % 2 and stripped != line else stripped


@dataclass(frozen=True, slots=True)
class Selection:
    """What of a tree is saved. Without arguments: everything."""

    rules: tuple[Rule, ...] = ()
    larger_than: int | None = None  # bytes; files of more are left out, and no rule takes them in again
    caches: bool = False  # leave out what is in directories that say they are caches (CACHEDIR.TAG)
    if_present: tuple[bytes, ...] = ()  # names; leave out what is in directories that hold one of them
    one_file_system: bool = False  # for the walk: a mount point is saved as an empty directory
    _limit: int = field(init=False, repr=False, compare=False)
    _for_directories: tuple[_Run, ...] = field(init=False, repr=False, compare=False)
    _for_others: tuple[_Run, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name in self.if_present:
            if name in {b"", b".", b".."} or b"/" in name or b"\0" in name:
                raise UsageError(f"{_shown(name)} is no name of a file", hint="it is looked for in each directory")
        others = [rule for rule in self.rules if not rule.directories_only]
        object.__setattr__(self, "_limit", sys.maxsize if self.larger_than is None else self.larger_than)
        object.__setattr__(self, "_for_directories", _compile(self.rules))
        object.__setattr__(self, "_for_others", _compile(others))

    @property
    def needs_paths(self) -> bool:
        """Whether `leaves_out` looks at paths; if not, they may be empty."""
        return any(rule.anchor is not Anchor.NAME for rule in self.rules)

    @property
    def keeps_all(self) -> bool:
        """Whether `leaves_out` is false for everything, and need not be asked."""
        return not self._for_directories and not self._for_others and self.larger_than is None

    @property
    def keeps_files(self) -> bool:
        """Whether `leaves_out` is false for everything but directories."""
        return not self._for_others and self.larger_than is None

    def leaves_out(self, absolute: bytes, relative: bytes, name: bytes, *, is_directory: bool, size: int) -> bool:
        """Whether an object is not saved, and nothing below it.

        *absolute* is its path from the root of the file system, with the slash in front, *relative* that from the source's
        directory, without. *size* is that of a regular file, 0 for all else. It is not asked about the source itself, nor about
        what is below a directory that it leaves out.
        """
        if size > self._limit:
            return True
        for run in self._for_directories if is_directory else self._for_others:
            if run.names.matches(name):
                return run.exclude
            if run.relative is not None and run.relative.matches(relative):
                return run.exclude
            if run.absolute is not None and run.absolute.matches(absolute):
                return run.exclude
        return False

    def leaves_out_content(self, names: Container[bytes]) -> bytes | None:
        """The name for whose sake nothing else is saved of a directory that holds *names*; None if all is.

        The directory itself and what bears that name are saved, whatever the rules say (a directory without its content).
        `CACHEDIR.TAG` is named only if no name of `if_present` is there, and counts only if the file begins with
        `CACHEDIR_SIGNATURE`: the walk looks, unless the name is in `if_present` too. If it begins otherwise, all is saved.
        """
        for name in self.if_present:
            if name in names:
                return name
        return CACHEDIR_TAG if self.caches and CACHEDIR_TAG in names else None


class _Matcher:
    """Whether any of several patterns matches one name or one path."""

    __slots__ = ("_expression", "_literals", "_suffixes")

    def __init__(self, rules: Iterable[Rule]) -> None:
        literals, suffixes, expressions = set(), [], []
        for rule in rules:
            stars, literal = split_literal(rule.pattern)
            prefix = b"/" if rule.anchor is Anchor.ROOT else b""
            if literal is None or (stars and rule.anchor is not Anchor.NAME):
                expressions.append(prefix + _expression(rule))
            elif stars:
                suffixes.append(literal)
            else:
                literals.add(prefix + literal)
        # Most patterns are plain names or `*.suffix`: neither needs an expression, and both are much faster without.
        self._literals = frozenset(literals)
        self._suffixes = tuple(suffixes)
        self._expression = re.compile(b"(?:" + b"|".join(expressions) + rb")\Z", re.DOTALL) if expressions else None

    def matches(self, text: bytes) -> bool:
        return (
            text in self._literals
            or text.endswith(self._suffixes)
            or (self._expression is not None and self._expression.match(text) is not None)
        )


class _Run(NamedTuple):
    """Rules one after the other that all say the same, so that their order does not matter."""

    exclude: bool
    names: _Matcher
    relative: _Matcher | None
    absolute: _Matcher | None


def _compile(rules: Sequence[Rule]) -> tuple[_Run, ...]:
    """The runs of *rules*, last one first; the first that matches decides."""
    runs: list[_Run] = []
    for exclude, group in groupby(rules, key=lambda rule: rule.exclude):
        by_anchor: dict[Anchor, list[Rule]] = {anchor: [] for anchor in Anchor}
        for rule in group:
            by_anchor[rule.anchor].append(rule)
        if exclude or runs:  # to take in what nothing has left out yet says nothing
            names, relative, absolute = (by_anchor[anchor] for anchor in (Anchor.NAME, Anchor.SOURCE, Anchor.ROOT))
            runs.append(
                _Run(
                    exclude,
                    _Matcher(names),
                    _Matcher(relative) if relative else None,
                    _Matcher(absolute) if absolute else None,
                )
            )
    return tuple(reversed(runs))


def _expression(rule: Rule) -> bytes:
    """A regular expression for all of a name or path."""
    try:
        return translate_name(rule.pattern) if rule.anchor is Anchor.NAME else translate_path(rule.pattern)
    except ValueError as error:
        raise UsageError(
            f"the pattern {_shown(rule.pattern)} cannot be read: {error}",
            hint="write a backslash before a character that shall stand for itself",
        ) from error


def _shown(pattern: bytes) -> str:
    return repr(os.fsdecode(pattern))
