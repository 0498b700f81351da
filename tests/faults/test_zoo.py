"""Every object, damaged in every way: verify names it and what it costs, nothing panics, and nothing else is harmed."""

from __future__ import annotations

import itertools
import os
import random
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from functools import partial

import pytest

from lamina.engine.prune import PruneOptions, prune
from lamina.engine.verify import VerifyReport
from lamina.engine.verify import verify as run_verify
from lamina.errors import LaminaError, RepositoryMissing, UsageError
from lamina.model.entries import FixedContent
from lamina.model.process import Process
from lamina.model.secret import Secret
from lamina.model.snapshots import Snapshot
from lamina.repository.chunks import ChunkReader
from lamina.repository.repository import Repository
from lamina.repository.streams import FixedMap
from lamina.repository.trees import walk_tree
from lamina.testing.damaged import (
    DamagedRepository,
    Notice,
    damage_kinds,
    damaged_repository,
    instances,
)
from lamina.testing.repositories import CHUNK, SmallRepository

NEWS = random.Random(99).randbytes(2 * CHUNK + 1)
SOAK = bool(
    os.environ.get("LAMINA_SOAK")
)  # every object of each kind; in CI the first one written, or the newest where that counts
NEWEST_COUNTS = ("manifest", "generation")


def animals(kind: str) -> list[DamagedRepository]:
    numbers = range(instances(kind)) if SOAK else (0,)
    if kind.endswith(NEWEST_COUNTS):
        numbers = range(instances(kind))
    return [damaged_repository(kind, number) for number in numbers]


every_damage = pytest.mark.parametrize("kind", damage_kinds())
# Objects that do not fit their hash are all met alike, whichever bit it was.
_ALIKE = re.compile("(empty|shortened|lengthened|flipped-(magic|version|features|signature|hash|header|trailer))-")
other_damages = pytest.mark.parametrize("kind", [kind for kind in damage_kinds() if SOAK or not _ALIKE.match(kind)])


def explained(act: Callable[[], object]) -> LaminaError | None:
    """How *act* failed; it may only fail with an error of ours that says what to do next."""
    try:
        act()
    except LaminaError as error:
        failure = error
    else:
        return None
    assert failure.hint, f"no hint: {failure.message}"
    return failure


def restorable(animal: DamagedRepository) -> set[str]:
    """Snapshots that come back byte for byte. Anything else that comes back is the worst that can happen."""
    found = set()
    for snapshot, content in animal.contents.items():
        error = explained(partial(check_content, animal.repository, snapshot, content))
        if error is None:
            found.add(snapshot)
    return found


def check_content(repository: SmallRepository, snapshot: str, content: bytes) -> None:
    assert repository.restore(snapshot) == content


def verify(animal: DamagedRepository) -> VerifyReport:
    """What a person gets who has only the recovery key."""
    small, operation = animal.repository, animal.repository.operation()
    opened = Repository.open(small.storage, Secret(small.recovery_key.encode()), operation)
    try:
        return run_verify(opened, operation)
    finally:
        opened.index.close()


@every_damage
def test_verify_names_what_is_damaged_and_whom_it_costs(kind: str, record_property: Callable[[str, object], None]):
    for animal in animals(kind):
        back = restorable(animal)
        refused = explained(lambda animal=animal: verify(animal))
        if refused is not None:  # it cannot even be opened
            assert isinstance(refused, RepositoryMissing) or any(
                name.rpartition("/")[0] in refused.message for name in animal.objects
            ), refused.message
            continue
        report = verify(animal)
        told = " ".join(f"{one.object} {one.what}" for one in (*report.problems, *report.warnings))
        costs = {snapshot for one in report.problems for snapshot in one.snapshots}
        assert all(name in told for name in animal.objects) is (animal.notice is Notice.NAMED), told
        assert bool(report.problems or report.warnings) is (animal.notice is not Notice.NONE)
        assert set(animal.contents) - back <= costs, "a snapshot does not restore, and nobody says so"
        assert set(animal.contents) - animal.may_lose <= back, "a snapshot is lost that needs nothing of it"
    record_property("damaged repositories", len(animals(kind)))


@other_damages
def test_no_key_and_no_verb_panics_or_makes_it_worse(kind: str):
    for animal in animals(kind):
        small = animal.repository
        for holder in ("writer", "steward"):
            explained(partial(small.verify, holder))
            explained(partial(small.snapshots, holder, removed=True))
        explained(lambda small=small: small.open().keys())
        before = restorable(animal)
        if explained(lambda small=small: small.back_up(NEWS, name="shared")) is None:
            assert small.restore("shared@latest") == NEWS
        assert before <= restorable(animal), "a backup made it worse"


# What nobody can notice, a prune cannot either; and a tombstone in the wrong place counts for nothing.
NOT_HEALED = {"missing-removal", "swapped-removal"}
PRUNE = PruneOptions(
    undo_window=timedelta(0), wait=timedelta(0), abort_after=timedelta(0), threshold=0.95
)  # as greedy as can be


def readable(animal: DamagedRepository) -> set[tuple[str, int]]:
    """Every chunk of every snapshot that is not forgotten and that can still be read."""
    found: set[tuple[str, int]] = set()

    def look() -> None:
        opened = animal.repository.open()
        for snapshot in opened.snapshots():
            explained(partial(read, opened.reader(), snapshot))

    def read(reader: ChunkReader, snapshot: Snapshot) -> None:
        for _, entry in walk_tree(reader, snapshot.root):
            if not isinstance(entry.content, FixedContent):
                continue  # of what a repair rewrote, nothing may be left
            for number, (_, chunk) in FixedMap(reader, entry.content).slots():
                if chunk is not None and explained(partial(reader.get_data, chunk)) is None:
                    found.add((snapshot.id.hex(), number))

    explained(look)
    return found


def forget(repository: SmallRepository, snapshot: str) -> None:
    opened = repository.open()
    opened.forget(opened.find_snapshot(snapshot))
    opened.close()


def run_prune(repository: SmallRepository, holder: str) -> None:
    opened = repository.open(holder)
    try:
        prune(opened, Process(), PRUNE, repository.operation())
    finally:
        opened.close()


@other_damages
def test_a_prune_is_refused_or_costs_nothing_that_could_be_read(kind: str):
    for animal, holder in itertools.product(animals(kind), ("owner", "steward") if SOAK else ("steward",)):
        small, (first, *others) = animal.repository.copy(), animal.contents
        pruned = replace(animal, repository=small)
        explained(partial(forget, small, first))
        before = readable(pruned)
        for _ in range(2):
            explained(partial(run_prune, small, holder))
        assert before <= readable(pruned), "a prune made it worse"
        pruned.heal()
        lost = set(others) - {snapshot for snapshot, _ in readable(pruned)}
        assert not lost or kind in NOT_HEALED, "what a copy of the storage could have healed is gone"


def test_what_is_no_damage_is_refused():
    with pytest.raises(UsageError):
        damaged_repository("flipped-footer-manifest")
    with pytest.raises(UsageError):
        damaged_repository("missing")
