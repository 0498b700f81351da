"""What a verify reads, what it writes down, and what the next one makes of that."""

from __future__ import annotations

import random
from datetime import timedelta
from fractions import Fraction
from typing import Any

import pytest

from lamina.engine.verify import VerifyOptions, VerifyReport, verify
from lamina.engine.verifying.keyless import verify_without_key
from lamina.engine.verifying.overview import read_coverage
from lamina.errors import RepositoryMissing, Stopped, StorageDenied, UsageError
from lamina.model.ids import PackId
from lamina.model.operation import Operation
from lamina.model.snapshots import Trust
from lamina.repository.coverage import FOLD, Coverage, Depth
from lamina.repository.format import Kind
from lamina.repository.object_names import COVERAGE, numbered
from lamina.repository.records import CheckedPacks, CoverageRecord, to_us
from lamina.testing.damage import flip_bit
from lamina.testing.repositories import CHUNK, SmallRepository
from lamina.testing.storages import Fault, FaultyStorage, MemoryStorage


@pytest.fixture
def small() -> SmallRepository:
    """Several backups, hence several packs; not verified in the end, as tests damage it."""
    repository = SmallRepository()
    for number in range(4):
        repository.back_up(random.Random(number).randbytes(2 * CHUNK), name=f"vm{number}")
    return repository


def check(small: SmallRepository, holder: str = "owner", **options: Any) -> VerifyReport:
    repository = small.open(holder)
    try:
        return verify(repository, small.operation(), VerifyOptions(**{"record": True, "mark": True, **options}))
    finally:
        repository.close()


def packs(small: SmallRepository, *folders: str) -> set[str]:
    wanted = folders or ("data/", "meta/")
    return {item.name for item in small.storage.objects() if item.name.startswith(wanted)}


def covered(small: SmallRepository, depth: Depth) -> set[str]:
    """The packs that somebody recorded as found whole."""
    repository = small.open("steward")
    coverage = Coverage()
    coverage.load(repository.access, small.clock.now())
    repository.close()
    return {name for name in packs(small) if coverage.verified(PackId(bytes.fromhex(name[5:])), depth) is not None}


@pytest.mark.parametrize("runs", [2, 3, 7])
def test_shares_cover_everything_in_as_many_runs(small: SmallRepository, runs: int):
    for _ in range(runs):
        check(small, share=Fraction(1, runs))
    assert covered(small, Depth.CONTENT) == packs(small)


@pytest.mark.parametrize("runs", [3, FOLD + 4])
def test_damage_that_takes_each_share_for_itself_does_not_put_off_the_rest(small: SmallRepository, runs: int):
    lost = min(packs(small))
    flip_bit(small.storage, lost, 500)
    for _ in range(runs - 1):
        small.clock.advance(timedelta(days=1))
        assert lost in {problem.object for problem in check(small, share=Fraction(1, runs)).problems}
    assert covered(small, Depth.CONTENT) < packs(small) - {lost}
    small.clock.advance(timedelta(days=1))
    check(small, share=Fraction(1, runs))
    assert covered(small, Depth.CONTENT) == packs(small) - {lost}


def test_a_run_that_reads_only_what_is_old_counts_as_no_share(small: SmallRepository):
    check(small)
    for _ in range(3):
        small.clock.advance(timedelta(days=1))
        assert check(small, share=Fraction(1, 4), older_than=timedelta(days=30)).checked.packs == 0
        assert check(small, share=Fraction(1, 4), max_time=timedelta(0)).checked.packs == 0
    report = check(small, share=Fraction(1, 4))
    assert report.checked.packs < report.packs.packs


def test_what_a_steward_read_is_no_share_of_what_an_owner_reads(small: SmallRepository):
    check(small, "steward")
    small.back_up(random.Random(9).randbytes(2 * CHUNK), name="new")
    first = check(small, share=Fraction(1, 3))
    assert first.checked.packs < first.packs.packs
    for _ in range(2):
        check(small, share=Fraction(1, 3))
    assert covered(small, Depth.CONTENT) == packs(small)


def test_a_clock_that_is_hours_behind_puts_nothing_off(small: SmallRepository):
    check(small)
    for hours in (20, -12, 20):
        small.clock.advance(timedelta(hours=hours))
        check(small, share=Fraction(1, 3))
    repository = small.open("steward")
    coverage = Coverage()
    coverage.load(repository.access, small.clock.now())
    repository.close()
    whole, *_ = sorted(began for began, _ in coverage.runs(Depth.CONTENT))
    times = [coverage.verified(PackId(bytes.fromhex(name[5:])), Depth.CONTENT) for name in packs(small)]
    assert all(time is not None and time > whole for time in times)


def test_a_share_reads_no_more_than_it_must(small: SmallRepository):
    report = check(small, share=Fraction(1, 4))
    assert (
        0 < report.checked.bytes <= report.packs.bytes / 4 + max(small.storage.stat(one).size for one in packs(small))
    )
    assert report.recorded
    assert report.problems == ()


def test_what_was_never_checked_comes_first_and_then_what_was_not_for_longest(small: SmallRepository):
    first = check(small, share=Fraction(1, 3))
    known = covered(small, Depth.CONTENT)
    check(small, share=Fraction(1, 3))
    assert len(covered(small, Depth.CONTENT) - known) > 0
    check(small, share=Fraction(1, 3))
    assert covered(small, Depth.CONTENT) == packs(small)
    assert first.checked.packs == len(known)


def test_a_run_that_was_stopped_is_gone_on_with(small: SmallRepository):
    repository, operation = small.open(), small.operation()
    read = 0

    class StopLater:
        def start(self, phase: str, total: int | None) -> None: ...

        def advance(self, *, read: int = 0, **_: int) -> None:
            if read > CHUNK:
                self.count += 1
                if self.count == 2:
                    operation.stop.set()

        def message(self, text: str) -> None: ...

        count = read

    with pytest.raises(Stopped):
        verify(repository, Operation(small.clock, StopLater(), operation.stop), VerifyOptions(record=True, threads=0))
    repository.close()
    known = covered(small, Depth.CONTENT)
    assert 0 < len(known) < len(packs(small))
    missing = sum(small.storage.stat(name).size for name in packs(small) - known)
    check(small, max_read=missing)
    assert covered(small, Depth.CONTENT) == packs(small)


def test_bytes_and_time_are_bounded_and_what_is_left_is_told(small: SmallRepository):
    report = check(small, max_read=3 * CHUNK)
    assert report.checked.bytes <= 3 * CHUNK
    assert report.left.packs == report.packs.packs - report.checked.packs > 0
    late = check(small, max_time=timedelta(0))
    assert late.checked.packs == 0
    assert late.left.packs == late.packs.packs
    assert late.problems == ()


def test_only_packs_that_were_not_checked_for_long_are_read_again(small: SmallRepository):
    check(small)
    assert check(small, older_than=timedelta(days=30)).checked.packs == 0
    small.clock.advance(timedelta(days=31))
    assert check(small, older_than=timedelta(days=30)).checked.packs == len(packs(small))


def test_what_a_steward_checked_an_owner_has_yet_to_open(small: SmallRepository):
    check(small, "steward")
    assert covered(small, Depth.BYTES) == packs(small)
    assert covered(small, Depth.CONTENT) == set()
    assert check(small, older_than=timedelta(days=1)).checked.packs == len(packs(small))
    assert check(small, "steward", older_than=timedelta(days=1)).checked.packs == 0


def test_what_a_writer_checked_is_not_recorded_and_it_says_so(small: SmallRepository):
    report = check(small, "writer")
    assert not report.recorded
    assert any("not recorded" in note for note in report.notes)
    assert covered(small, Depth.BYTES) == set()


def test_a_writers_word_on_coverage_is_not_believed(small: SmallRepository):
    thief = small.open("writer")
    prefixes = b"".join(sorted(bytes.fromhex(name[5:])[:8] for name in packs(small)))
    record = CoverageRecord(0, [CheckedPacks(to_us(small.clock.now()), 2, prefixes)])
    thief.access.control.write(Kind.COVERAGE, numbered(COVERAGE, 5), record)
    thief.close()
    assert covered(small, Depth.BYTES) == set()
    report = check(small, share=Fraction(1, 2))
    assert [problem.object for problem in report.problems] == [f"{COVERAGE}00000005"]
    assert covered(small, Depth.BYTES) != set()


def test_a_clock_far_ahead_does_not_put_checks_off(small: SmallRepository):
    small.clock.advance(timedelta(days=400))
    check(small)
    small.clock.advance(timedelta(days=-400))
    assert check(small, older_than=timedelta(days=30)).checked.packs == len(packs(small))


def test_a_damaged_record_of_coverage_is_named_and_costs_only_time(small: SmallRepository):
    check(small)
    flip_bit(small.storage, f"{COVERAGE}00000001", 100)
    report = check(small, share=Fraction(1, 2))
    assert [problem.object for problem in report.problems] == [f"{COVERAGE}00000001"]
    assert report.problems[0].snapshots == ()
    assert report.recorded


def test_many_records_of_coverage_become_one_that_says_as_much(small: SmallRepository):
    for _ in range(FOLD + 3):
        check(small, share=Fraction(1, 8))
        assert len(list(small.storage.objects(COVERAGE))) <= FOLD + 1
    assert covered(small, Depth.CONTENT) == packs(small)
    assert check(small).problems == ()


def test_two_that_record_at_once_both_count(small: SmallRepository):
    one, other = small.open(), small.open("steward")
    names = sorted(packs(small))
    ids = [PackId(bytes.fromhex(name[5:])) for name in names]
    first, second = Coverage(), Coverage()
    for coverage, repository in ((first, one), (second, other)):
        coverage.load(repository.access, small.clock.now())
    first.record(one.access, ids[:2], Depth.BYTES, small.clock.now())
    second.record(other.access, ids[2:], Depth.BYTES, small.clock.now())
    one.close()
    other.close()
    assert covered(small, Depth.BYTES) == set(names)


def test_coverage_of_a_hundred_thousand_packs_is_small():
    small = SmallRepository()
    repository = small.open()
    coverage = Coverage()
    coverage.load(repository.access, small.clock.now())
    ids = [PackId(random.Random(number).randbytes(32)) for number in range(100_000)]
    coverage.record(repository.access, ids, Depth.CONTENT, small.clock.now())
    repository.close()
    assert sum(item.size for item in small.storage.objects(COVERAGE)) < 801_000


def test_the_structure_alone_reads_no_data(small: SmallRepository):
    lost = min(packs(small, "data/"))
    flip_bit(small.storage, lost, 500)
    report = check(small, structure_only=True)
    assert report.problems == ()
    assert report.checked.packs == len(packs(small, "meta/"))
    small.storage.delete(lost)
    report = check(small, structure_only=True)
    assert {problem.object for problem in report.problems if problem.object.startswith("data/")} == {lost}
    assert all(problem.snapshots for problem in report.problems)


def test_a_pack_that_is_too_short_is_found_without_reading_it(small: SmallRepository):
    short = min(packs(small, "data/"))
    whole = small.storage.get(short)
    small.storage.delete(short)
    small.storage.put(short, [whole[:-1]])
    report = check(small, structure_only=True)
    assert any(problem.object == short and problem.snapshots for problem in report.problems)


def test_without_a_key_every_byte_is_checked_all_the_same(small: SmallRepository):
    assert verify_without_key(small.storage, small.operation()).problems == ()
    for item in list(small.storage.objects()):
        damaged = small.copy()
        flip_bit(damaged.storage, item.name, item.size // 2)
        found = verify_without_key(damaged.storage, small.operation()).problems
        assert [problem.object for problem in found] == [item.name]


def test_without_a_key_there_must_be_a_repository():
    with pytest.raises(RepositoryMissing):
        verify_without_key(MemoryStorage(), SmallRepository().operation())


def test_a_plain_verify_of_the_engine_writes_nothing(small: SmallRepository):
    before = {item.name for item in small.storage.objects()}
    repository = small.open()
    verify(repository, small.operation())
    repository.close()
    assert {item.name for item in small.storage.objects()} == before


def test_a_full_verify_with_content_makes_fresh_snapshots_verified(small: SmallRepository):
    from lamina.engine.backup import VerifyMode

    small.back_up(bytes(CHUNK), name="fresh", verify=VerifyMode.NONE)
    check(small, "steward")
    check(small, share=Fraction(1, 2))
    assert small.snapshots()[-1].trust is Trust.FRESH
    check(small, mark=False)
    assert small.snapshots()[-1].trust is Trust.FRESH
    report = check(small)
    assert [one.trust for one in small.snapshots()] == [Trust.VERIFIED] * 5
    assert report.verified == (small.snapshots()[-1].id.hex(),)


def test_the_overview_says_what_was_verified_when(small: SmallRepository):
    check(small)
    small.clock.advance(timedelta(days=10))
    small.back_up(bytes(range(256)) * 300, name="new")
    repository = small.open()
    report = read_coverage(repository, small.operation())
    repository.close()
    content = report.depths[1]
    assert content.depth is Depth.CONTENT
    assert content.ever.packs + content.never.packs == report.packs.packs == len(packs(small))
    assert content.never.packs > 0
    assert [amount.packs for age, amount in content.within if age <= timedelta(days=7)] == [0, 0]
    assert content.oldest is not None


@pytest.mark.parametrize("share", [Fraction(0), Fraction(2), Fraction(1, 10**30)])
def test_shares_that_make_no_sense_are_refused(share: Fraction):
    with pytest.raises(UsageError):
        VerifyOptions(share=share)


def test_a_storage_that_cannot_be_written_to_is_verified_all_the_same(small: SmallRepository):
    lost = min(packs(small, "data/"))
    flip_bit(small.storage, lost, 500)
    storage = FaultyStorage(small.storage, [Fault("put", lasting=True, error=StorageDenied)])
    repository = small.open(storage=storage)
    report = verify(repository, small.operation(), VerifyOptions(record=True, mark=True))
    repository.close()
    assert lost in {problem.object for problem in report.problems}
    assert not report.recorded
    assert len(report.notes) == 2
    assert report.distrusted == ()
