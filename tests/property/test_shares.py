"""Shares of a verify: however much comes and goes between the runs, all that stayed is read in time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from fractions import Fraction

from hypothesis import example, given
from hypothesis import strategies as st

from lamina.engine.verifying.selection import History, VerifyOptions, choose_packs
from lamina.storage.storage import StoredObject

START = datetime(2026, 1, 1, tzinfo=UTC)
SIZES = st.lists(st.integers(1, 1000), max_size=12)


@given(
    runs=st.integers(1, 9),
    sizes=SIZES,
    days=st.lists(st.tuples(SIZES, st.sets(st.integers(0, 40))), max_size=9),
    damaged=st.sets(st.integers(0, 12)),
)
@example(runs=2, sizes=[1, 2, 2, 1], days=[([], {1})], damaged=set())  # less is there than when the first run chose
@example(runs=3, sizes=[9, 1, 1, 1], days=[], damaged={0})  # what is damaged is read each time
def test_whatever_was_there_at_first_is_read_after_that_many_runs(
    runs: int, sizes: list[int], days: list[tuple[list[int], set[int]]], damaged: set[int]
):
    first = [StoredObject(f"data/first-{number:03}", size, START) for number, size in enumerate(sizes)]
    bad = {pack.name for number, pack in enumerate(first) if number in damaged}
    there, read, checked = list(first), set(), {}
    done: list[tuple[datetime, Fraction]] = []
    for run in range(runs):
        now = START + timedelta(days=run + 1)
        history = History(lambda pack: checked.get(pack.name), done)
        chosen = choose_packs(there, VerifyOptions(share=Fraction(1, runs)), history, now)
        names = {pack.name for pack in chosen}
        assert len(names) == len(chosen)
        read |= names
        checked.update((name, now) for name in names - bad)
        done.append((now, Fraction(1, runs)))
        new, gone = days[run] if run < len(days) else ([], set())
        there = [pack for number, pack in enumerate(there) if number not in gone]
        came = now + timedelta(hours=1)
        there += [StoredObject(f"data/new-{run}-{number:03}", size, came) for number, size in enumerate(new)]
    assert {pack.name for pack in first if pack in there} <= read


@given(
    sizes=SIZES,
    shares=st.lists(st.fractions(Fraction(1, 20), Fraction(19, 20), max_denominator=1000), min_size=1, max_size=9),
)
def test_shares_of_any_size_cover_everything_once_they_add_up_to_it(sizes: list[int], shares: list[Fraction]):
    packs = [StoredObject(f"data/{number:03}", size, START) for number, size in enumerate(sizes)]
    checked: dict[str, datetime] = {}
    done: list[tuple[datetime, Fraction]] = []
    for run, share in enumerate(shares):
        now = START + timedelta(days=run + 1)
        history = History(lambda pack: checked.get(pack.name), done)
        chosen = choose_packs(packs, VerifyOptions(share=share), history, now)
        checked.update((pack.name, now) for pack in chosen)
        done.append((now, share))
    assert sum(shares) < 1 or len(checked) == len(packs)


@given(sizes=SIZES, seen=st.sets(st.integers(0, 12)), share=st.fractions(Fraction(1, 20), 1, max_denominator=1000))
def test_what_was_never_read_comes_first_and_the_oldest_next(sizes: list[int], seen: set[int], share: Fraction):
    packs = [StoredObject(f"data/{number:03}", size, START) for number, size in enumerate(sizes)]
    checked = {packs[number].name: START + timedelta(days=number) for number in seen if number < len(packs)}
    now = START + timedelta(days=99)
    chosen = choose_packs(packs, VerifyOptions(share=share), History(lambda pack: checked.get(pack.name)), now)
    ages = [checked.get(pack.name, START - timedelta(days=1)) for pack in chosen]
    assert ages == sorted(ages)
    left = [checked.get(pack.name, START - timedelta(days=1)) for pack in packs if pack not in chosen]
    assert not left or not ages or min(left) >= max(ages)
    assert sum(pack.size for pack in chosen) >= share * sum(sizes)
