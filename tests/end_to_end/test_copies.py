"""Two repositories on the command line: copies of snapshots, and the keys each side needs."""

from __future__ import annotations

from pathlib import Path

import pytest

from lamina.testing.trees import describe_tree, differences
from tests.end_to_end.lamina_cli import Person

SECOND = "another passphrase"


@pytest.fixture
def two(person: Person) -> Person:
    """Somebody with two snapshots of a tree, and an empty second repository whose passphrase is in a variable."""
    offsite = Person(person.directory / "elsewhere", passphrase=SECOND)
    offsite.directory.mkdir()
    offsite.do("init", "--no-probe")
    person.variables["LAMINA_TO_PASSPHRASE"] = SECOND
    person.write("tree/etc/host.conf", b"first")
    person.write("tree/large", bytes(range(256)) * 4096)
    person.do("backup", "tree", "--name", "web", "--tag", "daily")
    person.write("tree/etc/host.conf", b"second")
    person.do("backup", "tree", "--name", "web")
    return person


def offsite(person: Person) -> Person:
    return Person(person.directory / "elsewhere", passphrase=SECOND)


def test_snapshots_are_copied_once_and_restore_there(two: Person, tmp_path: Path):
    planned = two.report("copy", "all", "--to", "elsewhere/repository", "--dry-run")
    assert (planned["dry_run"], len(planned["missing"]), planned["there"]) == (True, 2, [])
    assert offsite(two).report("snapshots")["count"] == 0
    first = two.report("copy", "latest", "--to", "elsewhere/repository")
    assert len(first["copied"]) == 1
    rest = two.report("copy", "all", "--to", "elsewhere/repository", "--verify", "full")
    assert (len(rest["copied"]), len(rest["there"]), rest["failed"]) == (1, 1, [])
    offsite(two).do("restore", "latest", tmp_path)
    assert differences(describe_tree(two.directory / "tree"), describe_tree(tmp_path / "tree")) == []
    assert offsite(two).report("verify")["problems"] == []


def test_what_a_snapshot_was_copied_from_is_shown(two: Person):
    (copied,) = two.report("copy", "latest", "--to", "elsewhere/repository")["copied"]
    shown = offsite(two).report("show", "latest")
    assert (shown["id"], shown["copied_from"]["snapshot"]) == (copied["copy"], copied["snapshot"])
    assert copied["snapshot"] in offsite(two).do("show", "latest")


def test_text_names_what_was_copied(two: Person):
    assert "2 snapshots" in two.do("copy", "all", "--to", "elsewhere/repository", "--dry-run")
    said = two.do("copy", "all", "--to", "elsewhere/repository")
    assert "copied 2 snapshots" in said
    assert "copied 0 snapshots" in two.do("copy", "all", "--to", "elsewhere/repository")


def test_the_passphrase_of_the_first_does_not_open_the_second(two: Person):
    del two.variables["LAMINA_TO_PASSPHRASE"]
    two.write("wrong", two.passphrase.encode())
    done = two.run("copy", "all", "--to", "elsewhere/repository")
    assert done.returncode == 2
    assert b"--to-passphrase-file" in done.stderr
    done = two.run("copy", "all", "--to", "elsewhere/repository", "--to-passphrase-file", "wrong")
    assert done.returncode == 12
    assert b"elsewhere/repository" in done.stderr


def test_a_place_without_a_repository_is_named(two: Person):
    assert two.run("copy", "all", "--to", "nowhere").returncode == 10
