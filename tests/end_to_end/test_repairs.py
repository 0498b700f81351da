"""`lamina repair` on the command line, on damage of every kind it mends."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from tests.end_to_end.lamina_cli import Person

IMAGE = random.Random(4).randbytes(3 << 20)


@pytest.fixture
def saved(person: Person) -> Person:
    """Somebody with one image in a repository."""
    person.write("disk.img", IMAGE)
    person.do("backup", "disk.img", "--name", "disk")
    return person


@pytest.fixture
def scarred(newcomer: Person, new_repository: Path) -> Person:
    """The same for damage of which something stays: damaged objects are not taken away, so verify goes on naming them."""
    shutil.copytree(new_repository, newcomer.repository)
    newcomer.write("disk.img", IMAGE)
    newcomer.do("backup", "disk.img", "--name", "disk")
    return newcomer


def packs(person: Person, kind: str) -> list[Path]:
    return sorted(path for path in (person.repository / kind).rglob("*") if path.is_file())


def restored(person: Person, snapshot: str = "latest") -> bytes:
    person.do("restore", f"{snapshot}:disk.img", "out.img", "--force")
    return (person.directory / "out.img").read_bytes()


def flip(path: Path, offset: int) -> None:
    data = bytearray(path.read_bytes())
    data[offset] ^= 1
    path.chmod(0o600)
    path.write_bytes(data)


def test_a_whole_repository_needs_nothing(saved: Person):
    assert "nothing to be done" in saved.do("repair", "--dry-run")
    assert "nothing to be done" in saved.do("repair")


def test_an_index_is_made_again_from_packs(saved: Person):
    shutil.rmtree(saved.repository / "index")
    assert saved.run("restore", "latest:disk.img", "out.img", "--force").returncode == 1
    planned = saved.report("repair", "--dry-run", "--index-only")
    assert (planned["dry_run"], planned["planned"]["index"], planned["lost"]) == (True, True, [])
    assert not (saved.repository / "index").exists()
    assert saved.report("repair", "--index-only")["adopted"] == len(packs(saved, "data") + packs(saved, "meta"))
    assert restored(saved) == IMAGE
    assert saved.report("verify")["problems"] == []


def test_what_stays_lost_is_named_and_the_rest_is_a_new_snapshot(scarred: Person):
    flip(packs(scarred, "data")[0], 5000)
    planned = scarred.run("repair", "--dry-run", "--json")
    assert planned.returncode == 3
    done = scarred.run("repair")
    assert done.returncode == 3
    assert b"disk.img" in done.stdout
    assert b"made snapshot" in done.stdout
    assert scarred.run("restore", "latest:disk.img", "out.img", "--force").returncode == 3
    found = (scarred.directory / "out.img").read_bytes()
    assert found != IMAGE
    assert len(found) == len(IMAGE)
    assert "repaired" in scarred.do("snapshots")
    assert scarred.run("repair").returncode == 0


def test_the_source_gives_back_what_is_lost(saved: Person):
    for pack in packs(saved, "data"):
        pack.unlink()
    assert saved.report("repair", "--source", ".")["lost"] == []
    assert restored(saved) == IMAGE


def test_another_repository_gives_back_what_is_lost(saved: Person):
    offsite = Person(saved.directory / "elsewhere", passphrase="another passphrase")
    offsite.directory.mkdir()
    offsite.do("init", "--no-probe")
    saved.variables |= {"LAMINA_TO_PASSPHRASE": "another passphrase", "LAMINA_FROM_PASSPHRASE": "another passphrase"}
    saved.do("copy", "all", "--to", "elsewhere/repository")
    for pack in packs(saved, "data") + packs(saved, "meta"):
        pack.unlink()
    assert saved.report("repair", "--from", "elsewhere/repository")["lost"] == []
    assert restored(saved) == IMAGE


def test_a_mirror_gives_back_what_is_lost(saved: Person):
    shutil.copytree(saved.repository, saved.directory / "mirror")
    saved.variables["LAMINA_FROM_PASSPHRASE"] = saved.passphrase
    for pack in packs(saved, "data"):
        pack.unlink()
    assert len(saved.report("repair", "--from", "mirror")["fetched"]) >= 1
    assert restored(saved) == IMAGE
    assert saved.report("verify")["problems"] == []


def test_damaged_parameters_are_written_anew(scarred: Person):
    flip(scarred.repository / "format" / "00000001", 70)
    assert restored(scarred) == IMAGE
    assert scarred.run("backup", "disk.img").returncode == 1
    assert "format/00000002" in scarred.do("repair")
    scarred.do("backup", "disk.img", "--name", "disk")


def test_lamina_json_is_made_again_with_the_recovery_key(scarred: Person, tmp_path_factory: pytest.TempPathFactory):
    key = scarred.report("key", "export")["recovery_key"]
    root = scarred.repository / "lamina.json"
    whole = root.read_bytes()
    assert scarred.run("repair", "--lamina-json").returncode == 2  # a passphrase is not enough
    root.unlink()
    done = scarred.run("snapshots")
    assert done.returncode == 10
    assert b"repair --lamina-json" in done.stderr
    refused = scarred.run("init", "--no-probe")
    assert refused.returncode == 1
    assert b"delete nothing" in refused.stderr  # and not that this place may be emptied
    stranger = Person(tmp_path_factory.mktemp("stranger"))
    stranger.do("init", "--no-probe")
    other = stranger.report("key", "export")["recovery_key"]
    assert Person(scarred.directory, passphrase=other).run("repair", "--lamina-json").returncode == 12
    assert not root.exists()
    Person(scarred.directory, passphrase=key).do("repair", "--lamina-json")
    assert root.read_bytes() == whole
    assert restored(scarred) == IMAGE
