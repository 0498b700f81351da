"""Directories as targets: every kind of object, its attributes, and names that lead elsewhere."""

from __future__ import annotations

import errno
import os
import stat
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from lamina.errors import TargetUnwritable
from lamina.model.entries import Entry, EntryType, Metadata
from lamina.targets.directory import DirectoryTarget, FirstName
from lamina.targets.folders import OPEN_ABOVE
from lamina.targets.owners import Owners
from lamina.testing.zoo import IMMUTABLE, NO_DUMP, acl, read_flags, write_flags

NOBODY = 0xFFFF_FFFF


def known(mode: int = 0o640, **more) -> Metadata:
    more.setdefault("mtime_ns", 1_500_000_000_123_456_789)
    return Metadata(mode, more.pop("uid", os.geteuid()), more.pop("gid", os.getegid()), inode=5, **more)


@pytest.fixture
def target(tmp_path: Path) -> Iterator[DirectoryTarget]:
    made = DirectoryTarget(str(tmp_path / "out"), Owners({}, {}))
    yield made
    made.close()
    assert not made.top._open


@pytest.fixture
def out(tmp_path: Path, target: DirectoryTarget) -> Path:
    return tmp_path / "out"


def write(target: DirectoryTarget, name: bytes, content: bytes, metadata: Metadata, **how) -> tuple[int, int]:
    file = target.new_file(target.top, name, replace=how.pop("replace", False), **how)
    try:
        file.write(0, content)
        return file.publish(metadata)
    finally:
        file.close()


def test_a_file_has_no_name_before_it_is_whole(target: DirectoryTarget, out: Path):
    file = target.new_file(target.top, b"f", replace=False)
    file.write(0, b"half")
    assert list(out.iterdir()) == []
    file.publish(known())
    file.close()
    status = (out / "f").stat()
    assert (out / "f").read_bytes() == b"half"
    assert (stat.S_IMODE(status.st_mode), status.st_mtime_ns) == (0o640, 1_500_000_000_123_456_789)


@pytest.mark.parametrize("nameless", [True, False])
def test_a_name_that_was_taken_meanwhile_is_not_overwritten(target: DirectoryTarget, out: Path, nameless: bool):
    target._files._nameless = nameless
    file = target.new_file(target.top, b"f", replace=False)
    file.write(0, b"ours")
    (out / "f").write_bytes(b"theirs")
    with pytest.raises(FileExistsError):
        file.publish(known())
    file.close()
    assert [(one.name, one.read_bytes()) for one in out.iterdir()] == [("f", b"theirs")]


def test_a_small_file_that_was_cut_off_counts_as_missing(target: DirectoryTarget, out: Path):
    entry = Entry(b"f", EntryType.FILE, known(0o4755))
    file = target.small_file(target.top, entry, replace=False)
    file.write(0, b"half")
    file._fd = -1  # as if the program had been killed
    file.close()
    assert [path.name for path in out.iterdir()] == ["f"]
    target.top.fresh = False
    assert target.look(target.top, Entry(b"f", EntryType.FILE)) is None
    file = target.small_file(target.top, entry, replace=False)
    file.write(0, b"whole")
    file.publish(entry.metadata)
    file.close()
    status = target.look(target.top, Entry(b"f", EntryType.FILE))
    assert status is not None
    assert (stat.S_IMODE(status.st_mode), status.st_mtime_ns) == (0o4755, entry.metadata.mtime_ns)
    assert (out / "f").read_bytes() == b"whole"


@pytest.mark.parametrize("difference", ["mode", "names", "kind"])
def test_what_only_looks_like_a_file_cut_off_stays(target: DirectoryTarget, out: Path, difference: str):
    path = out / "f"
    if difference == "kind":
        os.mkfifo(path)
    else:
        path.write_bytes(b"mine")
    path.chmod(0o1600 if difference == "mode" else 0o1200)
    if difference == "names":
        (out / "g").hardlink_to(path)
    target.top.fresh = False
    assert target.look(target.top, Entry(b"f", EntryType.FILE)) is not None


def test_a_file_that_shall_look_as_if_it_were_cut_off_is_not_taken_for_one(target: DirectoryTarget, out: Path):
    entry = Entry(b"f", EntryType.FILE, known(0o1200))
    file = target.small_file(target.top, entry, replace=False)
    assert not list(out.iterdir())
    file.write(0, b"whole")
    file.publish(entry.metadata)
    file.close()
    target.top.fresh = False
    assert target.look(target.top, entry) is not None
    assert (out / "f").read_bytes() == b"whole"


def test_where_permissions_cannot_say_so_a_file_has_no_name_before_it_is_whole(target: DirectoryTarget, out: Path):
    """As on FAT, which keeps none; here a mask takes them."""
    before = os.umask(0o200)
    try:
        for name in (b"one", b"two"):
            file = target.small_file(target.top, Entry(name, EntryType.FILE, known()), replace=False)
            file.write(0, b"whole")
            assert not (out / name.decode()).exists()
            file.publish(known())
            assert (out / name.decode()).read_bytes() == b"whole"
            file.close()
    finally:
        os.umask(before)


def test_a_small_file_takes_no_name_that_is_taken(target: DirectoryTarget, out: Path):
    (out / "f").write_bytes(b"mine")
    with pytest.raises(FileExistsError):
        target.small_file(target.top, Entry(b"f", EntryType.FILE, known()), replace=False)
    assert (out / "f").read_bytes() == b"mine"


def test_a_file_is_replaced_in_one_step(target: DirectoryTarget, out: Path):
    (out / "f").write_bytes(b"old")
    before = (out / "f").stat().st_ino
    file = target.new_file(target.top, b"f", replace=True)
    file.write(0, b"new")
    assert (out / "f").read_bytes() == b"old"
    file.publish(known())
    file.close()
    assert (out / "f").read_bytes() == b"new"
    assert (out / "f").stat().st_ino != before
    assert [one.name for one in out.iterdir()] == ["f"]


def test_a_file_that_is_given_up_leaves_nothing(target: DirectoryTarget, out: Path):
    for replace in (True, False):
        file = target.new_file(target.top, b"f", replace=replace)
        file.write(0, b"half")
        file.close()
    assert list(out.iterdir()) == []


def test_a_large_file_is_resumed_where_it_was_given_up(target: DirectoryTarget, out: Path):
    first = target.new_file(target.top, b"f", replace=False, key="0" * 32)
    first.write(0, b"half")
    first.close()
    assert [target.is_temporary(os.fsencode(one.name)) for one in out.iterdir()] == [True]
    again = target.new_file(target.top, b"f", replace=False, key="0" * 32)
    assert again.is_resumed
    buffer = bytearray(4)
    assert again.read_into(0, memoryview(buffer)) == 4
    assert buffer == b"half"
    again.publish(known())
    again.close()
    assert [one.name for one in out.iterdir()] == ["f"]


@pytest.mark.parametrize("kind", ["readable by others", "a second name", "a link", "a pipe"])
def test_what_somebody_else_may_have_made_is_not_resumed(target: DirectoryTarget, tmp_path: Path, out: Path, kind: str):
    theirs, outside = out / f".lamina-{'0' * 32}", tmp_path / "outside"
    outside.write_bytes(b"precious")
    match kind:
        case "readable by others":
            theirs.write_bytes(b"theirs")
            theirs.chmod(0o644)
        case "a second name":
            outside.chmod(0o600)
            os.link(outside, theirs)
        case "a link":
            theirs.symlink_to(outside)
        case "a pipe":
            os.mkfifo(theirs, 0o600)
    file = target.new_file(target.top, b"f", replace=False, key="0" * 32)
    assert not file.is_resumed
    file.write(0, b"ours")
    file.publish(known())
    file.close()
    assert outside.read_bytes() == b"precious"


def test_blocks_of_zeros_take_no_space(target: DirectoryTarget, out: Path):
    content = b"a" * 4096 + bytes(1 << 20) + b"b" * 5000
    file = target.new_file(target.top, b"f", replace=False)
    file.set_size(len(content))
    file.write_sparsely(0, memoryview(content))
    file.publish(known())
    file.close()
    assert (out / "f").read_bytes() == content
    assert (out / "f").stat().st_blocks * 512 <= 4096 * 4


@pytest.mark.parametrize("name", [b"", b".", b"..", b"a/b", b"/etc", b"a\0b"])
def test_names_that_lead_elsewhere_are_refused_by_every_operation(target: DirectoryTarget, tmp_path: Path, name: bytes):
    entry = Entry(name, EntryType.SYMLINK, known(), target=b"x")
    status = tmp_path.stat()
    operations = (
        lambda: target.look(target.top, Entry(name, EntryType.FILE)),
        lambda: target.make_folder(target.top, name, public=False),
        lambda: target.open_folder(target.top, name),
        lambda: target.new_file(target.top, name, replace=False),
        lambda: target.make_special(target.top, entry, replace=False),
        lambda: target.link(target.top, name, FirstName(target.top, b"f", (0, 0)), replace=False),
        lambda: target.correct(target.top, name, known()),
        lambda: target.clear_way(target.top, name, status, whole=True),
        lambda: target.remove(target.top, name),
        lambda: target.read(target.top, name),
    )
    for operation in operations:
        with pytest.raises(OSError, match="no name"):
            operation()
    assert sorted(one.name for one in tmp_path.iterdir()) == ["out"]


def test_no_directory_is_reached_through_a_link(target: DirectoryTarget, tmp_path: Path, out: Path):
    (tmp_path / "outside").mkdir()
    (out / "d").symlink_to(tmp_path / "outside")
    with pytest.raises(OSError):
        target.open_folder(target.top, b"d")


def test_a_directory_that_was_swapped_while_it_was_closed_is_not_used(
    target: DirectoryTarget, tmp_path: Path, out: Path
):
    (tmp_path / "outside").mkdir()
    folder = target.make_folder(target.top, b"d", public=False)
    folder.release()
    os.rename(out / "d", out / "moved")
    (out / "d").symlink_to(tmp_path / "outside")
    with pytest.raises(OSError):
        folder.hold()
    (out / "d").unlink()
    (out / "d").mkdir()
    with pytest.raises(OSError) as raised:
        folder.hold()
    assert raised.value.errno == errno.ESTALE


def test_many_directories_deep_few_are_open(target: DirectoryTarget):
    folders = [target.top]
    for _ in range(3 * OPEN_ABOVE):
        folders.append(target.make_folder(folders[-1], b"d", public=False))
        folders[-1].park_above()
    assert len(target.top._open) <= OPEN_ABOVE + 2
    while len(folders) > 1:
        left = folders.pop()
        folders[-1].unpark(left)
        assert folders[-1].fd >= 0
        left.release()
    assert len(target.top._open) == 1


@pytest.mark.root
def test_everything_that_is_no_file_is_made(target: DirectoryTarget, out: Path):
    kinds = {
        EntryType.FIFO: (stat.S_ISFIFO, None),
        EntryType.SOCKET: (stat.S_ISSOCK, None),
        EntryType.CHARACTER_DEVICE: (stat.S_ISCHR, (1, 3)),
        EntryType.BLOCK_DEVICE: (stat.S_ISBLK, (4000, 1_000_000)),
    }
    for kind, (is_kind, special) in kinds.items():
        name = kind.name.encode()
        identity = target.make_special(
            target.top, Entry(name, kind, known(0o604, uid=7, gid=8), special=special), replace=False
        )
        status = (out / kind.name).lstat()
        assert is_kind(status.st_mode)
        assert (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid) == (0o604, 7, 8)
        assert status.st_mtime_ns == 1_500_000_000_123_456_789
        assert special is None or (os.major(status.st_rdev), os.minor(status.st_rdev)) == special
        assert identity == (status.st_dev, status.st_ino)


def test_a_link_is_made_as_it_was_and_not_followed(target: DirectoryTarget, tmp_path: Path, out: Path):
    outside = tmp_path / "outside"
    outside.write_bytes(b"precious")
    outside.chmod(0o600)
    entry = Entry(b"l", EntryType.SYMLINK, known(0o777), target=os.fsencode(outside))
    target.make_special(target.top, entry, replace=False)
    assert os.readlink(out / "l") == str(outside)
    assert (out / "l").lstat().st_mtime_ns == 1_500_000_000_123_456_789
    assert stat.S_IMODE(outside.stat().st_mode) == 0o600
    again = entry._replace(target=b"elsewhere")
    target.make_special(target.top, again, replace=True)
    assert os.readlink(out / "l") == "elsewhere"


@pytest.mark.root
def test_set_id_bits_and_capabilities_survive_the_change_of_owner(target: DirectoryTarget, out: Path):
    capability = struct.pack("<IIIII", 0x0200_0001, 1 << 10, 0, 0, 0)
    data = known(0o6755, uid=1234, gid=5678, xattrs=((b"security.capability", capability),))
    write(target, b"f", b"x", data)
    status = (out / "f").stat()
    assert (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid) == (0o6755, 1234, 5678)
    assert os.getxattr(out / "f", "security.capability") == capability


def test_what_is_right_is_not_touched_and_what_differs_is_corrected(target: DirectoryTarget, out: Path):
    data = known(0o640, xattrs=((b"user.a", b"1"), (b"user.b", b"2")))
    write(target, b"f", b"x", data)
    before = (out / "f").stat().st_ctime_ns
    assert not target.correct(target.top, b"f", data)
    assert (out / "f").stat().st_ctime_ns == before
    os.setxattr(out / "f", "user.b", b"other")
    os.setxattr(out / "f", "user.extra", b"")
    os.chmod(out / "f", 0o777)
    os.utime(out / "f", ns=(0, 0))
    assert target.correct(target.top, b"f", data)
    status = (out / "f").stat()
    assert (stat.S_IMODE(status.st_mode), status.st_mtime_ns) == (0o640, data.mtime_ns)
    assert {name: os.getxattr(out / "f", name) for name in os.listxattr(out / "f")} == {"user.a": b"1", "user.b": b"2"}


def test_what_a_default_acl_of_the_target_gives_is_taken_away(tmp_path: Path):
    out = tmp_path / "out"
    out.mkdir()
    default = acl((1, 7, NOBODY), (2, 7, 4321), (4, 5, NOBODY), (0x10, 7, NOBODY), (0x20, 0, NOBODY))
    os.setxattr(out, "system.posix_acl_default", default)
    target = DirectoryTarget(str(out), Owners({}, {}))
    write(target, b"f", b"x", known(0o640))
    folder = target.make_folder(target.top, b"d", public=False)
    target.finish_folder(folder, known(0o755))
    target.close()
    for path, mode in ((out / "f", 0o640), (out / "d", 0o755)):
        assert os.listxattr(path) == []
        assert stat.S_IMODE(path.stat().st_mode) == mode


@pytest.mark.root
def test_flags_come_last_and_can_be_corrected(target: DirectoryTarget, out: Path):
    data = known(flags=IMMUTABLE | NO_DUMP)
    write(target, b"f", b"x", data)
    try:
        assert read_flags(os.fsencode(out / "f")) == IMMUTABLE | NO_DUMP
        assert (out / "f").stat().st_mtime_ns == data.mtime_ns
        target.correct(target.top, b"f", known(0o600, flags=0))
        assert read_flags(os.fsencode(out / "f")) == 0
        assert stat.S_IMODE((out / "f").stat().st_mode) == 0o600
    finally:
        write_flags(os.fsencode(out / "f"), 0)


@pytest.mark.root
def test_flags_that_a_directory_hands_down_are_taken_away(tmp_path: Path):
    out = tmp_path / "out"
    out.mkdir()
    write_flags(os.fsencode(out), NO_DUMP)
    target = DirectoryTarget(str(out), Owners({}, {}))
    write(target, b"f", b"x", known())
    folder = target.make_folder(target.top, b"d", public=False)
    file = target.new_file(folder, b"g", replace=False)
    file.publish(known())
    file.close()
    target.finish_folder(folder, known(0o755))
    target.close()
    assert [read_flags(os.fsencode(out / name)) for name in ("f", "d", "d/g")] == [0, 0, 0]


def test_an_object_of_which_nothing_is_known_stays_as_it_was_made(target: DirectoryTarget, out: Path):
    target.finish_folder(target.make_folder(target.top, b"d", public=True), Metadata())
    assert stat.S_IMODE((out / "d").stat().st_mode) & 0o700 == 0o700
    write(target, b"f", b"x", Metadata())
    assert stat.S_IMODE((out / "f").stat().st_mode) == 0o600


def test_another_name_is_only_given_to_what_was_restored(target: DirectoryTarget, tmp_path: Path, out: Path):
    identity = write(target, b"f", b"x", known(links=2))
    target.link(target.top, b"g", FirstName(target.top, b"f", identity), replace=False)
    assert (out / "g").stat().st_ino == (out / "f").stat().st_ino
    (out / "f").unlink()
    (out / "f").write_bytes(b"something else")
    with pytest.raises(OSError) as raised:
        target.link(target.top, b"h", FirstName(target.top, b"f", identity), replace=False)
    assert raised.value.errno == errno.ESTALE
    assert sorted(one.name for one in out.iterdir()) == ["f", "g"]


def test_a_deep_directory_is_removed_and_links_in_it_are_not_followed(
    target: DirectoryTarget, tmp_path: Path, out: Path
):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_bytes(b"x")
    fd = os.open(out, os.O_RDONLY)
    for _ in range(1500):  # deeper than Python's stack, longer than a path may be
        os.mkdir("d", dir_fd=fd)
        os.symlink(outside, "l", dir_fd=fd)
        below = os.open("d", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(fd)
    assert target.remove(target.top, b"d")
    assert [one.name for one in out.iterdir()] == ["l"]
    assert (outside / "precious").read_bytes() == b"x"


@pytest.mark.root
@pytest.mark.integration
def test_removing_stops_at_a_mount_point(target: DirectoryTarget, out: Path):
    import subprocess

    (out / "d" / "mounted").mkdir(parents=True)
    (out / "d" / "gone").write_bytes(b"")
    subprocess.run(["mount", "-t", "tmpfs", "none", out / "d" / "mounted"], check=True)
    try:
        (out / "d" / "mounted" / "precious").write_bytes(b"x")
        assert not target.remove(target.top, b"d")
        assert (out / "d" / "mounted" / "precious").read_bytes() == b"x"
        assert [one.name for one in (out / "d").iterdir()] == ["mounted"]
    finally:
        subprocess.run(["umount", out / "d" / "mounted"], check=True)


@pytest.mark.root
@pytest.mark.integration
def test_removing_stops_where_a_directory_of_the_same_file_system_is_mounted(
    target: DirectoryTarget, tmp_path: Path, out: Path
):
    import subprocess

    (out / "d" / "mounted").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "precious").write_bytes(b"x")
    subprocess.run(["mount", "--bind", tmp_path / "elsewhere", out / "d" / "mounted"], check=True)
    try:
        assert not target.remove(target.top, b"d")
        assert (tmp_path / "elsewhere" / "precious").read_bytes() == b"x"
    finally:
        subprocess.run(["umount", out / "d" / "mounted"], check=True)


def test_what_must_be_kept_is_never_removed(tmp_path: Path):
    out = tmp_path / "out"
    kept = [out / "d" / "repository", out / "secret", out / "d" / "e" / "secret"]
    kept[0].mkdir(parents=True)
    (kept[0] / "object").write_bytes(b"x")
    (out / "d" / "e").mkdir()
    for path in (*kept[1:], out / "d" / "gone", out / "d" / "e" / "gone"):
        path.write_bytes(b"x")
    made = DirectoryTarget(str(out), Owners({}, {}), kept=[str(path) for path in (*kept, tmp_path / "missing")])
    try:
        made.top.hold()
        assert not made.remove(made.top, b"d")
        assert not made.remove(made.top, b"secret")
        assert made.may_empty(made.top)
        assert not made.may_empty(made.open_folder(made.open_folder(made.top, b"d"), b"repository"))
    finally:
        made.close()
    assert sorted(str(path.relative_to(out)) for path in out.rglob("*")) == [
        "d", "d/e", "d/e/secret", "d/repository", "d/repository/object", "secret",
    ]  # fmt: skip


def test_owners_are_found_by_name_and_acls_too():
    owners = Owners({5: "five", 6: "six", 7: "gone"}, {5: "staff"}, {"five": 1005, "six": 6}.get, {"staff": 50}.get)
    assert [owners.user(uid) for uid in (5, 6, 7, 8)] == [1005, 6, 7, 8]
    assert [owners.group(gid) for gid in (5, 6)] == [50, 6]
    value = acl((1, 7, NOBODY), (2, 7, 5), (2, 6, 8), (4, 5, NOBODY), (8, 1, 5), (0x10, 7, NOBODY), (0x20, 0, NOBODY))
    here = acl(
        (1, 7, NOBODY), (2, 6, 8), (2, 7, 1005), (4, 5, NOBODY), (8, 1, 50), (0x10, 7, NOBODY), (0x20, 0, NOBODY)
    )
    assert owners.xattr(b"system.posix_acl_access", value) == here
    assert owners.xattr(b"user.x", value) == value
    assert Owners({}, {}).xattr(b"system.posix_acl_access", value) == value


def test_a_target_that_cannot_be_made_says_so(tmp_path: Path):
    (tmp_path / "f").write_bytes(b"")
    with pytest.raises(TargetUnwritable, match="f/out"):
        DirectoryTarget(str(tmp_path / "f" / "out"), Owners({}, {}))


def test_a_target_may_lie_behind_a_link_that_the_user_named(tmp_path: Path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    target = DirectoryTarget(str(tmp_path / "link"), Owners({}, {}))
    write(target, b"f", b"x", known())
    target.sync()
    target.close()
    assert (tmp_path / "real" / "f").read_bytes() == b"x"


@pytest.mark.root
@pytest.mark.integration
def test_acls_that_xfs_shows_twice_are_one_attribute(tmp_path: Path):
    from lamina.sources.inodes import xattrs
    from tests.integration.file_systems import file_system

    acl = struct.pack("<I", 2) + b"".join(
        struct.pack("<HHI", *one)
        for one in ((1, 6, 2**32 - 1), (2, 7, 4321), (4, 4, 2**32 - 1), (16, 7, 2**32 - 1), (32, 4, 2**32 - 1))
    )
    with file_system("xfs", tmp_path / "xfs", size="320M") as place:
        made = DirectoryTarget(str(place / "out"), Owners({}, {}))
        try:
            wanted = known(0o674, xattrs=((b"system.posix_acl_access", acl), (b"trusted.SGI_ACL_FILE", b"junk")))
            write(made, b"f", b"content", wanted)
            assert not made.correct(made.top, b"f", wanted)
            assert not made.shortfalls.kinds
        finally:
            made.close()
        assert xattrs(os.fsencode(place / "out" / "f")) == ((b"system.posix_acl_access", acl),)
