"""A run that ends anywhere: every state the storage was in is one to go on from."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from lamina.model.secret import Secret
from lamina.model.snapshots import Role, Trust
from lamina.repository.repository import Repository
from lamina.testing.damage import RecordingStorage
from lamina.testing.repositories import CHUNK, SmallRepository, back_up

OLD = random.Random(1).randbytes(5 * CHUNK + 17)
NEW = OLD[:CHUNK] + random.Random(2).randbytes(2 * CHUNK) + OLD[3 * CHUNK :]


def test_a_backup_that_ends_after_any_put(small: SmallRepository):
    """A crash keeps a prefix of the puts: objects are whole and durable once a put returned."""
    small.back_up(OLD)
    recording = RecordingStorage(small.storage)
    back_up(small.open(storage=recording), [NEW], small.operation())
    counts = []
    for state in recording.states():
        crashed = SmallRepository(state)
        report = crashed.verify()
        assert report.problems == ()
        oldest, *newer = crashed.snapshots()
        assert crashed.restore(oldest.id.hex()) == OLD
        assert all(crashed.restore(one.id.hex()) == NEW for one in newer)
        again = crashed.back_up(NEW)
        assert crashed.restore("latest") == NEW
        assert crashed.verify().problems == ()
        counts.append((len(newer), again.statistics.new))
    assert counts[0][0] == 0
    assert counts[-1][0] == 1
    assert counts[-1][1] < counts[0][1], "what was published is used again"


EDITS: dict[str, Callable[[Repository], object]] = {
    "tag": lambda repository: repository.edit(repository.find_snapshot("latest"), add_tags=["a"]),
    "note": lambda repository: repository.edit(repository.find_snapshot("latest"), trust=Trust.DISTRUSTED, note="n"),
    "forget": lambda repository: repository.forget(repository.find_snapshot("latest")),
    "key": lambda repository: repository.add_key(Role.WRITER, Secret(b"new")),
}


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
def test_every_edit_is_one_object_there_or_not(small: SmallRepository, edit: Callable[[Repository], object]):
    small.back_up(OLD)
    recording = RecordingStorage(small.storage)
    edit(small.open(storage=recording))
    states = list(recording.states())
    assert len({frozenset(found.name for found in state.objects()) for state in states}) == 2
    for state in states:
        assert SmallRepository(state).verify().problems == ()


def test_an_interrupted_init_is_no_repository():
    from lamina.errors import LaminaError, RepositoryExists
    from lamina.repository.repository import CreateOptions
    from lamina.testing.storages import MemoryStorage

    fresh = RecordingStorage(MemoryStorage())
    operation = SmallRepository().operation()
    repository, _ = Repository.create(fresh, Secret(b"p"), CreateOptions(CHUNK), operation)
    repository.close()
    *unfinished, finished = fresh.states()
    for number, state in enumerate(unfinished):
        with pytest.raises(LaminaError, match="no repository"):
            Repository.open(state, Secret(b"p"), operation)
        if number:
            with pytest.raises(RepositoryExists, match="not empty"):
                Repository.create(state, Secret(b"p"), CreateOptions(CHUNK), operation)
    Repository.open(finished, Secret(b"p"), operation).close()
