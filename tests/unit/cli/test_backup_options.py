"""What the options of `lamina backup` that concern files mean."""

from __future__ import annotations

from pathlib import Path

import pytest

from lamina.cli.backup import parse_compare
from lamina.cli.backup_inputs import check_sources, selection
from lamina.cli.parser import parse
from lamina.engine.saving.known import Compare
from lamina.errors import UsageError


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("mtime,ctime,inode", set(Compare)),
        ("mtime", {Compare.MTIME}),
        ("size", set()),
        ("size,inode,mtime", {Compare.INODE, Compare.MTIME}),
        ("none", None),
    ],
)
def test_fields_to_compare(text: str, fields: set[Compare] | None):
    assert parse_compare(text) == (None if fields is None else frozenset(fields))


@pytest.mark.parametrize("text", ["", "none,mtime", "mtime,", "MTIME", "atime", "mtime ctime"])
def test_fields_that_there_are_not(text: str):
    with pytest.raises(UsageError, match="no list of fields"):
        parse_compare(text)


def test_without_compare_all_fields_count():
    assert "compare" not in parse(["backup", "a"])
    assert parse(["backup", "a", "--compare", "none"]).compare is None


def leaves_out(words: list[str], path: str, *, is_directory: bool = False, size: int = 1) -> bool:
    chosen = selection(parse(["backup", "a", *words]))
    name = path.rpartition("/")[2].encode()
    return chosen.leaves_out(b"/src/" + path.encode(), path.encode(), name, is_directory=is_directory, size=size)


def test_rules_count_in_the_order_of_the_command_line(tmp_path: Path):
    rules = tmp_path / "rules"
    rules.write_text("*.o\n!keep.o\n")
    assert leaves_out(["--exclude", "*.o"], "x.o")
    assert not leaves_out(["--exclude", "*.o", "--include", "x.o"], "x.o")
    assert leaves_out(["--include", "x.o", "--exclude", "*.o"], "x.o")
    assert not leaves_out(["--exclude-from", str(rules)], "keep.o")
    assert leaves_out(["--exclude-from", str(rules), "--exclude", "keep.o"], "keep.o")
    assert not leaves_out(["--exclude", "keep.o", "--exclude-from", str(rules)], "keep.o")


def test_other_rules():
    assert leaves_out(["--exclude-larger-than", "1KiB"], "big", size=1025)
    assert not leaves_out(["--exclude-larger-than", "1KiB"], "big", size=1024)
    chosen = selection(parse(["backup", "a", "-x", "--exclude-caches", "--exclude-if-present", ".nobackup"]))
    assert (chosen.one_file_system, chosen.caches, chosen.if_present) == (True, True, (b".nobackup",))
    assert selection(parse(["backup", "a"])).keeps_all


@pytest.mark.parametrize("file", ["missing", "."])
def test_a_file_of_rules_that_cannot_be_read(file: str):
    from lamina.errors import SourceError

    with pytest.raises(SourceError, match="the rules"):
        selection(parse(["backup", "a", "--exclude-from", file]))


def test_the_words_after_from_command_are_the_command():
    parsed = parse(
        ["backup", "etc", "--stdin-name", "x.sql", "--from-command", "pg_dump", "--format", "custom", "-n", "x"]
    )
    assert (parsed.sources, parsed.from_command, parsed.dry_run) == (
        ["etc"], ["pg_dump", "--format", "custom", "-n", "x"], False,
    )  # fmt: skip
    check_sources(parsed)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "nothing was named"),
        (["-", "--hints", "-"], "read once"),
        (["--files-from", "-", "-"], "read once"),
        (["--files-from", "list", "-"], "files and directories only"),
        (["--files-from", "list", "--from-command", "x"], "files and directories only"),
        (["a", "b", "--hints", "h"], "one image"),
        (["a", "--files-from", "l", "--hints", "h"], "one image"),
        (["-", "--hints", "h"], "standard input"),
    ],
    ids=lambda some: " ".join(some) if isinstance(some, list) else "",
)
def test_sources_that_do_not_go_together(words: list[str], says: str):
    with pytest.raises(UsageError, match=says):
        check_sources(parse(["backup", *words]))


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("5m", 300), ("1h", 3600)])
def test_timeouts_are_durations(text: str, seconds: int):
    parsed = parse(["backup", "a", "--file-timeout", text, "--hook-timeout", text])
    assert (parsed.file_timeout, parsed.hook_timeout) == (seconds, seconds)


def test_hooks_may_be_repeated():
    parsed = parse(["backup", "a", "--pre", "one", "--pre", "two 'words here'", "--post", "three"])
    assert (parsed.pre, parsed.post, parsed.hook_failure) == (["one", "two 'words here'"], ["three"], "fail")
