"""Golden repositories: what a released format stored comes back for ever, through Lamina and through the independent reader."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lamina.engine.restore import RestoreItem, plan_restore, restore
from lamina.engine.verify import verify
from lamina.model.entries import FixedContent, Position
from lamina.model.operation import Operation
from lamina.model.secret import Secret
from lamina.model.snapshots import Trust
from lamina.repository.repository import Repository
from lamina.repository.streams import FixedMap
from lamina.repository.trees import get_entry
from lamina.storage.backends.local import LocalStorage
from lamina.targets.image import open_image_target
from lamina.targets.target import ImageTarget
from tests.format.independent_reader import restore_alone, run_reader

GOLDEN = Path(__file__).parent / "golden"
VERSIONS = sorted(path.name for path in GOLDEN.iterdir() if path.is_dir())


class Golden:
    """A copy of one golden repository, and what must be found in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.repository = folder / "repository"
        self.passphrase = folder / "passphrase.txt"
        self.recovery_key = folder / "recovery-key.txt"
        expected: dict[str, Any] = json.loads((folder / "expected.json").read_text())
        self.id: str = expected["repository"]
        self.snapshots: list[dict[str, Any]] = expected["snapshots"]

    def open(self, key_file: Path) -> Repository:
        credential = Secret(key_file.read_bytes().removesuffix(b"\n"))
        return Repository.open(LocalStorage(self.repository, create=False), credential, Operation())


@pytest.fixture(params=VERSIONS)
def golden(request, tmp_path: Path) -> Iterator[Golden]:
    """A copy that may be written to; Lamina finds nothing wrong with it afterwards."""
    copy = Golden(Path(shutil.copytree(GOLDEN / request.param, tmp_path / request.param)))
    yield copy
    repository = copy.open(copy.recovery_key)
    report = verify(repository, Operation())
    repository.close()
    assert (report.problems, report.warnings) == ((), ())


def test_there_is_a_golden_repository_of_version_1():
    assert VERSIONS[0] == "v1"


def test_lamina_restores_every_image(golden: Golden, tmp_path: Path):
    repository = golden.open(golden.passphrase)
    for snapshot in golden.snapshots:
        found = repository.find_snapshot(snapshot["id"], removed=True)
        target = tmp_path / snapshot["id"]
        plan = plan_restore(repository, found, None, str(target), is_directory=True)

        def open_target(item: RestoreItem) -> ImageTarget:
            Path(item.target).parent.mkdir(parents=True, exist_ok=True)
            return open_image_target(item.target, item.size, force=False, resume=False)

        restore(repository, plan, open_target, verify=True, operation=Operation())
        restored = {item.path: Path(item.target).read_bytes() for item in plan.items}
        assert {path: hashlib.sha256(data).hexdigest() for path, data in restored.items()} == snapshot["sha256"]
    repository.close()


def test_lamina_lists_what_was_saved(golden: Golden):
    repository = golden.open(golden.recovery_key)
    assert repository.id.hex() == golden.id
    found = {one.id.hex(): one for one in repository.snapshots(removed=True)}
    repository.close()
    assert {key: (one.name, one.removed) for key, one in found.items()} == {
        one["id"]: (one["name"], one["removed"]) for one in golden.snapshots
    }
    first = found[golden.snapshots[0]["id"]]
    assert (first.tags, first.note, first.trust) == ({"daily", "kept"}, "the first one", Trust.VERIFIED)


def test_a_writer_reads_its_own_names_only(golden: Golden):
    repository = golden.open(golden.folder / "writer-passphrase.txt")
    readable = {one.id.hex(): one.readable for one in repository.snapshots(removed=True)}
    repository.close()
    assert readable == {one["id"]: one["writer"] for one in golden.snapshots}


def test_an_image_holds_data_zeros_and_holes_in_a_tree(golden: Golden):
    repository = golden.open(golden.passphrase)
    root = repository.find_snapshot(golden.snapshots[0]["id"]).root
    content = get_entry(repository.reader(), root, "vm/disk.img").content
    assert isinstance(content, FixedContent)
    stored = FixedMap(repository.reader(), content)
    kinds = {kind for _, (kind, _) in stored.slots()}
    repository.close()
    assert (stored.depth, kinds) == (1, {Position.DATA, Position.ZERO, Position.HOLE})


@pytest.mark.parametrize("key", ["passphrase", "recovery_key"])
def test_the_independent_reader_restores_every_image(golden: Golden, tmp_path: Path, key: str):
    key_file = getattr(golden, key)
    for snapshot in golden.snapshots:
        entries = run_reader(golden.repository, key_file, snapshot["id"][:8]).splitlines()
        assert [line.partition("\t")[0] for line in entries] == list(snapshot["sha256"])
        for number, (path, expected) in enumerate(snapshot["sha256"].items()):
            out = tmp_path / f"{snapshot['id']}-{number}"
            data = restore_alone(golden.repository, key_file, snapshot["id"], path, out)
            assert hashlib.sha256(data).hexdigest() == expected


def test_the_independent_reader_lists_what_was_saved(golden: Golden):
    lines = [line.split("\t") for line in run_reader(golden.repository, golden.passphrase).splitlines()]
    expected = [[one["id"], one["name"], "removed" if one["removed"] else ""] for one in golden.snapshots]
    assert sorted(lines) == sorted(expected)
