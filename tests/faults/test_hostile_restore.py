"""Whatever a snapshot holds, and whatever somebody does to the target meanwhile: nothing outside of it is touched."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from lamina.engine.restoring.plan import Overwrite, RestoreOptions, plan_tree
from lamina.engine.restoring.report import Finding, TreeReport
from lamina.engine.restoring.tree import restore_tree
from lamina.errors import TargetUnwritable
from lamina.model.entries import Entry, EntryType, SlicedContent
from lamina.model.operation import Operation
from lamina.model.snapshots import Snapshot
from lamina.repository import directories
from lamina.targets.directory import DirectoryTarget
from lamina.targets.owners import Owners
from lamina.testing.repositories import SmallRepository
from lamina.testing.trees import describe_tree
from tests.stored_trees import plain, store_entries, store_tree


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """What must never be touched: it has the names that the snapshot has."""
    outside = tmp_path / "outside"
    for name in ("d0", "d1", "sub"):
        (outside / name).mkdir(parents=True)
    for name in ("f0", "d0/f0", "d1/f1", "sub/f0"):
        (outside / name).write_bytes(b"precious")
        os.utime(outside / name, ns=(1, 1))
    return outside


def run(
    small: SmallRepository, snapshot: Snapshot, out: Path, *, operation: Operation | None = None, **options
) -> TreeReport:
    repository = small.open()
    target = DirectoryTarget(str(out), Owners({}, {}))
    try:
        plan = plan_tree(repository.reader(), snapshot, [])
        return restore_tree(repository, plan, target, RestoreOptions(**options), operation or small.operation())
    finally:
        target.close()
        assert not target.top._open
        repository.close()


FULL_FORCE = {"overwrite": Overwrite.ALWAYS, "delete": True}


@pytest.mark.parametrize("name", [b"..", b".", b"", b"a/../../../escaped", b"/escaped", b"a\0b"])
def test_names_that_lead_outside_are_damage(
    small: SmallRepository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: bytes
):
    """Written by somebody who holds a key and uses another program."""
    with monkeypatch.context() as lenient:
        lenient.setattr(directories, "check_names", lambda _names: None)
        snapshot = store_entries(small, [Entry(name, EntryType.FILE, plain(), SlicedContent(0))])
    assert run(small, snapshot, tmp_path / "out").count_of(Finding.FAILED) == 1
    assert [str(one) for one in tmp_path.rglob("*")] == [str(tmp_path / "out")]
    small.storage.delete(f"snapshots/{snapshot.id.hex()}")


@pytest.mark.parametrize("name", [b"..", b".", b"", b"a/../../../escaped", b"/escaped", b"a\0b"])
def test_the_target_refuses_such_names_too(
    small: SmallRepository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: bytes
):
    monkeypatch.setattr(directories, "check_names", lambda _names: None)
    entries = [Entry(name, EntryType.FILE, plain(), SlicedContent(0))]
    snapshot = store_entries(small, entries)
    report = run(small, snapshot, tmp_path / "out", **FULL_FORCE)
    assert report.count_of(Finding.FAILED) == 1
    assert [str(one) for one in tmp_path.rglob("*")] == [str(tmp_path / "out")]
    small.storage.delete(f"snapshots/{snapshot.id.hex()}")


def tree(tmp_path: Path) -> Path:
    source = tmp_path / "source"
    for number in range(40):
        (source / f"d{number}" / "sub").mkdir(parents=True)
        for file in range(10):
            (source / f"d{number}" / f"f{file}").write_bytes(b"new" * file)
            (source / f"d{number}" / "sub" / f"f{file}").write_bytes(b"new" * file)
    return source


def test_links_that_lie_in_the_target_are_not_followed(small: SmallRepository, tmp_path: Path, outside: Path):
    source, out = tree(tmp_path), tmp_path / "out"
    snapshot = store_tree(small, source)
    out.mkdir()
    (out / "d0").symlink_to(outside / "d0")
    (out / "d1").mkdir()
    (out / "d1" / "f1").symlink_to(outside / "d1" / "f1")
    (out / "d1" / "sub").symlink_to(outside)
    before = describe_tree(outside)
    report = run(small, snapshot, out)
    assert describe_tree(outside) == before
    assert report.count_of(Finding.LEFT_ALONE) == 3
    assert run(small, snapshot, out, **FULL_FORCE).is_complete
    assert describe_tree(outside) == before
    assert not any(path.is_symlink() for path in out.rglob("*"))


class Swapping:
    """Progress that, whenever something was written, puts something else in the place of a directory."""

    def __init__(self, swap: Callable[[], None]) -> None:
        self.swap = swap

    def start(self, phase: str, total: int | None) -> None:
        """Ignore it."""

    def advance(self, **_: int) -> None:
        self.swap()

    def message(self, text: str) -> None:
        """Ignore it."""


def test_a_directory_that_becomes_a_link_while_it_is_filled(small: SmallRepository, tmp_path: Path, outside: Path):
    source, out = tree(tmp_path), tmp_path / "out"
    snapshot = store_tree(small, source)
    before = describe_tree(outside)
    swapped: list[str] = []
    alone = threading.Lock()

    def swap() -> None:
        with alone:
            for folder in sorted(out.iterdir()):
                if not folder.is_symlink():
                    folder.rename(tmp_path / f"moved-{len(swapped)}")
                    folder.symlink_to(outside)
                    swapped.append(folder.name)

    run(small, snapshot, out, operation=Operation(small.clock, Swapping(swap)))
    assert swapped
    assert describe_tree(outside) == before


@pytest.mark.parametrize("options", [{}, FULL_FORCE], ids=["fresh", "over what is there"])
def test_directories_and_links_that_change_places_all_the_time(
    small: SmallRepository, tmp_path: Path, outside: Path, options: dict
):
    source, out = tree(tmp_path), tmp_path / "out"
    snapshot = store_tree(small, source)
    if options:
        run(small, snapshot, out)
    before = describe_tree(outside)
    done = threading.Event()
    swaps = 0

    def attack() -> None:
        nonlocal swaps
        while not done.is_set():
            for number in range(40):
                place, aside = out / f"d{number}", tmp_path / f"aside{number}"
                with suppress(OSError):
                    place.rename(aside)
                    place.symlink_to(outside)
                    swaps += 1
                with suppress(OSError):
                    place.unlink()
                with suppress(OSError):
                    aside.rename(place)

    attacker = threading.Thread(target=attack)
    attacker.start()
    try:
        for _ in range(3):
            run(small, snapshot, out, **options)
    finally:
        done.set()
        attacker.join()
    assert swaps
    assert describe_tree(outside) == before
    for left in tmp_path.glob("aside*"):
        shutil.rmtree(left)
    for left in out.iterdir():
        if left.is_symlink():
            left.unlink()
    run(small, snapshot, out, overwrite=Overwrite.IF_CHANGED, delete=True)
    assert set(describe_tree(out)) == set(describe_tree(source))


def test_a_file_that_appears_while_it_is_restored_is_left_alone(small: SmallRepository, tmp_path: Path):
    source, out = tmp_path / "source", tmp_path / "out"
    source.mkdir()
    (source / "a").write_bytes(b"a" * 20 * (1 << 20))
    snapshot = store_tree(small, source)

    def appear() -> None:
        (out / "a").write_bytes(b"theirs")

    report = run(small, snapshot, out, operation=Operation(small.clock, Swapping(appear)))
    assert (out / "a").read_bytes() == b"theirs"
    assert report.findings[Finding.FAILED].examples == [(str(out / "a"), "File exists")]
    assert [one.name for one in out.iterdir()] == ["a"]


def test_a_target_that_is_a_link_to_nowhere_or_a_file(small: SmallRepository, tmp_path: Path):
    snapshot = store_entries(small, [Entry(b"f", EntryType.FILE, plain(), SlicedContent(0))])
    (tmp_path / "nowhere").symlink_to("not-there")
    (tmp_path / "file").write_bytes(b"")
    for name in ("nowhere", "file"):
        with pytest.raises(TargetUnwritable, match=name):
            run(small, snapshot, tmp_path / name)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["file", "nowhere"]
