"""Backups that remember what directories looked like: what is passed over, and what never is."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lamina.engine.backup import BackupReport, VerifyMode
from lamina.engine.saving.tree_jobs import TreeOptions
from lamina.model.entries import EntryState
from lamina.model.snapshots import Trust
from lamina.repository.object_names import pack_name
from lamina.repository.trees import get_entry
from lamina.sources.source import Begin, Step, Unchanged
from lamina.testing.damage import flip_bit
from lamina.testing.moody_files import HastyClock, MoodyFiles
from lamina.testing.repositories import SmallRepository
from tests.unit.engine.saving.test_tree_dead_mounts import Dying
from tests.unit.engine.tree_backups import CONTENTS, make, present, save, stored

ALL = [b"", b"b", b"c", b"d"]


class Told(MoodyFiles):
    """Says which directories were passed over."""

    def walk(self, *arguments: Any) -> Iterator[Step]:
        self.passed: list[bytes] = []
        for step in super().walk(*arguments):
            if isinstance(step, Unchanged) or (isinstance(step, Begin) and step.same is not None):
                self.passed.append(step.found.name)
            yield step


@pytest.fixture
def again(late: SmallRepository, tree: Path, tmp_path: Path) -> Callable[..., tuple[BackupReport, list[bytes]]]:
    """Back the tree up; what came of it, and what was passed over."""

    def run(moods: Any = None, **options: Any) -> tuple[BackupReport, list[bytes]]:
        files = Told(tree, moods)
        options.setdefault("verify", VerifyMode.NONE)
        report, _ = save(late, files, cache=tmp_path / "cache", **options)
        return report, sorted(files.passed)

    return run


def notes(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "cache").glob("*/looks/*"))


def test_directories_that_did_not_change_are_passed_over(late: SmallRepository, tree: Path, again):
    report, passed = again()
    assert (passed, report.files.new) == ([], 6)
    for _ in range(2):
        report, passed = again()
        assert passed == ALL
        assert (report.files.unchanged, report.files.directories, report.statistics.size) == (
            6,
            4,
            sum(map(len, CONTENTS.values())),
        )
    assert stored(late) == present(tree)


@pytest.mark.parametrize("path", ["", "tree", "here/there"])
def test_wherever_the_tree_is_stored(late: SmallRepository, tree: Path, again, path: str):
    again(path=path)
    (tree / "d" / "one").write_bytes(b"another")
    report, passed = again(path=path)
    assert (passed, report.files.changed) == ([b"", b"b", b"c"], 1)
    again(path=path)
    assert {name: one.content for name, one in stored(late, path=path).items()} == {
        name: one.content for name, one in present(tree).items()
    } or path == ""
    repository = late.open()
    root = repository.find_snapshot("latest").root
    assert get_entry(repository.reader(), root, f"{path}/d/one").size == 7
    repository.close()


@pytest.mark.parametrize(
    ("change", "missed"),
    [
        (lambda tree: (tree / "b" / "c" / "new").write_bytes(b""), [b"c"]),
        (lambda tree: (tree / "b" / "c" / "other").unlink(), [b"c"]),
        (lambda tree: (tree / "b" / "c" / "other").write_bytes(b"x"), [b"c"]),
        (lambda tree: (tree / "b" / "large").chmod(0o600), [b"b"]),
        (lambda tree: os.link(tree / "a", tree / "d" / "a"), [b"", b"d"]),
        (lambda tree: (tree / "d").chmod(0o700), [b"d"]),
        (lambda tree: (tree / "b" / "c").rename(tree / "d" / "c"), [b"b", b"c", b"d"]),
        (lambda tree: os.utime(tree / "d" / "one", ns=(0, 0)), [b"d"]),
    ],
)
def test_only_what_changed_is_looked_at_closer(late: SmallRepository, tree: Path, again, change, missed):
    again()
    change(tree)
    _, passed = again()
    assert passed == [name for name in ALL if name not in missed]
    assert stored(late) == present(tree)


def test_two_directories_that_change_places_are_not_taken_for_each_other(late: SmallRepository, tree: Path, again):
    make(tree, {"d/c/deep": b"other", "d/c/other": b"!"})
    for name in ("b/c", "d/c"):
        os.utime(tree / name, ns=(0, 0))
    again()
    (tree / "b" / "c").rename(tree / "x")
    (tree / "d" / "c").rename(tree / "b" / "c")
    (tree / "x").rename(tree / "d" / "c")
    again()
    assert stored(late) == present(tree)


def test_young_files_are_read_again(small: SmallRepository, tree: Path, tmp_path: Path):
    small.clock = HastyClock(small.clock.now())  # long before the files were made: all of them are young
    for _ in range(2):
        files = Told(tree)
        save(small, files, cache=tmp_path / "cache", verify=VerifyMode.NONE)
        assert [name for name in files.passed if name != b""] == []
        assert files.done("read") == [b"a", b"deep", b"large", b"one", b"other", b"two"]


def damaged(note: Path) -> None:
    data = bytearray(note.read_bytes())
    data[len(data) // 2] ^= 1
    note.write_bytes(data)


@pytest.mark.parametrize(
    "spoil",
    [Path.unlink, damaged, lambda note: note.write_bytes(note.read_bytes()[:-40]), lambda note: note.write_bytes(b"")],
)
def test_a_note_that_is_lost_or_damaged_costs_only_time(
    late: SmallRepository, tree: Path, tmp_path: Path, again, spoil
):
    again()
    spoil(notes(tmp_path)[0])
    report, passed = again()
    assert (passed, report.files.unchanged, report.notes) == ([], 6, ())
    assert again()[1] == ALL


def test_a_note_counts_only_for_the_snapshot_it_was_written_with(late: SmallRepository, tree: Path, tmp_path, again):
    again()
    old = notes(tmp_path)[0].read_bytes()
    (tree / "d" / "one").write_bytes(b"another")
    again()
    notes(tmp_path)[0].write_bytes(old)
    assert again()[1] == []
    first = late.snapshots()[0]
    assert again(parent=first)[1] == []
    assert stored(late) == present(tree)


def test_names_of_snapshots_and_paths_have_notes_of_their_own(tree: Path, tmp_path: Path, again):
    for number, options in enumerate(({"name": "a"}, {"name": "b"}, {"path": "x"}, {"path": "y"}), 1):
        again(**options)
        assert len(notes(tmp_path)) == number
    assert again(name="a")[1] == ALL


def test_notes_do_not_pile_up(tree: Path, tmp_path: Path, again, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("lamina.repository.looks.FILES_KEPT", 3)
    for number in range(5):
        again(name=f"n{number}")
    assert len(notes(tmp_path)) == 3
    assert again(name="n4")[1] == ALL


def test_a_note_says_no_name(tree: Path, tmp_path: Path, again):
    make(tree, {"some-long-name/of-a-file": b""})
    again(name="the-name-of-it")
    said = notes(tmp_path)[0].name.encode() + notes(tmp_path)[0].read_bytes()
    assert not any(word in said for word in (b"some-long", b"of-a-file", b"the-name", b"tree"))


def test_a_cache_that_cannot_be_written_is_only_said(late: SmallRepository, tree: Path, tmp_path: Path, again):
    again()
    folder = notes(tmp_path)[0].parent
    shutil.rmtree(folder)
    folder.write_bytes(b"in the way")
    report, passed = again()
    assert (passed, report.snapshot is not None) == ([], True)
    assert any("the cache cannot be written" in line for line in late.progress.messages)


def test_a_dry_run_notes_nothing(tree: Path, tmp_path: Path, again):
    again(dry_run=True)
    assert notes(tmp_path) == []


def test_whoever_wants_all_files_read_gets_them_read(tree: Path, again):
    again()
    report, passed = again(trees=TreeOptions(compare=None))
    assert (passed, report.files.changed) == ([], 6)
    assert again()[1] == ALL


def test_nothing_is_passed_over_while_a_snapshot_is_doubtful(late: SmallRepository, tree: Path, again):
    again(name="other")
    again()
    repository = late.open()
    repository.edit(repository.find_snapshot("other@latest"), trust=Trust.DISTRUSTED)
    repository.close()
    assert again()[1] == []


def test_a_wasteful_bundle_is_read_again(late: SmallRepository, tree: Path, again):
    make(tree, {f"d/{number}": bytes([number]) * 1000 for number in range(4)})
    again()
    for number in range(1, 4):
        (tree / "d" / str(number)).write_bytes(bytes([number]) * 1001)
    (tree / "d" / "two").unlink()
    again()
    report, passed = again()
    assert (b"d" in passed, report.files.changed) == (False, 2)
    again()
    assert again()[1] == ALL


def test_the_sample_holds_files_that_were_passed_over(tree: Path, again):
    again()
    report, passed = again(verify=VerifyMode.SAMPLE)
    assert (passed, report.coverage.compared) == (ALL, sum(map(len, CONTENTS.values())))
    assert report.coverage.differences == ()


def vanish(tree: Path) -> None:
    shutil.rmtree(tree / "d")


def be_replaced_by_a_file(tree: Path) -> None:
    vanish(tree)
    (tree / "d").write_bytes(b"no directory")


def be_replaced_by_a_directory(tree: Path) -> None:
    vanish(tree)
    make(tree, {"d/three": b"3"})


@pytest.mark.parametrize("fate", [vanish, be_replaced_by_a_file, be_replaced_by_a_directory])
def test_a_directory_may_change_after_it_was_seen_to_be_there(late: SmallRepository, tree: Path, again, fate):
    again()
    seen = []

    def once() -> None:
        if not seen:
            seen.append(1)
            fate(tree)

    again({("look", b"deep"): once})
    expected, found = present(tree), stored(late)
    assert found == expected
    again()
    assert stored(late) == present(tree)


def test_what_hangs_is_kept_although_it_was_passed_over_before(
    late: SmallRepository, tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("lamina.engine.saving.watched.WAIT_S", 0.02)
    dying = Dying(late.clock, b"c")
    make(tree, {"b/c/z/last": b"last", "b/z": b"behind", "y": b"behind all"})
    save(late, tree, cache=tmp_path / "cache")
    expected = present(tree)
    files = MoodyFiles(tree, {("look", b"other"): dying.die})
    files._rules = replace(files._rules, opener=dying)
    try:
        report, _ = save(late, files, cache=tmp_path / "cache", verify=VerifyMode.NONE)
    finally:
        dying.release()
    found = stored(late)
    assert {name: one.content for name, one in found.items()} == {name: one.content for name, one in expected.items()}
    assert report.partial
    assert found["b/c"].state in {EntryState.UNREAD, EntryState.KEPT}
    assert {name for name, one in found.items() if one.state is EntryState.WHOLE} >= {
        "a",
        "b/large",
        "b/z",
        "y",
        "d/one",
    }
    assert not save(late, tree, cache=tmp_path / "cache")[0].partial
    assert stored(late) == expected


def test_a_parent_that_turns_out_to_be_damaged_only_costs_reading(late: SmallRepository, tree: Path, again):
    again()
    repository = late.open()
    reader = repository.reader()
    child = get_entry(reader, repository.find_snapshot("latest").root, "tree/b").child
    place = next(repository.index.places(child))
    repository.close()
    where = pack_name(place.pack, meta=True), place.offset + place.stored_size - 20
    flip_bit(late.storage, *where)
    (tree / "b" / "c" / "deep").write_bytes(b"changed")
    report, passed = again()
    assert passed == [], "the second walk, after the first met the damage"
    assert any("is of no use" in note for note in report.notes)
    assert stored(late) == present(tree)
    flip_bit(late.storage, *where)
