"""A list of paths becomes a tree of what is wanted."""

from __future__ import annotations

import itertools

import pytest

from lamina.errors import UsageError
from lamina.sources.file_list import Wanted, build_wanted, parse_file_list


def shape(wanted: Wanted) -> tuple[bool, dict]:
    return wanted.whole, {name: shape(child) for name, child in wanted.children.items()}


WHOLE = (True, {})


def test_a_list_has_a_path_a_line():
    assert parse_file_list(b"a\nb/c\n") == [b"a", b"b/c"]
    assert parse_file_list(b"a\nb/c") == [b"a", b"b/c"]


def test_a_list_with_a_nul_is_separated_by_nuls():
    assert parse_file_list(b"a\nb\0c\0") == [b"a\nb", b"c"]


def test_a_list_said_to_be_separated_by_nuls_may_hold_none():
    assert parse_file_list(b"a\nb", null=True) == [b"a\nb"]


def test_a_nul_in_a_list_said_to_be_of_lines_is_refused():
    with pytest.raises(UsageError, match="NUL"):
        parse_file_list(b"a\0b\n", null=False)


def test_nothing_in_a_list_means_anything_but_itself():
    assert parse_file_list(b"# a\n*.o\n b \nc\r\n!d\n\xff\\\n") == [b"# a", b"*.o", b" b ", b"c\r", b"!d", b"\xff\\"]


def test_empty_entries_do_not_count():
    assert parse_file_list(b"\n\na\n\n") == [b"a"]
    assert parse_file_list(b"\0a\0\0") == [b"a"]
    assert parse_file_list(b"") == []


def test_a_named_path_is_whole_and_its_parents_are_not():
    assert shape(build_wanted([b"a/b/c", b"a/d"])) == (
        False,
        {b"a": (False, {b"b": (False, {b"c": WHOLE}), b"d": WHOLE})},
    )


def test_no_path_wants_nothing():
    assert shape(build_wanted([])) == (False, {})


@pytest.mark.parametrize("path", [b"a/b", b"./a/b", b"a//b", b"a/./b/", b"a/b/.", b"x/../a/b", b"a/b/c/.."])
def test_a_path_is_the_same_however_it_is_written(path: bytes):
    assert shape(build_wanted([path])) == (False, {b"a": (False, {b"b": WHOLE})})


@pytest.mark.parametrize("path", [b".", b"./", b"a/..", b""])
def test_the_directory_itself_wants_all_of_it(path: bytes):
    assert shape(build_wanted([path])) == WHOLE


@pytest.mark.parametrize("path", [b"..", b"../a", b"a/../../b", b"./.."])
def test_a_path_out_of_the_directory_is_refused(path: bytes):
    with pytest.raises(UsageError, match="outside"):
        build_wanted([b"fine", path])
    with pytest.raises(UsageError, match="outside"):
        build_wanted([path], root=b"/home/u")


def test_an_absolute_path_needs_the_root():
    with pytest.raises(UsageError, match="absolute"):
        build_wanted([b"/etc"])
    assert shape(build_wanted([b"/home/u/a", b"/home/./u/b"], root=b"/home/u/")) == (False, {b"a": WHOLE, b"b": WHOLE})
    assert shape(build_wanted([b"/home/u"], root=b"/home/u")) == WHOLE


@pytest.mark.parametrize("path", [b"/home", b"/home/user", b"/etc/passwd", b"/home/u/.."])
def test_an_absolute_path_beside_the_root_is_refused(path: bytes):
    with pytest.raises(UsageError, match="outside"):
        build_wanted([path], root=b"/home/u")


def test_a_path_may_leave_the_directory_and_come_back():
    assert shape(build_wanted([b"../u/a", b"../../../home/u/b"], root=b"/home/u")) == (
        False,
        {b"a": WHOLE, b"b": WHOLE},
    )


def test_above_the_root_of_the_file_system_is_itself():
    assert shape(build_wanted([b"/../etc", b"../usr"], root=b"/")) == (False, {b"etc": WHOLE, b"usr": WHOLE})


def test_the_order_of_paths_does_not_matter():
    paths = [b"a", b"a/b/c", b"a/b/c/d", b"e/f", b"e"]
    trees = [shape(build_wanted(order)) for order in itertools.permutations(paths)]
    assert all(tree == trees[0] for tree in trees)
    assert trees[0] == (
        False,
        {b"a": (True, {b"b": (True, {b"c": (True, {b"d": WHOLE})})}), b"e": (True, {b"f": WHOLE})},
    )


def test_what_is_named_below_one_path_is_not_below_another():
    wanted = build_wanted([b"a", b"b", b"a/x"])
    assert shape(wanted) == (False, {b"a": (True, {b"x": WHOLE}), b"b": WHOLE})


def test_a_path_of_thousands_of_names_is_fine():
    node = build_wanted([b"/".join([b"d"] * 5000), b"d"])
    depth = 0
    while node.children:
        node = node.children[b"d"]
        assert node.whole
        depth += 1
    assert depth == 5000


def test_a_name_may_hold_any_byte_but_nul_and_slash():
    name = bytes(byte for byte in range(1, 256) if byte != ord("/"))
    assert shape(build_wanted([b"a/" + name])) == (False, {b"a": (False, {name: WHOLE})})
