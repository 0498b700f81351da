"""The predicate of a selection against a slow matcher that is plainly right, and against git."""

from __future__ import annotations

import os
import random
import subprocess
from pathlib import Path
from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from lamina.errors import UsageError
from lamina.sources.selection import Anchor, Rule, Selection, parse_rule, parse_rules_file

SOURCE = b"/s/t"
LETTERS = b"ab.\n\xff*[\\"  # few, so that patterns match; some that mean something in patterns or to `re`


class Star(NamedTuple):
    """Any bytes of a name."""


class AnyByte(NamedTuple):
    """One byte."""


class Set(NamedTuple):
    negated: bool
    ranges: list[tuple[int, int]]


Piece = int | Star | AnyByte | Set
Segment = list[Piece] | None  # None: any number of names


class Model(NamedTuple):
    segments: list[Segment]
    anchor: Anchor
    directories_only: bool
    exclude: bool


def matches_name(pieces: list[Piece], name: bytes) -> bool:
    if not pieces:
        return not name
    first, *others = pieces
    if isinstance(first, Star):
        return any(matches_name(others, name[start:]) for start in range(len(name) + 1))
    return bool(name) and matches_byte(first, name[0]) and matches_name(others, name[1:])


def matches_byte(piece: Piece, byte: int) -> bool:
    match piece:
        case Set(negated, ranges):
            return any(low <= byte <= high for low, high in ranges) != negated
        case AnyByte():
            return True
        case _:
            return piece == byte


def matches_path(segments: list[Segment], names: list[bytes]) -> bool:
    if not segments:
        return not names
    first, *others = segments
    if first is None:
        return any(matches_path(others, names[start:]) for start in range(0 if others else 1, len(names) + 1))
    return bool(names) and matches_name(first, names[0]) and matches_path(others, names[1:])


def expected(models: list[Model], relative: list[bytes], *, is_directory: bool) -> bool:
    absolute = [*SOURCE.split(b"/")[1:], *relative]
    left_out = False
    for model in models:
        names = {Anchor.NAME: relative[-1:], Anchor.SOURCE: relative, Anchor.ROOT: absolute}[model.anchor]
        if (is_directory or not model.directories_only) and matches_path(model.segments, names):
            left_out = model.exclude
    return left_out


def write_byte(byte: int) -> bytes:
    return b"\\" + bytes([byte]) if byte in b"*?[]\\!-^" else bytes([byte])


def write_piece(piece: Piece) -> bytes:
    match piece:
        case Star():
            return b"*"
        case AnyByte():
            return b"?"
        case Set(negated, ranges):
            inside = b"".join(write_byte(low) + b"-" + write_byte(high) for low, high in ranges)
            return b"[" + b"!" * negated + inside + b"]"
        case _:
            return write_byte(piece)


def write(model: Model) -> bytes:
    segments = (b"**" if segment is None else b"".join(map(write_piece, segment)) for segment in model.segments)
    front = {Anchor.NAME: b"", Anchor.SOURCE: b"./", Anchor.ROOT: b"/"}[model.anchor]
    return front + b"/".join(segments) + b"/" * model.directories_only


letters = st.sampled_from(LETTERS)
names = st.binary(min_size=1, max_size=5).map(
    lambda name: name.translate(bytes(LETTERS[i % len(LETTERS)] for i in range(256)))
)
sets = st.builds(
    Set,
    st.booleans(),
    st.lists(st.tuples(letters, letters).map(lambda ends: (min(ends), max(ends))), min_size=1, max_size=2),
)
pieces = st.one_of(letters, st.just(Star()), st.just(AnyByte()), sets)
segments = (
    st.lists(pieces, min_size=1, max_size=6)
    # A name that is nothing but stars would be a `**`, and one that is `.` or `..` none.
    .map(lambda found: [one for one, before in zip(found, [None, *found], strict=False) if not one == before == Star()])
    .filter(lambda segment: segment not in ([ord(".")], [ord("."), ord(".")]))
)
anchored = st.lists(st.one_of(segments, st.none()), min_size=1, max_size=4)
models = st.one_of(
    st.builds(Model, st.lists(segments, min_size=1, max_size=1), st.just(Anchor.NAME), st.booleans(), st.booleans()),
    st.builds(Model, anchored, st.just(Anchor.SOURCE), st.booleans(), st.booleans()),
    st.builds(
        Model,
        anchored.map(lambda found: [*map(list, SOURCE.split(b"/")[1:]), *found]),
        st.just(Anchor.ROOT),
        st.booleans(),
        st.booleans(),
    ),
)
paths = st.lists(names, min_size=1, max_size=4)


def leaves_out(selection: Selection, relative: bytes, *, is_directory: bool) -> bool:
    name = relative.rpartition(b"/")[2]
    absolute = SOURCE + b"/" + relative
    if not selection.needs_paths:
        absolute = relative = b""
    return selection.leaves_out(absolute, relative, name, is_directory=is_directory, size=0)


@given(st.lists(models, max_size=5), st.lists(st.tuples(paths, st.booleans()), min_size=1, max_size=10))
def test_the_predicate_says_what_a_slow_matcher_says(chosen, objects):
    selection = Selection(tuple(parse_rule(write(model), exclude=model.exclude) for model in chosen))
    for path, is_directory in objects:
        found = leaves_out(selection, b"/".join(path), is_directory=is_directory)
        assert found == expected(chosen, path, is_directory=is_directory), (path, is_directory)


@given(st.lists(models, max_size=5), st.lists(st.tuples(paths, st.booleans()), min_size=1, max_size=10))
def test_a_file_of_rules_says_the_same(chosen, objects):
    writable = [model for model in chosen if b"\n" not in write(model)]
    data = b"".join(b"!" * (not model.exclude) + write(model) + b"\n" for model in writable)
    selection = Selection(tuple(parse_rules_file(data, "rules")))
    for path, is_directory in objects:
        found = leaves_out(selection, b"/".join(path), is_directory=is_directory)
        assert found == expected(writable, path, is_directory=is_directory), (path, is_directory)


@given(models, st.lists(models, max_size=3), paths, st.booleans())
def test_a_rule_at_the_end_decides_if_it_matches_and_changes_nothing_if_not(last, before, path, is_directory: bool):
    rules = [parse_rule(write(model), exclude=model.exclude) for model in before]
    relative = b"/".join(path)
    alone = leaves_out(
        Selection((parse_rule(write(last), exclude=True),)), relative, is_directory=is_directory
    )  # whether it matches
    without = leaves_out(Selection(tuple(rules)), relative, is_directory=is_directory)
    for exclude in (True, False):
        selection = Selection((*rules, parse_rule(write(last), exclude=exclude)))
        assert leaves_out(selection, relative, is_directory=is_directory) == (exclude if alone else without)


any_name = st.binary(min_size=1, max_size=20).map(lambda name: name.replace(b"\0", b"-").replace(b"/", b"+"))
rough = st.one_of(
    st.binary(max_size=12),
    st.lists(
        st.sampled_from([bytes([byte]) for byte in b"a]/!-^:\\*?[.~"] + [b"[:", b":]", b"alpha", b"**"]), max_size=12
    ).map(b"".join),
)


@given(rough, st.booleans(), st.lists(any_name, min_size=1, max_size=4), st.booleans())
def test_any_bytes_are_a_rule_or_a_usage_error(pattern: bytes, exclude: bool, path, is_directory: bool):
    try:
        rule = parse_rule(pattern, exclude=exclude)
    except UsageError:
        return
    selection = Selection((Rule(b"*", exclude=not exclude), rule))
    assert leaves_out(selection, b"/".join(path), is_directory=is_directory) in (True, False)


@given(st.binary(max_size=80))
def test_any_bytes_are_a_file_of_rules_or_a_usage_error(data: bytes):
    try:
        rules = parse_rules_file(data, "rules")
    except UsageError:
        return
    assert len(rules) <= data.count(b"\n") + 1


@given(names, st.integers(2, 60))
def test_a_pattern_of_many_stars_ends_soon(name: bytes, count: int):
    """Trying every way would take longer than anybody lives."""
    pattern = b"./**/" + b"*a" * count + b"/**/" + b"?*" * count + b"/**/b"
    selection = Selection((parse_rule(pattern, exclude=True),))
    path = b"/".join([name + b"a" * 200] * 40)
    assert not leaves_out(selection, path + b"/c", is_directory=False)
    assert leaves_out(selection, path + b"/b", is_directory=False)


# What git and we read alike: everything but a slash in front (git's is our `./`) and what we refuse.
GIT_NAMES = (b"a", b"b", b"ab", b"a.b", b"*", b"[a]", b"a b", b"a\\b", b"-", b"\xff", b"aab", b".a")
GIT_SEGMENTS = (
    *(
        b"a",
        b"b",
        b"ab",
        b"a*",
        b"*b",
        b"*",
        b"*.b",
        b"?",
        b"a?",
        b"[ab]",
        b"[!a]",
        b"[^b]*",
        b"[a-b]?",
        b"\\*",
        b"\\[a]",
    ),
    *(
        b"a*b",
        b"*a*",
        b"[[:alpha:]]",
        b"a[ .]b",
        b"[]a]",
        b"a\\\\b",
        b"\xff",
        b"[\x80-\xff]",
        b"[a-]",
        b"[[:punct:]]*",
        b"\\ab",
    ),
)


def git_pattern(chance: random.Random) -> tuple[bytes, bytes]:
    """A line as git has it, and as we do."""
    count = chance.choice((1, 1, 1, 2, 2, 3))
    segments = [chance.choice(GIT_SEGMENTS) for _ in range(count)]
    if count > 1 and chance.random() < 0.4:
        segments[chance.randrange(count)] = b"**"
    front = chance.choice((b"", b"", b"/"))
    again = chance.choice((b"", b"", b"!"))
    body = b"/".join(segments) + chance.choice((b"", b"", b"/")) + chance.choice((b"", b"", b"  ", b"\r"))
    return again + front + body, again + (b"./" if front else b"") + body


def test_it_leaves_out_what_git_ignores(tmp_path: Path):
    """Hundreds of lists of patterns, each in a directory of its own, and one call of git for all."""
    chance = random.Random(20)
    asked, ours = [], set()
    for number in range(400):
        lines = [git_pattern(chance) for _ in range(chance.choice((1, 1, 2, 3)))]
        folder = b"d%d" % number
        (tmp_path / os.fsdecode(folder)).mkdir()
        (tmp_path / os.fsdecode(folder) / ".gitignore").write_bytes(b"\n".join(git for git, _ in lines) + b"\n")
        selection = Selection(tuple(parse_rules_file(b"\n".join(own for _, own in lines), "rules")))
        for _ in range(15):
            path = [chance.choice(GIT_NAMES) for _ in range(chance.choice((1, 2, 3)))]
            is_directory = chance.random() < 0.5
            made = tmp_path / os.fsdecode(folder + b"/" + b"/".join(path))
            try:
                (made if is_directory else made.parent).mkdir(parents=True, exist_ok=True)
                if not is_directory:
                    made.touch()
            except (FileExistsError, NotADirectoryError):
                continue
            asked.append(folder + b"/" + b"/".join(path))
            if any(
                leaves_out(selection, b"/".join(path[:end]), is_directory=end < len(path) or made.is_dir())
                for end in range(1, len(path) + 1)
            ):
                ours.add(asked[-1])
    assert ignored_by_git(tmp_path, asked) == ours
    assert len(asked) > 3000
    assert len(ours) > 500


def ignored_by_git(folder: Path, asked: list[bytes]) -> set[bytes]:
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "GIT_CONFIG_NOSYSTEM": "1"}
    subprocess.run(["git", "init", "-q", folder], env=environment, check=True)
    answer = subprocess.run(
        ["git", "-C", folder, "check-ignore", "--no-index", "-z", "--stdin"],
        input=b"\0".join(asked) + b"\0", stdout=subprocess.PIPE, env=environment, check=False,
    )  # fmt: skip
    assert answer.returncode in (0, 1)
    return set(answer.stdout.split(b"\0")) - {b""}
