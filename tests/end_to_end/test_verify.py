"""`lamina verify` in all its ways, and `lamina restore --salvage`, as a person calls them."""

from __future__ import annotations

import json
import os
import random
import shutil
from pathlib import Path

import pytest

from tests.end_to_end.lamina_cli import Person

IMAGE = random.Random(8).randbytes(3 << 20)


@pytest.fixture
def saved(newcomer: Person, new_repository: Path) -> Person:
    """Somebody with a snapshot of an image and one of a tree; not verified in the end, as tests damage it."""
    shutil.copytree(new_repository, newcomer.repository)
    newcomer.write("disk.img", IMAGE)
    newcomer.write("tree/a", b"a" * 5000)
    newcomer.write("tree/deep/b", IMAGE[:300_000])
    newcomer.do("backup", "disk.img")
    newcomer.do("backup", "tree")
    return newcomer


def damage(person: Person) -> str:
    """Turn over some bytes in the middle of the largest pack, which holds the image's chunks; returns its name."""
    largest = max((person.repository / "data").rglob("?" * 64), key=lambda path: path.stat().st_size)
    with largest.open("r+b") as file:
        file.seek(largest.stat().st_size // 2)
        file.write(b"rot")
    return f"data/{largest.name}"


def test_a_share_a_day_covers_everything_and_coverage_says_so(saved: Person):
    first = saved.report("verify", "--share", "1/3")
    assert first["recorded"]
    assert 0 < first["packs_read"]["count"] < first["packs"]["count"]
    for _ in range(2):
        saved.do("verify", "--share", "33.4%")
    saved.do("verify", "latest")  # which changes nothing for the others
    content = saved.report("verify", "--coverage")["verified"][1]
    assert content["depth"] == "content"
    assert content["never"] == {"count": 0, "bytes": 0}
    assert "never" in saved.do("verify", "--coverage")
    assert saved.report("verify", "--older-than", "1d")["packs_read"]["count"] == 0
    assert saved.report("verify", "--max-read", "0")["packs_left"]["count"] == first["packs"]["count"]


def test_chosen_snapshots_are_checked_alone(saved: Person):
    """Nothing is read of what only others need."""
    hurt = damage(saved)
    report = saved.report("verify", "latest")  # the tree
    assert 0 < report["packs_read"]["count"] < report["packs"]["count"]
    assert (report["problems"], report["snapshots"], len(report["verified"])) == ([], 1, 1)
    found = saved.run("verify", "latest~1", "--json")
    assert found.returncode == 1
    assert hurt in found.stdout.decode()
    assert [line.split()[-1] for line in saved.do("snapshots").splitlines()[1:]] == ["distrusted", "verified"]
    assert saved.run("verify", "tag:nothing").returncode == 1
    assert "checked whole" in saved.run("verify", "latest", "--no-key").stderr.decode()
    assert "checked whole" in saved.run("verify", "latest", "--share", "1/2").stderr.decode()


def test_a_snapshot_that_cannot_be_listed_is_no_reason_to_say_that_all_is_right(saved: Person):
    """Nobody knows whether it is one of those that were meant."""
    records = sorted((saved.repository / "snapshots").iterdir())
    records[0].write_bytes(records[0].read_bytes()[:-1])
    found = saved.run("verify", "all", "--cache-dir", str(saved.directory / "new"))
    assert found.returncode == 1
    assert f"snapshots/{records[0].name}" in found.stdout.decode()


def test_a_forgotten_snapshot_can_be_checked_before_it_is_brought_back(saved: Person):
    forgotten = saved.report("forget", "latest", "--force")["snapshots"][0]
    assert saved.report("verify", forgotten[:8])["snapshots"] == 1
    assert saved.report("verify", "removed")["snapshots"] == 1
    assert saved.report("verify", "latest")["snapshots"] == 1  # of those that are kept


def test_where_nobody_knows_what_a_snapshot_needs_everything_is_read(saved: Person):
    for pack in (saved.repository / "meta").rglob("?" * 64):
        size = pack.stat().st_size
        with pack.open("r+b") as file:
            file.seek(size // 10)
            file.write(bytes(size * 8 // 10))
    found = saved.run("verify", "latest")
    assert found.returncode == 1
    assert "every pack is read" in found.stderr.decode()
    assert "needs what is missing or damaged" in found.stdout.decode()


def test_the_structure_is_checked_without_data(saved: Person):
    report = saved.report("verify", "--structure")
    assert report["packs_read"]["count"] < report["packs"]["count"]
    assert report["problems"] == []


def test_no_passphrase_is_needed_to_check_bytes(saved: Person):
    stranger = Person(saved.directory, passphrase="some guess")
    assert "everything is all right" in stranger.do("verify", "--no-key")
    name = damage(saved)
    done = stranger.run("verify", "--no-key")
    assert done.returncode == 1
    assert f"DAMAGED: {name}" in done.stdout.decode()


def test_damage_is_named_marked_healed_and_forgiven(saved: Person):
    name = damage(saved)
    done = saved.run("verify")
    assert done.returncode == 1
    assert "marked as distrusted" in done.stdout.decode()
    assert "repair --dry-run" in done.stdout.decode()
    assert "distrusted" in saved.do("snapshots")
    saved.do("backup", "disk.img")
    said = saved.do("verify")
    assert f"note: {name}" in said
    assert "everything is all right" in said
    assert "distrusted" not in saved.do("snapshots")
    saved.do("repair")  # the note says so: otherwise what is whole in the pack keeps it there
    saved.do("prune")
    assert name not in saved.do("verify")


def test_marks_are_left_alone_if_asked(saved: Person):
    damage(saved)
    assert saved.run("verify", "--no-mark").returncode == 1
    assert "distrusted" not in saved.do("snapshots")


def test_a_snapshot_is_compared_with_its_source(saved: Person):
    assert saved.report("verify", "--source", "tree@latest", "tree")["marked"] == "verified"
    saved.write("tree/a", b"changed")
    report = saved.report("verify", "--source", "tree@latest", "tree")
    assert [one["path"] for one in report["changed_since"]] == ["tree/a"]
    assert "changed since: tree/a" in saved.do("verify", "--source", "tree@latest", "tree")


@pytest.mark.parametrize(
    "words",
    [
        ["--no-key", "--share", "1/7"],
        ["--coverage", "--no-key"],
        ["--structure", "--share", "1/2"],
        ["--share", "7"],
        ["--share", "x"],
        ["--source", "latest"],
    ],
)
def test_what_makes_no_sense_is_refused(newcomer: Person, words: list[str]):
    done = newcomer.run("verify", *words)
    assert done.returncode == 2, done.stderr
    assert b"hint" in done.stderr or b"cannot be combined" in done.stderr


def test_of_a_damaged_image_all_that_is_left_is_restored(saved: Person):
    name = damage(saved)
    failed = saved.run("restore", "disk.img@latest", "out.img")
    assert failed.returncode == 1
    assert b"--salvage" in failed.stderr
    Path(saved.directory / "out.img").unlink()
    done = saved.run("restore", "disk.img@latest", "out.img", "--salvage", "--json")
    assert done.returncode == 3, done.stderr
    (missing,) = json.loads(done.stdout.splitlines()[-1])["missing"]
    assert missing["object"] == name
    got, start, end = (
        (saved.directory / "out.img").read_bytes(),
        missing["offset"],
        missing["offset"] + missing["length"],
    )
    assert got == IMAGE[:start] + bytes(end - start) + IMAGE[end:]
    text = saved.run("restore", "disk.img@latest", "other.img", "--salvage")
    assert text.returncode == 3
    assert name in text.stdout.decode()


@pytest.mark.parametrize("words", [["cat", "disk.img@latest:disk.img"], ["dump", "disk.img@latest"]])
def test_other_ways_to_content_say_where_the_rest_is_to_be_had(saved: Person, words: list[str]):
    damage(saved)
    done = saved.run(*words)
    assert done.returncode == 1
    assert b"--salvage" in done.stderr


def test_of_a_damaged_tree_all_that_is_left_is_restored(saved: Person):
    for pack in (saved.repository / "data").rglob("?" * 64):
        if pack.stat().st_size > 1 << 20:
            continue
        with pack.open("r+b") as file:
            file.seek(100)
            file.write(os.urandom(8))
    plain = saved.run("restore", "tree@latest", "out")
    assert plain.returncode == 3
    assert b"--salvage" in plain.stderr
    done = saved.run("restore", "tree@latest", "salvaged", "--salvage", "--json")
    assert done.returncode == 3, done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    assert report["missing"]
    for one in report["missing"]:
        path = saved.directory / one["path"]
        assert not path.exists() or path.stat().st_mtime == 0
    assert "MISSING" in saved.run("restore", "tree@latest", "third", "--salvage").stdout.decode()
