"""Restore a whole tree from a Lamina repository with nothing but lamina_reader.py.

    python restore_tree.py REPOSITORY_DIR KEY_FILE SNAPSHOT PATH OUT

OUT, which must not exist, becomes the directory PATH of the snapshot; "" is all of it. Directories, files, symbolic
links and hard links come back with their modes and times, but without owners, attributes and flags; what else there is
(sockets and the like) is only named.
"""

import os
import sys
from pathlib import Path
from typing import Any

from lamina_reader import DIRECTORY, FILE, SYMLINK, TYPES, Repository, need


def restore(repository: Repository, root: bytes, wanted: bytes, out: bytes) -> None:
    """Everything is made in a directory that was made before: nothing that a link leads to is ever written."""
    made: list[tuple[bytes, Any]] = []
    first_names: dict[tuple[int, ...], bytes] = {}
    if not wanted:
        os.mkdir(out)
    for path, entry in repository.entries(root):
        target = out + (b"/" + path)[len(wanted) :]
        if not (b"/" + path + b"/").startswith(wanted + b"/"):
            continue
        if entry.error:
            print(f"{path!r} is not whole: {entry.error}", file=sys.stderr)
        if entry.type == DIRECTORY:
            os.mkdir(target, 0o700)
        elif entry.type not in {FILE, SYMLINK} or (entry.type == FILE and not entry.form):
            print(f"{path!r} is left out ({TYPES[entry.type]})", file=sys.stderr)
            continue
        elif entry.names > 1 and entry.inode and identity(entry) in first_names:
            os.link(first_names[identity(entry)], target, follow_symlinks=False)
        elif entry.type == SYMLINK:
            os.symlink(entry.target, target)
        else:
            repository.restore(entry, target)
        first_names.setdefault(identity(entry), target)
        made.append((target, entry))
    need(made or not wanted, "the snapshot has nothing at that path that could be restored")
    for target, entry in reversed(made):  # what is in a directory before the directory, whose time it would change
        if entry.mode or entry.inode:  # all zero: nothing is known
            os.utime(target, ns=(entry.mtime, entry.mtime), follow_symlinks=False)
            if entry.type != SYMLINK:
                os.chmod(target, entry.mode & 0o777)  # no set-id bits: they were meant for another owner


def identity(entry: Any) -> tuple[int, ...]:  # §7.4
    return entry.type, entry.device, entry.inode, entry.ctime


def main(folder: str, key_file: str, snapshot: str, path: str, out: str) -> None:
    repository = Repository(Path(folder), Path(key_file).read_bytes().removesuffix(b"\n"))
    roots = [root for session, _, _, root in repository.snapshots() if session.startswith(snapshot)]
    need(len(roots) == 1, f"{len(roots)} snapshots have ids that begin with {snapshot!r}")
    restore(repository, roots[0], os.fsencode(f"/{path.strip('/')}".rstrip("/")), os.fsencode(out))


if __name__ == "__main__":
    main(*sys.argv[1:]) if len(sys.argv) == 6 else sys.exit(__doc__)
