"""Each sentence about what a pattern means, and the rest of a selection."""

from __future__ import annotations

import os

import pytest

from lamina.errors import UsageError
from lamina.sources.selection import (
    CACHEDIR_SIGNATURE,
    CACHEDIR_TAG,
    Anchor,
    Rule,
    Selection,
    parse_rule,
    parse_rules_file,
    rule_for_path,
)

SOURCE = b"/home/u"


def excluding(*patterns: str | bytes) -> Selection:
    return Selection(tuple(parse_rule(pattern, exclude=True) for pattern in patterns))


def reading(data: bytes) -> Selection:
    return Selection(tuple(parse_rules_file(data, "rules")))


def leaves_out(selection: Selection, path: str | bytes, *, size: int = 0) -> bool:
    """Whether the object alone is left out; *path* is seen from the source, a directory's ends in a slash."""
    raw = path if isinstance(path, bytes) else path.encode()
    relative = raw.removesuffix(b"/")
    name = relative.rpartition(b"/")[2]
    return selection.leaves_out(SOURCE + b"/" + relative, relative, name, is_directory=raw.endswith(b"/"), size=size)


def matched(pattern: str | bytes, *paths: str | bytes) -> list[str | bytes]:
    return [path for path in paths if leaves_out(excluding(pattern), path)]


def test_nothing_is_left_out_without_rules():
    assert Selection().keeps_all
    assert not leaves_out(Selection(), "a", size=1 << 62)


def test_a_pattern_without_a_slash_matches_a_name_at_any_depth():
    assert matched("core", "core", "a/core", "a/b/core/", "core.c", "a/score", "core/x") == [
        "core",
        "a/core",
        "a/b/core/",
    ]


def test_a_slash_at_the_end_does_not_anchor_and_matches_directories_only():
    assert matched("build/", "build/", "a/build/", "build", "a/build") == ["build/", "a/build/"]


def test_a_slash_in_the_middle_anchors_at_the_source():
    assert matched("a/b", "a/b", "a/b/", "x/a/b", "a/b/c", "a/bc") == ["a/b", "a/b/"]
    assert matched("a/b/", "a/b", "a/b/", "x/a/b/") == ["a/b/"]


def test_a_dot_and_a_slash_in_front_anchor_at_the_source():
    assert matched("./core", "core", "a/core") == ["core"]
    assert matched("./core/", "core", "core/", "a/core/") == ["core/"]


def test_a_slash_in_front_anchors_at_the_root_of_the_file_system():
    assert matched("/home/u/a", "a", "a/", "x/home/u/a", "home/u/a") == ["a", "a/"]
    assert matched("/a", "a", "x/a") == []
    assert matched("/home/*/a*/", "ab", "ab/", "c/ab/") == ["ab/"]


def test_a_path_above_the_source_leaves_out_nothing_below_it():
    assert matched("/home", "a", "home") == []
    assert matched("/home/**", "a", "a/b") == ["a", "a/b"]


def test_a_star_matches_any_bytes_of_a_name_but_no_slash():
    assert matched("*.o", ".o", "a.o", "a/b.o", "a.o.c", "o") == [".o", "a.o", "a/b.o"]
    assert matched("a*b*c", "abc", "axbxc", "axcxb", "abcc") == ["abc", "axbxc", "abcc"]
    assert matched("./a/*", "a/b", "a/b/c", "a") == ["a/b"]
    assert matched("*", "a", "b/c/") == ["a", "b/c/"]


def test_a_star_matches_names_that_begin_with_a_dot():
    assert matched("*rc", ".bashrc") == [".bashrc"]


def test_a_question_mark_matches_one_byte_but_no_slash():
    assert matched("a?c", "abc", "a\nc", b"a\xffc", "ac", "abbc") == ["abc", "a\nc", b"a\xffc"]
    assert matched("./a?c", "a/c", "abc") == ["abc"]


@pytest.mark.parametrize(
    ("pattern", "members", "others"),
    [
        ("[abc]", b"abc", b"d["),
        ("[a-c]", b"abc", b"d-"),
        ("[!a-c]", b"d\n\xff-", b"abc"),
        ("[^a-c]", b"d", b"abc"),
        ("[]a]", b"]a", b"["),
        ("[!]a]", b"[b", b"]a"),
        ("[a-]", b"a-", b"b"),
        ("[-a]", b"a-", b"b"),
        ("[a-c-e]", b"abc-e", b"d"),
        (r"[\]a]", b"]a", b"\\"),
        (r"[\\]", b"\\", b"a"),
        (r"[a-\c]", b"abc", b"d\\"),
        ("[[:digit:]_]", b"09_", b"a:["),
        ("[![:space:]]", b"a_", b" \t\n"),
        ("[[:upper:][:digit:]]", b"A0", b"a["),
        ("[[:alpha]", b"[:alph", b"]b"),
        ("[+--]", b"+,-", b".*"),
        (b"[\x80-\xff]", b"\x80\xff", b"a"),
    ],
)
def test_a_set_matches_one_of_its_bytes(pattern: str, members: bytes, others: bytes):
    selection = excluding(pattern)
    every = {byte: leaves_out(selection, bytes([byte])) for byte in members + others}
    assert every == {byte: byte in members for byte in members + others}


def test_a_set_never_matches_a_slash():
    assert matched("a[!x]b/c", "a/b/c", "ayb/c", "axb/c") == ["ayb/c"]


def test_a_backslash_takes_the_meaning_from_the_next_character():
    assert matched(r"\*.o", "*.o", "a.o") == ["*.o"]
    assert matched(r"a\?\[b\\", "a?[b\\", "ax[b\\") == ["a?[b\\"]
    assert matched(r"\a", "a", "\\a") == ["a"]
    assert matched(r"\!a", "!a", "a") == ["!a"]


def test_two_stars_in_front_match_any_number_of_names():
    assert matched("**/a", "a", "x/a", "x/y/a", "xa") == ["a", "x/a", "x/y/a"]
    assert matched("**/a/b", "a/b", "x/a/b", "x/y/a/b", "xa/b", "b") == ["a/b", "x/a/b", "x/y/a/b"]


def test_two_stars_in_the_middle_match_any_number_of_names():
    assert matched("a/**/b", "a/b", "a/x/b", "a/x/y/b", "x/a/b", "ab", "a/xb") == ["a/b", "a/x/b", "a/x/y/b"]
    assert matched("a/**/b/**/*.c", "a/b/x.c", "a/x/b/b/y/x.c", "a/x.c", "b/x.c") == ["a/b/x.c", "a/x/b/b/y/x.c"]


def test_two_stars_at_the_end_match_everything_inside():
    assert matched("a/**", "a/", "a/b", "a/b/c", "x/a/b") == ["a/b", "a/b/c"]
    assert matched("./**", "a", "a/b") == ["a", "a/b"]


def test_two_stars_within_a_name_are_as_good_as_one():
    assert matched("./a**b", "ab", "axb", "a/b") == ["ab", "axb"]


def test_letters_differ_by_case():
    assert matched("*.JPG", "a.jpg", "a.JPG") == ["a.JPG"]


def test_a_name_may_hold_every_byte_and_nothing_ends_before_its_last_one():
    assert matched("a*b", "a\n\nb", b"a\xff\xfeb", "a\nb\n") == ["a\n\nb", b"a\xff\xfeb"]
    assert matched("[a]", "a", "a\n") == ["a"]
    assert matched("*.o", "a.o\n", "a\n.o") == ["a\n.o"]


def test_a_pattern_typed_by_the_user_is_what_the_file_system_calls_it():
    assert matched("ä*\udcff", "ä".encode() + b"x\xff", "ä") == ["ä".encode() + b"x\xff"]


def test_several_slashes_are_one():
    assert parse_rule("//a//b//", exclude=True) == parse_rule("/a/b/", exclude=True)


def test_the_last_rule_that_matches_decides():
    selection = reading(b"*.log\n!keep.log\n/home/u/a/*.log\n")
    left_out = [path for path in ("x.log", "keep.log", "b/keep.log", "a/keep.log", "x") if leaves_out(selection, path)]
    assert left_out == ["x.log", "a/keep.log"]
    assert leaves_out(reading(b"!keep.log\n*.log"), "keep.log")


def test_rules_for_directories_only_do_not_hide_those_before_them():
    selection = reading(b"a*\n!ab/\n")
    assert [leaves_out(selection, path) for path in ("ab", "ab/", "ac/")] == [True, False, True]


def test_an_idiom_leaves_out_all_of_a_directory_but_one_name():
    selection = reading(b"var/*\n!var/log\n")
    left_out = [path for path in ("var/", "var/log/", "var/log/x", "var/tmp/", "var/x") if leaves_out(selection, path)]
    assert left_out == ["var/tmp/", "var/x"]


def test_files_larger_than_the_limit_are_left_out_and_no_rule_takes_them_in():
    selection = Selection((parse_rule("*", exclude=False),), larger_than=100)
    assert not selection.keeps_all
    assert [leaves_out(selection, "a", size=size) for size in (0, 100, 101)] == [False, False, True]


def test_paths_are_needed_for_anchored_rules_only():
    assert not excluding("a", "b*/", "**/c", "./**/d/", "/**/e").needs_paths
    assert excluding("./a").needs_paths
    assert excluding("/a").needs_paths
    assert excluding("**/a/b").needs_paths


def test_two_stars_in_front_of_one_name_need_no_path():
    assert parse_rule("/**/a/", exclude=True) == Rule(b"a", exclude=True, directories_only=True, anchor=Anchor.NAME)


@pytest.mark.parametrize(
    "pattern",
    ["", "/", "./", "//", ".", "..", "a/../b", "/..", "./.", "a/.", "\0", "a\0b", "[a", "[]", "[!]", "[[:foo:]]", "[z-a]",
     "a\\", "[a\\", "[a-", "[/]", "!a", "~/a", "a\\/"],
)  # fmt: skip
def test_a_pattern_that_can_match_nothing_is_refused_with_a_hint(pattern: str):
    with pytest.raises(UsageError) as error:
        parse_rule(pattern, exclude=True)
    assert error.value.hint


def test_a_hash_has_a_meaning_in_files_only():
    assert matched("#a#", "#a#") == ["#a#"]


def test_a_file_of_rules_has_comments_blank_lines_and_exclamation_marks():
    rules = parse_rules_file(b"# comment\n\n   \n*.o\n!main.o\n\\#a\n\\!b\n", "rules")
    assert [(rule.pattern, rule.exclude) for rule in rules] == [
        (b"*.o", True),
        (b"main.o", False),
        (b"\\#a", True),
        (b"\\!b", True),
    ]
    selection = Selection(tuple(rules))
    assert [leaves_out(selection, path) for path in ("#a", "!b", "a.o", "main.o")] == [True, True, True, False]


@pytest.mark.parametrize(
    ("line", "name"),
    [
        (b"a  ", "a"),
        (b"a\\ ", "a "),
        (b"a\\   ", "a "),
        (b"a \\ ", "a  "),
        (b"a\\\\  ", "a\\"),
        (b" a", " a"),
        (b"a\t", "a\t"),
        (b"a b", "a b"),
        (b"a\r", "a"),
        (b"a \r", "a"),
    ],
)
def test_blanks_at_the_end_of_a_line_do_not_count_unless_escaped(line: bytes, name: str):
    selection = reading(line + b"\n")
    assert leaves_out(selection, name)
    assert not leaves_out(selection, name + " ")
    assert not leaves_out(selection, name[:-1])


def test_a_byte_order_mark_is_no_part_of_the_first_pattern():
    assert leaves_out(reading(b"\xef\xbb\xbfa\n"), "a")


def test_a_bad_line_is_named():
    with pytest.raises(UsageError, match=r"list\.txt, line 3: .*\[b"):
        parse_rules_file(b"a\n# x\n[b\n", "list.txt")


def test_an_empty_file_has_no_rules():
    assert parse_rules_file(b"", "rules") == []


def test_a_tag_file_keeps_only_itself_of_its_directory():
    selection = Selection(if_present=(b".nobackup", b".skip"))
    assert selection.leaves_out_content([b".a", b".skip", b"x"]) == b".skip"
    assert selection.leaves_out_content({b".nobackup"}) == b".nobackup"
    assert selection.leaves_out_content([b"a", CACHEDIR_TAG]) is None


def test_a_cache_is_looked_for_only_if_asked_for_and_only_if_no_other_tag_is_there():
    selection = Selection(caches=True, if_present=(b".nobackup",))
    assert selection.leaves_out_content([CACHEDIR_TAG, b"a"]) == CACHEDIR_TAG
    assert selection.leaves_out_content([b".nobackup", CACHEDIR_TAG]) == b".nobackup"
    assert Selection().leaves_out_content([CACHEDIR_TAG]) is None
    assert len(CACHEDIR_SIGNATURE) == 43


@pytest.mark.parametrize("name", [b"", b"a/b", b"..", b".", b"a\0"])
def test_a_tag_file_that_is_no_name_is_refused(name: bytes):
    with pytest.raises(UsageError):
        Selection(if_present=(name,))


def test_selections_are_equal_by_what_they_say():
    assert excluding("a") == excluding("a")
    assert excluding("a") != excluding("b")
    assert hash(excluding("a")) == hash(excluding("a"))


@pytest.mark.parametrize("path", ["/srv/backup", "/srv/[old] *?\\backup", "/srv/\udcff"])
def test_a_rule_for_a_path_leaves_out_that_path_and_no_other(path: str):
    chosen = Selection((rule_for_path(path),))
    wanted = os.fsencode(path)
    for absolute in (wanted, wanted + b"x", wanted[:-1], b"/x" + wanted, wanted.replace(b"*", b"a")):
        name = absolute.rpartition(b"/")[2]
        left_out = chosen.leaves_out(absolute, absolute[1:], name, is_directory=True, size=0)
        assert left_out == (absolute == wanted)
