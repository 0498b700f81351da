"""Backups of trees of files: what is read, what is stored, what every snapshot holds."""

from __future__ import annotations

import io
import os
import random
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lamina.engine.backup import BackupOptions, Input, VerifyMode, backup
from lamina.engine.saving.known import Compare
from lamina.engine.saving.tree_jobs import TreeOptions
from lamina.model.entries import EntryState, EntryType, Metadata
from lamina.model.snapshots import Trust
from lamina.repository.directories import BUNDLED
from lamina.repository.trees import get_entry, walk_tree
from lamina.sources.stream import StdinSource
from lamina.testing.images import MemoryImage
from lamina.testing.moody_files import MoodyFiles
from lamina.testing.repositories import SmallRepository
from lamina.testing.trees import Edit, apply, edits, trees
from tests.unit.engine.tree_backups import CONTENTS, NOISE, Stored, later, make, nodes, objects, present, save, stored


def test_a_tree_comes_back(late: SmallRepository, tree: Path):
    (tree / "link").symlink_to("nowhere")
    (tree / "empty").mkdir()
    os.mkfifo(tree / "pipe")
    os.utime(tree / "a", ns=(0, -1))
    report, _ = save(late, tree)
    assert stored(late) == present(tree)
    assert (report.files.new, report.files.directories, report.files.flawed) == (8, 5, 0)
    assert (report.statistics.size, report.partial) == (sum(map(len, CONTENTS.values())), False)


def test_an_unchanged_tree_reads_nothing_and_writes_nothing(late: SmallRepository, tree: Path):
    save(late, tree)
    before, directories = objects(late), nodes(late)
    report, files = save(late, tree, verify=VerifyMode.NONE)
    assert files.done("read") == files.done("open") == files.done("describe") == []
    assert (report.files.unchanged, report.files.new, report.files.changed) == (6, 0, 0)
    assert (report.statistics.read, report.statistics.new) == (0, 0)
    assert nodes(late) == directories
    assert {name.partition("/")[0] for name in objects(late) - before} == {"sessions", "snapshots"}


def test_a_changed_file_makes_only_the_directories_above_it_new(late: SmallRepository, tree: Path):
    save(late, tree)
    before = nodes(late)
    (tree / "b" / "c" / "deep").write_bytes(b"changed!")
    report, files = save(late, tree, verify=VerifyMode.NONE)
    assert files.done("read") == [b"deep"]
    assert len(nodes(late) - before) == 4, "c, b, tree, and the root above"
    assert (report.files.changed, report.files.unchanged) == (1, 5)
    assert stored(late) == present(tree)


def test_added_deleted_and_renamed_entries(late: SmallRepository, tree: Path):
    save(late, tree)
    (tree / "a").rename(tree / "z")
    (tree / "d" / "one").unlink()
    (tree / "b" / "c").rename(tree / "d" / "c")
    make(tree, {"b/new": b"new"})
    report, files = save(late, tree, verify=VerifyMode.NONE)
    assert stored(late) == present(tree)
    assert files.done("read") == [b"deep", b"new", b"other", b"z"]
    assert report.statistics.new < 20_000


def test_only_metadata_changed_of_a_file_that_is_compared_by_mtime(late: SmallRepository, tree: Path):
    save(late, tree)
    (tree / "a").chmod(0o600)
    _, files = save(late, tree, verify=VerifyMode.NONE, trees=TreeOptions(frozenset({Compare.MTIME})))
    assert (files.done("read"), files.done("describe")) == ([], [b"a"])
    assert stored(late) == present(tree)


def test_a_file_written_to_between_the_walk_and_its_description_is_read(late: SmallRepository, tree: Path):
    """Otherwise its old content would stand there under its new times, for ever."""
    save(late, tree)
    (tree / "a").chmod(0o600)
    moods = {("describe", b"a"): lambda: (tree / "a").write_bytes(b"FIRST")}
    save(late, tree, moods=moods, verify=VerifyMode.NONE, trees=TreeOptions(frozenset({Compare.MTIME})))
    assert stored(late)["a"].content == b"FIRST"


def test_compare_none_reads_every_file(late: SmallRepository, tree: Path):
    save(late, tree)
    report, files = save(late, tree, verify=VerifyMode.NONE, trees=TreeOptions(None))
    assert len(files.done("read")) == 6
    assert report.statistics.read == report.statistics.size
    assert report.statistics.new == 0


@pytest.mark.parametrize("holder", ["owner", "writer"])
def test_a_writer_detects_changes_like_an_owner(late: SmallRepository, tree: Path, holder: str):
    """It reads names and attributes of its own snapshots, and no content."""
    save(late, tree, holder=holder)
    (tree / "d" / "one").write_bytes(b"new")
    before = nodes(late)
    report, files = save(late, tree, holder=holder, verify=VerifyMode.NONE)
    assert files.done("read") == [b"one"]
    assert (report.files.unchanged, report.files.changed, report.notes) == (5, 1, ())
    assert len(nodes(late) - before) == 3
    assert stored(late) == present(tree)


def test_what_another_writer_saved_is_read_anew_and_stored_once(late: SmallRepository, tree: Path):
    save(late, tree, holder="other")
    report, files = save(late, tree, holder="writer", verify=VerifyMode.NONE)
    assert len(files.done("read")) == 6
    assert report.files.unchanged == 0
    assert stored(late) == present(tree)


def test_a_fresh_file_is_read_again_until_its_times_can_tell(small: SmallRepository, tree: Path):
    """The clock here is behind the files': for all it knows, they may change without a trace."""
    save(small, tree)
    assert {one.state for one in stored(small).values() if one.type is EntryType.FILE} == {EntryState.FRESH}
    report, files = save(small, tree, verify=VerifyMode.NONE)
    assert len(files.done("read")) == 6
    assert report.statistics.new == 0
    later(small)
    assert len(save(small, tree, verify=VerifyMode.NONE)[1].done("read")) == 6
    assert save(small, tree, verify=VerifyMode.NONE)[1].done("read") == []


def test_a_file_from_the_future_is_not_read_for_ever(late: SmallRepository, tree: Path):
    os.utime(tree / "a", ns=(0, 2**62))
    save(late, tree)
    assert save(late, tree, verify=VerifyMode.NONE)[1].done("read") == []


def test_hard_links_across_directories_are_read_once(late: SmallRepository, tree: Path):
    os.link(tree / "b" / "large", tree / "d" / "same")
    os.link(tree / "b" / "large", tree / "z")
    report, _ = save(late, tree)
    assert stored(late) == present(tree)
    assert report.statistics.read == sum(map(len, CONTENTS.values()))
    repository = late.open()
    reader, root = repository.reader(), repository.find_snapshot("latest").root
    inodes = {get_entry(reader, root, f"tree/{name}").metadata[5:8] for name in ("b/large", "d/same", "z")}
    repository.close()
    assert len(inodes) == 1, "the same inode, links and device"


def test_a_dry_run_counts_and_stores_nothing(late: SmallRepository, tree: Path):
    before = objects(late)
    report, _ = save(late, tree, dry_run=True)
    assert (report.snapshot, report.files.new, report.files.directories) == (None, 6, 4)
    assert report.statistics.new > 1 << 20
    assert objects(late) == before
    save(late, tree)
    report, files = save(late, tree, dry_run=True)
    assert (report.statistics.new, report.files.unchanged, files.done("read")) == (0, 6, [])


def test_images_trees_and_streams_make_one_snapshot(late: SmallRepository, tree: Path):
    def both() -> list[Input]:
        stream = StdinSource(io.BytesIO(NOISE[:700_000]), name="dump")
        return [
            Input("vm/disk.img", MemoryImage(NOISE)),
            Input("etc", MoodyFiles(tree), above={}),
            Input("dump.sql", stream),
        ]

    repository = late.open()
    for _ in range(2):
        report = backup(repository, both(), BackupOptions("vm"), late.operation())
        reader, root = repository.reader(), repository.find_snapshot("latest").root
        found = dict(walk_tree(reader, root))
        assert [path for path in found if "/" not in path] == ["dump.sql", "etc", "vm"]
        assert report.statistics.size == len(NOISE) + 700_000 + sum(map(len, CONTENTS.values()))
    assert report.files.unchanged == 6
    assert report.statistics.new == 0
    assert stored(late, path="etc") == present(tree)
    assert late.restore("latest", "vm/disk.img") == NOISE
    assert late.restore("latest", "dump.sql") == NOISE[:700_000]
    repository.close()


def test_a_stream_is_cut_by_content(late: SmallRepository):
    """What moves within a dump is found again."""
    dump = random.Random(8).randbytes(32 << 20)  # long enough to have cuts, whatever the repository's key
    for content in (dump, b"inserted" + dump):
        report = late.back_up(StdinSource(io.BytesIO(content), name="dump"))
    assert report.statistics.new < len(dump) / 2
    assert late.restore("latest") == content


def test_the_root_of_the_file_system_is_stored_as_the_root(late: SmallRepository, tree: Path):
    save(late, tree, path="")
    repository = late.open()
    paths = [path for path, _ in walk_tree(repository.reader(), repository.find_snapshot("latest").root)]
    repository.close()
    assert paths[0] == "a"
    _, files = save(late, tree, path="", verify=VerifyMode.NONE)
    assert files.done("read") == []


def test_the_directories_above_a_source_have_what_is_known_of_them(late: SmallRepository, tree: Path):
    above = {"home": Metadata(0o751, 12345, 0, 7), "home/u": Metadata(0o700, 0, 0, 8)}
    repository = late.open()
    backup(repository, [Input("home/u/tree", MoodyFiles(tree), above=above)], BackupOptions("x"), late.operation())
    snapshot = repository.find_snapshot("latest")
    for path, metadata in above.items():
        assert get_entry(repository.reader(), snapshot.root, path).metadata == metadata
    assert snapshot.users.get(0) == "root"
    assert 12345 not in snapshot.users
    repository.close()


def test_a_removed_parent_only_means_that_all_is_read(late: SmallRepository, tree: Path):
    save(late, tree)
    repository = late.open()
    parent = repository.find_snapshot("latest")
    repository.forget(parent)
    repository.close()
    report, files = save(late, tree, parent=parent, verify=VerifyMode.NONE)
    assert len(files.done("read")) == 6
    assert any("removed meanwhile" in note for note in report.notes)
    assert stored(late) == present(tree)


def test_a_distrusted_parent_is_not_relied_on(late: SmallRepository, tree: Path):
    save(late, tree)
    repository = late.open()
    repository.edit(repository.find_snapshot("latest"), trust=Trust.DISTRUSTED)
    repository.close()
    _, files = save(late, tree, verify=VerifyMode.NONE)
    assert len(files.done("read")) == 6


@settings(max_examples=12)
@given(first=trees(), rounds=st.lists(edits(), min_size=1, max_size=3))
def test_every_snapshot_holds_the_tree_of_its_time(first: list[Edit], rounds: list[list[Edit]]):
    """Whatever happens between backups, some of it so fast that times cannot tell."""
    small = SmallRepository()
    with TemporaryDirectory() as made:
        tree = Path(made) / "tree"
        tree.mkdir()
        expected = []
        for number, changes in enumerate([first, *rounds]):
            apply(changes, tree)
            if number == len(rounds):
                later(small)
            save(small, tree)
            expected.append(bare(present(tree)))
        for back, wanted in enumerate(reversed(expected)):
            assert bare(stored(small, f"latest~{back}")) == wanted
    assert small.verify().problems == ()


def bare(found: dict[str, Stored]) -> dict[str, Stored]:
    """Without what a tree's owner does not see: that a file is fresh."""
    return {
        name: one._replace(state=EntryState.WHOLE) if one.state is EntryState.FRESH else one
        for name, one in found.items()
    }


def test_half_empty_bundles_are_bundled_anew_once(late: SmallRepository, tmp_path: Path):
    tree = make(tmp_path / "tree", {f"{number:03}": b"%d" % number * 300 for number in range(40)})
    save(late, tree)
    for number in range(15):
        (tree / f"{number:03}").unlink()
    assert save(late, tree, verify=VerifyMode.NONE)[1].done("read") == []
    for number in range(15, 30):
        (tree / f"{number:03}").unlink()
    assert save(late, tree, verify=VerifyMode.NONE)[1].done("read") == [], "the parent still uses most of it"
    _, files = save(late, tree, verify=VerifyMode.NONE)
    assert len(files.done("read")) == 10
    assert stored(late) == present(tree)
    assert save(late, tree, verify=VerifyMode.NONE)[1].done("read") == []


def test_large_files_are_no_bundles(late: SmallRepository, tmp_path: Path):
    tree = make(tmp_path / "tree", {"just": NOISE[:BUNDLED], "over": NOISE[: BUNDLED + 1]})
    save(late, tree)
    (tree / "just").unlink()
    save(late, tree)
    assert save(late, tree, verify=VerifyMode.NONE)[1].done("read") == []
