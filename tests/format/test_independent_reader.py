"""The specification suffices: a reader written from it brings back what Lamina stored."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from lamina.engine.backup import BackupOptions, Input, backup
from lamina.engine.prune import PruneOptions, prune
from lamina.engine.verify import verify
from lamina.model.entries import Entry, EntryType, SlicedContent, Totals
from lamina.model.ids import ChunkId
from lamina.model.operation import Operation
from lamina.model.process import Process
from lamina.model.secret import Secret
from lamina.model.snapshots import Role
from lamina.repository.directories import PartOf, encode_directory, encode_parts
from lamina.repository.format import BlobKind
from lamina.repository.repository import CreateOptions, Repository
from lamina.repository.sessions import SnapshotFacts
from lamina.repository.writer import ChunkWriter, EncodingOptions
from lamina.sources.image import open_image
from lamina.storage.backends.local import LocalStorage
from tests.format.independent_reader import READER, TREES, read_alone, restore_alone, run_reader

CHUNK = 64 << 10
OWNER, WRITER = Secret(b"owner's"), Secret(b"writer's")


@pytest.fixture
def place(tmp_path: Path):
    """A fresh repository with 64 KiB chunks and a writer's key; at the end Lamina itself finds nothing wrong with it."""
    operation = Operation()
    repository, recovery_key = Repository.create(
        LocalStorage(tmp_path / "repository", create=True), OWNER, CreateOptions(chunk_size=CHUNK), operation
    )
    repository.add_key(Role.WRITER, WRITER)
    repository.close()
    (tmp_path / "passphrase").write_bytes(OWNER.reveal() + b"\n")
    (tmp_path / "recovery-key").write_text(recovery_key)
    yield tmp_path
    repository = Repository.open(LocalStorage(tmp_path / "repository", create=False), OWNER, operation)
    assert verify(repository, operation).problems == ()
    repository.close()


def save(place: Path, image: Path, credential: Secret = OWNER) -> str:
    """Back one image up; returns the snapshot's id."""
    operation = Operation()
    repository = Repository.open(LocalStorage(place / "repository", create=False), credential, operation)
    source = open_image(str(image))
    report = backup(repository, [Input(image.name, source)], BackupOptions(name=image.name), operation)
    source.close()
    repository.close()
    assert report.snapshot is not None
    return report.snapshot.hex()


def sparse_image(place: Path, *, chunks: int, seed: int) -> tuple[Path, bytes]:
    """An image of so many chunks (the last one short) with data at its ends and around every 1,000th chunk."""
    noise, path = random.Random(seed), place / f"disk-{seed}.img"
    content = bytearray(chunks * CHUNK - 777)
    for chunk in [*range(0, chunks, 1000), chunks - 1]:
        content[chunk * CHUNK + 50 : chunk * CHUNK + 150] = noise.randbytes(100)
    with path.open("wb") as file:
        file.truncate(len(content))
        for chunk in range(chunks):
            piece = content[chunk * CHUNK : (chunk + 1) * CHUNK]
            if any(piece):
                file.seek(chunk * CHUNK)
                file.write(piece)
    return path, bytes(content)


def test_reader_is_under_300_lines():
    assert len(READER.read_text().splitlines()) < 300
    assert len(TREES.read_text().splitlines()) < 100


def test_a_stream_with_two_levels_of_nodes_comes_back(place: Path):
    image, content = sparse_image(place, chunks=2100, seed=1)
    snapshot = save(place, image)
    assert restore_alone(place / "repository", place / "passphrase", snapshot, image.name, place / "out") == content


def test_what_a_writer_saved_comes_back_to_the_owner(place: Path):
    first, _ = sparse_image(place, chunks=30, seed=2)
    save(place, first)
    second, content = sparse_image(place, chunks=40, seed=3)
    snapshot = save(place, second, WRITER)
    assert restore_alone(place / "repository", place / "recovery-key", snapshot, second.name, place / "out") == content


def test_packs_and_a_recovery_key_are_enough(place: Path):
    image, content = sparse_image(place, chunks=30, seed=4)
    snapshot = save(place, image)
    copy = place / "copy"
    shutil.copytree(place / "repository", copy)
    for folder in ("index", "keys", "sessions", "attributes"):
        shutil.rmtree(copy / folder)
    assert restore_alone(copy, place / "recovery-key", snapshot, image.name, place / "out") == content


def test_a_writers_passphrase_opens_no_content(place: Path):
    (place / "writers").write_bytes(WRITER.reveal())
    done = read_alone(place / "repository", place / "writers")
    assert done.returncode != 0
    assert "not an owner's" in done.stderr


def test_a_wrong_passphrase_opens_nothing(place: Path):
    (place / "wrong").write_bytes(b"wrong")
    assert "no key slot" in read_alone(place / "repository", place / "wrong").stderr


def test_a_changed_byte_in_a_blob_is_refused(place: Path):
    image, _ = sparse_image(place, chunks=3, seed=5)
    snapshot = save(place, image)
    copy = place / "copy"
    shutil.copytree(place / "repository", copy)
    for pack in (path for path in (copy / "data").rglob("*") if path.is_file()):
        data = bytearray(pack.read_bytes())
        data[88 + 68 + 5] ^= 1
        pack.chmod(0o600)
        pack.write_bytes(data)
    assert read_alone(copy, place / "passphrase", snapshot, image.name, place / "out").returncode != 0


def test_a_snapshot_signed_for_another_name_does_not_count(place: Path):
    image, _ = sparse_image(place, chunks=3, seed=6)
    snapshot = save(place, image)
    copy = place / "copy"
    shutil.copytree(place / "repository", copy)
    other = "00" * 16
    (copy / "snapshots" / snapshot).rename(copy / "snapshots" / other)
    done = read_alone(copy, place / "passphrase")
    assert (done.stdout, f"snapshots/{other} is left out" in done.stderr) == ("", True)


def test_an_unknown_feature_is_refused(place: Path):
    image, _ = sparse_image(place, chunks=3, seed=7)
    save(place, image)
    copy = place / "copy"
    shutil.copytree(place / "repository", copy)
    text = (copy / "lamina.json").read_text()
    (copy / "lamina.json").chmod(0o600)
    (copy / "lamina.json").write_text(text.replace('"features": 0', '"features": 8'))
    assert read_alone(copy, place / "passphrase").returncode != 0
    assert run_reader(place / "repository", place / "passphrase").count("\n") == 1


def store_nodes(repository: Path, make: Callable[[ChunkWriter], ChunkId]) -> str:
    """A snapshot of whatever directory nodes *make* stores; it returns the root."""
    operation = Operation()
    opened = Repository.open(LocalStorage(repository, create=False), OWNER, operation)
    session = opened.begin(Process(), EncodingOptions(3, check=True), operation)
    root = make(session.writer)
    session.commit(SnapshotFacts(root, 0, 0, False, "nodes", "", "", (), frozenset(), None))
    session.close()
    opened.close()
    return session.id.hex()


def directory(writer: ChunkWriter, *entries: Entry) -> ChunkId:
    return writer.put_node(BlobKind.DIRECTORY, encode_directory(entries))


def link_and_directory(writer: ChunkWriter, place: Path) -> ChunkId:
    """A directory whose two parts have one name: of a link that leads elsewhere, and of a directory with a file."""
    inside = directory(writer, Entry(b"planted", EntryType.FILE, content=SlicedContent(0)))
    link = directory(writer, Entry(b"x", EntryType.SYMLINK, target=bytes(place / "outside")))
    folder = directory(writer, Entry(b"x", EntryType.DIRECTORY, child=inside))
    parts = [PartOf(b"x", link, Totals(1)), PartOf(b"y", folder, Totals(2))]
    return writer.put_node(BlobKind.DIRECTORY, encode_parts(parts))


HOSTILE = {
    "parent": lambda writer, _: directory(writer, Entry(b"..", EntryType.FILE, content=SlicedContent(0))),
    "path": lambda writer, _: directory(writer, Entry(b"../planted", EntryType.FILE, content=SlicedContent(0))),
    "absolute": lambda writer, place: directory(
        writer, Entry(bytes(place / "outside/planted"), EntryType.FILE, content=SlicedContent(0))
    ),
    "link": link_and_directory,
}


@pytest.mark.parametrize("hostile", HOSTILE)
def test_no_name_leads_out_of_what_is_restored(place: Path, hostile: str):
    shutil.copytree(place / "repository", place / "copy")
    (place / "outside").mkdir()
    snapshot = store_nodes(place / "copy", lambda writer: HOSTILE[hostile](writer, place))
    before = sorted(path.name for path in place.iterdir())
    done = read_alone(place / "copy", place / "recovery-key", snapshot, "", place / "out", program=TREES)
    assert done.returncode != 0
    assert list((place / "outside").iterdir()) == []
    assert sorted(path.name for path in place.iterdir() if path.name != "out") == before
    assert list((place / "out").iterdir()) == []


def test_a_tree_deeper_than_python_is_listed(place: Path):
    def make(writer: ChunkWriter) -> ChunkId:
        child = directory(writer, Entry(b"bottom", EntryType.FILE, content=SlicedContent(0)))
        for depth in range(1, 1200):
            child = directory(writer, Entry(b"d", EntryType.DIRECTORY, child=child, totals=Totals(depth)))
        return child

    lines = run_reader(
        place / "repository", place / "recovery-key", store_nodes(place / "repository", make)
    ).splitlines()
    assert (len(lines), lines[-1]) == (1200, "d/" * 1199 + "bottom\tfile\t0\t")


def test_a_directory_without_one_of_its_nodes_is_not_half_restored(place: Path):
    def make(writer: ChunkWriter) -> ChunkId:
        return directory(writer, Entry(b"lost", EntryType.DIRECTORY, child=ChunkId(b"\x33" * 32)))

    shutil.copytree(place / "repository", place / "copy")
    snapshot = store_nodes(place / "copy", make)
    done = read_alone(place / "copy", place / "recovery-key", snapshot, "", place / "out", program=TREES)
    assert (done.returncode != 0, "is nowhere" in done.stderr) == (True, True)


def test_what_a_prune_moved_is_read_like_anything_else(place: Path):
    """Blobs of several sessions lie in one pack then, each with the key that its own session made."""
    shared, dead = random.Random(1).randbytes(2 * CHUNK), random.Random(2).randbytes(16 * CHUNK)
    (place / "old.img").write_bytes(shared + dead)
    (place / "new.img").write_bytes(shared)
    save(place, place / "old.img")
    snapshot = save(place, place / "new.img")
    operation = Operation()
    repository = Repository.open(LocalStorage(place / "repository", create=False), OWNER, operation)
    repository.forget(repository.find_snapshot("old.img@latest"))
    options = PruneOptions(undo_window=timedelta(0), threshold=1.0)
    assert prune(repository, Process(), options, operation).copied
    repository.close()
    out = place / "out.img"
    assert restore_alone(place / "repository", place / "recovery-key", snapshot, "new.img", out) == shared
