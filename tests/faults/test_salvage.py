"""Of what is damaged, a restore gives everything that is left, and names what is not."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from lamina.engine.restore import RestoreReport, plan_restore, restore
from lamina.engine.restoring.plan import RestoreOptions, plan_tree
from lamina.engine.restoring.report import Finding, TreeReport
from lamina.engine.restoring.tree import restore_tree
from lamina.errors import Damaged
from lamina.model.entries import CutContent, FixedContent, SlicedContent
from lamina.model.ids import ChunkId
from lamina.model.snapshots import Snapshot
from lamina.repository.chunks import ChunkReader
from lamina.repository.contents import iter_parts
from lamina.repository.repository import Repository
from lamina.repository.trees import get_directory_node, get_entry
from lamina.targets.directory import DirectoryTarget
from lamina.targets.image import open_image_target
from lamina.targets.owners import Owners
from lamina.targets.target import ImageTarget
from lamina.testing.damage import flip_bit
from lamina.testing.images import MemoryStream
from lamina.testing.repositories import CHUNK, SmallRepository
from tests.stored_trees import store_tree

IMAGE = random.Random(1).randbytes(6 * CHUNK + 100)
Find = Callable[[ChunkReader, Snapshot], ChunkId]


@pytest.fixture
def small() -> SmallRepository:
    """Not verified in the end: it is damaged."""
    return SmallRepository()


def lose(small: SmallRepository, find: Find) -> ChunkId:
    """Damage every copy of the chunk that *find* finds for the newest snapshot."""
    repository = small.open()
    chunk = find(repository.reader(), repository.find_snapshot("latest"))
    places = list(repository.index.places(chunk))
    repository.close()
    for place in places:
        folder = "meta" if place.meta else "data"
        flip_bit(small.storage, f"{folder}/{place.pack.hex()}", place.offset + place.stored_size - 5)
    return chunk


def restored(small: SmallRepository, out: Path, **options: bool) -> RestoreReport:
    """Restore the only image of the newest snapshot into a file."""
    repository = small.open()
    try:
        plan = plan_restore(repository, repository.find_snapshot("latest"), None, str(out))

        def opener(_: object) -> ImageTarget:
            return open_image_target(str(out), plan.item.size, force=True, resume=False)

        return restore(
            repository, plan, opener, verify=options.get("verify", False), operation=small.operation(),
            salvage=options.get("salvage", True),
        )  # fmt: skip
    finally:
        repository.close()


def chunk_of_image(number: int) -> Find:
    def find(reader: ChunkReader, snapshot: Snapshot) -> ChunkId:
        content = get_entry(reader, snapshot.root, "image").content
        assert content is not None
        chunk = [part.chunk for part in iter_parts(reader, content)][number]
        assert chunk is not None
        return chunk

    return find


def node_of_image(reader: ChunkReader, snapshot: Snapshot) -> ChunkId:
    content = get_entry(reader, snapshot.root, "image").content
    assert isinstance(content, FixedContent)
    assert content.id is not None
    return content.id


@pytest.mark.parametrize("before", [None, b"\xff" * len(IMAGE), IMAGE], ids=["new", "other", "same"])
def test_zeros_stand_for_a_lost_chunk_of_an_image_and_the_rest_is_there(
    small: SmallRepository, tmp_path: Path, before: bytes | None
):
    small.back_up(IMAGE)
    lose(small, chunk_of_image(2))
    out = tmp_path / "image"
    if before is not None:
        out.write_bytes(before)
    report = restored(small, out, verify=True)
    if before == IMAGE:  # the target has it still
        assert out.read_bytes() == IMAGE
        assert report.missing == ()
        return
    assert out.read_bytes() == IMAGE[: 2 * CHUNK] + bytes(CHUNK) + IMAGE[3 * CHUNK :]
    (missing,) = report.missing
    assert (missing.path, missing.offset, missing.length) == ("image", 2 * CHUNK, CHUNK)
    assert missing.object.startswith("data/")
    assert "does not authenticate" in missing.reason


def test_neighbours_that_are_lost_with_one_pack_are_one_gap(small: SmallRepository, tmp_path: Path):
    small.back_up(IMAGE)
    for item in list(small.storage.objects("data/")):
        small.storage.delete(item.name)
    report = restored(small, tmp_path / "image")
    assert (tmp_path / "image").read_bytes() == bytes(len(IMAGE))
    assert sum(one.length for one in report.missing) == len(IMAGE)
    assert len(report.missing) < 7


def test_without_salvage_damage_ends_a_restore_and_the_error_says_how_to_get_at_the_rest(
    small: SmallRepository, tmp_path: Path
):
    small.back_up(IMAGE)
    lose(small, chunk_of_image(2))
    with pytest.raises(Damaged) as raised:
        restored(small, tmp_path / "image", salvage=False)
    assert "--salvage" in raised.value.hint


def test_a_lost_node_of_an_image_costs_what_it_speaks_of(small: SmallRepository, tmp_path: Path):
    small.back_up(IMAGE)
    lose(small, node_of_image)
    report = restored(small, tmp_path / "image")
    assert (tmp_path / "image").read_bytes() == bytes(len(IMAGE))
    assert [(one.offset, one.length, one.object) for one in report.missing] == [(0, len(IMAGE), "metadata")]


def test_a_stream_has_zeros_for_what_is_lost_too(small: SmallRepository):
    small.back_up(IMAGE)
    lose(small, chunk_of_image(6))
    repository = small.open()
    plan = plan_restore(repository, repository.find_snapshot("latest"), None, "-")
    stream = MemoryStream()
    report = restore(repository, plan, lambda _: stream, verify=False, operation=small.operation(), salvage=True)
    repository.close()
    assert bytes(stream.content) == IMAGE[: 6 * CHUNK] + bytes(100)
    assert [(one.offset, one.length) for one in report.missing] == [(6 * CHUNK, 100)]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Small files, one of some slices, a cut one, one with holes, a directory of its own."""
    noise = random.Random(2).randbytes
    source = tmp_path / "source"
    (source / "deep" / "er").mkdir(parents=True)
    (source / "small").write_bytes(b"small")
    (source / "sliced").write_bytes(noise(3 * CHUNK))
    (source / "cut").write_bytes(noise(12 * CHUNK))
    with (source / "sparse").open("wb") as file:
        file.truncate(40 * CHUNK)
        file.write(noise(CHUNK))
        file.seek(30 * CHUNK)
        file.write(noise(CHUNK))
    (source / "deep" / "one").write_bytes(b"one" * 1000)
    (source / "deep" / "er" / "two").write_bytes(b"two" * 1000)
    return source


def tree(small: SmallRepository, snapshot: Snapshot, out: Path, **options: bool) -> TreeReport:
    repository = small.open()
    target = DirectoryTarget(str(out), Owners({}, {}))
    try:
        plan = plan_tree(repository.reader(), snapshot, ())
        return restore_tree(repository, plan, target, RestoreOptions(**{"salvage": True, **options}), small.operation())
    finally:
        target.close()
        repository.close()


def part_of(path: str, number: int) -> Find:
    def find(reader: ChunkReader, snapshot: Snapshot) -> ChunkId:
        content = get_entry(reader, snapshot.root, path).content
        assert content is not None
        chunk = [part.chunk for part in iter_parts(reader, content) if part.chunk is not None][number]
        assert chunk is not None
        return chunk

    return find


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("path", ["sliced", "cut", "sparse"])
def test_of_a_file_of_a_tree_all_but_the_lost_chunk_is_restored(
    small: SmallRepository, source: Path, tmp_path: Path, path: str
):
    snapshot = store_tree(small, source)
    lose(small, part_of(path, 1))
    report = tree(small, snapshot, tmp_path / "out", verify=True)
    got, wanted = contents(tmp_path / "out"), contents(source)
    damaged, whole = got.pop(path), wanted.pop(path)
    assert got == wanted
    assert len(damaged) == len(whole)
    (missing,) = report.missing
    assert missing.path == str(tmp_path / "out" / path)
    start, end = missing.offset, missing.offset + missing.length
    assert damaged == whole[:start] + bytes(end - start) + whole[end:]
    assert damaged != whole
    assert report.count_of(Finding.SALVAGED) == 1
    assert report.count_of(Finding.DIFFERENT) == 0
    assert not report.is_complete
    assert os.stat(tmp_path / "out" / path).st_mtime == 0  # nothing takes it for whole
    assert tree(small, snapshot, tmp_path / "out").is_complete is False


def test_a_file_of_which_nothing_is_left_is_left_out_and_named(small: SmallRepository, source: Path, tmp_path: Path):
    snapshot = store_tree(small, source)
    lose(small, part_of("deep/one", 0))
    report = tree(small, snapshot, tmp_path / "out")
    wanted = contents(source)
    del wanted["deep/one"]
    assert contents(tmp_path / "out") == wanted
    assert [(one.path, one.offset, one.length) for one in report.missing] == [
        (str(tmp_path / "out" / "deep" / "one"), 0, 3000)
    ]
    assert report.count_of(Finding.FAILED) == 1


def test_a_cut_file_whose_map_is_lost_is_left_out_and_named(small: SmallRepository, source: Path, tmp_path: Path):
    snapshot = store_tree(small, source)

    def root(reader: ChunkReader, snapshot: Snapshot) -> ChunkId:
        content = get_entry(reader, snapshot.root, "cut").content
        assert isinstance(content, CutContent)
        return content.id

    lose(small, root)
    report = tree(small, snapshot, tmp_path / "out")
    wanted = contents(source)
    del wanted["cut"]
    assert contents(tmp_path / "out") == wanted
    assert [(one.path, one.length) for one in report.missing] == [(str(tmp_path / "out" / "cut"), 12 * CHUNK)]


@pytest.mark.parametrize("salvage", [True, False])
def test_a_lost_directory_costs_what_is_in_it_and_is_named(
    small: SmallRepository, source: Path, tmp_path: Path, salvage: bool
):
    snapshot = store_tree(small, source)
    lose(small, lambda reader, snapshot: get_entry(reader, snapshot.root, "deep/er").child or ChunkId(b""))
    report = tree(small, snapshot, tmp_path / "out", salvage=salvage)
    wanted = contents(source)
    del wanted["deep/er/two"]
    assert contents(tmp_path / "out") == wanted
    assert (tmp_path / "out" / "deep" / "er").is_dir()
    assert [(one.path, one.object) for one in report.missing] == [(str(tmp_path / "out" / "deep" / "er"), "directory")]


def test_of_a_long_directory_only_the_part_is_lost_that_is_damaged(small: SmallRepository, tmp_path: Path):
    source = tmp_path / "source"
    source.mkdir()
    for number in range(3000):
        (source / f"file-{number:05}").touch()
    snapshot = store_tree(small, source)

    def second_part(reader: ChunkReader, snapshot: Snapshot) -> ChunkId:
        node = get_directory_node(reader, snapshot.root)
        assert node.has_parts
        return node.part(1)

    lose(small, second_part)
    strict = tree(small, snapshot, tmp_path / "strict", salvage=False)
    report = tree(small, snapshot, tmp_path / "out")
    names, strict_names = os.listdir(tmp_path / "out"), os.listdir(tmp_path / "strict")
    assert len(strict_names) < len(names) < 3000
    assert "file-02999" in names
    assert strict.count_of(Finding.FAILED) == report.count_of(Finding.FAILED) == 1


def test_everything_of_an_image_that_is_whole_is_never_called_missing(small: SmallRepository, tmp_path: Path):
    small.back_up(IMAGE)
    report = restored(small, tmp_path / "image", verify=True)
    assert (tmp_path / "image").read_bytes() == IMAGE
    assert report.missing == ()


def test_the_tree_has_files_of_every_form(small: SmallRepository, source: Path):
    """Else the tests above would test less than they say."""
    snapshot = store_tree(small, source)
    repository: Repository = small.open()
    forms = {
        path: type(get_entry(repository.reader(), snapshot.root, path).content) for path in ("sliced", "cut", "sparse")
    }
    repository.close()
    assert forms == {"sliced": SlicedContent, "cut": CutContent, "sparse": FixedContent}
