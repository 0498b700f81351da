"""Golden repositories: what a released format stored comes back for ever, through Lamina and through the independent reader."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lamina.engine.restore import RestoreItem, plan_restore, restore
from lamina.engine.restoring.plan import RestoreOptions, plan_tree
from lamina.engine.restoring.report import Finding
from lamina.engine.restoring.tree import restore_tree
from lamina.engine.verify import verify
from lamina.model.entries import Entry, FixedContent, Position
from lamina.model.operation import Operation
from lamina.model.secret import Secret
from lamina.model.snapshots import Trust
from lamina.repository.chunks import ChunkReader
from lamina.repository.contents import cut_part, iter_parts
from lamina.repository.repository import Repository
from lamina.repository.streams import FixedMap
from lamina.repository.trees import get_entry, walk_tree
from lamina.storage.backends.local import LocalStorage
from lamina.targets.directory import DirectoryTarget
from lamina.targets.image import open_image_target
from lamina.targets.owners import Owners
from lamina.targets.target import ImageTarget
from tests.format.independent_reader import restore_alone, restore_tree_alone, run_reader

GOLDEN = Path(__file__).parent / "golden"
VERSIONS = sorted(path.name for path in GOLDEN.iterdir() if path.is_dir())


IMAGES, TREES = "v1", "v1-trees"


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


only_images = pytest.mark.parametrize("golden", [IMAGES], indirect=True)
only_trees = pytest.mark.parametrize("golden", [TREES], indirect=True)


def test_there_are_golden_repositories_of_version_1():
    assert VERSIONS == [IMAGES, TREES]


def open_target(item: RestoreItem) -> ImageTarget:
    return open_image_target(item.target, item.size, force=False, resume=False)


@only_images
def test_lamina_restores_every_image(golden: Golden, tmp_path: Path):
    repository = golden.open(golden.passphrase)
    for snapshot in golden.snapshots:
        found = repository.find_snapshot(snapshot["id"], removed=True)
        target = tmp_path / snapshot["id"]
        target.mkdir()
        restored = {}
        for number, path in enumerate(found.paths):
            plan = plan_restore(repository, found, path, str(target / str(number)))
            restore(repository, plan, open_target, verify=True, operation=Operation())
            restored[plan.item.path] = Path(plan.item.target).read_bytes()
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
    trust = Trust.VERIFIED if "sha256" in golden.snapshots[0] else Trust.FRESH  # of trees, a sample was compared
    assert (first.tags, first.note, first.trust) == ({"daily", "kept"}, "the first one", trust)


def test_a_writer_reads_its_own_names_only(golden: Golden):
    repository = golden.open(golden.folder / "writer-passphrase.txt")
    readable = {one.id.hex(): one.readable for one in repository.snapshots(removed=True)}
    repository.close()
    assert readable == {one["id"]: one["writer"] for one in golden.snapshots}


@only_images
def test_an_image_holds_data_zeros_and_holes_in_a_tree(golden: Golden):
    repository = golden.open(golden.passphrase)
    root = repository.find_snapshot(golden.snapshots[0]["id"]).root
    content = get_entry(repository.reader(), root, "vm/disk.img").content
    assert isinstance(content, FixedContent)
    stored = FixedMap(repository.reader(), content)
    kinds = {kind for _, (kind, _) in stored.slots()}
    repository.close()
    assert (stored.depth, kinds) == (1, {Position.DATA, Position.ZERO, Position.HOLE})


@only_images
@pytest.mark.parametrize("key", ["passphrase", "recovery_key"])
def test_the_independent_reader_restores_every_image(golden: Golden, tmp_path: Path, key: str):
    key_file = getattr(golden, key)
    for snapshot in golden.snapshots:
        entries = [
            line.split("\t") for line in run_reader(golden.repository, key_file, snapshot["id"][:8]).splitlines()
        ]
        assert [path for path, kind, *_ in entries if kind == "file"] == list(snapshot["sha256"])
        for number, (path, expected) in enumerate(snapshot["sha256"].items()):
            out = tmp_path / f"{snapshot['id']}-{number}"
            data = restore_alone(golden.repository, key_file, snapshot["id"], path, out)
            assert hashlib.sha256(data).hexdigest() == expected


def test_the_independent_reader_lists_what_was_saved(golden: Golden):
    lines = [line.split("\t") for line in run_reader(golden.repository, golden.passphrase).splitlines()]
    expected = [[one["id"], one["name"], "removed" if one["removed"] else ""] for one in golden.snapshots]
    assert sorted(lines) == sorted(expected)


DIRECTORY, FILE, SYMLINK = 1, 2, 3
TYPES = ("", "directory", "file", "symlink", "fifo", "socket", "character device", "block device", "unknown")
UNREAD = 3


def describe(entry: Entry, reader: ChunkReader) -> dict[str, Any]:
    """An entry as a golden repository's `expected.json` has it."""
    data = entry.metadata
    found = {
        "type": entry.type, "mode": data.mode, "uid": data.uid, "gid": data.gid, "mtime": data.mtime_ns,
        "ctime": data.ctime_ns, "inode": data.inode, "names": data.links, "device": data.device, "birth": data.birth_ns,
        "flags": data.flags, "xattrs": [[name.hex(), value.hex()] for name, value in data.xattrs],
        "target": entry.target.hex(), "special": list(entry.special) if entry.special else None, "state": entry.state,
        "error": entry.error, "totals": list(entry.totals) if entry.totals else None,
    }  # fmt: skip
    if entry.content is not None:
        parts = iter_parts(reader, entry.content)
        plain = b"".join(cut_part(one, reader.get_data(one.chunk)) if one.chunk else bytes(one.length) for one in parts)
        found |= {"size": len(plain), "sha256": hashlib.sha256(plain).hexdigest()}
    return found


@only_trees
def test_lamina_reads_every_entry_of_every_tree(golden: Golden):
    repository = golden.open(golden.recovery_key)
    for snapshot in golden.snapshots:
        found = repository.find_snapshot(snapshot["id"])
        entries = dict(walk_tree(repository.reader(), found.root))
        assert sorted(entries) == sorted(snapshot["entries"])
        for path, expected in snapshot["entries"].items():
            described = describe(entries[path], repository.reader())
            assert {key: described.get(key) for key in expected} == expected, path
            assert ("sha256" in described) == ("sha256" in expected), path
        assert {str(number): name for number, name in found.users.items()}.items() >= snapshot["users"].items()
        assert found.partial == snapshot.get("partial", False)
    repository.close()


def describe_restored(folder: Path, paths: Iterator[str] | list[str]) -> dict[str, tuple[Any, ...]]:
    """Type, permissions, time, size, content and link target of what was restored at these paths."""
    found = {}
    for path in paths:
        status = os.lstat(folder / path)
        is_file, is_link = stat.S_ISREG(status.st_mode), stat.S_ISLNK(status.st_mode)
        found[path] = (
            DIRECTORY if stat.S_ISDIR(status.st_mode) else FILE if is_file else SYMLINK if is_link else None,
            None if is_link else status.st_mode & 0o777,
            status.st_mtime_ns,
            hashlib.sha256((folder / path).read_bytes()).hexdigest() if is_file else None,
            os.fsencode(os.readlink(folder / path)).hex() if is_link else "",
        )
    return found


def expected_restored(snapshot: dict[str, Any], folder: str = "") -> dict[str, tuple[Any, ...]]:
    """What the directories, files and links of a snapshot must be restored as, below one of its directories."""
    return {
        path.removeprefix(folder): (
            one["type"], None if one["type"] == SYMLINK else one["mode"] & 0o777, one["mtime"], one.get("sha256"), one["target"],
        )
        for path, one in snapshot["entries"].items()
        if path.startswith(folder) and one.get("mtime") and one["type"] <= SYMLINK and one["state"] != UNREAD
    }  # fmt: skip


@only_trees
def test_lamina_restores_a_tree(golden: Golden, tmp_path: Path):
    repository = golden.open(golden.passphrase)
    for snapshot in golden.snapshots[:2]:
        found = repository.find_snapshot(snapshot["id"])
        out = tmp_path / snapshot["id"]
        target = DirectoryTarget(str(out), Owners({}, {}), dry_run=False)
        plan = plan_tree(repository.reader(), found, ["srv/home"])
        report = restore_tree(repository, plan, target, RestoreOptions(verify=True), Operation())
        target.close()
        assert report.count_of(Finding.DIFFERENT) == 0
        expected = expected_restored(snapshot, "srv/home/")
        restored = describe_restored(out, list(expected))
        if os.geteuid() == 0:
            assert restored == expected
            assert stat.S_ISBLK(os.lstat(out / "special/disk").st_mode)
        assert (out / "files/text").samefile(out / "links/another-name-of-text")
        assert os.stat(out / "files/sparse").st_blocks * 512 < 10 * 64 << 10
    repository.close()


@only_trees
def test_the_independent_reader_lists_every_entry(golden: Golden):
    for snapshot in golden.snapshots:
        lines = run_reader(golden.repository, golden.passphrase, snapshot["id"]).splitlines()
        expected = {
            repr(path)[1:-1]: [TYPES[one["type"]], one.get("size"), one.get("error", "")]
            for path, one in snapshot["entries"].items()
        }
        listed = {path: [kind, int(size), error] for path, kind, size, error in (line.split("\t") for line in lines)}
        assert len(lines) == len(listed)
        assert listed.keys() == expected.keys()
        for path, (kind, size, error) in expected.items():
            assert listed[path] == [kind, size or 0, error]


@only_trees
def test_the_independent_reader_restores_every_form_of_content(golden: Golden, tmp_path: Path):
    snapshot = golden.snapshots[2]
    forms = [path for path in snapshot["entries"] if path.startswith("forms/")]
    for path in forms:
        data = restore_alone(golden.repository, golden.recovery_key, snapshot["id"], path, tmp_path / Path(path).name)
        assert hashlib.sha256(data).hexdigest() == snapshot["entries"][path]["sha256"], path
    assert len(forms) == 8


@only_trees
def test_the_independent_reader_restores_whole_trees(golden: Golden, tmp_path: Path):
    for snapshot in golden.snapshots:
        out = tmp_path / snapshot["id"]
        restore_tree_alone(golden.repository, golden.recovery_key, snapshot["id"], "", out)
        expected = expected_restored(snapshot)
        assert describe_restored(out, list(expected)) == expected
        files = {path: one for path, one in snapshot["entries"].items() if "sha256" in one}
        assert {path: hashlib.sha256((out / path).read_bytes()).hexdigest() for path in files} == {
            path: one["sha256"] for path, one in files.items()
        }


@only_trees
def test_the_independent_reader_restores_one_directory_with_its_hard_links(golden: Golden, tmp_path: Path):
    snapshot = golden.snapshots[0]
    said = restore_tree_alone(golden.repository, golden.passphrase, snapshot["id"], "srv/home", tmp_path / "out")
    assert (tmp_path / "out/files/text").samefile(tmp_path / "out/links/another-name-of-text")
    assert not (tmp_path / "out/special/fifo").exists()
    assert "b'srv/home/special/fifo' is left out (fifo)" in said
    restore_tree_alone(golden.repository, golden.passphrase, snapshot["id"], "srv/home/files", tmp_path / "files")
    assert (tmp_path / "files/tiny").read_bytes() == b"x"
