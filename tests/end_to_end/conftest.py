"""A person with a repository; what they leave behind is verified."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.end_to_end.lamina_cli import Person


@pytest.fixture
def newcomer(tmp_path: Path) -> Person:
    """Somebody without a repository."""
    return Person(tmp_path)


@pytest.fixture
def person(newcomer: Person, new_repository: Path) -> Iterator[Person]:
    """Somebody with a repository, in which everything must be all right at the end."""
    shutil.copytree(new_repository, newcomer.repository)
    yield newcomer
    report = Person(newcomer.directory).report("verify")
    assert report["problems"] == []
