"""Whether looks of directories are remembered or not, the same is stored."""

from __future__ import annotations

import os
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from lamina.engine.backup import BackupOptions, BackupReport, Input, VerifyMode, backup
from lamina.model.operation import Operation
from lamina.repository.repository import Repository
from lamina.sources.files import LocalFiles
from lamina.sources.selection import Selection, parse_rule
from lamina.testing.clocks import FrozenClock
from lamina.testing.repositories import SmallRepository
from lamina.testing.trees import apply, edits, trees
from lamina.testing.zoo import unzoo

selections = st.sampled_from(
    [
        Selection(),
        Selection(rules=(parse_rule("a*", exclude=True),)),
        Selection(rules=(parse_rule("b/", exclude=True),)),
        Selection(larger_than=100),
    ]
)
steps = st.lists(st.tuples(edits(), st.booleans(), selections), min_size=1, max_size=4)


@settings(max_examples=40)
@given(trees(), steps, st.sampled_from(["owner", "writer"]))
def test_what_is_stored_does_not_depend_on_remembered_looks(tree, chain, holder):
    with_looks, without = SmallRepository(), SmallRepository()
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        (place / "tree").mkdir()
        apply(tree, place / "tree")
        for changes, aged, selection in [([], True, Selection()), *chain, ([], True, Selection())]:
            apply(changes, place / "tree")
            clock = FrozenClock(datetime.now(UTC) + timedelta(days=aged))
            reports = []
            for small, cache in ((with_looks, place / "cache"), (without, None)):
                repository = small.open(holder, cache=cache)
                reports.append(back_up(repository, place / "tree", selection, clock))
            assert reports[0] == reports[1]
        unzoo(place)


def back_up(repository: Repository, directory: Path, selection: Selection, clock: FrozenClock) -> tuple[object, ...]:
    """Save *directory*; what can be told of the outcome, but for the id of the session."""
    source = LocalFiles(os.fsencode(directory), selection, devices={})
    try:
        options = BackupOptions(name="tree", verify=VerifyMode.NONE)
        report = backup(repository, [Input("tree", source)], options, Operation(clock))
        return summary(repository, report)
    finally:
        source.close()
        repository.close()


def summary(repository: Repository, report: BackupReport) -> tuple[object, ...]:
    assert report.snapshot is not None
    snapshot = repository.get_snapshot(report.snapshot)
    done = report.statistics
    return snapshot.root, snapshot.users, snapshot.groups, report.files, report.flaws, done.size, done.read, done.new
