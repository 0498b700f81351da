"""What was backed up comes back, byte for byte, in every way a person can ask for it."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from tests.end_to_end.lamina_cli import Person, events

MIB = 1 << 20
MAP_BYTES = 64 << 10  # more than the maps of these images need


def _noise(seed: int, size: int) -> bytes:
    return random.Random(seed).randbytes(size)


@pytest.mark.parametrize(
    "size", [0, 1, 4095, MIB, MIB + 1, 5 * MIB + 12345], ids=["empty", "byte", "4095", "chunk", "chunk+1", "odd"]
)
def test_an_image_of_any_size_comes_back(person: Person, size: int):
    image = person.write("a.img", _noise(1, size))
    report = person.report("backup", "a.img")
    assert (report["name"], report["size"], report["coverage"]["share"]) == ("a.img", size, 1.0)
    restored = person.report("restore", "latest", "b.img")
    assert restored["size"] == size
    assert (person.directory / "b.img").read_bytes() == image.read_bytes()


def test_a_sparse_image_comes_back_sparse(person: Person):
    image = person.write("a.img", {3 * MIB: _noise(1, 100), 60 * MIB: b"end"}, size=64 * MIB)
    report = person.report("backup", "a.img")
    assert report["read_bytes"] < 4 * MIB
    person.do("restore", "latest", "b.img")
    restored = person.directory / "b.img"
    assert restored.read_bytes() == image.read_bytes()
    assert restored.stat().st_blocks * 512 < 8 * MIB


def test_a_second_backup_stores_only_what_changed_and_both_come_back(person: Person):
    old = _noise(1, 8 * MIB)
    new = old[: 3 * MIB] + _noise(2, MIB) + old[4 * MIB :]
    person.write("a.img", old)
    first = person.report("backup", "a.img")
    person.write("a.img", new)
    second = person.report("backup", "a.img")
    assert second["parent"] == first["snapshot"]
    assert MIB <= second["new_bytes"] < MIB + MAP_BYTES
    person.do("restore", "latest~1", "old.img")
    person.do("restore", "a.img@latest", "new.img")
    assert (person.directory / "old.img").read_bytes() == old
    assert (person.directory / "new.img").read_bytes() == new


@pytest.mark.parametrize("size", [5 * MIB + 7, MIB // 2], ids=["grew", "shrank"])
def test_an_image_that_changed_its_size_comes_back(person: Person, size: int):
    person.write("a.img", _noise(1, 2 * MIB))
    person.do("backup", "a.img")
    person.write("a.img", _noise(1, 2 * MIB)[:size].ljust(size, b"x"))
    person.do("backup", "a.img")
    person.do("restore", "latest", "b.img")
    assert (person.directory / "b.img").read_bytes() == (person.directory / "a.img").read_bytes()


def test_several_images_go_below_a_directory_and_one_is_named_by_its_path(person: Person):
    outside = person.write("elsewhere/disk.img", b"outside" * 1000)
    person.write("a.img", b"first" * 1000)
    report = person.report("backup", "--name", "vm", "a.img", "--tag", "one", outside)
    assert report["name"] == "vm"
    person.do("restore", "vm@latest", "all/")
    stored = str(outside).lstrip("/")
    assert (person.directory / "all" / "a.img").read_bytes() == b"first" * 1000
    assert (person.directory / "all" / stored).read_bytes() == outside.read_bytes()
    person.do("restore", f"latest:{outside}", "b.img")
    assert (person.directory / "b.img").read_bytes() == outside.read_bytes()
    assert person.run("restore", "latest:no/such", "c.img").returncode == 1
    assert person.run("restore", "latest", "-").returncode == 2


def test_streams_go_in_and_out(person: Person):
    content = _noise(3, 3 * MIB + 17)
    person.do("backup", "-", "--stdin-name", "shop.sql", data=content)
    done = person.run("restore", "shop.sql@latest", "-")
    assert done.returncode == 0
    assert done.stdout == content
    with_events = person.run("restore", "latest", "-", "--json")
    assert with_events.stdout == content
    assert events(with_events.stderr)[-1]["size"] == len(content)


def test_a_target_that_exists_is_refused_and_with_force_only_what_differs_is_written(person: Person):
    content = _noise(1, 6 * MIB)
    person.write("a.img", content)
    person.do("backup", "a.img")
    person.write("a.img", content[:MIB] + bytes(MIB) + content[2 * MIB :] + b"longer")
    assert person.run("restore", "latest", "a.img").returncode == 1
    report = person.report("restore", "latest", "a.img", "--force", "--verify")
    assert (person.directory / "a.img").read_bytes() == content
    assert (report["written_bytes"], report["kept_bytes"], report["verified"]) == (MIB, 5 * MIB, True)


def test_an_interrupted_restore_is_resumed(person: Person):
    content = _noise(1, 4 * MIB)
    person.write("a.img", content)
    person.do("backup", "a.img")
    person.write("b.img", content[: 2 * MIB], size=len(content))
    report = person.report("restore", "latest", "b.img", "--resume")
    assert (person.directory / "b.img").read_bytes() == content
    assert report["kept_bytes"] == 2 * MIB
    person.write("c.img", b"precious")
    refused = person.run("restore", "latest", "c.img", "--resume")
    assert refused.returncode == 1
    assert b"is no interrupted restore of this image" in refused.stderr
    assert (person.directory / "c.img").read_bytes() == b"precious"


def test_a_restore_below_a_directory_follows_no_link_out_of_it(person: Person):
    for name in ("vg/a.img", "vg/b.img"):
        person.write(name, _noise(1, MIB))
    person.do("backup", "vg/a.img", "vg/b.img")
    (person.directory / "out").mkdir()
    (person.directory / "elsewhere").mkdir()
    (person.directory / "out" / "vg").symlink_to(person.directory / "elsewhere")
    refused = person.run("restore", "latest", "out")
    assert refused.returncode == 3
    assert b"out/vg: a directory belongs there" in refused.stderr
    person.do("restore", "latest", "out", "--force")
    assert not (person.directory / "out" / "vg").is_symlink()
    assert (person.directory / "out" / "vg" / "a.img").read_bytes() == (person.directory / "vg" / "a.img").read_bytes()
    assert list((person.directory / "elsewhere").iterdir()) == []


def test_dry_runs_leave_no_trace(person: Person):
    person.write("a.img", _noise(1, MIB))
    assert person.report("backup", "a.img", "--dry-run")["snapshot"] is None
    assert "no snapshots" in person.do("snapshots")
    person.do("backup", "a.img")
    person.do("restore", "latest", "b.img", "-n")
    person.do("forget", "latest", "-n", "--force")
    assert not (person.directory / "b.img").exists()
    assert "a.img" in person.do("snapshots")


@pytest.mark.parametrize("compression", ["off", "fast", "best"])
def test_every_compression_comes_back(person: Person, compression: str):
    content = b"all work and no play " * 100_000
    person.write("a.img", content)
    report = person.report("backup", "a.img", "--compression", compression, "--check-encoding")
    assert (report["stored_bytes"] < len(content) / 10) is (compression != "off")
    person.do("restore", "latest", "b.img")
    assert (person.directory / "b.img").read_bytes() == content


@pytest.mark.parametrize("mode", ["full", "sample", "none"])
def test_the_report_says_how_much_was_compared(person: Person, mode: str):
    person.write("a.img", _noise(1, 4 * MIB))
    coverage = person.report("backup", "a.img", "--verify", mode)["coverage"]
    assert coverage["mode"] == mode
    assert (coverage["share"] == 1.0) is (coverage["compared_bytes"] == coverage["of_bytes"])
    assert (coverage["compared_bytes"] == 0) is (mode == "none")


def test_hints_choose_what_is_read(person: Person):
    content = bytearray(_noise(1, 64 * MIB))
    person.write("a.img", content)
    person.do("backup", "a.img", "--verify", "none")
    content[MIB : MIB + 5] = b"hello"
    person.write("a.img", content)
    hints = person.write("hints", json.dumps([{"offset": MIB, "length": 5, "exists": "true"}]).encode())
    report = person.report("backup", "a.img", "--hints", hints)
    assert report["hints_untrusted"] == []
    assert MIB <= report["new_bytes"] < MIB + MAP_BYTES
    person.do("restore", "latest", "b.img")
    assert (person.directory / "b.img").read_bytes() == content


@pytest.mark.parametrize(
    "hints", [b"", b"{}", b"[{}]", b'[{"offset": 0, "length": 99999999, "exists": "true"}]', b'[{"offset": -1}]']
)
def test_hints_that_cannot_be_used_are_refused(person: Person, hints: bytes):
    person.write("a.img", _noise(1, MIB))
    done = person.run("backup", "a.img", "--hints", "-", data=hints)
    assert done.returncode == 1
    assert b"hint" in done.stderr


def test_snapshots_are_listed_shown_tagged_forgotten_and_taken_back(person: Person):
    person.write("a.img", _noise(1, 1000))
    first = person.report("backup", "a.img", "--tag", "daily", "--expire", "30d")["snapshot"]
    second = person.report("backup", "a.img", "--name", "other")["snapshot"]
    assert [one["id"] for one in _listed(person)] == [first, second]
    assert [one["id"] for one in _listed(person, "--tag", "daily")] == [first]
    assert [one["id"] for one in _listed(person, "--name", "other")] == [second]
    shown = person.report("show", first[:8])
    assert (shown["tags"], shown["paths"], shown["entries"]) == (
        ["daily"],
        ["a.img"],
        [{"path": "a.img", "size": 1000}],
    )
    assert shown["expires"] > shown["finished"]
    person.do("tag", first[:8], "--add", "weekly", "--remove", "daily")
    assert [one["tags"] for one in _listed(person, "--name", "a.img")] == [["weekly"]]
    person.do("forget", first, "--force")
    assert [one["id"] for one in _listed(person)] == [second]
    assert [one["removed"] for one in _listed(person, "--removed")] == [True, False]
    assert person.run("restore", first, "b.img").returncode == 1
    person.do("unforget", first)
    assert [one["id"] for one in _listed(person)] == [first, second]
    assert person.run("unforget", first).returncode == 2
    assert person.run("show", "0000").returncode == 1


def _listed(person: Person, *words: str) -> list[dict[str, object]]:
    return [one for one in events(person.do("snapshots", "--json", *words).encode()) if one["event"] == "snapshot"]


def test_the_text_for_people_says_what_happened(person: Person):
    person.write("a.img", _noise(1, 2 * MIB))
    backed_up = person.do("backup", "a.img")
    assert "snapshot" in backed_up
    assert "2.0 MiB" in backed_up
    assert "matches" in backed_up
    assert "a.img" in person.do("snapshots")
    assert "a.img" in person.do("show", "latest")
    assert "wrote 2.0 MiB" in person.do("restore", "latest", "b.img")
    assert "all right" in person.do("verify")
    assert person.do("backup", "a.img", "--quiet") == ""


def test_a_writer_backs_up_and_only_the_owner_restores(person: Person):
    secret = person.write("p", b"writer")
    secret.chmod(0o600)
    person.do("key", "add", "--role", "writer", "--new-passphrase-file", secret)
    writer = Person(person.directory, passphrase="writer")
    content = _noise(1, 2 * MIB)
    person.write("a.img", content)
    report = writer.report("backup", "a.img")
    assert report["coverage"]["share"] == 1.0
    assert writer.run("restore", "latest", "stolen.img").returncode == 1
    assert (
        not (person.directory / "stolen.img").exists() or b"\0" * 100 in (person.directory / "stolen.img").read_bytes()
    )
    person.do("restore", "latest", "b.img")
    assert (person.directory / "b.img").read_bytes() == content


def test_relative_and_absolute_sources_of_one_path_are_a_usage_error(person: Person):
    person.write("a.img", b"x")
    assert person.run("backup", "a.img", "./a.img").returncode == 2
    assert person.run("backup", "a.img", "x/../a.img").returncode == 2


def test_a_profile_can_be_a_relative_directory(person: Person, tmp_path: Path):
    person.write("a.img", b"x")
    person.do("-r", "./repository", "backup", "a.img")
    assert person.run("-r", "repository", "snapshots").returncode == 0
