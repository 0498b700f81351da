"""Backups of trees in which a whole file system stops answering while the walk is in it."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from lamina.engine.backup import VerifyMode
from lamina.errors import SourceUnreadable
from lamina.model.entries import EntryState
from lamina.sources.folders import QuietOpener
from lamina.testing.moody_files import HastyClock, MoodyFiles
from lamina.testing.repositories import SmallRepository
from tests.unit.engine.tree_backups import CONTENTS, make, present, save, stored


class Dying(QuietOpener):
    """Once it is dead, the directory of one name is never opened again."""

    def __init__(self, clock: HastyClock, name: bytes) -> None:
        super().__init__()
        self._clock = clock
        self._name = name
        self._is_dead = False
        self._released = threading.Event()

    def die(self) -> None:
        self._is_dead = True
        self._clock.jumps = 20
        self._released.wait()

    def open_directory(self, name: bytes, *, at: int, owner: int) -> int:
        if self._is_dead and name == self._name:
            self.die()
        return super().open_directory(name, at=at, owner=owner)

    def release(self) -> None:
        self._released.set()


@pytest.fixture
def dying(late: SmallRepository, monkeypatch: pytest.MonkeyPatch) -> Iterator[Dying]:
    monkeypatch.setattr("lamina.engine.saving.watched.WAIT_S", 0.02)
    made = Dying(late.clock, b"c")
    yield made
    made.release()


def files_of(tree: Path, dying: Dying) -> MoodyFiles:
    files = MoodyFiles(tree, {("look", b"other"): dying.die})
    files._rules = replace(files._rules, opener=dying)
    return files


def test_what_lies_in_a_directory_that_dies_is_kept_from_the_parent(late: SmallRepository, tree: Path, dying: Dying):
    make(tree, {"b/c/z/last": b"last"})
    save(late, tree)
    expected = present(tree)
    report, _ = save(late, files_of(tree, dying), verify=VerifyMode.NONE)
    found = stored(late)
    assert found.keys() == expected.keys(), "nothing is missing"
    assert {name: one.content for name, one in found.items()} == {name: one.content for name, one in expected.items()}
    flawed = {name: one.state for name, one in found.items() if one.state is not EntryState.WHOLE}
    kept = EntryState.KEPT
    assert flawed == {"b/c": EntryState.UNREAD, "b/c/deep": kept, "b/c/other": kept, "b/c/z": kept}
    assert report.partial
    assert report.files.flawed == 4
    assert not save(late, tree)[0].partial
    assert stored(late) == expected


@pytest.mark.parametrize("path", ["tree", ""])
def test_a_source_that_never_answers_is_no_empty_tree(
    late: SmallRepository, tree: Path, path: str, dying: Dying, monkeypatch: pytest.MonkeyPatch
):
    real = os.listdir

    def listdir(fd):
        if threading.current_thread() is not threading.main_thread():
            dying.die()
        return real(fd)

    monkeypatch.setattr(os, "listdir", listdir)
    files = MoodyFiles(tree)
    if not path:
        with pytest.raises(SourceUnreadable, match="it did not answer"):
            save(late, files, path="")
        assert late.snapshots() == []
        return
    report, _ = save(late, files, verify=VerifyMode.NONE)
    assert [(one.path, one.state) for one in report.flaws] == [("tree", EntryState.UNREAD)]
    assert report.partial


def test_a_directory_that_dies_at_the_first_backup_is_said_to(late: SmallRepository, tree: Path, dying: Dying):
    report, _ = save(late, files_of(tree, dying), verify=VerifyMode.NONE)
    found = stored(late)
    assert [os.fsdecode(name) for name in CONTENTS if name not in found] == ["b/c/deep", "b/c/other"]
    assert [(one.path, one.state) for one in report.flaws] == [("tree/b/c", EntryState.UNREAD)]
    assert report.partial
    save(late, tree)
    assert stored(late) == present(tree)
