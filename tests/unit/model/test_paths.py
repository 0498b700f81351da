from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamina.errors import UsageError
from lamina.model.paths import (
    SnapshotPath,
    check_distinct,
    check_name,
    check_tag,
    default_name,
    parse_snapshot_path,
    stored_path,
)


@pytest.mark.parametrize(
    ("text", "stored"),
    [("a.img", "a.img"), ("./a.img", "a.img"), ("x/../a.img", "a.img"), ("x//y", "x/y"), ("/dev/vg/a", "dev/vg/a"),
     ("//dev/a", "dev/a"), ("../a", "home/a"), ("../u/a", "home/u/a"), ("/x/../../a", "a"), ("..a", "..a")],
)  # fmt: skip
def test_a_source_is_stored_under_its_path(text: str, stored: str):
    assert stored_path(text, "/home/u") == stored


@pytest.mark.parametrize(("text", "stored"), [(".", "home/u"), ("..", "home"), ("/", ""), ("../..", "")])
def test_a_directory_is_stored_under_its_whole_path(text: str, stored: str):
    assert stored_path(text, "/home/u") == stored


@pytest.mark.parametrize("text", ["", "a\0b"])
def test_what_can_be_no_source_has_no_path(text: str):
    with pytest.raises(UsageError):
        stored_path(text, "/home/u")


@pytest.mark.parametrize(
    "text", ["/".join("a" * 256), "a" * 255, "é" * 127, "a/" + "\udcff" * 255], ids=["deep", "long", "wide", "bytes"]
)
def test_a_path_may_be_as_deep_and_its_names_as_long_as_can_be_restored(text: str):
    assert stored_path(text, "/home/u") == text


@pytest.mark.parametrize(
    "text",
    ["/".join("a" * 257), "/" + "a/" * 300, "a" * 256, "é" * 128, "a/" + "\udcff" * 256 + "/b"],
    ids=["deep", "deeper", "long", "wide", "bytes"],
)
def test_a_path_too_deep_or_with_too_long_a_name_is_refused(text: str):
    with pytest.raises(UsageError) as raised:
        stored_path(text, "/home/u")
    assert raised.value.hint
    assert len(raised.value.message) < 300


@given(st.text(alphabet="ab./", max_size=12))
def test_a_stored_path_is_relative_and_plain(text: str):
    try:
        path = stored_path(text, "/home/u")
    except UsageError:
        return
    assert not path or all(part not in {"", ".", ".."} for part in path.split("/"))
    assert stored_path("/" + path, "/elsewhere") == path


@pytest.mark.parametrize("paths", [["a", "a"], ["a", "b", "a"], ["a", "a/b"], ["a/b/c", "a"]])
def test_two_sources_cannot_share_a_path(paths: list[str]):
    with pytest.raises(UsageError):
        check_distinct(paths)


def test_neighbours_do_not_collide():
    check_distinct(["a/b", "a/c", "ab", "b"])


def test_a_snapshot_is_called_after_its_only_source_or_the_host():
    assert default_name(["dev/vg/root"], "host") == "root"
    assert default_name(["a", "b"], "host") == "host"


@pytest.mark.parametrize("name", ["", " a", "a\n", "a\x1b[31m"])
def test_odd_names_are_refused(name: str):
    with pytest.raises(UsageError):
        check_name(name)


@pytest.mark.parametrize("tag", ["", "a b", "a,b", "a\t"])
def test_odd_tags_are_refused(tag: str):
    with pytest.raises(UsageError):
        check_tag(tag)


def test_plain_names_and_tags_pass():
    assert check_name("mail server: disk 1") == "mail server: disk 1"
    assert check_tag("vor-dem-Größenwechsel") == "vor-dem-Größenwechsel"


@pytest.mark.parametrize(
    ("text", "snapshot", "path"),
    [("latest", "latest", None), ("latest~2", "latest~2", None), ("vm@latest~1:a.img", "vm@latest~1", "a.img"),
     ("3fa94c01:/dev/vg/a", "3fa94c01", "dev/vg/a"), ("'a:b'@latest", "'a:b'@latest", None), ("latest:", "latest", None),
     ("latest:x:y", "latest", "x:y"), ("x@y@latest", "x@y@latest", None), ("tag:strange:a", "tag:strange", "a"),
     ("latest:../a", "latest", "a")],
)  # fmt: skip
def test_a_snapshot_and_its_path_are_told_apart(text: str, snapshot: str, path: str | None):
    assert parse_snapshot_path(text) == SnapshotPath(snapshot, path)


@pytest.mark.parametrize("text", ["", ":a", "strange:a", "strange"])
def test_a_path_without_a_snapshot_is_refused(text: str):
    with pytest.raises(UsageError):
        parse_snapshot_path(text)
