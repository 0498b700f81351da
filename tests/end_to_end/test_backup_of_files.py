"""`lamina backup` of directories, lists and commands, as a person types it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.end_to_end.lamina_cli import Person, events


@pytest.fixture
def home(person: Person) -> Path:
    """A small directory at the person's."""
    for name in ("home/a.txt", "home/b.o", "home/sub/c.txt", "home/sub/d.o", "home/cache/e", "home/marked/f"):
        person.write(name, name.encode())
    person.write("home/cache/CACHEDIR.TAG", b"Signature: 8a477f597d28d172789f06886806bc55\n")
    person.write("home/marked/.nobackup", b"")
    person.write("home/large", bytes(3000))
    return person.directory / "home"


ALL = {
    "home", "home/a.txt", "home/b.o", "home/cache", "home/cache/CACHEDIR.TAG", "home/cache/e", "home/large", "home/marked",
    "home/marked/.nobackup", "home/marked/f", "home/sub", "home/sub/c.txt", "home/sub/d.o",
}  # fmt: skip


def listed(person: Person, snapshot: str = "latest") -> set[str]:
    """The paths of all entries of a snapshot."""
    out = person.directory / "listed"
    person.do("restore", snapshot, f"{out}/")
    found = {os.path.relpath(os.path.join(at, name), out) for at, some, more in os.walk(out) for name in (*some, *more)}
    for at, some, more in os.walk(out, topdown=False):
        for name in more:
            os.unlink(os.path.join(at, name))
        for name in some:
            os.rmdir(os.path.join(at, name))
    out.rmdir()
    return found


def test_a_directory_is_saved_whole(person: Person, home: Path):
    report = person.report("backup", "home")
    assert listed(person) == ALL
    assert report["name"] == "home"
    assert report["files"] == {
        "new": 9, "changed": 0, "unchanged": 0, "vanished": 0, "directories": 4, "flawed": 0
    }  # fmt: skip
    assert (report["partial"], report["flaws"]) == (False, [])
    again = person.do("backup", "home")
    assert "0 new, 0 changed, 9 unchanged in 4 directories" in again


@pytest.mark.parametrize(
    ("words", "missing"),
    [
        (["--exclude", "*.o"], {"home/b.o", "home/sub/d.o"}),
        (["--exclude", "./sub"], {"home/sub", "home/sub/c.txt", "home/sub/d.o"}),
        (["--exclude", "*.o", "--include", "d.o"], {"home/b.o"}),
        (["--exclude-caches"], {"home/cache/e"}),
        (["--exclude-if-present", ".nobackup"], {"home/marked/f"}),
        (["--exclude-larger-than", "2KiB"], {"home/large"}),
        (["-x"], set()),
    ],
    ids=lambda some: " ".join(some) if isinstance(some, list) else "",
)
def test_what_is_left_out(person: Person, home: Path, words: list[str], missing: set[str]):
    person.do("backup", "home", *words)
    assert listed(person) == ALL - missing


def test_rules_from_a_file_and_by_an_absolute_path(person: Person, home: Path):
    person.write("rules", b"# comment\n*.o\n!d.o\n")
    person.do("backup", "home", "--exclude-from", "rules", "--exclude", f"{home}/cache")
    assert listed(person) == ALL - {"home/b.o", "home/cache", "home/cache/e", "home/cache/CACHEDIR.TAG"}


@pytest.mark.parametrize("end", [b"\n", b"\0"], ids=["lines", "nul"])
@pytest.mark.parametrize("through", ["file", "stdin"])
def test_a_list_of_files(person: Person, home: Path, end: bytes, through: str):
    names = [b"home/a.txt", b"home/sub"] + ([b"home/odd\nname"] if end == b"\0" else [])
    if end == b"\0":
        person.write("home/odd\nname", b"odd")
    data = b"".join(name + end for name in names)
    if through == "file":
        person.write("list", data)
        person.do("backup", "--files-from", "list", "--name", "some")
    else:
        person.do("backup", "--files-from", "-", "--name", "some", data=data)
    wanted = {"home", "home/a.txt", "home/sub", "home/sub/c.txt", "home/sub/d.o"}
    assert listed(person, "some@latest") == wanted | ({"home/odd\nname"} if end == b"\0" else set())


def test_a_list_of_absolute_paths(person: Person, home: Path):
    person.write("list", os.fsencode(home / "a.txt") + b"\n")
    person.do("backup", "--files-from", "list", "--name", "some")
    assert str(home / "a.txt").lstrip("/") in listed(person)


def test_what_a_list_names_and_is_not_there_is_missed(person: Person, home: Path):
    done = person.run("backup", "--files-from", "-", "--name", "some", "--json", data=b"home/a.txt\nhome/none\n")
    assert done.returncode == 3
    (flaw,) = events(done.stdout)[-1]["flaws"]
    assert (flaw["path"], flaw["state"]) == ("home/none", "unread")


def test_an_empty_list_is_a_mistake(person: Person, home: Path):
    done = person.run("backup", "--files-from", "-", data=b"")
    assert done.returncode == 2
    assert b"is empty" in done.stderr
    assert person.run("backup", "--files-from", "no-such-list").returncode == 1


def test_standard_input_has_a_name(person: Person):
    person.do("backup", "-", "--stdin-name", "dumps/shop.sql", "--name", "shop", data=b"CREATE")
    assert listed(person) == {"dumps", "dumps/shop.sql"}


def test_a_command_is_saved_with_its_output(person: Person, home: Path):
    person.do("backup", "home", "--name", "both", "--stdin-name", "out", "--from-command", "sh", "-c", "echo printed")
    assert listed(person) == ALL | {"out"}
    person.do("restore", "latest:out", "got")
    assert (person.directory / "got").read_bytes() == b"printed\n"


@pytest.mark.parametrize("command", [["sh", "-c", "echo half; exit 7"], ["no-such-program-here"]])
def test_a_command_that_fails_leaves_no_snapshot(person: Person, command: list[str]):
    done = person.run("backup", "--stdin-name", "dump", "--from-command", *command)
    assert done.returncode == 1
    assert command[0].encode() in done.stderr
    assert person.report("snapshots")["count"] == 0


def script(person: Person, name: str, body: str) -> str:
    path = person.write(name, f"#!/bin/sh\n{body}\n".encode())
    path.chmod(0o755)
    return str(path)


def test_hooks_run_around_a_backup_and_know_what_came_of_it(person: Person, home: Path):
    pre = script(person, "pre", 'echo "pre $1 $LAMINA_NAME" >> log; echo new > home/made-by-hook')
    post = script(person, "post", 'echo "post $LAMINA_OUTCOME ${#LAMINA_SNAPSHOT}" >> log')
    person.do("backup", "home", "--pre", f"{pre} 'two words'", "--post", post)
    assert (person.directory / "log").read_text() == "pre two words home\npost success 32\n"
    assert "home/made-by-hook" in listed(person)


def test_a_failing_pre_hook_means_no_backup_and_post_hooks_still_run(person: Person, home: Path):
    post = script(person, "post", 'echo "$LAMINA_OUTCOME" >> log')
    done = person.run("backup", "home", "--pre", "false", "--post", post)
    assert done.returncode == 1
    assert (person.directory / "log").read_text() == "failure\n"
    assert person.report("snapshots")["count"] == 0


def test_a_failing_hook_may_be_a_warning(person: Person, home: Path):
    done = person.run("backup", "home", "--pre", "false", "--post", "false", "--hook-failure", "warn")
    assert done.returncode == 0
    assert done.stderr.count(b"false") >= 2


def test_a_failing_post_hook_fails_the_call_and_keeps_the_snapshot(person: Person, home: Path):
    assert person.run("backup", "home", "--post", "false").returncode == 1
    assert person.report("snapshots")["count"] == 1


def test_a_hook_that_takes_too_long_is_stopped(person: Person, home: Path):
    done = person.run("backup", "home", "--pre", "sleep 1000", "--hook-timeout", "1s")
    assert done.returncode == 1
    assert b"did not end within" in done.stderr


def test_the_working_directory_is_saved_under_its_own_path(person: Person, home: Path):
    """`.` restored somewhere else must not spill into that place."""
    inside = Person(home, variables={"LAMINA_REPOSITORY": str(person.repository)})
    report = inside.report("backup", ".")
    stored = str(home).lstrip("/")
    assert report["name"] == "home"
    assert f"{stored}/a.txt" in listed(person)


@pytest.mark.parametrize(
    "words",
    [
        ["/", "home"],
        ["home", "home"],
        ["home", "home/sub"],
        ["home", "--hints", "h"],
        ["home", "-", "--stdin-name", "home/x"],
        ["home", "--compare", "atime"],
        ["home", "--exclude", "a/../b"],
        ["home", "--pre", "'open"],
    ],
    ids=" ".join,
)
def test_what_makes_no_sense_is_refused(person: Person, home: Path, words: list[str]):
    person.write("h", b"[]")
    done = person.run("backup", "--name", "x", *words, data=b"")
    assert done.returncode == 2, done.stderr
    assert person.report("snapshots")["count"] == 0


def test_a_source_that_does_not_exist_is_named(person: Person, home: Path):
    done = person.run("backup", "home", "nowhere", "--name", "x", "--json")
    assert done.returncode == 1
    assert "nowhere" in json.loads(done.stdout.splitlines()[-1])["message"]
    assert person.report("snapshots")["count"] == 0


def test_a_dry_run_says_what_would_be_stored(person: Person, home: Path):
    text = person.do("backup", "home", "-n")
    assert "dry run, nothing stored" in text
    assert "9 new, 0 changed, 0 unchanged in 4 directories" in text
    assert person.report("snapshots")["count"] == 0


def test_images_and_directories_live_in_one_snapshot(person: Person, home: Path):
    person.write("vm.xml", b"<domain/>")
    person.write("disk0.img", {3 << 20: b"data"}, size=8 << 20)
    report = person.report("backup", "vm.xml", "disk0.img", "home", "--name", "vm1")
    assert report["coverage"]["differences"] == []
    assert listed(person, "vm1@latest") == ALL | {"vm.xml", "disk0.img"}


def test_changes_are_seen_with_a_writers_key(person: Person, home: Path):
    person.write("writer-passphrase", b"writer\n")
    person.do("key", "add", "--role", "writer", "--new-passphrase-file", "writer-passphrase")
    writer = Person(person.directory, passphrase="writer")
    writer.do("backup", "home", "--compare", "mtime,ctime,inode")
    person.write("home/a.txt", b"changed")
    report = writer.report("backup", "home")
    assert (report["files"]["changed"], report["files"]["unchanged"]) == (1, 8)


def test_the_repository_and_its_cache_are_not_backed_up_into_themselves(person: Person):
    person.write("kept", b"kept")
    assert person.repository.is_dir()
    person.do("backup", ".", "--name", "all")
    listed = person.do("ls", "-R", "all@latest")
    assert "kept" in listed
    assert "lamina.json" not in listed
    person.do("backup", ".", "--name", "all", "--include", person.repository)
    assert "lamina.json" in person.do("ls", "-R", "all@latest")


@pytest.mark.parametrize("target", ["repository", "repository/new", "link/new"])
def test_nothing_is_restored_into_the_repository(person: Person, target: str):
    person.write("kept", b"kept")
    person.do("backup", "kept")
    (person.directory / "link").symlink_to(person.repository)
    before = sorted(person.repository.rglob("*"))
    done = person.run("restore", "latest", target)
    assert done.returncode == 2
    assert b"Lamina's own" in done.stderr
    assert sorted(person.repository.rglob("*")) == before
