"""Damage, what a repair plans, what it does, and that it takes nothing away."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from lamina.engine.copy import CopyOptions, copy, plan_copy
from lamina.engine.prune import PruneOptions, prune
from lamina.engine.repair import Helpers, RepairOptions, RepairPlan, RepairReport, plan_repair, repair
from lamina.errors import Damaged, LaminaError, NotPermitted, PruneRefused
from lamina.model.entries import EntryState
from lamina.model.process import Process
from lamina.model.snapshots import Trust
from lamina.repository.format import PACK_HEADER_SIZE, Kind
from lamina.repository.generations import generation_name
from lamina.repository.records import GenerationOpenRecord
from lamina.repository.writer import EncodingOptions
from lamina.storage.storage import Storage
from lamina.testing.damage import cut_object, flip_bit
from lamina.testing.repositories import CHUNK, SmallRepository, back_up
from tests.unit.engine.tree_backups import later, save, stored

FIRST = random.Random(1).randbytes(5 * CHUNK + 17)
SECOND = FIRST[:CHUNK] + random.Random(2).randbytes(CHUNK) + FIRST[2 * CHUNK :]
ALONE = random.Random(3).randbytes(3 * CHUNK)
CONTENTS = [FIRST, SECOND, ALONE]


@pytest.fixture(scope="module")
def saved() -> SmallRepository:
    """Two snapshots of one image that share chunks, and one of another that shares none; to be copied and damaged."""
    repository = SmallRepository()
    for content, name in ((FIRST, "shared"), (SECOND, "shared"), (ALONE, "alone")):
        repository.back_up(content, name=name)
    return repository


def names(small: SmallRepository, kind: str) -> list[str]:
    found = sorted(item.name for item in small.storage.objects() if item.name.startswith(kind))
    assert found
    return found


def objects(storage: Storage) -> dict[str, bytes]:
    return {item.name: storage.get(item.name) for item in storage.objects()}


@contextmanager
def planned(
    small: SmallRepository, helpers: Helpers, **options: bool
) -> Iterator[tuple[RepairPlan, Callable[[], RepairReport]]]:
    """A plan, and what carries it out."""
    repository = small.open()
    before = objects(small.storage)
    chosen = RepairOptions(**options)
    plan = plan_repair(repository, helpers, chosen, small.operation())
    assert objects(small.storage) == before, "a plan wrote something"
    try:
        yield plan, lambda: repair(repository, plan, chosen, small.operation())
    finally:
        plan.survey.close()
        repository.close()


def mend(small: SmallRepository, helpers: Helpers | None = None, **options: bool) -> RepairReport:
    """Plan and repair; whatever was there before is there afterwards, byte for byte; a second time there is nothing to do."""
    before = objects(small.storage)
    with planned(small, helpers or Helpers(), **options) as (_, carry_out):
        report = carry_out()
    after = objects(small.storage)
    assert {name: after.get(name) for name in before} == before, "a repair took something away"
    with planned(small, helpers or Helpers(), **options) as (again, _):
        assert again.is_empty, f"there is still something to do: {again}"
    return report


def check_all_restore(small: SmallRepository) -> None:
    for number, content in enumerate(reversed(CONTENTS)):
        assert small.restore(f"latest~{number}") == content


def prune_all(small: SmallRepository) -> None:
    """Prune, without waiting for sessions that ended long ago."""
    repository = small.open()
    small.clock.advance(timedelta(days=30))
    try:
        prune(repository, Process(), PruneOptions(wait=timedelta()), small.operation())
    finally:
        repository.close()


def affected(small: SmallRepository) -> set[str]:
    """Objects that verify complains of, and that some snapshot suffers from."""
    return {problem.object for problem in small.verify().problems if problem.snapshots}


def test_nothing_is_done_where_nothing_is_broken(saved: SmallRepository):
    with planned(saved.copy(), Helpers()) as (plan, _):
        assert plan.is_empty
        assert plan.broken == ()


@pytest.mark.parametrize("holder", ["writer", "steward"])
def test_it_takes_an_owner(saved: SmallRepository, holder: str):
    with pytest.raises(NotPermitted):
        plan_repair(saved.open(holder), Helpers(), RepairOptions(), saved.operation())


def test_an_index_that_is_gone_is_made_again(saved: SmallRepository):
    damaged = saved.copy()
    for name in names(damaged, "index/"):
        damaged.storage.delete(name)
    with pytest.raises(LaminaError):
        damaged.restore("latest")
    report = mend(damaged)
    assert report.adopted == len(names(damaged, "data/") + names(damaged, "meta/"))
    check_all_restore(damaged)
    assert damaged.verify().problems == ()
    prune_all(damaged)
    assert damaged.verify().problems == ()


@pytest.mark.parametrize("ends_only", [False, True])
def test_a_delta_that_is_gone_or_damaged_is_made_again(saved: SmallRepository, ends_only: bool):
    for number, name in enumerate(names(saved, "index/delta/")):
        damaged = saved.copy()
        if number % 2:
            damaged.storage.delete(name)
        else:
            flip_bit(damaged.storage, name, 100)
        mend(damaged, index_only=ends_only)
        check_all_restore(damaged)
        assert affected(damaged) == set()
        prune_all(damaged)
        assert {problem.object for problem in damaged.verify().problems} <= {name}


def test_what_an_open_prune_condemned_is_not_brought_back(saved: SmallRepository):
    damaged = saved.copy()
    for name in names(damaged, "index/"):
        damaged.storage.delete(name)
    condemned = bytes.fromhex(names(damaged, "data/")[0].rpartition("/")[2])
    opened = damaged.open("steward")
    record = GenerationOpenRecord([], [], [], [condemned], "")
    opened.access.control.write(Kind.GENERATION_OPEN, generation_name(1, "open"), record)
    opened.close()
    with planned(damaged, Helpers()) as (plan, _):
        assert plan.adopt
        assert condemned not in plan.adopt


def test_backups_deduplicate_against_what_was_adopted(saved: SmallRepository):
    damaged = saved.copy()
    for name in names(damaged, "index/"):
        damaged.storage.delete(name)
    mend(damaged)
    report = damaged.back_up(FIRST, name="new")
    assert report.statistics.new < CHUNK
    assert damaged.restore("latest") == FIRST


@pytest.mark.parametrize("offset", [-5, -100], ids=["trailer", "footer"])
@pytest.mark.parametrize("kind", ["data/", "meta/"])
def test_packs_whose_end_is_damaged_are_read_from_their_front(saved: SmallRepository, kind: str, offset: int):
    for name in names(saved, kind):
        damaged = saved.copy()
        flip_bit(damaged.storage, name, offset)
        assert mend(damaged).lost == ()
        check_all_restore(damaged)
        assert affected(damaged) == set()
        prune_all(damaged)
        assert damaged.verify().problems == ()


def test_metadata_packs_that_lost_their_keys_are_opened_with_those_of_the_snapshots(saved: SmallRepository):
    for name in names(saved, "meta/"):
        damaged = saved.copy()
        cut_object(damaged.storage, name, saved.storage.stat(name).size - 600)
        assert mend(damaged).lost == ()
        check_all_restore(damaged)


def test_a_data_pack_that_lost_its_keys_is_opened_with_those_of_another_of_its_session():
    small = SmallRepository()
    opened = small.open()
    opened.access = replace(opened.access, format=msgspec.structs.replace(opened.access.format, data_pack=2 * CHUNK))
    back_up(opened, [FIRST], small.operation())
    opened.close()
    for name in names(small, "data/"):
        damaged = small.copy()
        cut_object(damaged.storage, name, small.storage.stat(name).size - 600)
        assert mend(damaged).lost == ()
        assert damaged.restore("latest") == FIRST


def test_without_any_key_what_a_pack_held_is_lost_and_said_to_be():
    small = SmallRepository()
    small.back_up(FIRST[:CHUNK])
    (name,) = names(small, "data/")
    cut_object(small.storage, name, small.storage.stat(name).size - 600)
    (lost,) = mend(small).lost
    assert (lost.entries, lost.bytes) == (1, CHUNK)
    assert [flaw.path for flaw in lost.flaws] == ["image"]


def test_a_bit_in_one_blob_costs_only_that_blob(saved: SmallRepository):
    name = max(names(saved, "data/"), key=lambda name: saved.storage.stat(name).size)
    damaged = saved.copy()
    flip_bit(damaged.storage, name, PACK_HEADER_SIZE + 1000)
    report = mend(damaged)
    assert report.put
    assert all(one.bytes <= CHUNK for one in report.lost)
    assert report.lost
    for one in report.lost:
        assert one.repaired is not None
        whole = next(
            content
            for content in CONTENTS
            if len(content) == one.snapshot.size
            and (content != FIRST or one.snapshot.parent is None)
            and (content != SECOND or one.snapshot.parent is not None)
        )
        found = damaged.restore(one.repaired.hex())
        assert len(found) == len(whole)
        different = [at for at in range(0, len(whole), CHUNK) if found[at : at + CHUNK] != whole[at : at + CHUNK]]
        assert len(different) == 1
        assert not any(found[different[0] : different[0] + CHUNK])


def test_what_is_left_is_a_new_snapshot_and_the_old_one_stays(saved: SmallRepository):
    damaged = saved.copy()
    before = {one.id for one in damaged.snapshots()}
    for name in names(damaged, "data/"):
        damaged.storage.delete(name)
    report = mend(damaged)
    assert len(report.lost) == len(CONTENTS)
    snapshots = damaged.snapshots()
    assert before < {one.id for one in snapshots}
    for one in snapshots:
        if one.id not in before:
            assert "repaired" in one.tags
            assert (one.partial, one.trust) == (True, Trust.DISTRUSTED)
            assert one.parent in before
    for old in before:
        opened = damaged.open()
        opened.forget(opened.get_snapshot(old))
        opened.close()
    for _ in range(2):
        prune_all(damaged)
    assert damaged.verify().problems == ()


def test_packs_that_are_gone_keep_nobody_from_pruning(saved: SmallRepository):
    damaged = saved.copy()
    prune_all(damaged)  # folds the deltas: segments name packs from now on
    for name in names(damaged, "data/"):
        damaged.storage.delete(name)
    with pytest.raises(PruneRefused):
        prune_all(damaged)
    mend(damaged)
    opened = damaged.open()
    for one in damaged.snapshots():
        if "repaired" not in one.tags:
            opened.forget(one)
    opened.close()
    for _ in range(2):
        prune_all(damaged)
    assert damaged.verify().problems == ()


def test_a_lost_pack_comes_back_from_a_mirror(saved: SmallRepository):
    for name in names(saved, "data/") + names(saved, "meta/"):
        damaged = saved.copy()
        damaged.storage.delete(name)
        report = mend(damaged, Helpers(second=saved.open()))
        assert report.fetched == (name,)
        check_all_restore(damaged)
        assert damaged.verify().problems == ()


def test_a_damaged_pack_is_made_anew_from_a_mirror(saved: SmallRepository):
    for name in names(saved, "data/") + names(saved, "meta/"):
        damaged = saved.copy()
        flip_bit(damaged.storage, name, PACK_HEADER_SIZE + 80)
        mend(damaged, Helpers(second=saved.open()))
        check_all_restore(damaged)
        assert affected(damaged) == set()


@pytest.mark.parametrize("kind", ["snapshots/", "sessions/"])
def test_records_come_back_from_a_mirror(saved: SmallRepository, kind: str):
    for name in names(saved, kind):
        damaged = saved.copy()
        damaged.storage.delete(name)
        mend(damaged, Helpers(second=saved.open()))
        check_all_restore(damaged)
        assert damaged.verify().problems == ()


@pytest.fixture(scope="module")
def mirrored(saved: SmallRepository) -> SmallRepository:
    """A second repository with copies, and keys of its own."""
    other = SmallRepository(number=1)
    source, target = saved.open(), other.open()
    copy(source, target, plan_copy(source, target, source.snapshots()), CopyOptions(), other.operation())
    source.close()
    target.close()
    return other


@pytest.mark.parametrize("kind", ["data/", "meta/"])
def test_lost_chunks_come_back_from_copies_in_another_repository(
    saved: SmallRepository, mirrored: SmallRepository, kind: str
):
    for name in names(saved, kind):
        damaged = saved.copy()
        damaged.storage.delete(name)
        second = mirrored.open()
        report = mend(damaged, Helpers(second=second))
        second.close()
        assert report.put
        assert report.lost == ()
        check_all_restore(damaged)
        assert affected(damaged) == set()


def test_a_copy_gets_back_what_it_lost_from_the_original(saved: SmallRepository, mirrored: SmallRepository):
    for name in names(mirrored, "data/") + names(mirrored, "meta/"):
        damaged = mirrored.copy()
        damaged.storage.delete(name)
        assert mend(damaged, Helpers(second=saved.open())).lost == ()
        check_all_restore(damaged)


def test_lost_chunks_come_back_from_the_source(saved: SmallRepository, tmp_path: Path):
    (tmp_path / "image").write_bytes(SECOND)
    for name in names(saved, "data/"):
        damaged = saved.copy()
        damaged.storage.delete(name)
        mend(damaged, Helpers(source=str(tmp_path)))
        assert damaged.restore(saved.snapshots()[1].id.hex()) == SECOND


def test_a_source_that_changed_is_not_believed(saved: SmallRepository, tmp_path: Path):
    (tmp_path / "image").write_bytes(random.Random(9).randbytes(len(SECOND)))
    damaged = saved.copy()
    for name in names(damaged, "data/"):
        damaged.storage.delete(name)
    with planned(damaged, Helpers(source=str(tmp_path))) as (plan, _):
        assert plan.found == ()


@pytest.mark.parametrize("prefix", ["format/", "keys/epoch-"])
@pytest.mark.parametrize("is_gone", [False, True])
def test_parameters_that_are_damaged_are_read_around_and_written_anew(
    saved: SmallRepository,
    prefix: str,
    is_gone: bool,
):
    damaged = saved.copy()
    (name,) = names(damaged, prefix)
    if is_gone:
        damaged.storage.delete(name)
    else:
        flip_bit(damaged.storage, name, 70)
    check_all_restore(damaged)
    assert any("lamina repair" in message for message in damaged.progress.messages)
    with pytest.raises(Damaged, match=prefix):
        damaged.back_up(FIRST)
    with pytest.raises(Damaged, match=prefix):
        damaged.back_up(FIRST, holder="writer")
    report = mend(damaged)
    assert len(report.renewed) == 1
    damaged.back_up(FIRST, name="later", holder="writer")
    assert damaged.restore("latest") == FIRST
    assert affected(damaged) == set()


def test_it_works_beside_a_backup(saved: SmallRepository):
    damaged = saved.copy()
    damaged.storage.delete(names(damaged, "index/delta/")[0])
    running = damaged.open("writer")
    session = running.begin(Process(), EncodingOptions(3, check=True), damaged.operation())
    chunk = session.writer.data_id(ALONE)
    session.writer.put_data(chunk, ALONE)
    session.writer.flush()
    with planned(damaged, Helpers()) as (_, carry_out):
        carry_out()
    session.give_up()
    session.close()
    running.close()
    check_all_restore(damaged)


# Trees


def make_tree(directory: Path) -> Path:
    (directory / "sub" / "deep").mkdir(parents=True)
    for number in range(6):
        (directory / "sub" / f"small-{number}").write_bytes(
            bytes([number]) * 3000 + random.Random(number).randbytes(3000)
        )
    (directory / "sub" / "deep" / "file").write_bytes(b"in depth")
    (directory / "long").write_bytes(random.Random(7).randbytes(9 << 20))
    (directory / "other").write_bytes(b"other")
    return directory


@pytest.fixture
def tree(tmp_path: Path) -> tuple[SmallRepository, Path]:
    small = later(SmallRepository())
    save(small, make_tree(tmp_path / "source"))
    return small, tmp_path / "source"


def test_files_of_which_something_is_lost_keep_the_rest(tree: tuple[SmallRepository, Path]):
    small, _ = tree
    before = stored(small)
    name = max(names(small, "data/"), key=lambda name: small.storage.stat(name).size)
    size = small.storage.stat(name).size
    flip_bit(small.storage, name, size // 2)
    report = mend(small)
    (lost,) = report.lost
    after = stored(small)
    assert set(after) == set(before)
    changed = [path for path in before if after[path].content != before[path].content]
    assert [flaw.path for flaw in lost.flaws] == [f"tree/{path}" for path in changed]
    for path in changed:
        assert after[path].state in {EntryState.KEPT, EntryState.UNREAD}
    if "long" in changed:
        assert len(after["long"].content) == 9 << 20
        same = sum(a == b for a, b in zip(after["long"].content, before["long"].content, strict=True))
        assert same > 1 << 20


def test_a_bundle_comes_back_from_the_files_it_held(tree: tuple[SmallRepository, Path]):
    small, source = tree
    before = stored(small)
    for name in names(small, "data/"):
        small.storage.delete(name)
    (source.parent / "root").mkdir()
    (source.parent / "root" / "tree").symlink_to(source)
    report = mend(small, Helpers(source=str(source.parent / "root")))
    assert report.lost == ()
    assert stored(small) == before


def test_directories_that_are_lost_are_named_and_the_rest_stays(tmp_path: Path):
    small = later(SmallRepository())
    save(small, make_tree(tmp_path / "source"))
    first = set(names(small, "meta/"))
    (tmp_path / "source" / "sub" / "deep" / "file").write_bytes(b"changed")
    save(small, tmp_path / "source")
    (second,) = set(names(small, "meta/")) - first
    small.storage.delete(second)
    with planned(small, Helpers()) as (plan, _):
        assert [one.snapshot.id for one in plan.lost] == [small.snapshots()[1].id]


def test_a_tree_comes_back_from_a_copy(tree: tuple[SmallRepository, Path]):
    small, _ = tree
    before = stored(small)
    other = SmallRepository(number=1)
    source, target = small.open(), other.open()
    copy(source, target, plan_copy(source, target, source.snapshots()), CopyOptions(), other.operation())
    source.close()
    for name in names(small, "data/") + names(small, "meta/"):
        damaged = small.copy()
        damaged.storage.delete(name)
        report = mend(damaged, Helpers(second=target))
        assert report.lost == ()
        assert stored(damaged) == before
    target.close()
