"""Local directories as sources, and what can go wrong with them."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
from contextlib import contextmanager

import pytest

from lamina.errors import SourceMissing, SourceUnreadable
from lamina.model.entries import EntryType, ExtentKind
from lamina.sources import folders, walking
from lamina.sources.file_list import build_wanted
from lamina.sources.files import LocalFiles, ancestors
from lamina.sources.selection import CACHEDIR_SIGNATURE, Selection, parse_rule
from lamina.sources.source import Begin, End, Found, Members, Resume
from lamina.testing.contracts.file_sources import events, find, read_all

MIB = 1 << 20
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may do that")


@pytest.fixture
def root(tmp_path):
    path = tmp_path / "source"
    path.mkdir()
    path.chmod(0o755)
    return path


@pytest.fixture
def opened(root):
    """A function that opens the source; closed at the end."""
    sources = []

    def open_it(selection=None, path=root, **options):
        options.setdefault("devices", {})
        sources.append(LocalFiles(os.fsencode(path), selection or Selection(), **options))
        return sources[-1]

    yield open_it
    for source in sources:
        source.close()


@pytest.fixture
def nobody_owns():
    """A context in which the test has no rights but those of everybody, if root runs it."""

    @contextmanager
    def nobody():
        uid = os.geteuid()
        if uid == 0:
            os.seteuid(65534)
        try:
            yield
        finally:
            os.seteuid(uid)

    return nobody


@pytest.fixture
def mounted():
    """A function that mounts; unmounted at the end."""
    places = []

    def mount(*arguments):
        done = subprocess.run(["mount", *arguments], capture_output=True, check=False, text=True)
        if done.returncode:
            pytest.skip(f"cannot mount here: {done.stderr.strip()}")
        places.append(arguments[-1])

    yield mount
    for place in reversed(places):
        subprocess.run(["umount", "--lazy", place], check=True)


def fill(root, *paths):
    for path in paths:
        whole = os.path.join(os.fsencode(root), path)
        if path.endswith(b"/"):
            os.makedirs(whole)
        else:
            os.makedirs(os.path.dirname(whole), exist_ok=True)
            with open(whole, "wb") as file:
                file.write(path)


def rules(*patterns):
    """Rules as on the command line; `!` takes in again."""
    return tuple(parse_rule(text.removeprefix("!"), exclude=not text.startswith("!")) for text in patterns)


def paths(source):
    """What is met, directories with a slash at the end."""
    return [path + b"/" * (kind == "begin") for kind, path in events(source.walk()) if kind != "end" and path]


def errors(source):
    """What is met with an error, by name."""
    met = {}
    for step in source.walk():
        if isinstance(step, Begin):
            met[step.found.name] = step.found.error
        elif isinstance(step, Members):
            met |= {found.name: found.error for found in step.found}
    return {name: error for name, error in met.items() if error}


def open_descriptors():
    return len(os.listdir("/proc/self/fd"))


# What is walked over


def test_a_source_may_be_named_relatively_or_by_a_link(root, opened, monkeypatch):
    fill(root, b"a/b")
    (root.parent / "link").symlink_to("source")
    monkeypatch.chdir(root.parent)
    for path in ("source", "link", "./source/"):
        source = opened(path=path)
        assert paths(source) == [b"a/", b"a/b"]
        assert source.name == path
        folder, _ = find(source, b"a")
        assert folder.path == os.path.join(os.fsencode(path), b"a")


def test_a_missing_source_is_named(root, opened):
    with pytest.raises(SourceMissing, match="gone does not exist"):
        opened(path=root / "gone")


def test_a_file_is_no_tree(root, opened):
    fill(root, b"a")
    with pytest.raises(SourceUnreadable, match="is no directory") as raised:
        opened(path=root / "a")
    assert raised.value.hint


def test_names_of_every_byte_are_walked_and_read(root, opened):
    names = [b"x%c" % number for number in range(1, 256) if number != ord("/")]
    fill(root, *names)
    source = opened()
    assert paths(source) == names
    for name in names:
        file = source.open(*find(source, name))
        assert read_all(file) == name
        file.close()


def test_times_long_ago_and_far_away_are_kept(root, opened):
    fill(root, b"old", b"new")
    os.utime(root / "old", ns=(0, -1_000_000_000_000_000_001))
    os.utime(root / "new", ns=(0, 5_000_000_000_123_456_789))
    source = opened()
    for name in (b"old", b"new"):
        assert find(source, name)[1].metadata.mtime_ns == os.stat(root / os.fsdecode(name)).st_mtime_ns
    assert find(source, b"old")[1].metadata.mtime_ns == -1_000_000_000_000_000_001


def make_deep(root, depth, name=b"d" * 100):
    """Directories in each other, further down than a path can say, with two files in each."""
    fd = os.open(root, os.O_RDONLY)
    for _ in range(depth):
        for file in (b"a", b"z"):
            os.close(os.open(file, os.O_CREAT | os.O_WRONLY, dir_fd=fd))
        os.mkdir(name, dir_fd=fd)
        below = os.open(name, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(fd)


@pytest.fixture(scope="module")
def deep(tmp_path_factory):
    path = tmp_path_factory.mktemp("deep")
    make_deep(path, 2000)
    yield path
    subprocess.run(["rm", "-rf", path], check=True)  # `shutil.rmtree` gives up


def test_directories_may_lie_2000_deep(deep, opened):
    source = opened(path=deep)
    before = open_descriptors()
    most = begun = ended = members = 0
    for step in source.walk():
        most = max(most, open_descriptors()) if begun % 50 == 0 else most
        begun += isinstance(step, Begin)
        ended += isinstance(step, End)
        if isinstance(step, Members):
            assert not any(found.error for found in step.found)
            members += len(step.found)
    assert (begun, ended, members) == (2001, 2001, 4000)
    assert most - before <= walking.OPEN_FOLDERS + 1
    assert open_descriptors() == before


def test_a_directory_that_nobody_held_can_be_read_from_nevertheless(deep, opened):
    source = opened(path=deep)
    before = open_descriptors()
    first = deepest = None
    for step in source.walk():
        if isinstance(step, Members):
            first = first or step
            deepest = step
        if isinstance(step, End):
            break
    for step in (deepest, first):  # neither is open any more for the walk's sake, or only one of them is
        source.open(step.folder, step.found[0]).close()
    assert len(deepest.folder.path) > 100_000
    del step
    for _ in range(3):
        source.open(first.folder, first.found[0]).close()
    assert before <= open_descriptors() <= before + walking.OPEN_FOLDERS + 1


def test_a_walk_that_is_given_up_leaves_nothing_open(deep, opened):
    source = opened(path=deep)
    before = open_descriptors()
    steps = source.walk()
    for _ in range(1000):
        next(steps)
    assert open_descriptors() > before
    steps.close()
    assert open_descriptors() == before


@pytest.fixture
def few_folders(monkeypatch):
    """A walk keeps no more than two directories open."""
    monkeypatch.setattr(walking, "OPEN_FOLDERS", 2)


def test_a_directory_that_was_moved_meanwhile_does_not_lead_the_walk_astray(root, opened, few_folders):
    """The directory above a moved one is another than that where the walk came from."""
    fill(root, b"a/b/c/d/file", b"a/b/x", b"a/y", b"other/x", b"other/y")
    met = []
    for step in opened().walk():
        if isinstance(step, Members):
            met += [os.path.join(step.folder.path, found.name) for found in step.found]
            if met == [os.fsencode(root / "a/b/c/d/file")]:
                os.rename(root / "a/b/c", root / "other/c")
    base = os.fsencode(root)
    assert met[:3] == [base + b"/a/b/c/d/file", base + b"/a/b/x", base + b"/a/y"]


def test_what_the_walk_finds_no_way_back_to_is_an_error(root, opened, few_folders):
    fill(root, b"a/b/c/d/file", b"a/b/x", b"a/z", b"z")
    met = {}
    for step in opened().walk():
        if isinstance(step, Members):
            met |= {found.name: found for found in step.found}
            if b"file" in met and not (root / "c").exists():
                os.rename(root / "a/b/c", root / "c")
                os.rename(root / "a/b", root / "b")
                (root / "a/b").mkdir()  # has the name, and is another
                fill(root, b"a/b/x")
    assert "another directory" in met[b"x"].error
    assert met[b"x"].type is EntryType.UNKNOWN
    assert not met[b"z"].error


# What changes and what cannot be read


def test_what_vanishes_while_the_walk_is_elsewhere_is_left_out(root, opened):
    fill(root, b"a/file", b"b/", b"c", b"d")
    met = []
    for step in opened().walk():
        if isinstance(step, Members):
            met += [found.name for found in step.found]
        if isinstance(step, Begin) and step.found.name == b"a":
            os.rmdir(root / "b")
            os.unlink(root / "c")
    assert met == [b"file", b"d"]


def test_a_directory_that_is_replaced_is_not_followed(root, opened):
    fill(root, b"a", b"b/file", b"elsewhere/secret")
    met = []
    for step in opened().walk():
        if isinstance(step, Members):
            met += [(found.name, found.type) for found in step.found]
        if met == [(b"a", EntryType.FILE)]:  # the walk knows `b` as a directory and did not open it yet
            shutil.rmtree(root / "b")
            os.symlink("elsewhere", root / "b")
    assert met == [(b"a", EntryType.FILE), (b"b", EntryType.SYMLINK), (b"secret", EntryType.FILE)]


def test_a_directory_that_vanishes_before_it_is_opened_is_left_out(root, opened):
    fill(root, b"a", b"b/", b"c")
    met = []
    for step in opened().walk():
        met.append(type(step).__name__)
        if isinstance(step, Members) and step.found[0].name == b"a":
            os.rmdir(root / "b")
    assert met == ["Begin", "Members", "Members", "End"]


def test_a_directory_that_is_replaced_again_and_again_is_an_error(root, opened, monkeypatch):
    fill(root, b"a/file", b"b")
    real = os.open

    def replaced(name, *arguments, **options):
        if name == b"a":
            raise NotADirectoryError(20, os.strerror(20))
        return real(name, *arguments, **options)

    source = opened()
    monkeypatch.setattr(os, "open", replaced)
    assert list(errors(source)) == [b"a"]
    assert paths(source) == [b"a/", b"b"]


def test_what_is_met_with_a_fault_of_the_disk_is_an_error(root, opened, monkeypatch):
    fill(root, b"a", b"b/file")
    real, real_list = os.stat, os.listdir

    def stat(name, **options):
        if name == b"a":
            raise OSError(5, os.strerror(5))
        return real(name, **options)

    def listdir(fd):
        names = real_list(fd)
        if names == ["file"]:
            raise OSError(5, os.strerror(5))
        return names

    source = opened()
    monkeypatch.setattr(os, "stat", stat)
    monkeypatch.setattr(os, "listdir", listdir)
    assert errors(source) == {b"a": "Input/output error", b"b": "Input/output error"}
    assert paths(source) == [b"a", b"b/"]


def test_a_walk_that_cannot_go_on_says_so(root, opened, monkeypatch):
    fill(root, b"a/file", b"a/other")
    source = opened()

    def listdir(fd):
        raise OSError(5, os.strerror(5))

    monkeypatch.setattr(os, "listdir", listdir)
    ends = list(source.walk(Resume((b"a",), b"file")))
    assert [type(step).__name__ for step in ends] == ["End", "End"]
    assert [step.error for step in ends] == ["Input/output error"] * 2


def test_a_walk_that_cannot_go_on_in_a_directory_goes_on_above_it(root, opened, monkeypatch):
    fill(root, b"a/b/file", b"a/other", b"gone/file", b"z")
    real = os.open

    def refuse(path, flags, *args, **options):
        if path == b"b":
            raise OSError(107, os.strerror(107))
        return real(path, flags, *args, **options)

    source = opened()
    monkeypatch.setattr(os, "open", refuse)
    met = [(type(step).__name__, getattr(step, "error", "")) for step in source.walk(Resume((b"a", b"b"), b"file"))]
    assert met[0] == ("End", os.strerror(107))
    assert met[1:3] == [("Members", ""), ("End", "")]
    shutil.rmtree(root / "gone")
    met = [(type(step).__name__, getattr(step, "error", "")) for step in source.walk(Resume((b"gone",), b"file"))]
    assert met == [("End", "it vanished while the backup ran"), ("Members", ""), ("End", "")]


def test_a_walk_leaves_what_is_to_be_avoided_where_it_goes_on(root, opened):
    fill(root, b"a/b/file", b"a/other", b"z")
    met = [type(step).__name__ for step in opened().walk(Resume((b"a", b"b"), None), frozenset({(b"a", b"b")}))]
    assert met == ["End", "Members", "End", "Members", "End"]
    step = next(iter(opened().walk(Resume((b"a", b"b"), None), frozenset({(b"a", b"b")}))))
    assert step.error == "it did not answer"
    met = [type(step).__name__ for step in opened().walk(Resume((b"a", b"b"), None), frozenset({()}))]
    assert met == ["End", "End", "End"]
    met = list(opened().walk(None, frozenset({()})))
    assert [type(step).__name__ for step in met] == ["Begin", "End"]
    assert met[0].found.error


def test_an_unreadable_directory_is_yielded_with_an_error(root, opened, nobody_owns):
    fill(root, b"closed/file", b"open/file")
    (root / "closed").chmod(0)
    source = opened()
    with nobody_owns():
        steps = list(source.walk())
        begun = {step.found.name: step for step in steps if isinstance(step, Begin)}
        assert begun[b"closed"].found.error == "Permission denied"
        assert begun[b"closed"].found.metadata.mode == 0
        assert not begun[b"open"].found.error
        assert len([step for step in steps if isinstance(step, Members)]) == 1
        metadata, _ = source.describe(begun[b"closed"].folder, begun[b"closed"].found)
        assert metadata.inode == begun[b"closed"].found.metadata.inode
    (root / "closed").chmod(0o755)


@needs_root
def test_what_cannot_be_looked_at_is_an_error(root, opened, nobody_owns):
    fill(root, b"listed/file", b"z")
    (root / "listed").chmod(0o744)  # names can be read, and nothing else
    source, left_out = opened(), opened(Selection(rules("file/")))
    with nobody_owns():
        assert errors(source) == {b"file": "Permission denied"}
        assert errors(left_out) == {}  # it may be a directory, as far as anybody knows


@needs_root
def test_a_loop_of_mounts_ends(root, opened, mounted):
    fill(root, b"a/b/", b"a/file")
    mounted("--bind", str(root / "a"), str(root / "a/b"))
    source = opened()
    assert paths(source) == [b"a/", b"a/b/", b"a/file"]
    assert "loop" in errors(source)[b"b"]


@needs_root
def test_one_file_system_stops_at_mount_points(root, opened, mounted):
    fill(root, b"a/mount/", b"a/file")
    mounted("-t", "tmpfs", "none", str(root / "a/mount"))
    fill(root, b"a/mount/inside/file")
    assert paths(opened()) == [b"a/", b"a/file", b"a/mount/", b"a/mount/inside/", b"a/mount/inside/file"]
    selection = Selection(one_file_system=True)
    assert paths(opened(selection)) == [b"a/", b"a/file", b"a/mount/"]
    named = opened(selection, wanted=build_wanted([b"a/mount"]))
    assert paths(named) == [b"a/", b"a/mount/", b"a/mount/inside/", b"a/mount/inside/file"]


@needs_root
def test_file_systems_are_numbered_over_all_sources_of_a_run(root, opened, mounted):
    fill(root, b"mount/")
    mounted("-t", "tmpfs", "none", str(root / "mount"))
    fill(root, b"mount/file", b"file")
    devices = {}
    first = opened(path=root / "mount", devices=devices)
    second = opened(devices=devices)
    assert find(first, b"file")[1].metadata.device == 0
    assert [find(second, name)[1].metadata.device for name in (b"file", b"mount/file")] == [1, 0]


# What is selected


def test_rules_leave_out_names_and_all_below(root, opened):
    fill(root, b"a/x.o", b"a/x.c", b"build/x.c", b"b/build")
    assert paths(opened(Selection(rules("*.o", "build/")))) == [b"a/", b"a/x.c", b"b/", b"b/build"]


def test_rules_on_paths_hold_in_every_directory(root, opened):
    fill(root, b"a/b/c/file", b"a/b/file", b"a/file", b"b/file", b"file")
    source = opened(Selection(rules("a/b/file", "./file", "b/file")))
    assert paths(source) == [b"a/", b"a/b/", b"a/b/c/", b"a/b/c/file", b"a/file", b"b/"]
    source = opened(Selection(rules(f"{root}/a/b", f"{root}/file")))
    assert paths(source) == [b"a/", b"a/file", b"b/", b"b/file"]


def test_rules_on_paths_hold_where_a_walk_goes_on(root, opened):
    fill(root, b"a/b/1", b"a/b/2", b"a/b/3", b"a/c/2", b"b/2")
    source = opened(Selection(rules("a/b/2", "b/2")))
    met = [
        found.name
        for step in source.walk(Resume((b"a", b"b"), b"1"))
        if isinstance(step, Members)
        for found in step.found
    ]
    assert met == [b"3", b"2"]


def test_large_files_can_be_left_out(root, opened):
    fill(root, b"a", b"long-name")
    assert paths(opened(Selection(larger_than=1))) == [b"a"]


def test_of_a_cache_only_its_tag_is_saved(root, opened):
    fill(root, b"cache/a", b"cache/sub/a", b"false/CACHEDIR.TAG", b"false/a", b"link/a", b"directory/CACHEDIR.TAG/a")
    (root / "cache/CACHEDIR.TAG").write_bytes(CACHEDIR_SIGNATURE + b"\n# of some program")
    os.symlink("../cache/CACHEDIR.TAG", root / "link/CACHEDIR.TAG")
    everything = paths(opened())
    assert sorted(everything) == sorted(paths(opened(Selection(rules("nothing")))))
    left = [path for path in everything if path not in {b"cache/a", b"cache/sub/", b"cache/sub/a"}]
    assert paths(opened(Selection(caches=True))) == left
    assert paths(opened(Selection(rules("CACHEDIR.TAG", "link", "false", "directory"), caches=True))) == [
        b"cache/",
        b"cache/CACHEDIR.TAG",
    ]


def test_a_named_file_marks_a_directory_to_be_left_out(root, opened):
    fill(root, b"a/.nobackup", b"a/file", b"a/sub/file", b"b/.git/config", b"b/file", b"c/file")
    selection = Selection(if_present=(b".nobackup", b".git"))
    assert paths(opened(selection)) == [b"a/", b"a/.nobackup", b"b/", b"b/.git/", b"c/", b"c/file"]


# What is asked for by name


def test_only_what_is_wanted_is_met(root, opened):
    fill(root, b"a/b/file", b"a/b/other", b"a/other", b"b/c/file", b"c")
    source = opened(wanted=build_wanted([b"a/b/file", b"b"]))
    assert paths(source) == [b"a/", b"a/b/", b"a/b/file", b"b/", b"b/c/", b"b/c/file"]
    assert find(source, b"a")[1].metadata in [step.found.metadata for step in source.walk() if isinstance(step, Begin)]


def test_what_is_wanted_and_does_not_exist_is_an_error(root, opened):
    fill(root, b"a/file")
    source = opened(wanted=build_wanted([b"a/gone", b"gone/file", b"a/file/below"]))
    assert {name: "by name" in error for name, error in errors(source).items()} == dict.fromkeys(
        [b"gone", b"file"], True
    )
    assert paths(source) == [b"a/", b"a/file", b"a/gone", b"gone"]
    assert paths(opened(wanted=build_wanted([b".", b"a/gone"]))) == [b"a/", b"a/file", b"a/gone"]


def test_no_rule_leaves_out_what_is_wanted_but_what_is_below(root, opened):
    fill(root, b"a/x.o", b"a/b.o/x.o", b"a/b.o/x.c")
    selection = Selection(rules("*.o", "a"))
    assert paths(opened(selection, wanted=build_wanted([b"a/b.o"]))) == [b"a/", b"a/b.o/", b"a/b.o/x.c"]
    assert paths(opened(selection, wanted=build_wanted([b".", b"a/x.o"]))) == [b"a/", b"a/x.o"]


@needs_root
def test_a_wanted_name_is_reached_through_what_cannot_be_listed(root, opened, nobody_owns):
    fill(root, b"a/b/file", b"a/secret")
    (root / "a").chmod(0o711)
    source = opened(wanted=build_wanted([b"a/b"]))
    with nobody_owns():
        assert paths(source) == [b"a/", b"a/b/", b"a/b/file"]
        assert errors(source) == {}
        for step in source.walk():
            if isinstance(step, Begin):
                assert source.describe(step.folder, step.found)[0].inode == step.found.metadata.inode


# Open files


def test_what_is_no_regular_file_is_not_opened(root, opened):
    os.mkfifo(root / "pipe")
    source = opened()
    with pytest.raises(SourceUnreadable, match="pipe is a pipe"):
        source.open(*find(source, b"pipe"))


def test_a_file_replaced_by_a_pipe_is_named_and_not_waited_for(root, opened):
    fill(root, b"file")
    source = opened()
    folder, found = find(source, b"file")
    os.unlink(root / "file")
    os.mkfifo(root / "file")
    with pytest.raises(SourceUnreadable, match="replaced by a pipe"):
        source.open(folder, found)
    with pytest.raises(SourceUnreadable, match="replaced by a pipe"):
        source.describe(folder, found)


def test_a_link_replaced_by_a_file_is_not_described_as_one(root, opened):
    os.symlink("nowhere", root / "link")
    source = opened()
    folder, found = find(source, b"link")
    os.unlink(root / "link")
    fill(root, b"link")
    with pytest.raises(SourceUnreadable, match="replaced by a regular file"):
        source.describe(folder, found)


@needs_root
def test_files_of_others_are_read_though_their_access_time_cannot_be_spared(root, opened, nobody_owns):
    fill(root, b"a", b"b")
    source = opened()
    with nobody_owns():
        for name in (b"a", b"b", b"a"):
            file = source.open(*find(source, name))
            assert read_all(file) == name
            file.close()


def test_reading_leaves_no_mark_in_the_access_time(root, opened):
    fill(root, b"a/file")
    for path in (root / "a/file", root / "a"):
        os.utime(path, ns=(1, os.stat(path).st_mtime_ns + 10**9))  # so long ago that any reading would show
    source = opened()
    assert paths(source) == [b"a/", b"a/file"]
    file = source.open(*find(source, b"a/file"))
    read_all(file)
    file.metadata()
    file.close()
    assert [os.stat(path).st_atime_ns for path in (root / "a/file", root / "a")] == [1, 1]


def test_a_file_without_permission_is_unreadable_and_described(root, opened, nobody_owns):
    fill(root, b"file")
    (root / "file").chmod(0)
    source = opened()
    with nobody_owns():
        folder, found = find(source, b"file")
        with pytest.raises(SourceUnreadable, match="Permission denied") as raised:
            source.open(folder, found)
        assert "user" in raised.value.hint
        assert source.describe(folder, found)[0].inode == found.metadata.inode


def test_a_leased_file_is_read_when_its_holder_gives_it_back(root, opened):
    fill(root, b"file")
    source = opened()
    folder, found = find(source, b"file")
    holder = os.open(root / "file", os.O_RDWR)
    asked = []

    def give_back(*_):
        asked.append(True)
        fcntl.fcntl(holder, fcntl.F_SETLEASE, fcntl.F_UNLCK)

    before = signal.signal(signal.SIGIO, give_back)
    try:
        try:
            fcntl.fcntl(holder, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        except OSError as error:
            pytest.skip(f"no leases here: {error}")
        file = source.open(folder, found)
        assert read_all(file) == b"file"
        file.close()
        assert asked
    finally:
        os.close(holder)
        signal.signal(signal.SIGIO, before)


def test_a_file_without_a_size_is_read_to_its_end(opened):
    source = opened(path="/proc/sys/kernel")
    file = source.open(*find(source, b"ostype"))
    assert file.found.size == 0
    assert read_all(file) == b"Linux\n"
    file.close()


def test_a_long_file_is_read_whole_in_odd_pieces(root, opened):
    content = os.urandom(9 * MIB + 17)
    (root / "file").write_bytes(content)
    source = opened()
    file = source.open(*find(source, b"file"))
    assert read_all(file, MIB + 1) == content
    file.close()


def test_holes_are_found_and_told_from_mere_content(root, opened):
    fill(root, b"plain")
    with open(root / "sparse", "wb") as sparse:
        os.pwrite(sparse.fileno(), b"x" * MIB, MIB)
        sparse.truncate(1 << 40)
    source = opened()
    plain = source.open(*find(source, b"plain"))
    file = source.open(*find(source, b"sparse"))
    assert (plain.has_holes(), file.has_holes()) == (False, True)
    kinds = [(extent.offset, extent.kind) for extent in file.image().extents()]
    assert kinds == [(0, ExtentKind.HOLE), (MIB, ExtentKind.DATA), (2 * MIB, ExtentKind.HOLE)]
    assert file.image().metadata == file.metadata()
    plain.close()
    file.close()


@pytest.mark.parametrize("change", ["append", "overwrite", "chmod"])
def test_a_change_is_seen(root, opened, change):
    fill(root, b"file")
    os.utime(root / "file", ns=(0, 0))
    source = opened()
    file = source.open(*find(source, b"file"))
    assert not file.changed()
    if change == "chmod":
        (root / "file").chmod(0o600)
    else:
        with open(root / "file", "ab" if change == "append" else "r+b") as now:
            now.write(b"x")
    assert file.changed()
    file.close()


@pytest.mark.parametrize("size", [100, 9 * MIB])
def test_what_a_file_grows_by_while_it_is_read_is_not_read(root, opened, size):
    """A file that is written faster than it is stored would never end."""
    (root / "file").write_bytes(b"a" * size)
    source = opened()
    folder, found = find(source, b"file")
    file = source.open(folder, found)
    buffer, got = memoryview(bytearray(4 * MIB)), []
    while not got or got[-1]:
        with open(root / "file", "ab") as growing:
            growing.write(b"b" * 5 * MIB)
        got.append(file.read_into(buffer))
        assert len(got) < 10, "it never ends"
    assert sum(got) == size
    assert file.changed()
    file.close()
    folder.release()


def test_a_file_that_shrinks_ends_early(root, opened):
    (root / "file").write_bytes(b"x" * MIB)
    source = opened()
    file = source.open(*find(source, b"file"))
    os.truncate(root / "file", 1000)
    assert file.read_into(memoryview(bytearray(4096))) == 1000
    assert file.read_into(memoryview(bytearray(4096))) == 0
    assert file.changed()
    file.close()


def test_a_read_fault_names_file_and_offset(root, opened, monkeypatch):
    fill(root, b"file")
    source = opened()
    file = source.open(*find(source, b"file"))

    def preadv(*_):
        raise OSError(5, os.strerror(5))

    monkeypatch.setattr(os, "preadv", preadv)
    with pytest.raises(SourceUnreadable, match=r"offset 0 of .*file: Input/output error") as raised:
        file.read_into(memoryview(bytearray(10)))
    assert raised.value.hint
    file.close()


def test_a_folder_of_another_source_is_refused(opened):
    with pytest.raises(TypeError):
        opened().open(object(), Found(b"a", EntryType.FILE, None))


def test_a_closed_source_gives_no_other_directory_instead(root, opened):
    fill(root, b"file")
    source = opened()
    folder, found = source._root, find(source, b"file")[1]
    for _ in range(2):
        folder.release()
    with pytest.raises(SourceUnreadable, match="was closed"):
        source.open(folder, found)
    folder.hold()


# Directories above a source


def test_ancestors_are_the_real_directories_above(root, monkeypatch):
    fill(root, b"real/sub/file")
    os.symlink("real", root / "link")
    (root / "real").chmod(0o750)
    monkeypatch.chdir(root)
    found = ancestors(b"link/sub/file", {})
    assert [name for name, _ in found] == [b"link", b"sub"]
    assert [metadata.inode for _, metadata in found] == [os.stat(path).st_ino for path in ("real", "real/sub")]
    assert found[0][1].mode == 0o750
    absolute = ancestors(os.fsencode(root / "real/sub"), {})
    assert [name for name, _ in absolute] == [os.fsencode(part) for part in (root / "real").parts[1:]]
    assert absolute[-1][1] == found[0][1]


def test_there_is_nothing_above_a_name_alone():
    assert ancestors(b"name", {}) == []


def test_a_missing_ancestor_is_named(root):
    with pytest.raises(SourceMissing):
        ancestors(os.fsencode(root / "gone/file"), {})


def test_opening_again_takes_no_other_directory(root):
    fill(root, b"a/")
    fd = os.open(root, os.O_RDONLY)
    above = folders.LocalFolder(None, os.fsencode(root), fd, (0, 0))
    below, _ = above.open_below(b"a", folders.QuietOpener(), owner=0, search_only=False)
    below.release()
    os.rename(root / "a", root / "b")
    (root / "a").mkdir()
    below.hold()
    with pytest.raises(OSError, match="another directory"):
        below.descriptor()
    below.release()
    above.release()
