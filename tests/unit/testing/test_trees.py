"""The trees for tests: what tells two apart is seen, and every random edit can be made."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings

from lamina.testing.trees import apply, describe_tree, differences, edits, trees
from lamina.testing.zoo import NO_DUMP, VAST, make_zoo, read_flags, unzoo, write_flags

MIB = 1 << 20


def make_small_tree(directory: Path) -> None:
    """The same in every call."""
    (directory / "sub").mkdir(parents=True)
    (directory / "file").write_bytes(b"content")
    (directory / "twin").write_bytes(b"content")
    (directory / "link").symlink_to("target")
    (directory / "holes").touch()
    os.truncate(directory / "holes", 4 * MIB)
    for path in [*directory.rglob("*"), directory]:
        os.utime(path, ns=(0, 10**18), follow_symlinks=False)


def put_back(path: Path) -> None:
    os.utime(path, ns=(0, 10**18), follow_symlinks=False)


def replace_by_hard_link(directory: Path) -> None:
    (directory / "twin").unlink()
    (directory / "twin").hardlink_to(directory / "file")


def fill_holes(directory: Path) -> None:
    (directory / "holes").write_bytes(bytes(4 * MIB))
    put_back(directory / "holes")


def write_in_the_hole(directory: Path) -> None:
    with (directory / "holes").open("r+b") as file:
        file.seek(3 * MIB)
        file.write(b"x")
    put_back(directory / "holes")


def replace_link(directory: Path) -> None:
    (directory / "link").unlink()
    (directory / "link").symlink_to("other")
    put_back(directory / "link")


def set_flag(directory: Path) -> None:
    path = os.fsencode(directory / "file")
    write_flags(path, NO_DUMP)
    if read_flags(path) != NO_DUMP:
        pytest.skip("no file flags here")


def rewrite(directory: Path) -> None:
    (directory / "file").write_bytes(b"CONTENT")
    put_back(directory / "file")


CHANGES = {
    "mode": lambda directory: (directory / "sub").chmod(0o711),
    "mtime_ns": lambda directory: os.utime(directory / "sub", ns=(0, 1)),
    "xattrs": lambda directory: os.setxattr(directory / "file", b"user.x", b"y"),
    "content": rewrite,
    "target": replace_link,
    "flags": set_flag,
    "first_name": replace_by_hard_link,
    "is_sparse": fill_holes,
    "missing": lambda directory: (directory / "file").unlink(),
    "too much": lambda directory: (directory / "new").touch(),
}


@pytest.mark.parametrize("field", CHANGES)
def test_every_difference_is_seen(tmp_path: Path, field: str):
    make_small_tree(tmp_path / "one")
    make_small_tree(tmp_path / "two")
    assert differences(describe_tree(tmp_path / "one"), describe_tree(tmp_path / "two")) == []
    CHANGES[field](tmp_path / "two")
    found = differences(describe_tree(tmp_path / "one"), describe_tree(tmp_path / "two"))
    assert any(field in line for line in found), found


def test_a_byte_behind_a_hole_is_seen(tmp_path: Path):
    make_small_tree(tmp_path)
    before = describe_tree(tmp_path)
    write_in_the_hole(tmp_path)
    assert [line.partition(" should")[0] for line in differences(before, describe_tree(tmp_path))] == [
        "b'holes': content"
    ]


@pytest.mark.root
def test_two_zoos_are_equal_and_hold_everything(tmp_path: Path):
    described = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        make_zoo(tmp_path / name)
        described.append(describe_tree(tmp_path / name))
        unzoo(tmp_path / name)
        shutil.rmtree(tmp_path / name)
    one, two = ({name: entry._replace(mtime_ns=0) for name, entry in tree.items()} for tree in described)
    assert differences(one, two) == []
    assert len({entry.type for entry in one.values()}) == 7
    assert one[VAST].is_sparse
    assert one[b"special/hard-to-the-fifo"].first_name == b"special/fifo"
    assert len(one[b"directories/deep/" + b"d/" * 300 + b"x"].content) == 64


@pytest.mark.root
def test_a_zoo_can_be_made_described_and_removed_without_rights(tmp_path: Path):
    program = (
        "import sys; from pathlib import Path; from lamina.testing.zoo import make_zoo, unzoo\n"
        "from lamina.testing.trees import describe_tree\n"
        "missing = make_zoo(Path(sys.argv[1])); assert any('device' in line for line in missing), missing\n"
        "assert len(describe_tree(Path(sys.argv[1]))) > 3000; unzoo(Path(sys.argv[1]))\n"
    )
    # Another user might not reach this Python.
    command = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", sys.executable, "-c", program, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.iterdir())


@settings(max_examples=50)
@given(trees(), edits(30))
def test_every_edit_can_be_made(tree, changes):
    """Whatever the edits, they can be made; the same ones make the same tree, but for the times of directories."""
    described = []
    for _ in range(2):
        with tempfile.TemporaryDirectory() as directory:
            apply(tree, Path(directory))
            apply(changes, Path(directory))
            described.append(
                {name: entry._replace(mtime_ns=0) for name, entry in describe_tree(Path(directory)).items()}
            )
            unzoo(Path(directory))
    assert differences(*described) == []
