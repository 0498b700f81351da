"""Trees are compared with their source after a backup."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lamina.engine.backup import BackupOptions, Input, VerifyMode, backup
from lamina.errors import SourceUnreadable
from lamina.model.snapshots import Trust
from lamina.testing.moody_files import Hanging, MoodyFiles
from lamina.testing.repositories import SmallRepository
from lamina.testing.storages import Effect, Fault, FaultyStorage
from tests.unit.engine.tree_backups import NOISE, present, save, stored


def test_a_writers_backup_is_verified_without_reading_content_back(late: SmallRepository, tree: Path):
    report, _ = save(late, tree, holder="writer")
    assert (report.coverage.mode, report.coverage.differences) == (VerifyMode.SAMPLE, ())
    assert report.coverage.compared == report.statistics.size


def test_whole_verification_marks_the_snapshot(late: SmallRepository, tree: Path):
    report, _ = save(late, tree, verify=VerifyMode.FULL)
    assert (report.coverage.mode, report.coverage.share) == (VerifyMode.FULL, 1.0)
    assert late.snapshots()[0].trust is Trust.VERIFIED


@pytest.mark.parametrize("verify", [VerifyMode.ADAPTIVE, VerifyMode.FULL])
@pytest.mark.parametrize("name", ["a", "b/large", "d/two"])
def test_wrong_content_is_found_by_the_comparison(late: SmallRepository, tree: Path, name: str, verify: VerifyMode):
    """The source gave other bytes when it was read than it has: bad memory, say."""
    repository = late.open()
    files = MoodyFiles(tree)
    wrong = os.fsencode(Path(name).name)

    class Lying:
        """A source that reads one file wrongly, once."""

        def __getattr__(self, attribute):
            return getattr(files, attribute)

        def read_small(self, folder, found):
            got = files.read_small(folder, found)
            return (got[0], b"X" * len(got[1])) if found.name == wrong else got

        def open(self, folder, found):
            file = files.open(folder, found)
            if found.name == wrong:
                real = file.read_into

                def read_into(buffer):
                    got = real(buffer)
                    buffer[:got] = b"X" * got
                    return got

                file.read_into = read_into
            return file

        def walk(self, *arguments):
            return files.walk(*arguments)

        name, looking_at, describe, look, close = "x", (), files.describe, files.look, files.close

    report = backup(repository, [Input("tree", Lying())], BackupOptions("x", verify=verify), late.operation())
    assert [one.path for one in report.coverage.differences] == [f"tree/{name}"]
    assert repository.find_snapshot("latest").trust is Trust.DISTRUSTED
    repository.close()
    files.close()
    report, files = save(late, tree, name="x")
    assert report.coverage.differences == ()
    assert stored(late) == present(tree)


@pytest.mark.parametrize("holder", ["owner", "writer"])
def test_damage_in_the_storage_is_found_by_the_sample(late: SmallRepository, tree: Path, holder: str):
    storage = FaultyStorage(late.storage, [Fault("any", effect=Effect.FLIPPED, prefix="data/", lasting=True)])
    repository = late.open(holder, storage=storage)
    report = backup(repository, [Input("tree", MoodyFiles(tree))], BackupOptions("x"), late.operation())
    repository.close()
    assert storage.met
    assert report.coverage.differences
    assert late.snapshots()[0].trust is Trust.DISTRUSTED


def test_a_file_that_changed_since_it_was_stored_is_no_difference(late: SmallRepository, tree: Path):
    """`look` is what the comparison asks first."""
    files = MoodyFiles(tree)
    real = files.look

    def look(names):
        (tree / "a").write_bytes(b"since")
        return real(names)

    files.look = look
    repository = late.open()
    report = backup(repository, [Input("tree", files)], BackupOptions("x", verify=VerifyMode.FULL), late.operation())
    repository.close()
    assert report.coverage.differences == ()


def test_a_file_that_does_not_answer_when_it_is_compared_is_left_out(
    late: SmallRepository, tree: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("lamina.engine.saving.watched.WAIT_S", 0.01)
    hanging = Hanging(late.clock)
    files = MoodyFiles(tree)
    real = files.look

    def look(names):
        if names[-1] == b"large":
            hanging()
        return real(names)

    files.look = look
    try:
        report, _ = save(late, files)
    finally:
        hanging.release()
    assert report.coverage.differences == ()
    assert report.coverage.compared == report.statistics.size - len(NOISE)


@pytest.mark.parametrize("moment", ["look", "open"])
def test_a_whole_comparison_is_none_if_something_cannot_be_read_any_more(
    late: SmallRepository, tree: Path, moment: str
):
    files = MoodyFiles(tree)
    look, real = files.look, getattr(files, moment)
    is_compared = False

    def looking(names):
        nonlocal is_compared
        is_compared = True
        return look(names)

    def refuse(*arguments):
        if is_compared:
            raise SourceUnreadable("the disk broke")
        return real(*arguments)

    files.look = looking
    setattr(files, moment, refuse)
    is_compared = moment == "look"
    report, _ = save(late, files, verify=VerifyMode.FULL)
    assert (report.coverage.mode, report.coverage.compared, report.coverage.differences) == (VerifyMode.SAMPLE, 0, ())
    assert late.snapshots()[0].trust is Trust.FRESH


def test_a_fresh_file_is_left_out_of_the_comparison(small: SmallRepository, tree: Path):
    """It may have changed since, and its times would not say so."""
    report, _ = save(small, tree, verify=VerifyMode.SAMPLE)
    assert (report.coverage.compared, report.coverage.differences) == (0, ())
