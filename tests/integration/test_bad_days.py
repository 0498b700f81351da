"""The whole program on days when disks are full, things vanish and names are strange: nothing lost, everything said."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import subprocess
import sys

import pytest

from tests.end_to_end.lamina_cli import LAMINA, TIMEOUT_S, Person, events
from tests.integration.eio_file import eio_file, needs_fuse
from tests.integration.test_block_devices import mounted, program
from tests.integration.test_program_on_s3 import HURRY

pytestmark = pytest.mark.integration

MIB = 1 << 20
# Root without the right to open everybody's files; another user might not reach this Python.
LIKE_A_USER = ["--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-dac_override,-dac_read_search"]


@pytest.fixture
def person(tmp_path, new_repository):
    """Somebody with a repository, in which everything is all right in the end."""
    person = Person(tmp_path)
    shutil.copytree(new_repository, person.repository)
    yield person
    person.variables.clear()
    assert Person(tmp_path).report("verify")["problems"] == []


def content_of(size, seed=1):
    return random.Random(seed).randbytes(size)


def failed(done, *says, code=1):
    """Check that a call failed as it should: its code, what it said, and no traceback."""
    said = done.stdout + done.stderr
    assert done.returncode == code, said
    assert b"Traceback" not in said
    assert b"unexpected fault" not in said
    for word in says:
        assert word.encode() in said, said


# The repository's disk


@pytest.mark.root
def test_a_full_disk_fails_the_backup_and_a_larger_one_lets_the_next_run_go_on(tmp_path):
    # two packs of 32 MiB fit, so that one at least gets there, however many are stored at a time
    with mounted(["-t", "tmpfs", "-o", "size=80m", "tmpfs"], tmp_path / "disk") as disk:
        person = Person(tmp_path, variables={"LAMINA_REPOSITORY": str(disk / "repository")})
        person.do("init", "--no-probe")
        content = content_of(100 * MIB)
        person.write("a.img", content)
        done = person.run("backup", "a.img", "--json")
        failed(done, "No space left")
        assert events(done.stdout)[-1]["error"] == "StorageFull"
        assert "make room" in events(done.stdout)[-1]["hint"]
        assert "no snapshots" in person.do("snapshots")
        subprocess.run([program("mount"), "-o", "remount,size=300m", str(disk)], check=True)
        assert person.report("backup", "a.img", "--verify", "none")["new_bytes"] < 100 * MIB
        assert person.report("verify")["problems"] == []
        assert person.run("restore", "latest", "-").stdout == content


@pytest.mark.root
def test_a_read_only_repository_is_read_and_not_written(person):
    person.write("a.img", content_of(MIB))
    person.do("backup", "a.img")
    source = person.repository
    with mounted(["--bind", "-o", "ro", str(source)], person.directory / "ro") as read_only:
        subprocess.run([program("mount"), "-o", "remount,bind,ro", str(read_only)], check=True)
        person.variables["LAMINA_REPOSITORY"] = str(read_only)
        failed(person.run("backup", "a.img"), "Read-only file system", "hint:")
        failed(person.run("forget", "latest", "--force"), "Read-only file system")
        failed(person.run("init"), "there is a repository")
        failed(person.run("init", "-r", read_only / "below"), "Read-only file system")
        person.do("restore", "latest", "b.img")
        assert person.report("verify")["problems"] == []


@pytest.mark.parametrize("moved", [False, True], ids=["removed", "renamed"])
def test_a_repository_that_vanishes_in_the_middle_is_said_to_be_gone(tmp_path, moved):
    person = Person(tmp_path)
    person.do("init", "--no-probe")
    with subprocess.Popen(
        [sys.executable, HURRY, "backup", "-"],
        cwd=tmp_path,
        env=person.environment(),
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
    ) as process:
        assert process.stdin
        assert process.stderr
        process.stdin.write(content_of(100 * MIB))  # more than is held in memory: some of it is stored
        person.repository.rename(tmp_path / "elsewhere")
        if not moved:
            shutil.rmtree(tmp_path / "elsewhere")
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
        said = process.stderr.read()
        assert process.wait() == 1, said
    assert b"is gone" in said or b"was removed" in said
    assert b"Traceback" not in said
    failed(person.run("snapshots"), "there is no repository", code=10)
    if moved:
        (tmp_path / "elsewhere").rename(person.repository)
        assert person.report("verify")["problems"] == []


# Targets


@pytest.mark.root
def test_a_target_that_is_full_is_said_and_resumed_when_there_is_room(person):
    content = content_of(12 * MIB)
    person.write("a.img", content)
    person.do("backup", "a.img")
    with mounted(["-t", "tmpfs", "-o", "size=8m", "tmpfs"], person.directory / "small") as small:
        failed(person.run("restore", "latest", small / "b.img"), "is full", "--resume")
        subprocess.run([program("mount"), "-o", "remount,size=20m", str(small)], check=True)
        failed(person.run("restore", "latest", small / "b.img"), "exists already", "--resume")
        assert person.report("restore", "latest", small / "b.img", "--resume", "--verify")["kept_bytes"] > 0
        assert (small / "b.img").read_bytes() == content


def test_a_restore_into_a_pipe_equals_the_image(person):
    content = content_of(5 * MIB + 17)
    person.write("a.img", content)
    person.do("backup", "a.img")
    words = " ".join([*LAMINA, "restore", "latest", "-"])
    subprocess.run(
        ["/bin/bash", "-o", "pipefail", "-c", f"{words} | cat > piped"],
        cwd=person.directory,
        env=person.environment(),
        check=True,
    )
    assert (person.directory / "piped").read_bytes() == content


def test_a_reader_that_goes_away_ends_the_restore_with_a_message(person):
    person.write("a.img", content_of(5 * MIB))
    person.do("backup", "a.img")
    words = " ".join([*LAMINA, "restore", "latest", "-"])
    done = subprocess.run(
        ["/bin/bash", "-c", f"{words} | head -c 10 > /dev/null; exit ${{PIPESTATUS[0]}}"],
        cwd=person.directory,
        env=person.environment(),
        capture_output=True,
    )
    failed(done, "closed by the program that reads it")


def test_a_target_that_may_not_be_written_is_named(person):
    person.write("a.img", b"x" * MIB)
    person.do("backup", "a.img")
    for target, says in (("/proc/b.img", "/proc/b.img"), ("a.img/b.img", "a.img/b.img"), ("a.img", "exists already")):
        failed(person.run("restore", "latest", target), says, "hint:")
    assert (person.directory / "a.img").read_bytes() == b"x" * MIB


# Sources


@pytest.mark.root
def test_a_source_of_somebody_else_is_said_to_be_unreadable(person):
    image = person.write("secret.img", b"x")
    image.chmod(0o600)
    os.chown(image, 65534, 65534)
    command = [program("setpriv"), *LIKE_A_USER, *LAMINA, "backup", str(image)]
    done = subprocess.run(command, cwd=person.directory, env=person.environment(), capture_output=True)
    failed(done, "secret.img", "Permission denied", "hint:")


@needs_fuse
def test_an_unreadable_range_is_recorded_reported_at_restore_and_healed_by_the_next_backup(person):
    content = content_of(4 * MIB)
    image = person.write("content", content)
    link = person.directory / "disk.img"
    with eio_file(image, person.directory / "mnt", 2 * MIB + 5, 2 * MIB + 6) as bad:
        link.symlink_to(bad)
        failed(person.run("backup", "disk.img"), f"{MIB} bytes at {2 * MIB} could not be read", code=3)
    failed(person.run("restore", "latest", "b.img"), f"{MIB} bytes at {2 * MIB} could not be read", code=3)
    assert (person.directory / "b.img").read_bytes() == content[: 2 * MIB] + bytes(MIB) + content[3 * MIB :]
    link.unlink()
    link.symlink_to(image)
    report = person.report("backup", "disk.img")
    assert report["new_bytes"] >= MIB
    person.do("restore", "latest", "b.img", "--force", "--verify")
    assert (person.directory / "b.img").read_bytes() == content
    assert person.report("verify")["problems"] == []


@pytest.mark.parametrize("size", [0, 3 * MIB, 5 * MIB + 7])
def test_an_image_that_grew_or_shrank_since_the_last_backup_comes_back_as_it_is(person, size):
    before, after = content_of(5 * MIB), content_of(9 * MIB)[:size]
    person.write("a.img", before)
    person.do("backup", "a.img")
    person.write("a.img", after)
    person.do("backup", "a.img")
    assert person.run("restore", "latest", "-").stdout == after
    assert person.run("restore", "latest~1", "-").stdout == before
    person.do("restore", "latest", "a.img", "--force")
    assert (person.directory / "a.img").stat().st_size == size


def test_hints_come_from_standard_input_and_bad_ones_are_refused(person):
    content = bytearray(content_of(8 * MIB))
    person.write("a.img", content)
    person.do("backup", "a.img")
    content[3 * MIB : 3 * MIB + 4] = b"new!"
    person.write("a.img", content)
    hints = b'[{"offset": %d, "length": 4096, "exists": "true"}]' % (3 * MIB)
    report = person.report("backup", "a.img", "--hints", "-", data=hints)
    assert report["new_bytes"] <= 2 * MIB
    assert person.run("restore", "latest", "-").stdout == content
    for bad, says in (
        (b"", "hints cannot be used"),
        (b"{", "hints cannot be used"),
        (b"offset length exists\n0 1 true\n", "hints cannot be used"),
        (b'[{"offset": 0}]', "entry 1"),
        (b'[{"offset": -1, "length": 1, "exists": "true"}]', "entry 1"),
        (b'[{"offset": 8388608, "length": 1, "exists": "true"}]', "the image has 8388608 bytes"),
        (b"\xff\xfe", "hints cannot be used"),
    ):
        failed(person.run("backup", "a.img", "--hints", "-", data=bad), says, "hint:")
    assert person.do("snapshots").count("a.img") == 2


STRANGE = [
    b"two\nlines.img", b"not \xff utf-8.img", b" spaces around .img ", b"-r", "größe 💾.img".encode(), b"a\x1b[31m.img"
]  # fmt: skip


def test_images_of_strange_names_come_back_under_them(person):
    for name in STRANGE:
        (person.directory / os.fsdecode(name)).write_bytes(b"content of " + name)
    person.do("backup", "--name", "strange", "--", *map(os.fsdecode, STRANGE))
    for words in (["show", "latest"], ["restore", "latest", "out/"]):
        done = person.run(*words)
        assert done.returncode == 0, done.stderr
        assert b"\x1b" not in done.stdout + done.stderr
    assert sorted(os.listdir(bytes(person.directory / "out"))) == sorted(STRANGE)
    for name in STRANGE:
        assert (person.directory / "out" / os.fsdecode(name)).read_bytes() == b"content of " + name


def test_an_image_whose_name_a_snapshot_cannot_have_is_refused_without_another(person):
    for name in (b"two\nlines.img", b"not \xff utf-8.img"):
        image = os.fsdecode(name)
        (person.directory / image).write_bytes(b"x")
        failed(person.run("backup", image), "cannot be the name of a snapshot", "hint:", code=2)
        person.do("backup", image, "--name", "another")
    assert person.do("snapshots").count("another") == 2


def test_a_very_long_path_comes_back(person):
    folder = "/".join(["d" * 200] * 10)
    person.write(f"{folder}/a.img", b"deep")
    person.do("backup", f"{folder}/a.img")
    person.do("restore", "latest", "out/")
    assert (person.directory / "out" / folder / "a.img").read_bytes() == b"deep"
    failed(person.run("backup", "x/" * 3000), "is too deep", "hint:", code=2)
    failed(person.run("backup", "x" * 300), "is too long", "hint:", code=2)


def test_an_empty_image_comes_back_empty(person):
    person.write("empty.img", b"")
    person.do("backup", "empty.img")
    person.do("restore", "latest", "b.img", "--verify")
    assert (person.directory / "b.img").read_bytes() == b""
    done = person.run("backup", "-", data=b"")
    assert done.returncode == 0
    assert person.run("restore", "latest", "-").stdout == b""


# Two at once


def test_two_backups_at_the_same_time_both_succeed(person):
    """Half of what they store is the same."""
    for name, seed in (("a", 1), ("b", 2)):
        person.write(f"{name}.img", content_of(10 * MIB) + content_of(10 * MIB, seed))
    running = [person.start("backup", f"{name}.img") for name in "ab"]
    for process in running:
        _, said = process.communicate(timeout=TIMEOUT_S)
        assert process.returncode == 0, said
    for name in "ab":
        assert (
            person.run("restore", f"{name}.img@latest", "-").stdout == (person.directory / f"{name}.img").read_bytes()
        )


# The cache


def cached_files(person):
    found = [path for path in (person.directory / "cache").rglob("*") if path.is_file()]
    assert found
    return found


def _cut(path):
    os.truncate(path, path.stat().st_size // 2)


def _flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 1] = bytes([data[len(data) // 2] ^ 0x40]) if data else b""
    path.write_bytes(data)


def _replace_by_directory(path):
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("spoil", [_cut, _flip, _replace_by_directory])
def test_a_spoiled_cache_costs_time_only(person, spoil):
    person.variables["LAMINA_CACHE_DIR"] = str(person.directory / "cache")
    content = content_of(3 * MIB)
    person.write("a.img", content)
    person.do("backup", "a.img")
    person.do("backup", "a.img")
    for path in cached_files(person):
        spoil(path)
    assert person.report("backup", "a.img")["new_bytes"] == 0
    assert person.run("restore", "latest", "-").stdout == content
    shutil.rmtree(person.directory / "cache")
    assert person.report("verify")["problems"] == []


@pytest.mark.root
def test_a_cache_that_cannot_be_written_is_done_without(person):
    person.write("a.img", content_of(3 * MIB))
    person.do("backup", "a.img")
    (person.directory / "file").write_bytes(b"")
    with mounted(["-t", "tmpfs", "-o", "ro,size=1m", "tmpfs"], person.directory / "ro") as read_only:
        for place in (read_only / "cache", read_only, person.directory / "file", person.directory / "file/below"):
            person.variables["LAMINA_CACHE_DIR"] = str(place)
            assert person.report("backup", "a.img")["new_bytes"] == 0
            person.do("restore", "latest", "b.img", "--force")


@pytest.mark.root
def test_a_full_cache_is_done_without(person):
    person.write("a.img", content_of(3 * MIB))
    person.do("backup", "a.img")
    with mounted(["-t", "tmpfs", "-o", "size=4k", "tmpfs"], person.directory / "tiny") as tiny:
        (tiny / "filler").write_bytes(bytes(4096))
        person.variables["LAMINA_CACHE_DIR"] = str(tiny)
        assert person.report("backup", "a.img")["new_bytes"] == 0


@pytest.mark.root
def test_a_full_temporary_directory_is_named(person):
    """With room for the directory that the index makes, and not for a file in it."""
    person.write("a.img", content_of(3 * MIB))
    person.do("backup", "a.img")
    with mounted(["-t", "tmpfs", "-o", "size=1m,nr_inodes=2", "tmpfs"], person.directory / "tiny") as tiny:
        person.variables |= {"TMPDIR": str(tiny), "LAMINA_CACHE_DIR": str(person.directory / "a.img")}
        failed(person.run("backup", "a.img"), str(tiny), "TMPDIR")
    person.variables.clear()
    assert person.do("snapshots").count("a.img") == 1
