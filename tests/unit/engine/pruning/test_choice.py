"""Which packs are worth the work."""

from __future__ import annotations

from lamina.engine.pruning.choice import SMALL_COUNT, Rules, choose
from lamina.model.ids import PackId
from lamina.repository.pack_use import PackUse

RULES = Rules(threshold=0.7, max_repack=None, data_pack=1000, meta_pack=400)


def pack(number: int, *, live: int = 0, spare: int = 0, dead: int = 0, meta: bool = False) -> PackUse:
    return PackUse(PackId(bytes([number]) * 32), live + spare + dead + 20, meta, live, spare, dead)


def anyone(_: PackUse) -> bool:
    return True


def test_empty_packs_go_and_full_ones_stay():
    empty, full = pack(1, dead=900), pack(2, live=900)
    chosen = choose([empty, full], anyone, RULES)
    assert (chosen.empty, chosen.rewritten) == ((empty,), ())
    assert (chosen.freed, chosen.copied) == (920, 0)


def test_a_pack_that_nobody_indexed_is_empty():
    stray = PackUse(PackId(b"s" * 32), 500, meta=False)
    assert choose([stray], anyone, RULES).empty == (stray,)


def test_packs_below_the_threshold_are_rewritten_the_emptiest_first():
    packs = [pack(1, live=600, dead=400), pack(2, live=100, dead=900), pack(3, live=700, dead=300)]
    chosen = choose(packs, anyone, RULES)
    assert chosen.rewritten == (packs[1], packs[0])
    assert (chosen.copied, chosen.freed) == (700, 2040 - 700)


def test_no_more_is_copied_than_allowed():
    packs = [pack(1, live=600, dead=400), pack(2, live=100, dead=900), pack(3, live=300, dead=700)]
    chosen = choose(packs, anyone, Rules(0.7, 500, 1000, 400))
    assert chosen.rewritten == (packs[1], packs[2])


def test_spare_copies_count_as_not_needed_and_as_work():
    twice = pack(1, live=300, spare=700)
    chosen = choose([twice], anyone, RULES)
    assert chosen.rewritten == (twice,)
    assert chosen.copied == 1000


def test_small_packs_are_joined_where_there_are_many():
    few = [pack(number, live=100) for number in range(SMALL_COUNT - 1)]
    assert choose(few, anyone, RULES).packs == ()
    many = [*few, pack(100, live=100)]
    assert set(choose(many, anyone, RULES).rewritten) == set(many)
    mixed = [*few, pack(100, live=50, meta=True)]
    assert choose(mixed, anyone, RULES).packs == (), "of one kind each"


def test_small_packs_that_may_not_go_do_not_count():
    small = [pack(number, live=100) for number in range(SMALL_COUNT)]
    assert choose(small, lambda one: one is not small[0], RULES).packs == ()


def test_packs_of_sessions_that_are_not_decided_stay():
    packs = [pack(1, dead=900), pack(2, live=100, dead=900)]
    assert choose(packs, lambda _: False, RULES).packs == ()


def test_nobody_is_asked_about_packs_that_stay_anyway():
    asked = []

    def may_go(one: PackUse) -> bool:
        asked.append(one)
        return True

    full, empty = pack(1, live=900), pack(2, dead=900)
    choose([full, empty], may_go, RULES)
    assert asked == [empty]


def test_a_pack_that_was_cut_short_gives_nothing_back():
    cut = PackUse(PackId(b"c" * 32), 100, meta=False, live=300, dead=900)
    assert choose([cut], anyone, RULES).freed == 0
