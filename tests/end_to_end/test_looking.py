"""Looking into snapshots on the command line: as text, as events, and with what each exit code means."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from lamina.testing.trees import describe_tree, differences
from lamina.testing.zoo import make_zoo, unzoo
from tests.end_to_end.lamina_cli import LAMINA, Person, events

WITHOUT_RIGHTS = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]


@pytest.fixture
def twice(person: Person) -> Person:
    """Somebody with two snapshots of a tree."""
    person.write("tree/etc/host.conf", b"first")
    person.write("tree/etc/same", b"same")
    person.write("tree/gone", b"12345")
    person.do("backup", "tree", "--name", "web")
    person.write("tree/etc/host.conf", b"second")
    (person.directory / "tree/gone").unlink()
    person.write("tree/new/file", b"123")
    person.do("backup", "tree", "--name", "web")
    return person


def test_a_directory_is_listed(twice: Person):
    lines = twice.do("ls", "web@latest:tree").splitlines()
    assert [line.rpartition(" ")[2] for line in lines] == ["etc/", "new/"]
    lines = twice.do("ls", "-R", "web@latest~1").splitlines()
    assert [line.rpartition(" ")[2] for line in lines] == [
        "tree/", "tree/etc/", "tree/etc/host.conf", "tree/etc/same", "tree/gone",
    ]  # fmt: skip
    assert lines[2].startswith("-rw")
    found = events(twice.do("ls", "latest:tree/etc", "--json").encode())
    assert [(one["event"], one.get("path"), one.get("size")) for one in found[:-1]] == [
        ("entry", "tree/etc/host.conf", 6),
        ("entry", "tree/etc/same", 4),
    ]
    assert (found[-1]["verb"], found[-1]["count"], found[-1]["flawed"]) == ("ls", 2, 0)


def test_a_name_that_is_no_text_is_one_line_and_one_event(person: Person):
    path = os.fsencode(person.directory) + b"/tree/\xff\n\x1b[31m"
    (person.directory / "tree").mkdir()
    with open(path, "wb"):
        pass
    person.do("backup", "tree")
    (line,) = person.do("ls", "latest:tree").splitlines()
    assert line.endswith(r"\xff\n\x1b[31m")
    name = events(person.do("ls", "latest:tree", "--json").encode())[0]["path"]
    assert os.fsencode(name) == b"tree/\xff\n\x1b[31m"


def test_paths_are_found_in_all_snapshots(twice: Person):
    lines = twice.do("find", "same", "g*", "tree/*/*.conf").splitlines()
    assert [line for line in lines if not line.startswith(" ")] == ["tree/etc/host.conf", "tree/etc/same", "tree/gone"]
    assert "2 snapshots" in lines[lines.index("tree/etc/same") + 1]
    assert len(lines) == 3 + 4
    *_, hit, report = events(twice.do("find", "same", "--all", "--json").encode())
    assert (hit["path"], hit["count"], len(hit["snapshots"]), hit["name"]) == ("tree/etc/same", 2, 2, "web")
    assert (report["count"], report["snapshots"]) == (1, 2)
    assert "not found in 2 snapshots" in twice.run("find", "nothing").stderr.decode()
    assert twice.do("find", "*", "--name", "other") == ""
    assert len(twice.do("find", "*", "--type", "d", "--snapshot", "latest", "--newer", "1d").splitlines()) == 6


def test_one_path_is_followed_through_time(twice: Person):
    lines = twice.do("history", "tree/etc/host.conf").splitlines()
    assert [line.split()[-1] for line in lines] == ["WHAT", "appeared", "mtime"]
    assert "content, mtime" in lines[2]
    assert twice.do("history", "tree/etc/host.conf", "--snapshot", "first").splitlines() == lines[:2]
    changes = events(twice.do("history", "tree/gone", "--json").encode())[:-1]
    assert [(one["what"], one["entry"] is None) for one in changes] == [(["appeared"], False), (["gone"], True)]


def test_differences_are_shown_and_counted(twice: Person):
    lines = twice.do("diff", "web@latest~1", "web@latest").splitlines()
    assert [line.split()[:2] for line in lines[:-2]] == [
        ["m", "tree/"], ["M", "tree/etc/host.conf"], ["-", "tree/gone"], ["+", "tree/new/"], ["+", "tree/new/file"],
    ]  # fmt: skip
    assert lines[-2:] == [
        "2 added, 1 removed, 1 with other content, 1 with other metadata only",
        "3 B added, 5 B removed, 6 B changed in place",
    ]
    assert twice.do("diff", "web@latest~1", "web@latest", "--stat").splitlines() == lines[-2:]
    assert twice.run("diff", "latest~1", "latest", "--exit-code").returncode == 5
    assert twice.do("diff", "latest~1:tree/etc/same", "latest:tree/etc/same", "--exit-code") == "no difference\n"
    found = events(twice.do("diff", "latest~1", "latest", "--json").encode())
    assert [one["kind"] for one in found[:-1]] == ["metadata", "content", "removed", "added", "added"]
    assert found[-1]["paths"] == {"added": 2, "removed": 1, "content": 1, "metadata": 1, "type": 0}


def test_contents_go_to_standard_output_and_events_elsewhere(twice: Person):
    assert twice.do("cat", "latest:tree/etc/host.conf", "latest~1:tree/etc/host.conf") == "secondfirst"
    done = twice.run("cat", "latest:tree/etc/same", "--json")
    assert (done.returncode, done.stdout) == (0, b"same")
    assert events(done.stderr)[-1]["size"] == 4
    assert twice.run("cat", "latest:tree/etc").returncode == 2
    assert twice.run("cat", "latest").returncode == 2
    assert twice.run("cat", "latest:nothing").returncode == 1


def test_what_is_occupied_is_shown(twice: Person):
    header, *rows = twice.do("du").splitlines()
    assert header.split()[:5] == ["ID", "TIME", "NAME", "SIZE", "OWN"]
    assert len(rows) == 2
    *_, usage, report = events(twice.do("du", "latest", "--json").encode())
    assert usage["freed_bytes"] == usage["own"]["stored_bytes"] + usage["own_metadata"]["stored_bytes"]
    assert report["count"] == 1
    assert twice.do("du", "--backy").splitlines()[0].endswith("EST. SPACE FREED")
    lines = twice.do("du", "latest:tree").splitlines()
    assert [line.split()[-1] for line in lines] == ["PATH", "etc/", "new/", "."]
    assert twice.run("du", "latest:tree", "latest").returncode == 2


def test_figures_of_the_repository_are_shown(twice: Person):
    assert "deduplication" in twice.do("stats")
    report = twice.report("stats")
    assert report["total_bytes"] == sum(file.stat().st_size for file in twice.repository.rglob("*") if file.is_file())
    assert report["names"][0]["name"] == "web"
    assert report["reclaimable_bytes"] == 0


def test_an_archive_is_written_to_a_new_file_or_not_at_all(twice: Person):
    twice.do("dump", "latest:tree", "--output", "tree.tar")
    unpacked = twice.directory / "unpacked"
    unpacked.mkdir()
    subprocess.run(["tar", "-xf", "tree.tar", "-C", "unpacked"], cwd=twice.directory, check=True)
    assert (unpacked / "etc/host.conf").read_bytes() == b"second"
    before = (twice.directory / "tree.tar").read_bytes()
    done = twice.run("dump", "latest", "-o", "tree.tar")
    assert (done.returncode, b"already" in done.stderr) == (1, True)
    assert (twice.directory / "tree.tar").read_bytes() == before
    assert twice.run("dump", "latest:nothing", "-o", "none.tar").returncode == 1
    assert not (twice.directory / "none.tar").exists()
    for pack in (twice.repository / "data").rglob("*"):
        if pack.is_file():
            pack.rename(twice.directory / f"kept-{pack.name}")
            pack.write_bytes(b"")
    assert twice.run("dump", "latest", "-o", "damaged.tar").returncode == 1
    assert not (twice.directory / "damaged.tar").exists()
    for pack in (twice.repository / "data").rglob("*"):
        if pack.is_file():
            (twice.directory / f"kept-{pack.name}").replace(pack)


def test_a_zip_is_what_unzip_reads(twice: Person):
    twice.do("dump", "latest:tree", "--format", "zip", "-o", "tree.zip")
    subprocess.run(["unzip", "-q", "tree.zip", "-d", "unzipped"], cwd=twice.directory, check=True)
    assert (twice.directory / "unzipped/etc/host.conf").read_bytes() == b"second"
    assert (twice.directory / "unzipped/new/file").stat().st_mode == (twice.directory / "tree/new/file").stat().st_mode


@pytest.mark.root
def test_what_a_backup_could_not_read_is_marked_and_ends_in_code_3(person: Person):
    person.write("tree/readable", b"1")
    person.write("tree/secret", b"2").chmod(0)
    backup = subprocess.run(
        [*WITHOUT_RIGHTS, *LAMINA, "backup", "tree"],
        cwd=person.directory, env=person.environment(), stdin=subprocess.DEVNULL, capture_output=True, timeout=120,
    )  # fmt: skip
    assert backup.returncode == 3
    lines = person.do("ls", "latest:tree").splitlines()
    assert "(unread" in lines[1]
    assert "(" not in lines[0]
    done = person.run("cat", "latest:tree/readable", "latest:tree/secret")
    assert (done.returncode, done.stdout) == (3, b"1")
    assert b"tree/secret" in done.stderr
    assert person.run("dump", "latest", "-o", "tree.tar").returncode == 3


@pytest.mark.root
@pytest.mark.integration
def test_gnu_tar_brings_everything_back_but_sockets_and_flags(person: Person):
    source, target = person.directory / "zoo", person.directory / "out"
    source.mkdir()
    target.mkdir()
    make_zoo(source)
    try:
        person.do("backup", "zoo", "--verify", "none")
        assert b"socket" in person.run("dump", "latest:zoo", "-o", "zoo.tar").stderr
        words = [
            "-x",
            "-p",
            "-f",
            "zoo.tar",
            "-C",
            "out",
            "--xattrs",
            "--xattrs-include=*",
            "--acls",
            "--numeric-owner",
        ]
        subprocess.run(["tar", *words], cwd=person.directory, check=True, capture_output=True)
        expected = {
            name: one._replace(flags=0) for name, one in describe_tree(source).items() if name != b"special/socket"
        }
        assert differences(expected, describe_tree(target)) == []
    finally:
        for made in (source, target):
            unzoo(made)
            shutil.rmtree(made)


def test_a_writer_looks_at_names_and_not_at_contents(person: Person):
    person.write("tree/file", b"1")
    secret = person.write("writer.passphrase", b"only for backups")
    person.do("key", "add", "--role", "writer", "--label", "web", "--new-passphrase-file", secret)
    writer = Person(person.directory, passphrase="only for backups")
    person.do("backup", "tree", "--name", "owners")
    writer.do("backup", "tree", "--name", "writers")
    assert writer.do("ls", "writers@latest:tree").rstrip().endswith("file")
    done = writer.run("find", "file")
    assert done.stdout.decode().splitlines()[0] == "tree/file"
    assert b"not looked into 1 snapshot" in done.stderr
    for words in (["cat", "writers@latest:tree/file"], ["dump", "writers@latest", "-o", "out.tar"]):
        done = writer.run(*words)
        assert (done.returncode, b"cannot read content" in done.stderr) == (1, True), words
    assert not Path(person.directory / "out.tar").exists()
