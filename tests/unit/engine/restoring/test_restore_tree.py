"""Restoring trees: all of it, parts of it, over what is there, and again after an interruption."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from lamina.engine.restoring.plan import Action, Overwrite, RestoreOptions, plan_tree
from lamina.engine.restoring.report import Finding, TreeReport
from lamina.engine.restoring.tree import restore_tree
from lamina.errors import EntryMissing, NotPermitted, Stopped, TargetUnwritable, UsageError
from lamina.model.entries import (
    CutContent,
    Entry,
    EntryState,
    EntryType,
    FixedContent,
    Metadata,
    Position,
    SlicedContent,
)
from lamina.model.operation import Operation
from lamina.model.snapshots import Snapshot
from lamina.repository.trees import DirectoryWriter, get_entry
from lamina.targets.directory import DirectoryTarget
from lamina.targets.owners import Owners
from lamina.testing.repositories import SmallRepository
from lamina.testing.trees import describe_tree, differences
from lamina.testing.zoo import make_zoo, noise, unzoo
from tests.stored_trees import Storer, plain, store_entries, store_tree

MIB = 1 << 20
FORCE = Overwrite.IF_CHANGED
TIME = 1_500_000_000_123_456_789


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A small tree: two directories, files of every form of content, a link."""
    source = tmp_path / "source"
    (source / "a" / "deep" / "er").mkdir(parents=True)
    (source / "b").mkdir()
    (source / "a" / "small").write_bytes(b"small")
    (source / "a" / "empty").write_bytes(b"")
    (source / "a" / "deep" / "middle").write_bytes(noise(200_000, 1))
    (source / "a" / "deep" / "er" / "large").write_bytes(noise(20 * MIB + 5, 2))
    with open(source / "b" / "sparse", "wb") as file:
        file.truncate(30 * MIB)
        file.seek(11 * MIB)
        file.write(noise(MIB, 3))
    (source / "b" / "link").symlink_to("../a/small")
    for path in (*source.rglob("*"), source):
        os.utime(path, ns=(TIME, TIME), follow_symlinks=False)
    return source


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def run(
    small: SmallRepository, snapshot: Snapshot, out: Path, *paths: str, holder: str = "owner", operation=None, **options
) -> TreeReport:
    repository = small.open(holder)
    target = DirectoryTarget(str(out), Owners({}, {}), dry_run=options.get("dry_run", False))
    try:
        plan = plan_tree(repository.reader(), snapshot, paths)
        return restore_tree(repository, plan, target, RestoreOptions(**options), operation or small.operation())
    finally:
        target.close()
        assert not target.top._open
        repository.close()


def same(expected: Path, got: Path) -> list[str]:
    """What differs; the times of the top are nobody's, as no snapshot knows them."""
    found = differences(describe_tree(expected), describe_tree(got))
    return [line for line in found if not line.startswith("b'.': ")]


def test_a_tree_comes_back_as_it_was_and_is_kept_the_second_time(small: SmallRepository, source: Path, out: Path):
    snapshot = store_tree(small, source)
    report = run(small, snapshot, out, verify=True)
    assert same(source, out) == []
    assert report.is_complete
    assert report.verified
    assert (report.files, report.directories, report.others, report.kept) == (5, 4, 1, 0)
    again = run(small, snapshot, out)
    assert (again.files, again.directories, again.written, again.corrected) == (0, 0, 0, 0)
    assert again.kept == 10
    assert again.is_complete


@pytest.mark.root
def test_every_animal_of_the_zoo_comes_back(small: SmallRepository, tmp_path: Path, out: Path):
    zoo = tmp_path / "zoo"
    zoo.mkdir()
    make_zoo(zoo)
    try:
        snapshot = store_tree(small, zoo)
        assert run(small, snapshot, out).is_complete
        assert same(zoo, out) == []
        again = run(small, snapshot, out)
        assert (again.written, again.corrected, again.files, again.links, again.others) == (0, 0, 0, 0, 0)
        assert same(zoo, out) == []
    finally:
        for place in (zoo, out):
            unzoo(place)


def test_parts_are_restored_relative_to_what_was_named(small: SmallRepository, source: Path, tmp_path: Path):
    snapshot = store_tree(small, source)
    run(small, snapshot, tmp_path / "1", "a/deep")
    assert same(source / "a" / "deep", tmp_path / "1") == []
    assert (tmp_path / "1").stat().st_mtime_ns == TIME
    run(small, snapshot, tmp_path / "2", "/a/deep/middle")
    assert [one.name for one in (tmp_path / "2").iterdir()] == ["middle"]
    run(small, snapshot, tmp_path / "3", "a/*e*")
    assert sorted(str(one.relative_to(tmp_path / "3")) for one in (tmp_path / "3").rglob("*")) == [
        "a", "a/deep", "a/deep/er", "a/deep/er/large", "a/deep/middle", "a/empty",
    ]  # fmt: skip
    run(small, snapshot, tmp_path / "4", "**/l*", "b/sparse")
    assert sorted(str(one.relative_to(tmp_path / "4")) for one in (tmp_path / "4").rglob("*")) == [
        "a", "a/deep", "a/deep/er", "a/deep/er/large", "b", "b/link", "b/sparse",
    ]  # fmt: skip
    for missing in ("nothing", "a/small/x", "no*thing", "b/**/deep"):
        with pytest.raises(EntryMissing):
            run(small, snapshot, tmp_path / "5", missing)


def test_a_name_with_wildcards_in_it_is_found_as_it_is(small: SmallRepository, tmp_path: Path, out: Path):
    source = tmp_path / "source"
    source.mkdir()
    for name in ("[a]*", "a", "ab"):
        (source / name).write_bytes(name.encode())
    snapshot = store_tree(small, source)
    run(small, snapshot, out, "[a]*")
    assert [one.name for one in out.iterdir()] == ["[a]*"]


def test_without_being_told_nothing_is_overwritten(small: SmallRepository, source: Path, out: Path):
    snapshot = store_tree(small, source)
    run(small, snapshot, out)
    (out / "a" / "small").write_bytes(b"theirs")
    (out / "b" / "link").unlink()
    (out / "b" / "link").write_bytes(b"no link")
    (out / "a" / "empty").unlink()
    (out / "extra").write_bytes(b"theirs too")
    report = run(small, snapshot, out)
    assert (out / "a" / "small").read_bytes() == b"theirs"
    assert (out / "b" / "link").read_bytes() == b"no link"
    assert (out / "extra").read_bytes() == b"theirs too"
    assert (out / "a" / "empty").read_bytes() == b""
    assert (report.files, report.count_of(Finding.LEFT_ALONE)) == (1, 2)
    assert not report.is_complete


@pytest.mark.parametrize("overwrite", list(Overwrite))
def test_when_what_differs_is_replaced(small: SmallRepository, source: Path, out: Path, overwrite: Overwrite):
    snapshot = store_tree(small, source)
    run(small, snapshot, out)
    (out / "a" / "small").write_bytes(b"older")
    os.utime(out / "a" / "small", ns=(1, 1))
    (out / "a" / "empty").write_bytes(b"newer")
    right = (out / "a" / "deep" / "middle").stat().st_ino
    report = run(small, snapshot, out, overwrite=overwrite)
    is_replaced = {
        Overwrite.NEVER: (0, 0, 0),
        Overwrite.IF_NEWER: (1, 0, 0),
        FORCE: (1, 1, 0),
        Overwrite.ALWAYS: (1, 1, 1),
    }
    assert (
        (out / "a" / "small").read_bytes() == b"small",
        (out / "a" / "empty").read_bytes() == b"",
        (out / "a" / "deep" / "middle").stat().st_ino != right,
    ) == is_replaced[overwrite]
    assert report.newer == (overwrite is Overwrite.IF_NEWER)
    assert report.is_complete is (overwrite is not Overwrite.NEVER)
    if overwrite.replaces:
        assert same(source, out) == []


def test_files_and_directories_take_each_others_place_only_if_told(small: SmallRepository, source: Path, out: Path):
    snapshot = store_tree(small, source)
    (out / "a" / "small").mkdir(parents=True)  # empty
    (out / "a" / "empty").mkdir()
    (out / "a" / "empty" / "theirs").write_bytes(b"")
    (out / "b").write_bytes(b"no directory")
    report = run(small, snapshot, out)
    assert report.count_of(Finding.LEFT_ALONE) == 3
    report = run(small, snapshot, out, overwrite=FORCE)
    assert report.findings[Finding.LEFT_ALONE].examples[0][0] == str(out / "a" / "empty")
    assert report.count_of(Finding.LEFT_ALONE) == 1
    report = run(small, snapshot, out, overwrite=FORCE, delete=True)
    assert report.is_complete
    assert same(source, out) == []


def test_delete_makes_the_target_equal_and_nothing_else(small: SmallRepository, source: Path, out: Path):
    snapshot = store_tree(small, source)
    run(small, snapshot, out)
    (out / "a" / "extra" / "more").mkdir(parents=True)
    (out / "a" / "extra" / "file").write_bytes(b"")
    (out / "b" / "extra").symlink_to("/etc")
    (out / "top").write_bytes(b"")
    told: list[tuple[Action, bytes]] = []
    dry = run(small, snapshot, out, overwrite=FORCE, delete=True, dry_run=True, tell=lambda *one: told.append(one))
    wanted = {os.fsencode(out / name) for name in ("a/extra", "b/extra", "top")}
    assert {path for action, path in told if action is Action.DELETED} == wanted
    assert dry.deleted == 3
    assert (out / "top").exists()
    only_a = run(small, snapshot, out, "a/*", overwrite=FORCE, delete=True)
    assert only_a.deleted == 0  # `a` only leads to what was asked for
    assert run(small, snapshot, out, overwrite=FORCE, delete=True).deleted == 3
    assert same(source, out) == []
    with pytest.raises(UsageError, match="--delete"):
        RestoreOptions(delete=True)


def test_a_dry_run_touches_nothing(small: SmallRepository, source: Path, out: Path):
    snapshot = store_tree(small, source)
    told: list[tuple[Action, bytes]] = []
    report = run(small, snapshot, out, dry_run=True, tell=lambda *one: told.append(one))
    assert not out.exists()
    assert (report.files, report.directories, report.others) == (5, 4, 1)
    assert {action for action, _ in told} == {Action.NEW}
    assert len(told) == 10
    run(small, snapshot, out)
    (out / "a" / "small").write_bytes(b"theirs")
    before = describe_tree(out)
    assert run(small, snapshot, out, dry_run=True, overwrite=FORCE).replaced == 1
    assert describe_tree(out) == before


class StopAfter:
    """Progress that presses the stop button once so many bytes were read."""

    def __init__(self, count: int) -> None:
        self.left = count
        self.operation: Operation | None = None

    def start(self, phase: str, total: int | None) -> None:
        """Ignore it."""

    def advance(self, *, read: int = 0, **_: int) -> None:
        self.left -= read
        if self.left <= 0 and self.operation is not None:
            self.operation.stop.set()

    def message(self, text: str) -> None:
        """Ignore it."""


def stopping(small: SmallRepository, count: int) -> Operation:
    progress = StopAfter(count)
    progress.operation = Operation(small.clock, progress)
    return progress.operation


@pytest.mark.parametrize("count", [1, 300_000, 9 * MIB, 17 * MIB])
def test_an_interrupted_restore_goes_on_and_leaves_no_half_file(
    small: SmallRepository, source: Path, out: Path, count: int
):
    snapshot = store_tree(small, source)
    with pytest.raises(Stopped, match="what was restored until then stays"):
        run(small, snapshot, out, operation=stopping(small, count))
    done = describe_tree(out)
    for name, found in describe_tree(source).items():
        if stat.S_ISREG(found.type) and name in done:
            assert (done[name].content, done[name].mtime_ns) == (found.content, found.mtime_ns)
    report = run(small, snapshot, out)
    assert report.is_complete
    assert same(source, out) == []


def test_files_in_a_target_that_was_just_made_are_compared_too(small: SmallRepository, tmp_path: Path, out: Path):
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "at-the-top").write_bytes(b"x")
    assert run(small, store_tree(small, tmp_path / "source"), out, verify=True).compared == 1


def test_a_file_that_looks_like_one_cut_off_outlives_its_verification(small: SmallRepository, source: Path, out: Path):
    (source / "a" / "small").chmod(0o1200)
    snapshot = store_tree(small, source)
    assert run(small, snapshot, out, verify=True).is_complete
    assert not same(source, out)
    assert run(small, snapshot, out).files == 0


def test_what_is_there_of_a_large_file_is_not_fetched_again(small: SmallRepository, source: Path, out: Path):
    snapshot = store_tree(small, source)
    with pytest.raises(Stopped):
        run(small, snapshot, out, "a/deep/er", operation=stopping(small, 5 * MIB))
    report = run(small, snapshot, out, "a/deep/er")
    assert report.kept_bytes >= 5 * MIB
    assert report.written + report.kept_bytes == 20 * MIB + 5
    assert same(source / "a" / "deep" / "er", out) == []


def test_what_is_right_in_a_large_file_that_differs_is_not_fetched(small: SmallRepository, source: Path, out: Path):
    snapshot = store_tree(small, source)
    run(small, snapshot, out)
    with open(out / "a" / "deep" / "er" / "large", "r+b") as file:
        file.write(b"other")
    report = run(small, snapshot, out, overwrite=FORCE)
    assert report.written < MIB
    assert same(source, out) == []


def test_leftovers_of_an_earlier_restore_are_removed(small: SmallRepository, source: Path, out: Path):
    snapshot = store_tree(small, source)
    (out / "a").mkdir(parents=True)
    (out / "a" / f".lamina-{'0' * 32}").write_bytes(b"half")
    (out / "a" / ".lamina-mine").write_bytes(b"somebody's")
    assert run(small, snapshot, out).deleted == 0
    assert [one.name for one in (out / "a").iterdir() if one.name.startswith(".lamina")] == [".lamina-mine"]


def test_a_time_that_the_file_system_rounded_is_no_difference_but_the_content_is(
    small: SmallRepository, source: Path, out: Path
):
    snapshot = store_tree(small, source)
    assert run(small, snapshot, out, verify=True).compared == 5
    for name in ("small", "empty", "deep/middle"):
        os.utime(out / "a" / name, ns=(TIME, TIME // 2_000_000_000 * 2_000_000_000))
    (out / "a" / "deep" / "middle").write_bytes(noise(200_000, 7))
    os.utime(out / "a" / "deep" / "middle", ns=(TIME, TIME - 1))
    report = run(small, snapshot, out, verify=True)
    assert (report.files, report.count_of(Finding.LEFT_ALONE)) == (0, 1)
    assert report.findings[Finding.LEFT_ALONE].examples[0][0] == str(out / "a" / "deep" / "middle")


def test_damage_of_what_is_only_to_be_compared_costs_no_other_file(small: SmallRepository, out: Path):
    damaged = Entry(b"a", EntryType.FILE, content=CutContent(4, b"\1" * 32))  # type: ignore[arg-type]
    snapshot = store_entries(small, [damaged, Entry(b"b", EntryType.FILE, plain(), SlicedContent(0))])
    out.mkdir()
    (out / "a").write_bytes(b"mine")
    report = run(small, snapshot, out)
    assert report.findings[Finding.FAILED].examples[0][0] == str(out / "a")
    assert (out / "a").read_bytes() == b"mine"
    assert (out / "b").exists()
    small.storage.delete(f"snapshots/{snapshot.id.hex()}")


def test_times_of_images_and_streams_are_not_believed(small: SmallRepository, out: Path):
    first, second = noise(300_000, 1), noise(300_000, 2)
    small.back_up(first)
    repository = small.open()
    before = repository.find_snapshot("latest")
    run(small, before, out)
    small.back_up(second)
    after = repository.find_snapshot("latest")
    repository.close()
    assert run(small, after, out).count_of(Finding.LEFT_ALONE) == 1
    assert run(small, after, out, overwrite=FORCE).replaced == 1
    assert (out / "image").read_bytes() == second
    assert run(small, after, out, overwrite=FORCE).kept == 1


# several names of one object


def linked(tmp_path: Path) -> Path:
    source = tmp_path / "source"
    (source / "z").mkdir(parents=True)
    (source / "1").write_bytes(noise(100, 1))
    os.link(source / "1", source / "2")
    os.link(source / "1", source / "z" / "3")
    (source / "l").symlink_to("x")
    os.link(source / "l", source / "m", follow_symlinks=False)
    return source


def inodes(out: Path, *names: str) -> int:
    return len({(out / name).lstat().st_ino for name in names})


def test_names_of_one_object_are_linked_again(small: SmallRepository, tmp_path: Path, out: Path):
    source = linked(tmp_path)
    snapshot = store_tree(small, source)
    report = run(small, snapshot, out)
    assert (report.files, report.links, report.others) == (1, 3, 1)
    assert same(source, out) == []
    (out / "2").unlink()
    (out / "m").unlink()
    report = run(small, snapshot, out)
    assert (report.files, report.links, report.others) == (0, 2, 0)
    assert same(source, out) == []


def test_only_some_names_are_linked_among_themselves(small: SmallRepository, tmp_path: Path, out: Path):
    snapshot = store_tree(small, linked(tmp_path))
    report = run(small, snapshot, out, "2", "z")
    assert (report.files, report.links) == (1, 1)
    assert inodes(out, "2", "z/3") == 1


def test_a_copy_where_a_name_should_be_is_replaced_if_told(small: SmallRepository, tmp_path: Path, out: Path):
    source = linked(tmp_path)
    snapshot = store_tree(small, source)
    run(small, snapshot, out)
    copy = out / "2"
    status = copy.stat()
    copy.unlink()
    copy.write_bytes((source / "2").read_bytes())
    os.utime(copy, ns=(status.st_mtime_ns, status.st_mtime_ns))
    assert run(small, snapshot, out).count_of(Finding.LEFT_ALONE) == 1
    assert inodes(out, "1", "2") == 2
    assert run(small, snapshot, out, overwrite=FORCE).is_complete
    assert same(source, out) == []


def test_a_first_name_that_cannot_be_restored_leaves_the_others(small: SmallRepository, tmp_path: Path, out: Path):
    source = linked(tmp_path)
    broken = FixedContent(5, 1 << 20, Position.DATA, b"\1" * 32)  # type: ignore[arg-type]

    def change(entry: Entry) -> Entry:
        return entry._replace(content=broken) if entry.name == b"1" else entry

    snapshot = store_tree(small, source, change=change)
    report = run(small, snapshot, out)
    assert report.count_of(Finding.FAILED) == 1
    assert not (out / "1").exists()
    assert (out / "2").read_bytes() == (source / "2").read_bytes()
    assert inodes(out, "2", "z/3") == 1
    small.storage.delete(f"snapshots/{snapshot.id.hex()}")


# what a snapshot does not have whole


def test_nothing_is_deleted_below_a_directory_that_could_not_be_listed(
    small: SmallRepository, tmp_path: Path, out: Path
):
    """What is missing in it may have been there: an earlier snapshot's content stands in its place."""
    old = tmp_path / "old" / "kept" / "below"
    old.mkdir(parents=True)
    (old / "file").write_bytes(b"old")
    repository = small.open()
    entry = get_entry(repository.reader(), store_tree(small, tmp_path / "old").root, "kept")
    repository.close()
    snapshot = store_entries(small, [entry._replace(state=EntryState.KEPT, error="no permission")])
    for path in ("", "kept", "kept/below"):
        top = out / str(len(path))
        for place in ("kept/below", "kept", "below", "."):
            (top / place).mkdir(parents=True, exist_ok=True)
        places = {"": ("kept", "kept/below"), "kept": (".", "below"), "kept/below": (".",)}[path]
        for place in places:
            (top / place / "later").write_bytes(b"precious")
        run(small, snapshot, top, *([path] if path else []), overwrite=FORCE, delete=True)
        assert all((top / place / "later").exists() for place in places), path


def test_entries_that_are_not_whole_are_restored_as_far_as_they_go_and_told(small: SmallRepository, out: Path):
    snapshot = store_entries(
        small,
        [
            Entry(b"changed", EntryType.FILE, plain(), SlicedContent(0), state=EntryState.CHANGED, error="it changed"),
            Entry(b"directory", EntryType.DIRECTORY, plain(0o755), state=EntryState.UNREAD, error="no permission"),
            Entry(b"fresh", EntryType.FILE, plain(), SlicedContent(0), state=EntryState.FRESH),
            Entry(
                b"kept", EntryType.FILE, plain(), SlicedContent(0), state=EntryState.KEPT, error="input/output error"
            ),
            Entry(b"nothing", EntryType.UNKNOWN, state=EntryState.UNREAD, error="input/output error"),
            Entry(b"partly", EntryType.FILE, plain(), FixedContent(5, 1 << 20, Position.UNREAD, None)),
            Entry(b"unread", EntryType.FILE, plain(), state=EntryState.UNREAD, error="input/output error"),
        ],
    )
    (out / "unread").mkdir(parents=True)
    report = run(small, snapshot, out, overwrite=FORCE, delete=True)
    assert sorted(one.name for one in out.iterdir()) == ["changed", "fresh", "kept", "partly", "unread"]
    assert {finding: found.count for finding, found in report.findings.items()} == {
        Finding.CHANGED: 1,
        Finding.UNREAD: 3,
        Finding.FLAWED: 2,
    }
    assert report.findings[Finding.CHANGED].examples[0] == (str(out / "changed"), "it changed")
    assert not report.is_complete


def test_ranges_that_were_not_read_are_told_of_a_file_that_is_kept_too(small: SmallRepository, out: Path):
    """A restore that is run again must not look better than the first."""
    storer = Storer(small)
    writer = DirectoryWriter(storer.writer)
    writer.add(Entry(b"image", EntryType.FILE, plain(), FixedContent(5, 1 << 20, Position.UNREAD, None)))
    snapshot = storer.commit(writer.finish()[0], partial=True)
    assert run(small, snapshot, out).count_of(Finding.FLAWED) == 1
    again = run(small, snapshot, out)
    assert (again.files, again.kept, again.count_of(Finding.FLAWED)) == (0, 1, 1)


def test_damage_costs_the_files_that_it_is_in_and_no_others(small: SmallRepository, source: Path, out: Path):
    missing = FixedContent(5, 1 << 20, Position.DATA, b"\1" * 32)  # type: ignore[arg-type]

    def change(entry: Entry) -> Entry:
        if entry.name == b"small":
            return entry._replace(content=missing)
        return entry._replace(child=b"\2" * 32) if entry.name == b"er" else entry  # type: ignore[arg-type]

    snapshot = store_tree(small, source, change=change)
    (out / "a" / "deep" / "er").mkdir(parents=True)
    (out / "a" / "deep" / "er" / "large").write_bytes(b"all there is left")
    report = run(small, snapshot, out, overwrite=FORCE, delete=True)
    paths = {path for path, _ in report.findings[Finding.FAILED].examples}
    assert paths == {str(out / "a" / "small"), str(out / "a" / "deep" / "er")}
    assert (out / "a" / "deep" / "er" / "large").read_bytes() == b"all there is left"
    assert (out / "b" / "sparse").read_bytes() == (source / "b" / "sparse").read_bytes()
    assert (out / "a" / "deep" / "middle").read_bytes() == (source / "a" / "deep" / "middle").read_bytes()
    small.storage.delete(f"snapshots/{snapshot.id.hex()}")


# the target


def test_a_read_only_directory_can_be_filled(small: SmallRepository, tmp_path: Path, out: Path):
    source = tmp_path / "source"
    (source / "d" / "e").mkdir(parents=True)
    (source / "d" / "e" / "f").write_bytes(b"x")
    for name, mode in (("d/e/f", 0o400), ("d/e", 0o500), ("d", 0o555)):
        (source / name).chmod(mode)
    snapshot = store_tree(small, source)
    try:
        assert run(small, snapshot, out).is_complete
        assert same(source, out) == []
        assert run(small, snapshot, out).is_complete
        assert same(source, out) == []
    finally:
        for place in (source, out):
            (place / "d").chmod(0o700)
            (place / "d" / "e").chmod(0o700)


def test_an_existing_target_keeps_its_own_attributes(small: SmallRepository, source: Path, out: Path):
    out.mkdir(mode=0o710)
    (out / "theirs").write_bytes(b"")
    snapshot = store_tree(small, source)
    run(small, snapshot, out, "a")
    assert stat.S_IMODE(out.stat().st_mode) == 0o710
    run(small, snapshot, out, "a", overwrite=FORCE)
    assert stat.S_IMODE(out.stat().st_mode) == stat.S_IMODE((source / "a").stat().st_mode)


def test_a_directory_that_only_leads_to_what_was_saved_is_an_ordinary_one(small: SmallRepository, out: Path):
    small.back_up(b"image")
    repository = small.open()
    snapshot = repository.find_snapshot("latest")
    repository.close()
    run(small, snapshot, out / "further" / "down")
    assert (out / "further" / "down" / "image").read_bytes() == b"image"


def test_a_vast_sparse_file_takes_no_time(small: SmallRepository, tmp_path: Path, out: Path):
    source = tmp_path / "source"
    source.mkdir()
    with open(source / "vast", "wb") as file:
        file.truncate(1 << 40)
        file.seek(1 << 39)
        file.write(b"middle")
    assert run(small, store_tree(small, source), out, verify=True).is_complete
    assert (out / "vast").stat().st_blocks * 512 < 64 * MIB
    with open(out / "vast", "rb") as file:
        file.seek(1 << 39)
        assert file.read(7) == b"middle\0"


def test_a_tree_deeper_than_paths_may_be_long(small: SmallRepository, out: Path):
    storer = Storer(small)
    entry = Entry(b"f", EntryType.FILE, plain(), SlicedContent(0))
    for _ in range(2000):
        writer = DirectoryWriter(storer.writer)
        writer.add(entry)
        child, totals = writer.finish()
        entry = Entry(b"directory", EntryType.DIRECTORY, plain(0o755), child=child, totals=totals)
    writer = DirectoryWriter(storer.writer)
    writer.add(entry)
    snapshot = storer.commit(writer.finish()[0])
    report = run(small, snapshot, out)
    assert report.is_complete
    assert (report.files, report.directories) == (1, 2000)
    again = run(small, snapshot, out, verify=True)
    assert (again.files, again.kept, again.corrected) == (0, 2001, 0)
    (out / "directory" / "extra").mkdir()
    target = DirectoryTarget(str(out), Owners({}, {}))
    assert target.remove(target.top, b"directory")
    target.close()


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    import subprocess

    place = tmp_path / "tiny"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "none", place], check=True)
    yield place
    subprocess.run(["umount", place], check=True)


@pytest.mark.root
@pytest.mark.integration
def test_a_full_disk_says_how_far_it_came_and_can_be_gone_on_with(
    small: SmallRepository, source: Path, tiny_disk: Path
):
    import subprocess

    snapshot = store_tree(small, source)
    with pytest.raises(TargetUnwritable, match="is full; what was restored until then stays") as raised:
        run(small, snapshot, tiny_disk / "out")
    assert "again" in raised.value.hint
    subprocess.run(["mount", "-o", "remount,size=64m", tiny_disk], check=True)
    assert run(small, snapshot, tiny_disk / "out").is_complete
    assert same(source, tiny_disk / "out") == []


@pytest.mark.parametrize("holder", ["writer", "steward"])
def test_only_an_owner_restores_trees(small: SmallRepository, source: Path, out: Path, holder: str):
    snapshot = store_tree(small, source)
    with pytest.raises(NotPermitted):
        run(small, snapshot, out, holder=holder)


def test_metadata_of_which_nothing_is_known_changes_nothing(small: SmallRepository, out: Path):
    snapshot = store_entries(small, [Entry(b"stream", EntryType.FILE, Metadata(), SlicedContent(0))])
    run(small, snapshot, out)
    os.chmod(out / "stream", 0o640)
    assert run(small, snapshot, out).kept == 1
    assert stat.S_IMODE((out / "stream").stat().st_mode) == 0o640


def test_a_target_that_an_interrupted_restore_made_gets_its_attributes_in_the_end(
    small: SmallRepository, tmp_path: Path, out: Path
):
    source = tmp_path / "source"
    source.mkdir()
    (source / "f").write_bytes(b"content")
    source.chmod(0o750)
    snapshot = store_tree(small, source)
    out.mkdir()
    target = DirectoryTarget(str(out), Owners({}, {}))
    target.begin()
    target.close()
    (out / "f").write_bytes(b"content")
    os.utime(out / "f", ns=((source / "f").stat().st_mtime_ns,) * 2)
    assert run(small, snapshot, out).is_complete
    assert same(source, out) == []
    assert os.listdir(out) == ["f"]
