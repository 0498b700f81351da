from __future__ import annotations

import pytest

from lamina.cli.arguments import iter_parsers, option
from lamina.cli.backup import COMPRESSIONS, stored_paths
from lamina.cli.parser import build_parser, parse
from lamina.engine.backup import VerifyMode
from lamina.errors import UsageError
from lamina.filters.pipeline import LEVELS
from lamina.model.snapshots import Role

GLOBAL = {
    "repository": ["-r", "/x"],
    "passphrase_file": ["--passphrase-file", "f"],
    "passphrase_command": ["--passphrase-command", "c"],
    "cache_dir": ["--cache-dir", "d"],
    "json": ["--json"],
    "verbose": ["-v"],
    "quiet": ["-q"],
    "log_file": ["--log-file", "l"],
}


@pytest.mark.parametrize("name", GLOBAL)
@pytest.mark.parametrize("verb", [["snapshots"], ["key", "list"]])
def test_global_options_work_before_and_after_the_verb(name: str, verb: list[str]):
    words = GLOBAL[name]
    expected = words[1] if len(words) > 1 else True
    assert option(parse([*words, *verb]), name) == expected
    assert option(parse([*verb, *words]), name) == expected
    assert option(parse(verb), name) is None


def test_the_option_after_the_verb_wins():
    assert option(parse(["-r", "/a", "snapshots", "-r", "/b"]), "repository") == "/b"


def test_sources_may_stand_on_both_sides_of_options():
    assert parse(["backup", "a", "--tag", "t", "b", "-", "--json"]).sources == ["a", "b", "-"]
    assert parse(["forget", "a", "-n", "b"]).snapshots == ["a", "b"]


@pytest.mark.parametrize(
    "words",
    [
        [], ["backp"], ["backup", "a", "--frobnicate"], ["backup", "a", "--frobnicate", "b"], ["restore", "latest"],
        ["restore", "latest", "a", "b"], ["snapshots", "--all"], ["backup", "a", "--chunk-size", "huge"], ["key"], ["key", "add"],
        ["backup", "a", "--verify", "some"], ["key", "add", "--role", "admin"], ["backup", "a", "--limit-upload", "0"],
        ["backup", "a", "--comp", "fast"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_what_is_not_understood_is_a_usage_error_that_points_to_the_help(words: list[str]):
    with pytest.raises(UsageError) as caught:
        parse(words)
    assert caught.value.hint.endswith("-h")


def test_a_bad_value_is_named_with_its_option():
    with pytest.raises(UsageError, match=r"--chunk-size.*'huge' is not a size"):
        parse(["backup", "a", "--chunk-size", "huge"])


def test_every_verb_runs_something_and_every_argument_has_help():
    for parser in iter_parsers(build_parser()):
        for action in parser._actions:
            assert action.help or action.choices, (parser.prog, action)
        is_group = any(action.dest == "verb" for action in parser._actions)
        assert is_group or callable(parser.get_default("run")), parser.prog


def test_the_choices_are_those_of_the_parts_below():
    assert set(COMPRESSIONS) == set(LEVELS)
    words = [[*("key", "add", "--role", role.value)] for role in Role]
    assert [parse(one).role for one in words] == [role.value for role in Role]
    modes = {mode.value for mode in VerifyMode} - {VerifyMode.ADAPTIVE.value}
    assert {parse(["backup", "a", "--verify", mode]).verify for mode in modes} == modes


def test_standard_input_is_stored_under_its_own_name():
    assert stored_paths(parse(["backup", "-", "/a/b", "--stdin-name", "x.sql"]), "/home") == ["x.sql", "a/b"]
    with pytest.raises(UsageError):
        stored_paths(parse(["backup", "-", "--stdin-name", "x" * 256]), "/home")
    with pytest.raises(UsageError, match="two sources"):
        stored_paths(parse(["backup", "-", "stdin"]), "/home")
