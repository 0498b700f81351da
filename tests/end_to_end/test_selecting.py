"""Every verb that takes snapshots takes selectors, and says what it misses."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tests.end_to_end.lamina_cli import Person, events

NAMES = ["web", "web", "mail server"]


@pytest.fixture
def person_with_three(person: Person) -> Person:
    """Somebody with three snapshots of a file, of two names."""
    for number, name in enumerate(NAMES):
        person.write("file", str(number).encode())
        person.do("backup", "file", "--name", name, "--tag", f"number-{number}")
    return person


def selected(person: Person, *words: str) -> list[str]:
    """The tags of what a list shows; they tell which snapshots these are."""
    found = events(person.run("snapshots", *words, "--json").stdout)
    return [tag.removeprefix("number-") for one in found if one["event"] == "snapshot" for tag in one["tags"]]


def test_one_list_shows_what_is_selected(person_with_three: Person):
    person = person_with_three
    assert selected(person) == ["0", "1", "2"]
    assert selected(person, "name:web") == ["0", "1"]
    assert selected(person, "reverse(all)", "--name", "web") == ["1", "0"]
    assert selected(person, "latest", "'mail server'@latest, first") == ["2", "0"]
    today, tomorrow = (f"{datetime.now(UTC) + timedelta(days=days):%Y-%m-%d}" for days in (0, 1))
    assert selected(person, f"..{tomorrow} & not(tag:number-1)") == ["0", "2"]
    assert selected(person, f"{tomorrow}..") == selected(person, "..2020-01-01") == []
    assert selected(person, f"2020-01-01..{today}, all", "--timezone", "Pacific/Kiritimati") == ["0", "1", "2"]


def test_verbs_of_one_snapshot_want_exactly_one(person_with_three: Person):
    person = person_with_three
    assert person.do("cat", "tag:number-1:file") == "1"
    assert person.do("cat", "last(name:web):file") == "1"
    assert "mail server" in person.do("show", "0")
    assert "1 B" in person.do("dump", "'mail server'@latest:file", "-o", "out.tar")
    person.do("restore", "first:file", "restored")
    assert (person.directory / "restored").read_bytes() == b"0"
    assert person.do("diff", "first:file", "latest:file", "--stat")
    for words in (["ls", "name:web"], ["cat", "all:file"], ["restore", "name:web", "out"], ["show", "all"]):
        done = person.run(*words)
        assert done.returncode == 1
        assert b"where one is meant" in done.stderr
    assert b"no snapshot fits" in person.run("ls", "tag:none").stderr


def test_verbs_of_many_take_all_that_is_selected(person_with_three: Person):
    person = person_with_three
    person.do("tag", "name:web", "0", "--add", "seen")
    assert selected(person, "tag:seen & tag:number-0") == ["0", "seen"]
    assert len(person.do("du", "name:web").splitlines()) == 3
    assert len(person.do("find", "file", "--snapshot", "name:web").splitlines()) == 3
    person.do("forget", "first", "--force")
    assert selected(person, "all & not(tag:number-2)") == ["1", "seen"]
    assert selected(person, "removed", "--removed") == ["0", "seen"]
    assert "0" in person.do("show", "tag:number-0")
    person.do("unforget", "removed")
    assert len(selected(person)) == 6


def test_what_is_no_selector_is_refused_with_its_place(person_with_three: Person):
    for words in (["snapshots", "tag:a &"], ["forget", "web"], ["ls", "name:"], ["show", "latest:file"]):
        done = person_with_three.run(*words)
        assert done.returncode == 2
        assert b"letter" in done.stderr or b"names an entry" in done.stderr
    assert b"no time zone" in person_with_three.run("snapshots", "--timezone", "Europe/Atlantis").stderr


def test_a_list_reads_no_record_twice(person_with_three: Person):
    person = person_with_three
    person.do("snapshots")
    broken = next((person.repository / "snapshots").iterdir())
    data = broken.read_bytes()
    broken.write_bytes(bytes(len(data)))
    assert len(selected(person)) == 3  # it was known before
    assert person.run("verify").returncode == 1  # believes nothing but the storage
    broken.write_bytes(data)


def test_every_list_shows_the_times_by_which_selectors_go(person_with_three: Person):
    for words in (["snapshots"], ["find", "file"], ["history", "file", "--name", "web"], ["du", "first"]):
        assert "+14:00" in person_with_three.do(*words, "--timezone", "Pacific/Kiritimati")
