"""Trees of files that hold everything come back as they were, on several file systems, with and without rights."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from lamina.testing.trees import describe_tree, differences
from lamina.testing.zoo import VAST, make_zoo, unzoo
from tests.end_to_end.lamina_cli import LAMINA, Person, events
from tests.integration.file_systems import file_system, find

pytestmark = pytest.mark.integration

MIB = 1 << 20
# Root without any right of root; another user might not reach this Python.
WITHOUT_RIGHTS = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]


@pytest.fixture(params=["ext4", "xfs", "btrfs"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """An empty file system of its own."""
    with file_system(request.param, tmp_path / "disk") as place:
        yield place


@pytest.fixture
def zoo(person: Person) -> Iterator[Path]:
    """A directory with everything but a vast file in it, where the tests run."""
    directory = person.directory / "zoo"
    directory.mkdir()
    make_zoo(directory)
    (directory / os.fsdecode(VAST)).unlink()
    yield directory
    for made in (directory, person.directory / "out"):
        if made.exists():
            unzoo(made)
            shutil.rmtree(made)


def run_without_rights(person: Person, *words: str | Path) -> subprocess.CompletedProcess[bytes]:
    """Call `lamina` as somebody who may not do what root may."""
    return subprocess.run(
        [*WITHOUT_RIGHTS, *LAMINA, *map(str, words)],
        cwd=person.directory,
        env=person.environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=120,
    )


def rsync_differences(source: Path, target: Path) -> str:
    """What rsync would do to make *target* equal to *source*; it cannot read 1 TiB in time."""
    rsync = find("rsync")
    assert rsync, "needs rsync"
    words = ["-aHAXS", "--dry-run", "--itemize-changes", "--checksum", "--delete", f"--exclude=/{VAST.decode()}"]
    done = subprocess.run([rsync, *words, f"{source}/", f"{target}/"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.root
def test_everything_comes_back(person: Person, disk: Path):
    source, target = disk / "zoo", disk / "out"
    source.mkdir()
    make_zoo(source)
    report = person.report("backup", source, "--name", "zoo")
    assert report["size"] > 1 << 40
    assert report["read_bytes"] < 100 * MIB  # holes are not read
    person.do("restore", f"zoo@latest:{source}", target)
    assert differences(describe_tree(source), describe_tree(target)) == []
    assert rsync_differences(source, target) == ""


@pytest.mark.root
def test_a_second_restore_writes_nothing_and_changes_nothing(person: Person, zoo: Path):
    person.do("backup", "zoo")
    person.do("restore", "latest:zoo", "out")
    before = describe_tree(person.directory / "out")
    again = person.report("restore", "latest:zoo", "out", "--overwrite", "if-changed")
    assert again["written_bytes"] == 0
    assert differences(before, describe_tree(person.directory / "out")) == []
    assert differences(describe_tree(zoo), before) == []


@pytest.mark.root
def test_what_differs_in_the_target_is_put_right_and_what_is_too_much_deleted(person: Person, zoo: Path):
    person.do("backup", "zoo")
    person.do("restore", "latest:zoo", "out")
    out = person.directory / "out"
    (out / "files/tiny").write_bytes(b"other")
    (out / "files/small").unlink()
    shutil.rmtree(out / "files/many")
    (out / "files/many").symlink_to("/")
    (out / "files/new/directory").mkdir(parents=True)
    (out / "links/hard-1").unlink()
    (out / "links/hard-1").write_bytes(b"no link any more")
    (out / "directories/empty").rmdir()
    (out / "directories/empty").write_bytes(b"a file")
    (out / "owners").chmod(0o700)
    os.setxattr(out / "files/large", b"user.too.much", b"x")
    person.do("restore", "latest:zoo", "out", "--overwrite", "always", "--delete")
    assert differences(describe_tree(zoo), describe_tree(out)) == []


@pytest.mark.root
def test_an_unchanged_tree_is_neither_read_nor_stored_again(person: Person, zoo: Path):
    first = person.report("backup", "zoo")
    second = person.report("backup", "zoo")
    assert second["parent"] == first["snapshot"]
    assert (second["read_bytes"], second["new_bytes"]) == (0, 0)
    assert second["stored_bytes"] < 64 << 10  # a record and what says that nothing is new
    person.do("restore", "latest:zoo", "out")
    assert differences(describe_tree(zoo), describe_tree(person.directory / "out")) == []


@pytest.mark.root
def test_of_a_changed_tree_only_what_changed_is_read(person: Person, zoo: Path):
    person.do("backup", "zoo")
    (zoo / "files/small").write_bytes(b"smaller")
    (zoo / "files/many/007").rename(zoo / "files/seven")
    (zoo / "modes/file-0644").chmod(0o640)
    shutil.rmtree(zoo / "another")
    expected = describe_tree(zoo)
    second = person.report("backup", "zoo")
    assert second["read_bytes"] < MIB
    assert second["new_bytes"] < MIB
    person.do("restore", "latest:zoo", "out")
    assert differences(expected, describe_tree(person.directory / "out")) == []


def test_a_change_that_keeps_size_and_time_is_seen(person: Person):
    file = person.write("tree/file", b"old")
    person.write("tree/other", b"other")
    before = file.stat()
    person.do("backup", "tree")
    file.write_bytes(b"new")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    person.do("backup", "tree")
    person.do("restore", "latest:tree", "out")
    assert (person.directory / "out/file").read_bytes() == b"new"


def test_images_and_directories_lie_in_one_snapshot(person: Person):
    disk = person.write("disk0.img", {MIB: random.Random(1).randbytes(MIB)}, size=8 * MIB)
    person.write("vm.xml", b"<domain/>")
    person.write("etc/ssh/sshd_config", b"Port 22")
    (person.directory / "etc/mtab").symlink_to("../proc/self/mounts")
    person.do("backup", "vm.xml", "disk0.img", "etc", "--name", "vm1")
    person.do("restore", "vm1@latest", "all/")
    assert differences(describe_tree(person.directory / "etc"), describe_tree(person.directory / "all/etc")) == []
    assert (person.directory / "all/disk0.img").read_bytes() == disk.read_bytes()
    assert (person.directory / "all/vm.xml").read_bytes() == b"<domain/>"
    person.do("restore", "vm1@latest:disk0.img", "alone.img")
    assert (person.directory / "alone.img").read_bytes() == disk.read_bytes()
    person.do("restore", "vm1@latest:etc/ssh", "part")
    assert (person.directory / "part/sshd_config").read_bytes() == b"Port 22"
    assert "vm.xml" in person.do("ls", "vm1@latest")


@pytest.mark.root
def test_without_rights_what_may_not_be_read_is_named_and_the_rest_is_saved(person: Person):
    for name in ("open", "closed", "locked/inside"):
        person.write(f"tree/{name}", name.encode())
    (person.directory / "tree/closed").chmod(0)
    os.chown(person.directory / "tree/closed", 1, 1)
    os.chown(person.directory / "tree/locked", 1, 1)
    (person.directory / "tree/locked").chmod(0o700)
    done = run_without_rights(person, "backup", "tree")
    said = done.stderr.decode()
    assert done.returncode == 3, said
    assert "closed" in said
    assert "locked" in said
    assert "Permission denied" in said
    assert "partial" in person.do("snapshots")
    restored = person.run("restore", "latest:tree", "out")
    assert restored.returncode == 3, restored.stderr
    assert (person.directory / "out/open").read_bytes() == b"open"


@pytest.mark.root
def test_what_can_be_read_no_more_is_carried_forward_and_read_again_when_it_can(person: Person):
    for name in ("closed", "locked/inside"):
        person.write(f"tree/{name}", name.encode())
    for name in ("closed", "locked"):
        os.chown(person.directory / "tree" / name, 1, 1)
        (person.directory / "tree" / name).chmod(0o700)
    person.do("backup", "tree")
    (person.directory / "tree/closed").write_bytes(b"newer")
    assert run_without_rights(person, "backup", "tree").returncode == 3
    restored = person.run("restore", "latest:tree", "out")
    assert restored.returncode == 3, restored.stderr
    assert b"closed" in restored.stderr
    assert (person.directory / "out/closed").read_bytes() == b"closed"
    assert (person.directory / "out/locked/inside").read_bytes() == b"locked/inside"
    person.do("backup", "tree")
    person.do("restore", "latest:tree", "whole")
    tree, whole = (describe_tree(person.directory / name) for name in ("tree", "whole"))
    assert differences(tree, whole) == []


@pytest.mark.root
def test_without_rights_a_restore_says_what_it_could_not_apply(person: Person, zoo: Path):
    person.do("backup", "zoo")
    done = run_without_rights(person, "restore", "latest:zoo", "out", "--json")
    assert done.returncode == 3, done.stderr
    assert b"Traceback" not in done.stderr
    (report,) = [event for event in events(done.stdout) if event["event"] == "report"]
    (finding,) = report["findings"]
    assert (finding["what"], finding["count"]) == ("not restored", 4)  # devices
    assert "out/special/null" in [example["path"] for example in finding["examples"]]
    not_applied = {one["what"]: one["examples"][0] for one in report["not_applied"]}
    assert not_applied.keys() == {"extended attribute", "flags", "owner"}
    assert "owners/" in not_applied["owner"]
    wanted, got = describe_tree(zoo), describe_tree(person.directory / "out")
    fields = {line.partition(": ")[2].partition(" ")[0] for line in differences(wanted, got) if "missing" not in line}
    assert fields == {"uid", "gid", "mode", "flags", "xattrs"}
    for name in wanted.keys() & got.keys():
        assert wanted[name].mode | got[name].mode == wanted[name].mode  # never more than was saved
