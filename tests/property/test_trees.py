"""Random trees and random edits: each snapshot restores to what the tree was when it was made."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from lamina.engine.backup import BackupOptions, BackupReport, Input, VerifyMode, backup
from lamina.engine.restoring.plan import Overwrite, RestoreOptions, plan_tree
from lamina.engine.restoring.tree import restore_tree
from lamina.model.operation import Operation
from lamina.sources.files import LocalFiles
from lamina.sources.selection import Selection
from lamina.targets.directory import DirectoryTarget
from lamina.targets.owners import Owners
from lamina.testing.clocks import FrozenClock
from lamina.testing.repositories import SmallRepository
from lamina.testing.trees import Described, apply, describe_tree, differences, edits, trees
from lamina.testing.zoo import unzoo

EXACTLY = RestoreOptions(Overwrite.ALWAYS, delete=True)  # two files of one size and time may differ


def back_up(small: SmallRepository, directory: Path, operation: Operation, holder: str = "owner") -> BackupReport:
    """Save *directory* as `tree`."""
    repository = small.open(holder)
    source = LocalFiles(os.fsencode(directory), Selection(), devices={})
    try:
        options = BackupOptions(name="tree", verify=VerifyMode.NONE)
        return backup(repository, [Input("tree", source)], options, operation)
    finally:
        source.close()
        repository.close()


def restore(small: SmallRepository, snapshot: str, directory: Path, options: RestoreOptions) -> None:
    """Bring `tree` back into *directory*, wholly."""
    repository = small.open()
    found = repository.find_snapshot(snapshot)
    target = DirectoryTarget(str(directory), Owners(found.users, found.groups))
    try:
        report = restore_tree(repository, plan_tree(repository.reader(), found, ["tree"]), target, options, Operation())
        assert report.is_complete, report
    finally:
        target.close()
        repository.close()


@contextmanager
def workplace() -> Iterator[Path]:
    """An empty directory that can be removed whatever is in it; hypothesis wants one for each example."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        yield directory
        unzoo(directory)


def let_the_clock_tick(directory: Path) -> None:
    """Wait until a change of a file has a later time than all before: some kernels' clocks tick every 10 ms."""
    file = directory / "clock"
    file.touch()
    begun = file.stat().st_ctime_ns
    while file.stat().st_ctime_ns == begun:
        file.write_bytes(b"")
    file.unlink()


def later() -> Operation:
    """So long after all changes that nothing has to be read again merely because it was young."""
    return Operation(FrozenClock(datetime.now(UTC) + timedelta(days=1)))


steps = st.lists(st.tuples(edits(), st.booleans(), st.sampled_from(["owner", "writer"])), min_size=1, max_size=3)


@settings(max_examples=25)
@given(trees(), steps)
def test_every_snapshot_of_a_chain_of_edits_restores(tree, chain):
    small, snapshots, expected = SmallRepository(), [], []
    with workplace() as place:
        (place / "tree").mkdir()
        apply(tree, place / "tree")
        for changes, aged, holder in [([], True, "owner"), *chain]:
            apply(changes, place / "tree")
            let_the_clock_tick(place)
            expected.append(describe_tree(place / "tree"))
            report = back_up(small, place / "tree", later() if aged else Operation(), holder)
            assert (report.flaws, report.partial) == ((), False)
            assert report.snapshot
            snapshots.append(report.snapshot.hex())
        for snapshot, tree_then in zip(snapshots, expected, strict=True):
            restore(small, snapshot, place / snapshot, RestoreOptions())
            assert differences(tree_then, describe_tree(place / snapshot)) == []
            restore(small, snapshot, place / "over", EXACTLY)  # over what the snapshot before left there
            assert differences(tree_then, describe_tree(place / "over")) == []
    assert small.verify().problems == ()


@settings(max_examples=25)
@given(trees(), edits(3))
def test_what_did_not_change_is_not_read_again(tree, changes):
    """As an owner and as a writer, who can read the names in its own snapshots but no content."""
    with workplace() as place:
        (place / "tree").mkdir()
        apply(tree, place / "tree")
        for holder in ("owner", "writer"):
            small = SmallRepository()
            let_the_clock_tick(place)
            before = describe_tree(place / "tree")
            first = back_up(small, place / "tree", later(), holder)
            assert first.statistics.read <= unique_size(before)  # holes are not read
            again = back_up(small, place / "tree", later(), holder)
            assert (again.statistics.read, again.statistics.new) == (0, 0)
            untouched = files(place / "tree")
            apply(changes, place / "tree")
            third = back_up(small, place / "tree", later(), holder)
            assert third.statistics.read <= sum(size for _, size in files(place / "tree") - untouched)


def files(directory: Path) -> set[tuple[tuple[Path, int, int], int]]:
    """Which regular files there are, where and in which state; and their sizes."""
    found = {path: path.lstat() for path in directory.rglob("*") if path.is_file() and not path.is_symlink()}
    return {((path, one.st_ino, one.st_ctime_ns), one.st_size) for path, one in found.items()}


def unique_size(tree: dict[bytes, Described]) -> int:
    """Bytes of all contents, those of a file with several names once."""
    return sum(entry.size for name, entry in tree.items() if entry.first_name == name)
