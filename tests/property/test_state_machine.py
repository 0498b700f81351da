"""Any order of backups, edits, forgetting, bringing back and pruning: every snapshot restores, the list is right."""

from __future__ import annotations

import random
from dataclasses import replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
)

from lamina.engine.backup import VerifyMode
from lamina.testing.repositories import CHUNK, SmallRepository
from tests.unit.engine.test_prune import NOW, run_prune


class Repositories(RuleBasedStateMachine):
    """One repository and what must be in it."""

    there = Bundle("there")
    gone = Bundle("gone")

    @initialize()
    def create(self) -> None:
        self.small = SmallRepository()
        self.rng = random.Random(1)
        self.contents: dict[str, bytes] = {}
        self.tags: dict[str, set[str]] = {}
        self.removed: set[str] = set()

    @rule(
        target=there,
        name=st.sampled_from(["a", "b"]),
        holder=st.sampled_from(["owner", "writer", "other"]),
        size=st.integers(0, 5 * CHUNK),
        seed=st.integers(0, 3),
        verify=st.sampled_from(VerifyMode),
    )
    def back_up(self, name: str, holder: str, size: int, seed: int, verify: VerifyMode) -> str:
        content = random.Random(seed).randbytes(size)
        report = self.small.back_up(content, name=name, holder=holder, verify=verify, tags=frozenset({name}))
        snapshot = report.snapshot.hex()
        self.contents[snapshot], self.tags[snapshot] = content, {name}
        return snapshot

    @rule(snapshot=there, tag=st.sampled_from(["x", "y"]), remove=st.booleans())
    def tag(self, snapshot: str, tag: str, remove: bool) -> None:
        repository = self.small.open()
        found = repository.find_snapshot(snapshot)
        repository.edit(found, add_tags=[] if remove else [tag], remove_tags=[tag] if remove else [])
        repository.close()
        (self.tags[snapshot].discard if remove else self.tags[snapshot].add)(tag)

    @rule(target=gone, snapshot=consumes(there), holder=st.sampled_from(["owner", "steward"]))
    def forget(self, snapshot: str, holder: str) -> str:
        repository = self.small.open(holder)
        repository.forget(repository.find_snapshot(snapshot))
        repository.close()
        self.removed.add(snapshot)
        return snapshot

    @rule(holder=st.sampled_from(["owner", "steward"]), threshold=st.sampled_from([0.5, 1.0]))
    def prune(self, holder: str, threshold: float) -> None:
        """Bury all that is forgotten."""
        report = run_prune(self.small, replace(NOW, threshold=threshold), holder=holder)
        assert report.finished
        assert {one.hex() for one in report.buried} == self.removed
        for snapshot in self.removed:
            del self.contents[snapshot], self.tags[snapshot]
        self.removed = set()

    @rule(target=there, snapshot=consumes(gone))
    def unforget(self, snapshot: str) -> str | MultipleResults[str]:
        if snapshot not in self.contents:
            return multiple()  # it is buried
        repository = self.small.open()
        repository.unforget(repository.find_snapshot(snapshot, removed=True))
        repository.close()
        self.removed.discard(snapshot)
        return snapshot

    @rule(snapshot=there)
    def restore(self, snapshot: str) -> None:
        assert self.small.restore(snapshot) == self.contents[snapshot]

    @invariant()
    def lists_are_right(self) -> None:
        if not hasattr(self, "small"):
            return
        listed = {one.id.hex(): set(one.tags) for one in self.small.snapshots()}
        assert listed == {one: tags for one, tags in self.tags.items() if one not in self.removed}
        assert {one.id.hex() for one in self.small.snapshots("steward", removed=True)} == set(self.contents)

    def teardown(self) -> None:
        if not hasattr(self, "small"):
            return
        for snapshot, content in self.contents.items():
            assert self.small.restore(snapshot) == content
        for holder in ("owner", "writer", "steward"):
            assert self.small.verify(holder).problems == ()


TestRepositories = Repositories.TestCase
TestRepositories.settings = settings(max_examples=15, stateful_step_count=15)
