"""Restores that could do harm: what a tired person types, and what must come of it."""

from __future__ import annotations

import shutil

from tests.end_to_end.lamina_cli import Person, events


def test_a_repository_below_the_target_outlives_delete(person: Person):
    """It is left out of the backup, as the guide says, so the snapshot does not have it."""
    person.write("srv/data", b"data")
    inside = person.directory / "srv" / "repository"
    shutil.copytree(person.repository, inside)
    person.variables["LAMINA_REPOSITORY"] = str(inside)
    person.do("backup", "srv", "--exclude", "repository/", "--name", "srv")
    person.write("srv/extra", b"extra")
    command = ("restore", "srv@latest:srv", "srv", "--overwrite", "if-changed", "--delete")
    dry = person.run(*command, "--dry-run")
    assert b"srv/extra" in dry.stdout
    assert b"srv/repository: it holds" in dry.stderr, dry.stderr
    assert (inside.parent / "extra").exists()
    done = person.run(*command)
    assert done.returncode == 3, done.stderr
    assert b"srv/repository: it holds" in done.stderr
    assert sorted(one.name for one in inside.parent.iterdir()) == ["data", "repository"]
    assert person.report("verify")["problems"] == []


def test_the_report_is_the_last_event_of_a_restore_with_warnings(person: Person):
    person.write("t/f", b"data")
    person.do("backup", "t", "--name", "t")
    person.write("out/t/f", b"mine")
    done = person.run("restore", "t@latest", "out", "--json")
    assert done.returncode == 3
    assert [event["event"] for event in events(done.stdout)][-2:] == ["message", "report"]


def test_a_name_that_a_key_cannot_read_is_not_called_missing(person: Person):
    """An error is never read as absence, and a name that is hidden neither."""
    person.write("t/f", b"data")
    person.do("backup", "t", "--name", "t")
    person.write("steward", b"another passphrase")
    (person.directory / "steward").chmod(0o600)
    person.do("key", "add", "--role", "steward", "--new-passphrase-file", "steward")
    done = person.run("ls", "t@latest", "--passphrase-file", "steward")
    assert done.returncode == 1
    assert b"cannot be told with this key" in done.stderr
