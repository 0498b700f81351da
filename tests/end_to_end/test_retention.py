"""Thinning from the command line: policies, reasons, refusals, protection, dates."""

from __future__ import annotations

import pytest

from tests.end_to_end.lamina_cli import Person, events


@pytest.fixture
def three(person: Person) -> Person:
    """Someone with two snapshots of one image and one of another."""
    for number in range(2):
        person.write("a.img", bytes([number]) * 1000)
        person.do("backup", "a.img", "--auto-tag")
    person.do("backup", "a.img", "--name", "b", "--tag", "gold")
    return person


def listed(person: Person) -> list[str]:
    return [one["name"] for one in events(person.do("snapshots", "--json").encode())[:-1]]


def test_by_a_policy_of_the_settings_file_and_a_rule_beside_it(three: Person):
    folder = three.directory / ".config" / "lamina"
    folder.mkdir(parents=True)
    settings = 'timezone = "Europe/Berlin"\n[policy.thin]\nkeep = ["last 1", "tag weekly"]\n'
    (folder / "lamina.toml").write_text(settings)
    shown = three.do("forget", "--policy", "thin", "--keep-tag", "daily", "-n").splitlines()
    assert [line.split()[0] for line in shown] == ["ID", "keep", "keep", "keep", "would"]
    assert shown[1].endswith("tag weekly, tag daily")
    *others, report = events(three.do("forget", "--policy", "last 1", "--keep-yearly", "1", "--json").encode())
    decisions = [one for one in others if one["event"] == "decision"]
    assert [(one["keep"], one["reasons"]) for one in decisions] == [
        (False, ["no rule keeps it"]),
        (True, ["last 1", "yearly 1"]),
        (True, ["last 1", "yearly 1"]),
    ]
    assert (report["kept"], report["snapshots"], report["refused"]) == (2, [decisions[0]["snapshot"]], [])
    assert listed(three) == ["a.img", "b"]
    three.do("unforget", report["snapshots"][0])
    assert three.report("forget", "name:b", "--keep-last", "1")["kept"] == 1
    assert b"policies there: thin" in three.run("forget", "--policy", "thick").stderr


def test_two_policies_in_one_call_are_refused(three: Person):
    """Not the last one taken: somebody who meant both would lose what the first one keeps."""
    assert b"--policy was given twice" in three.run("forget", "--policy", "daily 7", "--policy", "last 1").stderr
    assert b"--group-by was given twice" in three.run("forget", "--group-by", "name", "--group-by", "none").stderr
    assert listed(three) == ["a.img", "a.img", "b"]


def test_a_policy_of_the_settings_file_may_have_blanks_in_its_name(three: Person):
    folder = three.directory / ".config" / "lamina"
    folder.mkdir(parents=True)
    (folder / "lamina.toml").write_text('[policy."my own"]\nkeep = "last 1"\n')
    assert three.report("forget", "--policy", "my own", "-n")["kept"] == 2


def test_what_only_force_removes(three: Person):
    for words in (["latest"], ["--policy", "tag goldd"]):  # young; a typing error
        dry, real = three.run("forget", *words, "-n"), three.run("forget", *words)
        assert (dry.returncode, real.returncode) == (2, 2)
        assert b"would be refused" in dry.stderr
    assert three.run("forget", "--force").returncode == 2
    three.do("forget", "--policy", "tag goldd", "--force")
    assert listed(three) == []


def test_what_is_protected_or_has_a_date_stays_until_that_is_taken_back(three: Person):
    assert [one["protected"] for one in three.report("protect", "first")["snapshots"]] == [True]
    assert three.run("forget", "first", "--force").returncode == 2
    assert three.report("forget", "--keep-last", "1", "--force")["snapshots"] == []
    assert three.report("unprotect", "protected")["snapshots"][0]["protected"] is False
    assert three.report("expire", "first", "--at", "30d")["snapshots"][0]["expires"] is not None
    assert three.report("forget", "--keep-last", "1", "--expired")["snapshots"] == []
    assert three.report("expire", "first", "--never")["snapshots"][0]["expires"] is None
    assert len(three.report("forget", "--keep-last", "1")["snapshots"]) == 1
    assert three.run("expire", "latest", "--at", "2020-01-01").returncode == 2


def test_the_same_call_again_does_the_rest(three: Person):
    first, second, other = (one["id"] for one in events(three.do("snapshots", "--json").encode())[:-1])
    three.do("forget", first, "--force")
    assert three.report("forget", first, second, "--force")["snapshots"] == [second]
    assert three.report("forget", first, second, "--force") == three.report("forget", second, "--force")
    assert listed(three) == ["b"]
    three.do("unforget", first)
    assert three.report("unforget", first, second, other)["snapshots"] == [second]
    again = three.run("unforget", first, second)
    assert (again.returncode, b"no snapshot was chosen that is forgotten" in again.stderr) == (2, True)


def test_choosing_nothing_is_said(three: Person):
    for words in (["tag", "--add", "x"], ["unforget"], ["protect"]):
        done = three.run(*words, "tag:typing-error")
        assert (done.returncode, done.stdout) == (2, b"")
        assert b"no snapshot was chosen" in done.stderr


def test_a_dry_run_is_refused_to_a_writer_like_a_real_one(three: Person):
    secret = three.write("writer.passphrase", b"another one")
    three.do("key", "add", "--role", "writer", "--new-passphrase-file", secret)
    writer = Person(three.directory, passphrase="another one")
    dry, real = (writer.run("forget", "--keep-last", "1", *more) for more in (["-n"], []))
    assert (dry.returncode, dry.stderr, dry.stdout) == (1, real.stderr, real.stdout)
    assert b"may not forget" in dry.stderr
    assert len(events(writer.do("snapshots", "--name", "a.img", "--json").encode())) == 3  # told by its hash
