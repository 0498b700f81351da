"""A walk that goes on behind what does not answer: nothing twice, nothing lost."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from lamina.engine.saving.watched import NotAnswering, Watch, WatchedThreads
from lamina.engine.saving.watched_walk import WatchedWalk
from lamina.errors import SourceUnreadable, Stopped
from lamina.model.operation import Operation
from lamina.sources.source import Begin, End, Members
from lamina.testing.moody_files import Hanging, HastyClock, MoodyFiles
from tests.unit.engine.tree_backups import make

NAMES = ["a", "b/c/d/e", "b/c/f", "b/g", "h/i", "j"]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> HastyClock:
    monkeypatch.setattr("lamina.engine.saving.watched.WAIT_S", 0.01)
    return HastyClock()


@pytest.fixture
def hanging(clock: HastyClock) -> Iterator[Hanging]:
    made = Hanging(clock)
    yield made
    made.release()


@pytest.fixture
def threads(clock: HastyClock) -> Iterator[WatchedThreads]:
    made = WatchedThreads(1, Operation(clock), 300)
    yield made
    made.close()


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return make(tmp_path / "tree", {name: name.encode() for name in NAMES})


def walked(files: MoodyFiles, threads: WatchedThreads) -> list[tuple[str, str]]:
    """Every object met, with its error; steps must nest."""
    found: list[tuple[str, str]] = []
    inside: list[bytes] = []
    for step in WatchedWalk(files, threads).steps(lambda: None):
        if isinstance(step, Begin):
            inside.append(step.found.name)
            found.append((os.fsdecode(b"/".join(inside[1:])), step.found.error))
        elif isinstance(step, Members):
            found += [(os.fsdecode(b"/".join([*inside[1:], one.name])), one.error) for one in step.found]
        elif isinstance(step, End):
            inside.pop()
    assert inside == []
    files.close()
    return found


EVERYTHING = ["", "a", "b", "b/c", "b/c/d", "b/c/d/e", "b/c/f", "b/g", "h", "h/i", "j"]


def test_without_hangs_it_is_the_walk_of_the_source(tree: Path, threads: WatchedThreads):
    assert walked(MoodyFiles(tree), threads) == [(name, "") for name in EVERYTHING]


@pytest.mark.parametrize("name", EVERYTHING[1:])
def test_the_walk_goes_on_behind_what_hangs(tree: Path, threads: WatchedThreads, hanging: Hanging, name: str):
    files = MoodyFiles(tree, {("look", os.fsencode(Path(name).name)): hanging})
    below = [one for one in EVERYTHING if one.startswith(name + "/")]
    assert walked(files, threads) == [
        (one, "it did not answer" if one == name else "") for one in EVERYTHING if one not in below
    ]


def test_several_hangs_are_survived(tree: Path, threads: WatchedThreads, clock: HastyClock):
    hangs = {name: Hanging(clock) for name in (b"c", b"g", b"i")}
    files = MoodyFiles(tree, {("look", name): one for name, one in hangs.items()})
    found = walked(files, threads)
    assert [name for name, error in found if error] == ["b/c", "b/g", "h/i"]
    assert [name for name, _ in found] == ["", "a", "b", "b/c", "b/g", "h", "h/i", "j"]
    for one in hangs.values():
        one.release()


def test_one_that_answers_too_late_changes_nothing(tree: Path, threads: WatchedThreads, hanging: Hanging):
    files = MoodyFiles(tree, {("look", b"g"): hanging, ("look", b"h"): hanging.release})
    assert [name for name, error in walked(files, threads) if error] == ["b/g"]


def test_a_walk_longer_than_it_is_looked_ahead(tmp_path: Path, threads: WatchedThreads, hanging: Hanging):
    names = [f"{number // 50:03}/{number:05}" for number in range(6000)]
    tree = make(tmp_path / "tree", dict.fromkeys(names, b""))
    files = MoodyFiles(tree, {("look", b"04321"): hanging})
    found = walked(files, threads)
    assert [name for name, _ in found if "/" in name] == names
    assert [name for name, error in found if error] == ["086/04321"]


def test_folders_are_let_go_of(tmp_path: Path, threads: WatchedThreads):
    tree = make(tmp_path / "tree", {f"{number:03}/f": b"" for number in range(400)})
    files = MoodyFiles(tree)
    most = 0
    for _ in WatchedWalk(files, threads).steps(lambda: None):
        most = max(most, len(os.listdir("/proc/self/fd")))
    files.close()
    assert most < 400


def test_a_fault_of_the_source_and_the_stop_button_end_it(tree: Path, threads: WatchedThreads, clock: HastyClock):
    def fail() -> None:
        raise SourceUnreadable("broken")

    with pytest.raises(SourceUnreadable):
        walked(MoodyFiles(tree, {("look", b"g"): fail}), threads)
    operation = Operation(clock)
    stopping, stuck = WatchedThreads(1, operation, 300), Hanging(clock)

    def press() -> None:
        operation.stop.set()
        stuck()

    with pytest.raises(Stopped):
        walked(MoodyFiles(tree, {("look", b"g"): press}), stopping)
    stuck.release()
    stopping.close()


def test_a_watch_ages_only_while_something_is_asked(clock: HastyClock):
    watch = Watch(clock)
    clock.sleep(100)
    assert watch.age() == 0
    watch.begin_step()
    clock.sleep(7)
    assert (watch.step, watch.age()) == (1, 7)
    watch.end_steps()
    clock.sleep(100)
    assert watch.age() == 0
    with watch.asking():
        clock.sleep(3)
        assert (watch.step, watch.age()) == (1, 3)
    assert watch.age() == 0
    watch.go_on()
    clock.sleep(2)
    assert (watch.step, watch.age()) == (1, 2)


def test_a_hanging_task_is_replaced_and_the_next_is_done(clock: HastyClock, threads: WatchedThreads, hanging: Hanging):
    def hang(watch: Watch) -> None:
        watch.begin_step()
        hanging()

    stuck = threads.submit(hang)
    with pytest.raises(NotAnswering, match="300 seconds"):
        threads.result(stuck)
    assert threads.result(threads.submit(lambda _: 42)) == 42


def test_what_a_task_raises_is_raised_even_if_it_looks_like_a_timeout(threads: WatchedThreads):
    def fail(watch: Watch) -> None:
        raise TimeoutError("mine")

    with pytest.raises(TimeoutError, match="mine"):
        threads.result(threads.submit(fail))


def test_a_task_that_waits_for_its_turn_does_not_age(clock: HastyClock, threads: WatchedThreads, hanging: Hanging):
    def hang(watch: Watch) -> None:
        watch.begin_step()
        hanging()

    first, second = threads.submit(hang), threads.submit(lambda _: "done")
    with pytest.raises(NotAnswering):
        threads.result(first)
    assert threads.result(second) == "done"
