"""A snapshot against its sources, later: what differs, what was changed since, and what that says of trust."""

from __future__ import annotations

import os
import random
from contextlib import closing
from pathlib import Path

import pytest

from lamina.engine.backup import Input, VerifyMode
from lamina.engine.verifying.source import SourceReport, verify_source
from lamina.errors import EntryMissing, UsageError
from lamina.model.snapshots import Trust
from lamina.sources.files import LocalFiles
from lamina.sources.image import open_image
from lamina.sources.selection import Selection
from lamina.testing.images import MemoryImage
from lamina.testing.repositories import CHUNK, SmallRepository
from tests.unit.engine.tree_backups import later, save

NOISE = random.Random(4).randbytes(5 * CHUNK)


@pytest.fixture
def small() -> SmallRepository:
    """Its clock is far ahead of the files' times, so that none is fresh."""
    return later(SmallRepository())


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    tree = tmp_path / "tree"
    (tree / "below").mkdir(parents=True)
    (tree / "a").write_bytes(b"first")
    (tree / "below" / "b").write_bytes(NOISE)
    return tree


def compare_tree(small: SmallRepository, tree: Path, *, mark: bool = True, holder: str = "owner") -> SourceReport:
    repository = small.open(holder)
    try:
        with closing(LocalFiles(os.fsencode(tree), Selection(), devices={})) as source:
            snapshot = repository.find_snapshot("latest")
            return verify_source(repository, snapshot, [Input("tree", source)], small.operation(), mark=mark)
    finally:
        repository.close()


@pytest.mark.parametrize("holder", ["owner", "writer"])
def test_a_tree_that_is_as_it_was_makes_its_snapshot_verified(small: SmallRepository, tree: Path, holder: str):
    save(small, tree, verify=VerifyMode.NONE, holder=holder)
    assert small.snapshots()[0].trust is Trust.FRESH
    report = compare_tree(small, tree, holder=holder)
    assert (report.differences, report.changed, report.unclear) == ([], [], [])
    assert report.compared == report.size == len(NOISE) + 5
    assert small.snapshots()[0].trust is Trust.VERIFIED


def test_what_was_changed_since_is_told_and_proves_nothing(small: SmallRepository, tree: Path):
    save(small, tree, verify=VerifyMode.NONE)
    (tree / "a").write_bytes(b"second")
    (tree / "below" / "b").unlink()
    report = compare_tree(small, tree)
    assert report.differences == []
    assert {(one.path, one.reason) for one in report.changed} == {
        ("tree/a", "it was modified since"),
        ("tree/below/b", "it is not there any more"),
    }
    assert small.snapshots()[0].trust is Trust.FRESH


def test_an_image_whose_file_was_not_modified_must_be_as_it_is_stored(small: SmallRepository):
    source = MemoryImage(NOISE)
    small.back_up(source, verify=VerifyMode.NONE)
    source.content[100] ^= 1
    report = compare_image(small, source)
    assert [(one.path, one.offset) for one in report.differences] == [("image", 0)]
    (snapshot,) = small.snapshots()
    assert snapshot.trust is Trust.DISTRUSTED
    assert not snapshot.damaged
    assert "differs from its source" in snapshot.note
    healed = small.back_up(source)  # it reads everything again
    assert healed.snapshot is not None
    assert small.restore("latest") == bytes(source.content)


def compare_image(small: SmallRepository, source: MemoryImage, *, mark: bool = True) -> SourceReport:
    repository = small.open()
    try:
        snapshot = repository.find_snapshot("latest")
        return verify_source(repository, snapshot, [Input("image", source)], small.operation(), mark=mark)
    finally:
        repository.close()


def test_nothing_is_marked_unless_it_is_wanted(small: SmallRepository):
    source = MemoryImage(NOISE)
    small.back_up(source, verify=VerifyMode.NONE)
    compare_image(small, source, mark=False)
    assert small.snapshots()[0].trust is Trust.FRESH


def test_a_device_does_not_say_when_it_was_written_to(small: SmallRepository):
    source = MemoryImage(NOISE)
    source.stable = False
    small.back_up(source, verify=VerifyMode.NONE)
    source.content[100] ^= 1
    report = compare_image(small, source)
    assert [one.offset for one in report.unclear] == [0]
    assert report.differences == []
    assert small.snapshots()[0].trust is Trust.FRESH


def test_an_image_file_that_was_modified_since_is_told_so(small: SmallRepository, tmp_path: Path):
    path = tmp_path / "image"
    path.write_bytes(NOISE)
    with closing(open_image(str(path))) as source:
        small.back_up(source, verify=VerifyMode.NONE)
    path.write_bytes(NOISE[:-CHUNK])
    repository = small.open()
    with closing(open_image(str(path))) as source:
        snapshot = repository.find_snapshot("latest")
        report = verify_source(repository, snapshot, [Input("image", source)], small.operation(), mark=True)
    repository.close()
    assert report.differences == report.unclear == []
    assert any("bytes now" in one.reason for one in report.changed)


def test_what_cannot_be_compared_is_refused(small: SmallRepository, tree: Path):
    save(small, tree)
    repository = small.open()
    snapshot = repository.find_snapshot("latest")
    with pytest.raises(UsageError, match="is an image"):
        verify_source(repository, snapshot, [Input("tree", MemoryImage(NOISE))], small.operation())
    with pytest.raises(EntryMissing):
        verify_source(repository, snapshot, [Input("other", MemoryImage(NOISE))], small.operation())
    repository.close()
