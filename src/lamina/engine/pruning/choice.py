"""Which packs a prune condemns (pure)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from lamina.repository.pack_use import PackUse

SMALL_SHARE = 1 / 4  # of the size packs aim at; smaller ones are joined
SMALL_COUNT = 8  # where there are at least so many: otherwise every prune would join those of the last backup


@dataclass(frozen=True, slots=True)
class Rules:
    """What is worth the work."""

    threshold: float  # packs of which a smaller share is needed are rewritten
    max_repack: int | None  # bytes that are copied at most
    data_pack: int  # bytes that packs aim at
    meta_pack: int


@dataclass(frozen=True, slots=True)
class Choice:
    """The packs to be condemned."""

    empty: tuple[PackUse, ...] = ()  # nobody needs anything of them
    rewritten: tuple[PackUse, ...] = ()  # what is needed of them is copied first

    @property
    def packs(self) -> tuple[PackUse, ...]:
        """All of them."""
        return (*self.empty, *self.rewritten)

    @property
    def freed(self) -> int:
        """Bytes that come back, for all that is known before they are read; a pack that was cut short gives none."""
        return sum(max(0, one.size - one.live - one.spare) for one in self.packs)

    @property
    def copied(self) -> int:
        """Bytes of blobs that are copied, at most."""
        return sum(one.live + one.spare for one in self.rewritten)


def choose(uses: Iterable[PackUse], may_go: Callable[[PackUse], bool], rules: Rules) -> Choice:
    """Choose packs: all empty ones, the emptiest of the others, and small ones where there are many.

    *may_go* says whether the session that wrote a pack is decided; it is asked of no more packs than are chosen or refused.
    """
    interesting = [one for one in uses if one.is_empty or one.share < rules.threshold or _is_small(one, rules)]
    empty = tuple(one for one in interesting if one.is_empty and may_go(one))
    worn = sorted(
        (one for one in interesting if not one.is_empty and one.share < rules.threshold), key=lambda one: one.share
    )
    budget = _Budget(rules.max_repack)
    rewritten = [one for one in worn if budget.has_room(one) and may_go(one) and budget.take(one)]
    taken = {one.id for one in rewritten}
    for small in _small_packs([one for one in interesting if not one.is_empty and one.id not in taken], rules):
        joined = [one for one in small if may_go(one)]
        if len(joined) >= SMALL_COUNT:
            rewritten += [one for one in joined if budget.has_room(one) and budget.take(one)]
    return Choice(empty, tuple(rewritten))


def _small_packs(uses: list[PackUse], rules: Rules) -> Iterator[list[PackUse]]:
    """The small packs of each kind, if there are many."""
    for meta in (True, False):
        small = sorted((one for one in uses if one.meta == meta and _is_small(one, rules)), key=lambda one: one.size)
        if len(small) >= SMALL_COUNT:
            yield small


def _is_small(one: PackUse, rules: Rules) -> bool:
    return one.size < SMALL_SHARE * (rules.meta_pack if one.meta else rules.data_pack)


class _Budget:
    """Bytes that may still be copied."""

    def __init__(self, limit: int | None) -> None:
        self._left = limit

    def has_room(self, one: PackUse) -> bool:
        return self._left is None or one.live + one.spare <= self._left

    def take(self, one: PackUse) -> bool:
        if self._left is not None:
            self._left -= one.live + one.spare
        return True
