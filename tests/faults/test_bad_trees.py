"""Trees that misbehave or are larger than life: a clear message, the right exit code, a snapshot that can be used."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from lamina.testing.trees import describe_tree, differences
from lamina.testing.zoo import noise
from tests.end_to_end.lamina_cli import Person, events
from tests.integration.eio_file import needs_fuse
from tests.integration.file_systems import file_system
from tests.integration.moody_tree import FREEZING, GROWN, MOODS, SIZE, content, moody_tree

pytestmark = pytest.mark.integration

MIB = 1 << 20
FILE_TIMEOUT = ["--file-timeout", "1s"]  # only files that hang wait so long


@pytest.fixture
def person(tmp_path: Path, new_repository: Path):
    """Somebody with a repository, in which everything is all right in the end."""
    person = Person(tmp_path)
    shutil.copytree(new_repository, person.repository)
    yield person
    assert Person(tmp_path).report("verify")["problems"] == []


def backed_up(person: Person, *words: str | Path, code: int, says: str = "") -> None:
    """Make a backup, which ends with *code* and says something about *says*."""
    done = person.run("backup", *words)
    said = done.stderr.decode()
    assert done.returncode == code, said + done.stdout.decode()
    assert "Traceback" not in said
    assert "unexpected" not in said
    assert says in said


def backed_up_moody(person: Person, *moods: str, code: int) -> str:
    """Make a backup of a moody tree, which ends with *code*; returns what a person should know of it.

    The kernel lets no process go that waits for a file system, not even when it is killed. So the file system ends as soon
    as the report is there.
    """
    said = b""
    with moody_tree(person.directory / "tree", *moods):
        process = person.start("backup", "tree", "--json", *FILE_TIMEOUT, stderr=subprocess.STDOUT)
        assert process.stdout
        for line in process.stdout:
            said += line
            if b'"event": "report"' in line or b'"event": "error"' in line:
                break
    with process:
        said += process.stdout.read()
    assert process.returncode == code, said
    return "\n".join(event["text"] for event in events(said) if event["event"] == "message")


def restored(person: Person, *, code: int = 0) -> Path:
    """What the newest snapshot of `tree` holds, put into a directory."""
    out = person.directory / "out"
    done = person.run("restore", "latest:tree", out)
    assert done.returncode == code, done.stderr
    return out


# What a mood leads to: the exit code, and what is restored of it (None: nothing).
OUTCOMES: dict[str, tuple[int, bytes | None]] = {
    "grows": (0, content("grows", 0, GROWN)),
    "shrinks": (0, content("shrinks", 0, SIZE // 4)),
    "vanishes": (0, None),
    "gone-at-once": (3, None),
    "denied": (3, None),
    "eio-open": (3, None),
    "eio-read": (3, None),
    "eio-stat": (3, None),
    "becomes-directory": (3, None),
    "restless-once": (0, content("restless-once", 1)),
    "hangs-reading": (3, None),
    "hangs-opening": (3, None),
    "dir-eio-list": (3, None),
    "dir-hangs": (3, None),
    "dir-vanishes": (0, None),
    "dir-becomes-file": (0, content("dir-becomes-file")),
}


@needs_fuse
@pytest.mark.parametrize("mood", OUTCOMES)
def test_one_bad_object_costs_no_other(person: Person, mood: str):
    code, expected = OUTCOMES[mood]
    assert (mood in backed_up_moody(person, mood, code=code)) == (code == 3)
    assert ("partial" in person.do("snapshots")) == (code == 3)
    out = restored(person, code=code)
    for name in ("fine", "z-fine"):
        assert (out / name).read_bytes() == content(name)
    if expected is None:
        assert not (out / mood).is_file()
    else:
        assert (out / mood).read_bytes() == expected


@needs_fuse
def test_all_bad_objects_at_once_are_all_named(person: Person):
    said = backed_up_moody(person, *(mood for mood in MOODS if mood != FREEZING), code=3)
    for mood, (code, _) in OUTCOMES.items():
        assert (f"tree/{mood}:" in said) == (code == 3), said
    out = restored(person, code=3)
    assert (out / "z-fine").read_bytes() == content("z-fine")


@needs_fuse
def test_a_directory_in_which_nothing_can_be_looked_at_is_not_taken_for_an_empty_one(person: Person):
    person.write("tree/fine", b"what it was once")
    backed_up(person, "tree", code=0)
    shutil.rmtree(person.directory / "tree")
    assert "tree" in backed_up_moody(person, FREEZING, code=3)
    assert "partial" in person.do("snapshots")
    out = restored(person, code=3)
    assert (out / "fine").read_bytes() in {b"what it was once", content("fine")}


@needs_fuse
def test_a_file_that_never_rests_is_saved_and_named(person: Person):
    assert "tree/restless" in backed_up_moody(person, "restless", code=0)
    assert (restored(person, code=0) / "restless").stat().st_size == SIZE


@needs_fuse
@pytest.mark.parametrize("mood", ["denied", "eio-open", "eio-read", "eio-stat", "hangs-reading", "hangs-opening"])
def test_of_what_cannot_be_read_the_last_content_is_carried_forward(person: Person, mood: str):
    person.write(f"tree/{mood}", b"what it was once")
    backed_up(person, "tree", code=0)
    shutil.rmtree(person.directory / "tree")
    assert f"tree/{mood}" in backed_up_moody(person, mood, code=3)
    out = restored(person, code=3)
    assert (out / mood).read_bytes() == b"what it was once"
    assert (out / "fine").read_bytes() == content("fine")


@needs_fuse
@pytest.mark.parametrize("mood", ["dir-eio-list", "dir-hangs"])
def test_of_a_directory_that_cannot_be_listed_the_last_content_is_carried_forward(person: Person, mood: str):
    person.write(f"tree/{mood}/deep/file", b"what it was once")
    backed_up(person, "tree", code=0)
    shutil.rmtree(person.directory / "tree")
    assert f"tree/{mood}" in backed_up_moody(person, mood, code=3)
    assert (restored(person, code=3) / mood / "deep/file").read_bytes() == b"what it was once"


def test_a_source_that_is_not_there_is_said_before_anything_is_done(person: Person):
    person.write("tree/file", b"x")
    done = person.run("backup", "tree", "no-such-tree")
    assert done.returncode == 1, done.stderr
    assert b"no-such-tree" in done.stderr
    assert "no snapshots" in person.do("snapshots")


@pytest.mark.root
def test_a_source_whose_root_cannot_be_listed_makes_no_empty_snapshot(person: Person):
    """An empty snapshot that looks whole would be believed."""
    person.write("tree/file", b"x")
    with moody_tree(person.directory / "mount", "dir-eio-list") as mount:
        done = person.run("backup", mount / "dir-eio-list")
    assert done.returncode in {1, 3}, done.stderr
    assert b"dir-eio-list" in done.stderr


def name_of(number: int) -> str:
    """One of a million names, not in their order."""
    return f"{number * 7919 % 1_000_000:06d}"


@pytest.mark.root
@pytest.mark.slow
def test_a_directory_of_a_million_entries(person: Person):
    with file_system("tmpfs", person.directory / "memory", size="8G", options=",nr_inodes=0") as memory:
        tree = memory / "tree"
        tree.mkdir()
        fd = os.open(tree, os.O_RDONLY)
        for number in range(1_000_000):  # of 2,000 files: to open a million would take a minute
            if number < 2000:
                os.mknod(name_of(number), 0o600, dir_fd=fd)
            else:
                os.link(name_of(number % 2000), name_of(number), src_dir_fd=fd, dst_dir_fd=fd)
        os.close(fd)
        report = person.report("backup", tree, "--name", "tree", "--verify", "none")
        again = person.report("backup", tree, "--name", "tree", "--verify", "none")
        assert again["files"]["new"] == again["files"]["flawed"] == 0
        assert again["new_bytes"] < MIB
        assert report["snapshot"] == again["parent"]
        assert report["files"]["new"] == 1_000_000
        person.do("restore", f"latest:{tree}/765432", "one")
        assert (person.directory / "one").stat().st_size == 0


@pytest.mark.root
def test_a_tree_2000_levels_deep_whose_paths_are_longer_than_the_kernel_takes(person: Person):
    names = [f"{number:04d}-{'n' * 100}" for number in range(2000)]
    with file_system("tmpfs", person.directory / "memory") as memory:
        bottom = descend(memory, ["tree", *names], make=True)
        with open(os.open("file", os.O_WRONLY | os.O_CREAT, dir_fd=bottom), "wb") as file:
            file.write(b"at the bottom")
        os.close(bottom)
        person.do("backup", memory / "tree", "--name", "deep")
        again = person.report("backup", memory / "tree", "--name", "deep")
        assert again["read_bytes"] == 0
        person.do("restore", f"deep@latest:{memory}/tree", memory / "out")
        bottom = descend(memory, ["out", *names])
        with open(os.open("file", os.O_RDONLY, dir_fd=bottom), "rb") as file:
            assert file.read() == b"at the bottom"
        os.close(bottom)


def descend(start: Path, names: list[str], *, make: bool = False) -> int:
    """A descriptor of the directory that *names* lead to."""
    fd = os.open(start, os.O_RDONLY)
    for name in names:
        if make:
            os.mkdir(name, dir_fd=fd)
        below = os.open(name, os.O_RDONLY | os.O_DIRECTORY, dir_fd=fd)
        os.close(fd)
        fd = below
    return fd


@pytest.mark.root
@pytest.mark.parametrize("kind", ["tmpfs", "xfs"])
def test_extended_attributes_of_64_kib_and_long_lists_of_names(person: Person, kind: str):
    with file_system(kind, person.directory / "memory") as memory:
        (memory / "tree").mkdir()
        for name in ("large", "many", "both"):
            (memory / "tree" / name).write_bytes(b"x")
        for name in ("large", "both"):
            os.setxattr(memory / "tree" / name, "user.large", noise(65_536, 1))
        for number in range(240):  # a list of names may be 65,536 bytes long
            for name in ("many", "both"):
                os.setxattr(memory / "tree" / name, f"user.{number:0250d}", b"%d" % number)
        (memory / "tree" / "directory").mkdir()
        os.setxattr(memory / "tree" / "directory", "user.large", noise(65_536, 2))
        person.do("backup", memory / "tree", "--name", "tree")
        person.do("restore", f"latest:{memory}/tree", memory / "out")
        assert differences(describe_tree(memory / "tree"), describe_tree(memory / "out")) == []


@pytest.mark.root
def test_a_list_of_names_that_the_kernel_refuses_to_give_is_an_error_of_that_file(person: Person):
    with file_system("xfs", person.directory / "memory") as memory:
        (memory / "tree").mkdir()
        for name in ("good", "too-many"):
            (memory / "tree" / name).write_bytes(b"content")
        for number in range(300):
            os.setxattr(memory / "tree/too-many", f"user.{number:0250d}", b"x")
        with pytest.raises(OSError, match="too long"):
            os.listxattr(memory / "tree/too-many")
        backed_up(person, memory / "tree", "--name", "tree", code=3, says="too-many")
        person.run("restore", f"latest:{memory}/tree", memory / "out")
        assert (memory / "out/good").read_bytes() == b"content"


@pytest.mark.root
def test_a_full_target_is_named_and_the_restore_goes_on_once_there_is_room(person: Person):
    for number in range(8):
        person.write(f"tree/sub/{number}", random.Random(number).randbytes(MIB))
    person.do("backup", "tree")
    with file_system("tmpfs", person.directory / "small", size="5M") as small:
        done = person.run("restore", "latest:tree", small / "out")
        assert done.returncode == 1, done.stderr
        assert b"is full" in done.stderr
        assert b"small/out" in done.stderr
        assert b"Traceback" not in done.stderr
        subprocess.run(["mount", "-o", "remount,size=50M", small], check=True)
        report = person.report("restore", "latest:tree", small / "out")
        assert report["written_bytes"] < 6 * MIB  # what was there already is left alone
        wanted, got = describe_tree(person.directory / "tree"), describe_tree(small / "out")
        del wanted[b"."], got[b"."]  # it was there when this restore began, and stays as it was
        assert differences(wanted, got) == []


@needs_fuse
def test_a_tree_that_hangs_can_be_interrupted(person: Person):
    with moody_tree(person.directory / "tree", "hangs-reading"):
        process = person.start("backup", "tree", "--json", "--file-timeout", "1h")
        assert process.stdout
        said = process.stdout.readline()
        process.send_signal(signal.SIGINT)
        for line in process.stdout:
            said += line
            if b'"event": "error"' in line:
                break
    with process:
        said += process.stdout.read()
    assert process.returncode == 130, said
    assert events(said)[-1]["error"] == "Stopped"
