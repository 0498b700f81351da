"""Restoring below a directory never leads out of it, whatever lies there or is put there meanwhile."""

from __future__ import annotations

import os
import stat
from contextlib import closing

import pytest

from lamina.errors import TargetExists, TargetUnwritable
from lamina.targets.below import open_image_below


@pytest.fixture
def top(tmp_path):
    (tmp_path / "top").mkdir()
    return tmp_path / "top"


@pytest.fixture
def outside(tmp_path):
    """Where nothing may be written."""
    (tmp_path / "outside" / "vg").mkdir(parents=True)
    (tmp_path / "outside" / "precious").write_bytes(b"precious")
    yield tmp_path / "outside"
    assert sorted(os.listdir(tmp_path / "outside")) == ["precious", "vg"]
    assert os.listdir(tmp_path / "outside" / "vg") == []
    assert (tmp_path / "outside" / "precious").read_bytes() == b"precious"


def restore(top, inside, content=b"content", *, force=True, resume=False):
    with closing(open_image_below(str(top), inside, len(content), force=force, resume=resume)) as target:
        target.write(0, content)
        target.finish()


def test_directories_are_made_on_the_way(tmp_path):
    restore(tmp_path / "new" / "top", "dev/vg/a", force=False)
    path = tmp_path / "new" / "top" / "dev" / "vg" / "a"
    assert path.read_bytes() == b"content"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_what_exists_needs_force(top):
    restore(top, "dev/a", force=False)
    with pytest.raises(TargetExists, match="dev/a exists already"):
        restore(top, "dev/a", force=False)
    restore(top, "dev/a", b"other")
    assert (top / "dev" / "a").read_bytes() == b"other"


def test_the_directory_the_user_named_may_be_a_link(tmp_path, top):
    (tmp_path / "link").symlink_to(top)
    restore(tmp_path / "link", "dev/a")
    assert (top / "dev" / "a").read_bytes() == b"content"


@pytest.mark.parametrize(
    ("link", "to"),
    [("dev", ""), ("dev", "nowhere"), ("dev/vg", "vg"), ("dev/vg/a", "precious"), ("dev/vg/a", "nowhere")],
)
@pytest.mark.parametrize("how", [{"force": True}, {"force": False, "resume": True}, {"force": False}])
def test_a_link_below_is_not_followed(top, outside, link, to, how):
    (top / link).parent.mkdir(parents=True, exist_ok=True)
    (top / link).symlink_to(outside / to)
    with pytest.raises(TargetUnwritable, match=f"{link} is a link") as raised:
        restore(top, "dev/vg/a", b"contents", **how)
    assert raised.value.hint


def test_a_link_within_the_directory_is_not_followed_either(top):
    (top / "dev").symlink_to("other")
    (top / "other").mkdir()
    with pytest.raises(TargetUnwritable, match="dev is a link"):
        restore(top, "dev/a")
    assert os.listdir(top / "other") == []


@pytest.mark.parametrize("inside", ["", "/a", "../outside/a", "a/../../outside/a", "a//b", "./a", "a/"])
def test_what_is_no_path_below_is_refused(top, outside, inside):
    with pytest.raises(TargetUnwritable, match="is no path below"):
        restore(top, inside)


def test_a_file_where_a_directory_should_be_is_named(top):
    (top / "dev").write_bytes(b"a file")
    with pytest.raises(TargetUnwritable, match="dev: Not a directory"):
        restore(top, "dev/a")


@pytest.mark.parametrize("directory", ["dev", "dev/vg"])
def test_a_directory_swapped_for_a_link_on_the_way_leads_nowhere(top, outside, monkeypatch, directory):
    """The swap comes at the worst moment: right after the directory was made, and right after it was opened."""
    for call in ("mkdir", "open"):
        with monkeypatch.context() as patched:
            _swap_after(patched, call, top / directory, outside)
            try:
                restore(top, "dev/vg/a")
            except TargetUnwritable as error:
                assert "is a link" in error.message  # noqa: PT017 - either outcome is right, as long as nothing leads out
        assert (top / directory).is_symlink()
        (top / directory).unlink()


def _swap_after(monkeypatch, call, directory, outside):
    real = getattr(os, call)

    def swapped(name, *arguments, **options):
        result = real(name, *arguments, **options)
        if name == directory.name and not directory.is_symlink():
            directory.rename(directory.parent / f"was {name} before {call}")
            directory.symlink_to(outside)
        return result

    monkeypatch.setattr(os, call, swapped)


def test_a_file_swapped_for_a_link_before_it_is_opened_is_not_followed(top, outside, monkeypatch):
    (top / "a").write_bytes(b"earlier")
    real = os.stat

    def swapped(name, **options):
        status = real(name, **options)
        if name == "a":
            os.replace(top / "link", top / "a")
        return status

    (top / "link").symlink_to(outside / "precious")
    monkeypatch.setattr(os, "stat", swapped)
    with pytest.raises(TargetUnwritable, match="a is a link"):
        restore(top, "a")


def test_no_descriptor_is_left_open(top, outside):
    before = os.listdir("/proc/self/fd")
    (top / "link").symlink_to(outside)
    restore(top, "dev/vg/a")
    with pytest.raises(TargetUnwritable):
        restore(top, "link/a")
    with pytest.raises(TargetUnwritable):
        restore(top, "dev/" + "x" * 256)
    assert os.listdir("/proc/self/fd") == before
