"""Backups of trees whose files change, vanish, cannot be read or never answer, beside prunes and storages that fail."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from lamina.engine.backup import BackupOptions, Input, VerifyMode, backup
from lamina.engine.saving.tree_jobs import TreeOptions
from lamina.errors import SourceUnreadable, Stopped, StorageUnavailable
from lamina.model.entries import EntryState
from lamina.repository.format import Kind
from lamina.repository.generations import generation_name
from lamina.repository.records import GenerationOpenRecord
from lamina.testing.moody_files import Hanging, MoodyFiles
from lamina.testing.repositories import SmallRepository
from lamina.testing.storages import Fault, FaultyStorage
from tests.unit.engine.tree_backups import CONTENTS, NOISE, make, objects, present, save, stored


def test_a_file_that_changes_while_it_is_read_is_read_again(late: SmallRepository, tree: Path):
    times = iter([b"second"])

    def change() -> None:
        for content in times:
            (tree / "a").write_bytes(content)

    report, _ = save(late, tree, moods={("changed", b"a"): change})
    assert stored(late)["a"].content == b"second"
    assert (report.files.flawed, report.partial) == (0, False)


def test_a_file_that_never_stops_changing_is_said_to(late: SmallRepository, tree: Path):
    size = 10

    def grow() -> None:
        nonlocal size
        size += 1
        (tree / "a").write_bytes(b"x" * size)

    report, _ = save(late, tree, moods={("changed", b"a"): grow})
    found = stored(late)["a"]
    assert found.state is EntryState.CHANGED
    assert [(flaw.path, flaw.state) for flaw in report.flaws] == [("tree/a", EntryState.CHANGED)]
    assert (report.files.flawed, report.partial) == (1, False)
    report, files = save(late, tree, verify=VerifyMode.NONE)
    assert files.done("read") == [b"a"]
    assert stored(late) == present(tree)


def refuse() -> None:
    raise SourceUnreadable("the disk is broken here")


@pytest.mark.parametrize("name", ["a", "b/large"])
@pytest.mark.parametrize("moment", ["open", "read"])
def test_what_cannot_be_read_is_carried_forward_and_read_again(
    late: SmallRepository, tree: Path, name: str, moment: str
):
    moods = {(moment, os.fsencode(Path(name).name)): refuse}
    first, _ = save(late, tree, moods=moods)
    assert (stored(late)[name].state, stored(late)[name].content) == (EntryState.UNREAD, b"")
    assert [(flaw.path, flaw.state, flaw.reason) for flaw in first.flaws] == [
        (f"tree/{name}", EntryState.UNREAD, "the disk is broken here")
    ]
    assert first.partial
    assert late.snapshots()[-1].partial
    assert save(late, tree, verify=VerifyMode.NONE)[1].done("read") == [os.fsencode(Path(name).name)]
    assert stored(late) == present(tree)
    (tree / name).write_bytes(b"newer")
    third, _ = save(late, tree, moods=moods)
    kept = stored(late)[name]
    assert (kept.state, kept.content) == (EntryState.KEPT, CONTENTS[name])
    assert third.partial
    fourth, _ = save(late, tree, moods=moods)
    assert (stored(late)[name].state, stored(late)[name].content) == (EntryState.KEPT, CONTENTS[name])
    assert fourth.partial
    assert not save(late, tree)[0].partial
    assert stored(late) == present(tree)


@pytest.mark.root
def test_a_directory_that_cannot_be_listed_is_carried_forward_whole(late: SmallRepository):
    with TemporaryDirectory() as made:
        os.chmod(made, 0o755)
        tree = make(Path(made) / "tree", CONTENTS)
        save(late, tree)
        (tree / "b").chmod(0)
        (tree / "d" / "one").write_bytes(b"changed")
        os.seteuid(65534)
        try:
            if not os.access(tree, os.R_OK, effective_ids=True):
                pytest.skip("not even the way to temporary files is open to everybody here")
            report, _ = save(late, tree, verify=VerifyMode.NONE)
        finally:
            os.seteuid(0)
        found = stored(late)
        assert (found["b"].state, found["b/c/deep"].content) == (EntryState.KEPT, b"in depth")
        assert found["d/one"].content == b"changed"
        assert [(flaw.path, flaw.state) for flaw in report.flaws] == [("tree/b", EntryState.KEPT)]
        assert report.partial
        (tree / "b").chmod(0o755)
        save(late, tree, verify=VerifyMode.NONE)
        assert stored(late) == present(tree)


def test_a_file_that_vanishes_is_left_out_without_a_fuss(late: SmallRepository, tree: Path):
    report, _ = save(late, tree, moods={("open", b"two"): (tree / "d" / "two").unlink})
    assert stored(late).keys() == present(tree).keys()
    assert (report.files.vanished, report.files.flawed, report.partial) == (1, 0, False)


@pytest.mark.parametrize("content", [b"small", NOISE], ids=["small", "large"])
def test_another_name_of_a_file_whose_first_name_vanished_is_read_by_itself(
    late: SmallRepository, tmp_path: Path, content: bytes
):
    tree = make(tmp_path / "tree", {"first": content, "k": b"k"})
    os.link(tree / "first", tree / "second")
    os.link(tree / "first", tree / "third")
    report, _ = save(late, tree, moods={("open", b"first"): (tree / "first").unlink})
    assert stored(late) == present(tree)
    assert report.files.vanished == 1


def test_another_name_of_a_file_whose_first_name_was_given_away_is_read_by_itself(
    late: SmallRepository, tmp_path: Path
):
    """Programs that write a new file and rename it over the old one do that all the time."""
    tree = make(tmp_path / "tree", {"first": b"shared", "new": b"quite another"})
    os.link(tree / "first", tree / "second")

    def replace() -> None:
        if (tree / "new").exists():
            (tree / "new").rename(tree / "first")

    save(late, tree, moods={("open", b"first"): replace, ("open", b"new"): lambda: None})
    found = stored(late)
    assert (found["first"].content, found["second"].content) == (b"quite another", b"shared")


@pytest.mark.parametrize("moment", ["open", "read"])
def test_a_file_that_never_answers_is_given_up(
    late: SmallRepository, tree: Path, moment: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("lamina.engine.saving.watched.WAIT_S", 0.02)
    hanging = Hanging(late.clock)
    try:
        report, _ = save(
            late, tree, moods={(moment, b"deep"): hanging}, verify=VerifyMode.NONE, trees=TreeOptions(readers=1)
        )
    finally:
        hanging.release()
    found = stored(late)
    assert found.pop("b/c/deep").state is EntryState.UNREAD
    expected = present(tree)
    expected.pop("b/c/deep")
    assert found == expected
    assert [flaw.reason for flaw in report.flaws] == ["no answer within 300 seconds"]
    assert report.partial


def test_a_look_that_never_answers_is_given_up(late: SmallRepository, tree: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("lamina.engine.saving.watched.WAIT_S", 0.02)
    save(late, tree)
    hanging = Hanging(late.clock)
    try:
        report, _ = save(late, tree, moods={("look", b"large"): hanging}, verify=VerifyMode.NONE)
    finally:
        hanging.release()
    found = stored(late)
    assert (found["b/large"].state, found["b/large"].content) == (EntryState.KEPT, NOISE)
    assert found["d/one"] == present(tree)["d/one"]
    assert [flaw.path for flaw in report.flaws] == ["tree/b/large"]


def test_storing_may_take_longer_than_the_deadline(late: SmallRepository, tree: Path, monkeypatch: pytest.MonkeyPatch):
    """A storage that takes its time says nothing about the file; nor is a long file one that hangs."""
    monkeypatch.setattr("lamina.engine.saving.watched.WAIT_S", 0.01)

    class Slow(FaultyStorage):
        """Each pack takes an hour."""

        def put(self, name, parts):
            late.clock.sleep(3600)
            super().put(name, parts)

    make(tree, {"longer": NOISE * 20})
    moods = {("read", b"longer"): lambda: late.clock.sleep(200)}
    repository = late.open(storage=Slow(late.storage))
    report = backup(
        repository,
        [Input("tree", MoodyFiles(tree, moods))],
        BackupOptions("x", verify=VerifyMode.NONE),
        late.operation(),
    )
    repository.close()
    assert report.flaws == ()
    assert stored(late) == present(tree)


def test_a_prune_that_begins_meanwhile_is_caught_up_with(late: SmallRepository, tree: Path):
    """Files are stored that condemned packs hold; a generation opens while the last of them are read."""
    save(late, tree, name="another")
    condemned = [bytes.fromhex(name[5:]) for name in objects(late) if name.startswith("data/")]
    prune = late.open()

    def begin() -> None:
        if not [name for name in objects(late) if name.startswith("generations/")]:
            late.clock.sleep(3600)  # the next checkpoint looks for a prune
            record = GenerationOpenRecord([], [], [], condemned, "")
            prune.access.control.write(Kind.GENERATION_OPEN, generation_name(1, "open"), record)

    save(late, tree, moods={("open", b"two"): begin}, verify=VerifyMode.NONE)
    prune.close()
    caught_up = [name for name in objects(late) if name.endswith("gen-00000001")]
    assert len(caught_up) == 1
    pruned = late.copy()
    for pack in condemned:
        pruned.storage.delete(f"data/{pack.hex()}")
    assert stored(pruned, "files@latest") == present(tree)


def test_a_full_storage_and_a_stop_fail_the_backup(late: SmallRepository, tree: Path):
    storage = FaultyStorage(late.storage, [Fault("put", prefix="data/", lasting=True)])
    repository = late.open(storage=storage)
    with pytest.raises(StorageUnavailable):
        backup(repository, [Input("tree", MoodyFiles(tree))], BackupOptions("x"), late.operation())
    repository.close()
    operation = late.operation()
    repository = late.open()
    files = MoodyFiles(tree, {("open", b"two"): operation.stop.set})
    with pytest.raises(Stopped):
        backup(repository, [Input("tree", files)], BackupOptions("x"), operation)
    repository.close()
    assert late.snapshots() == []


def test_what_an_interrupted_backup_stored_is_used_by_the_next(late: SmallRepository, tree: Path):
    operation = late.operation()
    repository = late.open()
    make(tree, {"z/last": b"z"})
    files = MoodyFiles(tree, {("open", b"last"): operation.stop.set})
    with pytest.raises(Stopped):
        backup(repository, [Input("tree", files)], BackupOptions("x", verify=VerifyMode.NONE), operation)
    repository.close()
    report, _ = save(late, tree)
    assert stored(late) == present(tree)
    assert report.statistics.read == report.statistics.size


def test_more_directories_than_files_may_be_open(late: SmallRepository, tmp_path: Path):
    import resource

    tree = make(tmp_path / "tree", {f"{number:04}/f": b"%d" % number for number in range(700)})
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    open_now = len(os.listdir("/proc/self/fd"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, open_now + 650), hard))
    try:
        report, _ = save(late, tree)
        left = len(os.listdir("/proc/self/fd"))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert report.flaws == ()
    assert left <= open_now + 5
    assert stored(late) == present(tree)
