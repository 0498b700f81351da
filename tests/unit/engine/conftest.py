"""A tree of files, and a repository that sees it long after it was made."""

from __future__ import annotations

from pathlib import Path

import pytest

from lamina.testing.repositories import SmallRepository
from tests.unit.engine.tree_backups import CONTENTS, later, make


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return make(tmp_path / "tree", CONTENTS)


@pytest.fixture
def late(small: SmallRepository) -> SmallRepository:
    """The small repository long after the files were made: none is fresh."""
    return later(small)
