"""What is in the golden repository of file trees: a real directory, and entries that no directory can be made to have."""

from __future__ import annotations

import hashlib
import os
import random
import socket
import stat
import struct
import zlib
from pathlib import Path
from typing import Any

from lamina.model.entries import (
    Content,
    CutContent,
    Entry,
    EntryState,
    EntryType,
    FixedContent,
    Metadata,
    Position,
    Slice,
    SlicedContent,
    Totals,
)
from lamina.model.ids import ChunkId
from lamina.repository.cut_streams import Child, CutStreamWriter, encode_cut_node
from lamina.repository.directories import PartOf, encode_directory, encode_parts
from lamina.repository.format import BlobKind
from lamina.repository.streams import FixedMapWriter, Slot
from lamina.repository.trees import MIN_PART, DirectoryWriter
from lamina.repository.writer import ChunkWriter

CHUNK = 64 << 10
SECOND = 1_000_000_000
NAMES = (b"new\nline", b"not-utf-8-\xff\xfe", "Grüße 😀".encode(), b"-rf", b" ", b"back\\slash", b"n" * 255)
TYPES = {
    stat.S_IFDIR: 1, stat.S_IFREG: 2, stat.S_IFLNK: 3, stat.S_IFIFO: 4, stat.S_IFSOCK: 5, stat.S_IFCHR: 6, stat.S_IFBLK: 7,
}  # fmt: skip


def make_tree(root: Path) -> None:
    """Fill a directory with a little of everything; needs root's rights."""
    for name in ("files", "links", "many", "names", "special", "times", "directories/empty", "directories/private"):
        (root / name).mkdir(parents=True)
    _make_files(root)
    for odd in NAMES:
        (root / "names" / os.fsdecode(odd)).write_bytes(odd)
    (root / "links" / "relative").symlink_to("../files/text")
    (root / "links" / "dangling").symlink_to(os.fsdecode(b"no/such/\xff"))
    os.link(root / "files" / "text", root / "links" / "another-name-of-text")
    os.link(root / "links" / "dangling", root / "links" / "dangling-too", follow_symlinks=False)
    os.mkfifo(root / "special" / "fifo", 0o640)
    with socket.socket(socket.AF_UNIX) as opened:
        here = Path.cwd()
        os.chdir(root / "special")
        opened.bind("socket")
        os.chdir(here)
    os.mknod(root / "special" / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.mknod(root / "special" / "disk", stat.S_IFBLK | 0o660, os.makedev(4000, 1_000_000))
    for name, time in {"1969": -86_400 * SECOND + 123_456_789, "2107": 4_325_000_000 * SECOND + 987_654_321}.items():
        (root / "times" / name).write_text(name)
        os.utime(root / "times" / name, ns=(time, time))
    os.chmod(root / "directories" / "private", 0o2750)
    os.utime(root / "directories", ns=(1, 1_234_567_890_987_654_321))


def change_tree(root: Path) -> None:
    """Change a little of everything that `make_tree` made."""
    (root / "files" / "tiny").write_bytes(b"y")
    (root / "files" / "new").write_bytes(b"new")
    (root / "files" / "empty").unlink()
    (root / "many" / "100").write_bytes(b"changed")
    (root / "links" / "relative").unlink()
    os.chmod(root / "times" / "1969", 0o600)


def _make_files(root: Path) -> None:
    files = root / "files"
    (files / "empty").write_bytes(b"")
    (files / "tiny").write_bytes(b"x")
    (files / "text").write_bytes(
        b"".join(b"line %d of a text that compresses well\n" % number for number in range(2000))
    )
    (files / "noise").write_bytes(random.Random(1).randbytes(140_000))  # larger than what is bundled
    with (files / "sparse").open("wb") as file:
        file.truncate(20 * CHUNK + 5)
        for offset in (3 * CHUNK, 12 * CHUNK + 100):
            file.seek(offset)
            file.write(random.Random(offset).randbytes(1000))
    os.chmod(files / "tiny", 0o6711)
    os.chmod(files / "empty", 0o400)
    os.chown(files / "noise", 54_321, 65_432)
    os.setxattr(files / "tiny", "user.text", b"value")
    os.setxattr(files / "tiny", "user.empty", b"")
    os.setxattr(files / "tiny", b"user.\xff=\n", bytes(range(256)))
    nobody, entries = 0xFFFF_FFFF, ((1, 6), (2, 4, 12_345), (4, 4), (0x10, 6), (0x20, 0))
    acl = b"".join(struct.pack("<HHI", *one, *([nobody] * (3 - len(one)))) for one in entries)
    os.setxattr(files / "text", "system.posix_acl_access", struct.pack("<I", 2) + acl)
    for number in range(MIN_PART + 44):
        (root / "many" / f"{number:03d}").write_bytes(b"%d" % number)
    name = next(f"{MIN_PART}-{n}" for n in range(10**5) if zlib.crc32(b"%d-%d" % (MIN_PART, n)) & 511 == 0)
    (root / "many" / name).write_bytes(b"a part of the directory ends here")


def describe_tree(root: Path) -> dict[str, Any]:
    """What must be found of a directory, by path below it; found out without Lamina."""
    paths = [
        os.path.join(folder, name) for folder, *names in os.walk(os.fsencode(root)) for name in names[0] + names[1]
    ]
    return {os.fsdecode(os.path.relpath(path, os.fsencode(root))): _describe(path) for path in sorted(paths)}


def _describe(path: bytes) -> dict[str, Any]:
    status = os.lstat(path)
    kind = stat.S_IFMT(status.st_mode)
    names = sorted(os.fsencode(name) for name in os.listxattr(path, follow_symlinks=False))
    found = {
        "type": TYPES[kind],
        "mode": stat.S_IMODE(status.st_mode),
        "uid": status.st_uid,
        "gid": status.st_gid,
        "mtime": status.st_mtime_ns,
        "ctime": status.st_ctime_ns,
        "inode": status.st_ino,
        "names": status.st_nlink,
        "xattrs": [[name.hex(), os.getxattr(path, name, follow_symlinks=False).hex()] for name in names],
        "target": os.readlink(path).hex() if kind == stat.S_IFLNK else "",
        "special": None,
        "state": 0,
        "error": "",
    }
    if kind in {stat.S_IFCHR, stat.S_IFBLK}:
        found["special"] = [os.major(status.st_rdev), os.minor(status.st_rdev)]
    if kind == stat.S_IFREG:
        content = Path(os.fsdecode(path)).read_bytes()
        found |= {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    return found


class ByHand:
    """A snapshot's entries, made one by one: all types, states, forms and fields."""

    def __init__(self, writer: ChunkWriter) -> None:
        self._writer = writer
        self.expected: dict[str, Any] = {}
        pieces = [random.Random(number).randbytes(100 + number) for number in range(7)]
        self._pieces = [(self._put(piece), piece) for piece in pieces]

    def make(self) -> ChunkId:
        """Store everything; the root directory."""
        root = DirectoryWriter(self._writer)
        folders = {b"forms": self._forms(), b"parts": self._parts(), b"states": self._states(), b"types": self._types()}
        for name, (child, totals) in folders.items():
            root.add(self._expect("", Entry(name, EntryType.DIRECTORY, child=child, totals=totals)))
        return root.finish()[0]

    def _forms(self) -> tuple[ChunkId, Totals]:
        """Every form of content, cut where no writer would cut."""
        tree = DirectoryWriter(self._writer)
        for name, (content, plain) in sorted(self._contents().items()):
            tree.add(self._expect("forms/", Entry(name, EntryType.FILE, Metadata(0o644), content), plain))
        return tree.finish()

    def _contents(self) -> dict[bytes, tuple[Content, bytes]]:
        slices = [(chunk, 10, 50) for chunk, _ in self._pieces[:3]] + [(self._pieces[0][0], 0, 100)]
        sliced = b"".join(plain[10:60] for _, plain in self._pieces[:3]) + self._pieces[0][1]
        return {
            b"cut": self._cut(),
            b"cut-by-hand": self._cut_by_hand(),
            b"empty": (SlicedContent(0), b""),
            b"empty-image": (FixedContent(0, CHUNK, Position.HOLE, None), b""),
            b"hole": (FixedContent(5 * CHUNK + 1, CHUNK, Position.HOLE, None), bytes(5 * CHUNK + 1)),
            b"one-chunk": (FixedContent(100, CHUNK, Position.DATA, self._pieces[0][0]), self._pieces[0][1]),
            b"positions": self._fixed(),
            b"sliced": (SlicedContent(len(sliced), tuple(Slice(*one) for one in slices)), sliced),
        }

    def _cut(self) -> tuple[CutContent, bytes]:
        """Enough chunks for nodes of two levels; a few chunks over and over, so that the repository stays small."""
        stream = CutStreamWriter(self._writer)
        used = [self._pieces[number * number % 7] for number in range(1500)]
        for chunk, plain in used:
            stream.add(chunk, len(plain))
        return stream.finish(), b"".join(plain for _, plain in used)

    def _cut_by_hand(self) -> tuple[CutContent, bytes]:
        """Three levels, of one, two or three children each."""
        children = [Child(len(plain), chunk) for chunk, plain in self._pieces]
        leaves = [self._cut_node(1, children[start:end]) for start, end in ((0, 3), (3, 4), (4, 6), (6, 7))]
        above = [self._cut_node(2, leaves[:1]), self._cut_node(2, leaves[1:])]
        top = self._cut_node(3, above)
        return CutContent(top.size, top.id), b"".join(plain for _, plain in self._pieces)

    def _cut_node(self, level: int, children: list[Child]) -> Child:
        chunk = self._writer.put_node(BlobKind.CUT_NODE, encode_cut_node(level, children))
        return Child(sum(child.size for child in children), chunk)

    def _fixed(self) -> tuple[FixedContent, bytes]:
        """A position of every kind."""
        whole = [random.Random(number).randbytes(64) * (CHUNK // 64) for number in (8, 9)]
        data, kept = (self._put(plain) for plain in whole)
        slots: list[Slot] = [
            (Position.DATA, data), (Position.ZERO, None), (Position.HOLE, None), (Position.UNREAD, None),
            (Position.UNREAD_KEPT, kept), (Position.DATA, self._pieces[0][0]),
        ]  # fmt: skip
        stream = FixedMapWriter(self._writer, CHUNK)
        stream.add_leaf(slots)
        plain = whole[0] + bytes(3 * CHUNK) + whole[1] + self._pieces[0][1]
        return stream.finish(len(plain)), plain

    def _parts(self) -> tuple[ChunkId, Totals]:
        """A directory of five small parts, below each other at different depths."""
        entries = [Entry(b"%02d" % number, EntryType.FILE, Metadata(0o600, mtime_ns=number)) for number in range(10)]
        entries = [one._replace(content=SlicedContent(0)) for one in entries]
        entries[4] = entries[4]._replace(state=EntryState.CHANGED, error="it changed")
        for entry in entries:
            self._expect("parts/", entry, b"")
        leaves = [self._part(entries[start:end]) for start, end in ((0, 1), (1, 4), (4, 5), (5, 9), (9, 10))]
        top = self._part_of([self._part_of(leaves[:2]), self._part_of([self._part_of(leaves[2:4]), leaves[4]])])
        return top.id, top.totals

    def _part(self, entries: list[Entry]) -> PartOf:
        chunk = self._writer.put_node(BlobKind.DIRECTORY, encode_directory(entries))
        return PartOf(entries[0].name, chunk, Totals(len(entries), 0, sum(one.is_flawed for one in entries)))

    def _part_of(self, parts: list[PartOf]) -> PartOf:
        chunk = self._writer.put_node(BlobKind.DIRECTORY, encode_parts(parts))
        totals = [sum(counts) for counts in zip(*(part.totals for part in parts), strict=True)]
        return PartOf(parts[0].name, chunk, Totals(*totals))

    def _states(self) -> tuple[ChunkId, Totals]:
        """Files in every state, and directories that could be read in part or not at all."""
        chunk, plain = self._pieces[1]
        content = SlicedContent(len(plain), (Slice(chunk, 0, len(plain)),))
        tree = DirectoryWriter(self._writer)
        below = DirectoryWriter(self._writer)
        below.add(self._expect("states/unread-in-part/", Entry(b"inside", EntryType.FIFO, Metadata(0o600))))
        child, totals = below.finish()
        unread = Metadata(0o755, 1, 2, 3, 4, 5)
        entries = [
            Entry(b"changed", EntryType.FILE, content=content, state=EntryState.CHANGED, error="it changed"),
            Entry(b"fresh", EntryType.FILE, content=content, state=EntryState.FRESH),
            Entry(b"kept", EntryType.FILE, content=content, state=EntryState.KEPT, error="Input/output error"),
            Entry(b"unread", EntryType.FILE, unread, state=EntryState.UNREAD, error="Permission denied"),
            Entry(b"unread-directory", EntryType.DIRECTORY, unread, state=EntryState.UNREAD, error="Permission denied"),
            Entry(
                b"unread-in-part",
                EntryType.DIRECTORY,
                unread,
                None,
                child,
                totals,
                state=EntryState.UNREAD,
                error="EIO",
            ),
            Entry(b"unread-unknown", EntryType.UNKNOWN, state=EntryState.UNREAD, error="Input/output error"),
        ]
        for entry in entries:
            tree.add(self._expect("states/", entry, plain if entry.content is not None else None))
        return tree.finish()

    def _types(self) -> tuple[ChunkId, Totals]:
        """Every type but files and directories, and the largest and the smallest values of all fields."""
        largest = Metadata(
            0o7777, 0xFFFF_FFFE, 0xFFFF_FFFE, 2**63 - 1, 2**63 - 1, 2**64 - 1, 2**32, 2**32, 2**63 - 1, 0xFFFF_FFFF,
            ((b"user.\xff", bytes(300)), (b"user.z", b"")),
        )  # fmt: skip
        smallest = Metadata(0, 0, 0, -(2**63), -(2**63), 0, 0, 0, -(2**63))
        tree = DirectoryWriter(self._writer)
        entries = [
            Entry(b"block", EntryType.BLOCK_DEVICE, largest, special=(4095, 1048575)),
            Entry(b"character", EntryType.CHARACTER_DEVICE, Metadata(0o666), special=(0, 0)),
            Entry(b"fifo", EntryType.FIFO, smallest),
            Entry(b"socket", EntryType.SOCKET, Metadata(0o755)),
            Entry(b"symlink", EntryType.SYMLINK, Metadata(0o777), target=b"\xff\n/../x"),
        ]
        for entry in entries:
            tree.add(self._expect("types/", entry))
        return tree.finish()

    def _put(self, plain: bytes) -> ChunkId:
        chunk = self._writer.data_id(plain)
        self._writer.put_data(chunk, plain)
        return chunk

    def _expect(self, folder: str, entry: Entry, plain: bytes | None = None) -> Entry:
        """Note what must be found of an entry, whose content is *plain*."""
        data = entry.metadata
        found = {
            "type": int(entry.type), "mode": data.mode, "uid": data.uid, "gid": data.gid, "mtime": data.mtime_ns,
            "ctime": data.ctime_ns, "inode": data.inode, "names": data.links, "device": data.device,
            "birth": data.birth_ns, "flags": data.flags, "xattrs": [[name.hex(), value.hex()] for name, value in data.xattrs],
            "target": entry.target.hex(), "special": list(entry.special) if entry.special else None,
            "state": int(entry.state), "error": entry.error, "totals": list(entry.totals) if entry.totals else None,
        }  # fmt: skip
        if plain is not None:
            found |= {"size": len(plain), "sha256": hashlib.sha256(plain).hexdigest()}
        self.expected[folder + os.fsdecode(entry.name)] = found
        return entry
