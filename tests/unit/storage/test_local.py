"""What the directory back-end does beyond the contract: layout, order of system calls, honesty about a lost disk."""

from __future__ import annotations

import errno
import os
import shutil
import stat
from contextlib import closing

import pytest

from lamina.errors import (
    ObjectMissing,
    StorageDenied,
    StorageError,
    StorageFull,
    StorageUnavailable,
    StorageUnsuitable,
)
from lamina.plugins import find_plugin
from lamina.storage.addresses import parse_address
from lamina.storage.backends.local import LocalStorage, open_storage

_DIGEST = "abcd" + "0" * 60


@pytest.fixture
def root(tmp_path):
    return tmp_path / "repository"


@pytest.fixture
def storage(root):
    with closing(LocalStorage(root, create=True)) as storage:
        yield storage


def test_a_hash_is_spread_over_two_levels_of_directories(storage, root):
    storage.put(f"data/{_DIGEST}", [b"pack"])
    assert (root / "data" / "ab" / "cd" / _DIGEST).read_bytes() == b"pack"


def test_files_and_directories_are_the_owners_only(storage, root):
    storage.put(f"data/{_DIGEST}", [b"pack"])
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in [root, *root.rglob("*")]}
    assert {mode for path, mode in modes.items() if path.is_dir()} == {0o700}
    assert {mode for path, mode in modes.items() if path.is_file()} == {0o600}


def test_a_listing_hides_temporaries_strays_and_links(storage, root):
    storage.put("keys/one", [b"x"])
    (root / "keys" / ".half-written").write_bytes(b"x")
    (root / "keys" / "link").symlink_to(root / "keys" / "one")
    (root / "lost+found").mkdir()
    (root / "lost+found" / "stray").write_bytes(b"x")
    (root / _DIGEST).write_bytes(b"not where a hash lies")
    assert [stored.name for stored in storage.objects()] == ["keys/one"]


def test_a_link_is_never_followed_to_read_an_object(storage, root, tmp_path):
    (tmp_path / "secret").write_bytes(b"elsewhere")
    storage.put("keys/one", [b"x"])
    (root / "keys" / "two").symlink_to(tmp_path / "secret")
    with pytest.raises(StorageError):
        storage.get("keys/two")


def test_a_folder_may_be_a_link_to_a_larger_disk(storage, root, tmp_path):
    (tmp_path / "larger").mkdir()
    (root / "data").symlink_to(tmp_path / "larger")
    storage.put(f"data/{_DIGEST}", [b"pack"])
    assert [stored.name for stored in storage.objects("data/")] == [f"data/{_DIGEST}"]
    assert [stored.name for stored in storage.objects()] == [f"data/{_DIGEST}"]


@pytest.mark.parametrize("link", ["data", "data/ab", "data/ab/cd"])
def test_a_folder_behind_a_link_to_nothing_is_never_read_as_empty(storage, root, tmp_path, link):
    name = f"data/{_DIGEST}"
    storage.put(name, [b"pack"])
    (root / link).rename(tmp_path / "elsewhere")
    (root / link).symlink_to(tmp_path / "unmounted")
    for call in (
        lambda: storage.get(name),
        lambda: storage.get_range(name, 0, 1),
        lambda: storage.stat(name),
        lambda: list(storage.objects()),
        lambda: list(storage.objects("data/")),
        lambda: storage.delete(name),
        lambda: storage.put(name, [b"other"]),
    ):
        with pytest.raises(StorageUnavailable, match=f"{link} is a link to a place that is not there") as raised:
            call()
        assert "mount" in raised.value.hint
    (tmp_path / "elsewhere").rename(tmp_path / "unmounted")
    assert storage.get(name) == b"pack"
    assert [stored.name for stored in storage.objects()] == [name]


def test_a_link_to_nothing_in_the_place_of_an_object_is_not_read_as_absence(storage, root, tmp_path):
    storage.put("keys/one", [b"x"])
    (root / "keys" / "two").symlink_to(tmp_path / "unmounted")
    for call in (lambda: storage.get("keys/two"), lambda: storage.stat("keys/two"), lambda: list(storage.objects())):
        with pytest.raises(StorageError) as raised:
            call()
        assert not isinstance(raised.value, ObjectMissing)


def test_a_directory_that_does_not_exist_is_not_made_by_opening(root):
    with pytest.raises(StorageUnavailable, match="does not exist"):
        LocalStorage(root)
    assert not root.exists()


def test_creating_makes_the_directories_above_too(tmp_path):
    with closing(LocalStorage(tmp_path / "a" / "b" / "c", create=True)) as storage:
        storage.put("object", [b"x"])
    assert (tmp_path / "a" / "b" / "c" / "object").exists()


def test_a_file_in_the_place_of_the_directory_is_an_error(root):
    root.write_bytes(b"a file")
    for create in (False, True):
        with pytest.raises(StorageError):
            LocalStorage(root, create=create)


@pytest.mark.parametrize("how", ["removed", "moved", "replaced"])
def test_a_lost_directory_is_never_read_as_empty(storage, root, tmp_path, how):
    storage.put("keys/one", [b"x"])
    if how == "removed":
        shutil.rmtree(root)
    else:
        root.rename(tmp_path / "elsewhere")
    if how == "replaced":
        root.mkdir()  # what an unmounted disk leaves behind
    for call in (
        lambda: storage.get("keys/two"),
        lambda: storage.get_range("keys/two", 0, 1),
        lambda: storage.stat("keys/two"),
        lambda: list(storage.objects("keys/")),
        lambda: list(storage.objects("other/")),
        lambda: list(storage.objects()),
        lambda: storage.delete("keys/two"),
    ):
        with pytest.raises(StorageUnavailable):
            call()


def test_nothing_is_put_into_a_removed_directory(storage, root):
    storage.put("keys/one", [b"x"])
    shutil.rmtree(root)
    for name in ("keys/two", "new/one", "top"):
        with pytest.raises(StorageUnavailable):
            storage.put(name, [b"x"])


def test_an_emptied_folder_is_made_again(storage, root):
    storage.put("keys/one", [b"x"])
    shutil.rmtree(root / "keys")
    storage.put("keys/one", [b"other"])
    assert storage.get("keys/one") == b"other"


@pytest.mark.parametrize("anonymous", [True, False])
def test_bytes_are_durable_before_the_name_and_the_name_before_the_return(root, monkeypatch, anonymous):
    """The order of system calls is the promise; a power cut cannot be had in a test."""
    calls = []

    def spy(name, real):
        def spied(*arguments, **options):
            target = os.readlink(f"/proc/self/fd/{arguments[0]}") if name == "fsync" else ""
            calls.append((name, "directory" if target and os.path.isdir(target) else "file" if target else "", target))
            return real(*arguments, **options)

        return spied

    with closing(LocalStorage(root, create=True, anonymous=anonymous)) as storage:
        for name in ("fsync", "link"):
            monkeypatch.setattr(os, name, spy(name, getattr(os, name)))
        storage.put("new/folder/object", [b"x"])
        storage.put("new/folder/object", [b"x"])
    made, first, again = calls[:2], calls[2:5], calls[5:]
    assert [(call, target) for call, _, target in made] == [("fsync", str(root)), ("fsync", str(root / "new"))]
    for put in (first, again):  # the second time too: whoever linked it may not have come so far
        assert [(call, kind) for call, kind, _ in put] == [("fsync", "file"), ("link", ""), ("fsync", "directory")]
        assert put[2][2] == str(root / "new" / "folder")


def test_without_anonymous_files_hidden_names_are_used_and_removed(storage, root, monkeypatch):
    real = os.open

    def old_file_system(path, flags, *arguments, **options):
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(errno.EOPNOTSUPP, "Operation not supported")
        return real(path, flags, *arguments, **options)

    monkeypatch.setattr(os, "open", old_file_system)
    storage.put("keys/one", [b"x"])
    assert storage.get("keys/one") == b"x"
    assert os.listdir(root / "keys") == ["one"]


def test_a_file_system_without_hard_links_is_unsuitable(storage, monkeypatch):
    def no_links(*_arguments, **_options):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    with pytest.raises(StorageUnsuitable, match="hard links"):
        storage.put("keys/one", [b"x"])


@pytest.mark.parametrize(
    ("number", "error"),
    [
        (errno.ENOSPC, StorageFull),
        (errno.EDQUOT, StorageFull),
        (errno.EACCES, StorageDenied),
        (errno.EROFS, StorageDenied),
        (errno.EIO, StorageUnavailable),
        (errno.ESTALE, StorageUnavailable),
        (errno.ENAMETOOLONG, StorageError),
    ],
)
def test_a_failed_write_leaves_nothing_and_says_why(storage, root, monkeypatch, number, error):
    def failing(*_arguments):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(error, match="keys/one"):
        storage.put("keys/one", [b"x"])
    monkeypatch.undo()
    with pytest.raises(ObjectMissing):
        storage.get("keys/one")


def test_short_writes_are_carried_on(storage, monkeypatch):
    real = os.writev

    def short(descriptor, views):
        return real(descriptor, [views[0][:3]])

    monkeypatch.setattr(os, "writev", short)
    storage.put("object", [b"0123456789", b"", b"ab", b"cdefg"])
    assert storage.get("object") == b"0123456789abcdefg"


def test_many_parts_are_written_in_batches(storage):
    storage.put("object", [b"ab"] * 2500)
    assert storage.get("object") == b"ab" * 2500


def test_the_back_end_is_found_by_its_plug_in_name(root):
    plugin = find_plugin("storage", "file")
    assert plugin.open_storage is open_storage
    with closing(plugin.open_storage(parse_address(str(root), {}), {}, create=True)) as storage:
        assert storage.address == str(root)


@pytest.mark.integration
@pytest.mark.root
def test_a_full_and_a_read_only_disk_are_named(tmp_path):
    import subprocess

    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", tmp_path], check=True)
    try:
        with closing(LocalStorage(tmp_path)) as storage:
            storage.put("small", [b"x"])
            with pytest.raises(StorageFull):
                storage.put("large", [b"x" * (1 << 20)])
            assert [stored.name for stored in storage.objects()] == ["small"]
            subprocess.run(["mount", "-o", "remount,ro", tmp_path], check=True)
            with pytest.raises(StorageDenied):
                storage.put("other", [b"x"])
            assert storage.get("small") == b"x"
    finally:
        subprocess.run(["umount", tmp_path], check=True)
