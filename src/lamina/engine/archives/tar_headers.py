"""Headers of tar archives in the PAX format (POSIX.1-2024, pax), with extended attributes and ACLs. Pure.

`tarfile` writes names and attributes as text only and no sparse files; here all of it is bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from lamina.model.entries import Extent

BLOCK = 512
FILE, HARD_LINK, SYMLINK, CHARACTER_DEVICE, BLOCK_DEVICE, DIRECTORY, FIFO = (b"0", b"1", b"2", b"3", b"4", b"5", b"6")
_PAX = b"x"
_NS = 10**9
_ACL_VERSION = 2
_ACL_ENTRY = struct.Struct("<HHI")  # tag, permissions, id (linux/posix_acl_xattr.h)
_ACL_TAGS = {0x01: "user", 0x02: "user", 0x04: "group", 0x08: "group", 0x10: "mask", 0x20: "other"}
_ACL_NAMED = frozenset({0x02, 0x08})
_ACLS = {b"system.posix_acl_access": b"SCHILY.acl.access", b"system.posix_acl_default": b"SCHILY.acl.default"}


@dataclass(frozen=True, slots=True)
class Member:
    """One object as a tar archive describes it."""

    name: bytes  # of a directory with a slash at the end
    kind: bytes
    mode: int = 0
    uid: int = 0
    gid: int = 0
    user: bytes = b""
    group: bytes = b""
    mtime_ns: int = 0
    size: int = 0  # of the data that follows
    target: bytes = b""
    special: tuple[int, int] = (0, 0)
    records: Mapping[bytes, bytes] = field(default_factory=dict)  # what else the PAX header says


def encode_member(member: Member) -> bytes:
    """The header of one member, with a PAX header before it where the old one is too small."""
    records: dict[bytes, bytes] = {}
    name = _text(member.name, 100, b"path", records)
    target = _text(member.target, 100, b"linkpath", records)
    user, group = _text(member.user, 32, b"uname", records), _text(member.group, 32, b"gname", records)
    seconds, rest = divmod(member.mtime_ns, _NS)
    if rest or not 0 <= seconds < 8**11:
        records[b"mtime"] = _decimal(member.mtime_ns)
    numbers = [
        _octal(member.mode, 8),
        _octal(member.uid, 8, b"uid", records),
        _octal(member.gid, 8, b"gid", records),
        _octal(member.size, 12, b"size", records),
        _octal(min(max(seconds, 0), 8**11 - 1), 12),
    ]
    devices = [_octal(number, 8) for number in member.special]
    if any(not (value.isascii() or _is_utf8(value)) for value in records.values()):
        records = {b"hdrcharset": b"BINARY", **records}
    records.update(member.records)
    header = _ustar(name, numbers, member.kind, target, [user, group, *devices])
    return _pax_header(records) + header if records else header


def padding(size: int) -> bytes:
    """What follows *size* bytes of data up to the end of their block."""
    return bytes(-size % BLOCK)


def attribute_records(xattrs: Sequence[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """Extended attributes as GNU tar, star and bsdtar write them; POSIX ACLs in their text form."""
    records: dict[bytes, bytes] = {}
    for name, value in xattrs:
        acl = _acl_text(value) if name in _ACLS else b""
        if acl:
            records[_ACLS[name]] = acl
        else:
            escaped = name.replace(b"%", b"%25").replace(b"=", b"%3D")  # a keyword ends at its first =
            records[b"SCHILY.xattr." + escaped] = value
    return records


def sparse_map(extents: Sequence[Extent]) -> bytes:
    """Where the data of a sparse file belongs, as it precedes them in GNU's sparse format 1.0."""
    lines = b"".join(b"%d\n%d\n" % (extent.offset, extent.length) for extent in extents)
    text = b"%d\n%s" % (len(extents), lines)
    return text + padding(len(text))


def sparse_records(name: bytes, size: int) -> dict[bytes, bytes]:
    """What the PAX header says of a sparse file of *size* bytes, holes included."""
    return {
        b"GNU.sparse.major": b"1",
        b"GNU.sparse.minor": b"0",
        b"GNU.sparse.name": name,
        b"GNU.sparse.realsize": b"%d" % size,
    }


def _text(value: bytes, width: int, key: bytes, records: dict[bytes, bytes]) -> bytes:
    """The field for *value*; where it does not fit, or is no ASCII that every reader reads alike, a record has it all."""
    if len(value) > width or not (value.isascii() or not _is_utf8(value)):
        records[key] = value
    return value[:width]


def _octal(value: int, width: int, key: bytes = b"", records: dict[bytes, bytes] | None = None) -> bytes:
    text = _octal_text(value, width)
    if text is None:
        if records is not None:
            records[key] = b"%d" % value
        return b"0" * (width - 1) + b"\0"
    return text


@lru_cache(maxsize=4096)
def _octal_text(value: int, width: int) -> bytes | None:
    """None if there is no room for it."""
    return b"%0*o\0" % (width - 1, value) if 0 <= value < 8 ** (width - 1) else None


def _ustar(name: bytes, numbers: list[bytes], kind: bytes, target: bytes, rest: list[bytes]) -> bytes:
    mode, uid, gid, size, mtime = numbers
    user, group, major, minor = rest
    block = struct.pack(
        "100s8s8s8s12s12s8s1s100s6s2s32s32s8s8s155s12x",
        name, mode, uid, gid, size, mtime, b" " * 8, kind, target, b"ustar\0", b"00", user, group, major, minor, b"",
    )  # fmt: skip
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


def _pax_header(records: Mapping[bytes, bytes]) -> bytes:
    data = b"".join(_record(key, value) for key, value in records.items())
    zero, size = _octal(0, 8), _octal(len(data), 12)
    header = _ustar(b"././@PaxHeader", [zero, zero, zero, size, _octal(0, 12)], _PAX, b"", [b"", b"", zero, zero])
    return header + data + padding(len(data))


def _record(key: bytes, value: bytes) -> bytes:
    """One `length key=value` line; the length counts its own digits."""
    rest = len(key) + len(value) + 3
    length = rest + len(str(rest))
    length = rest + len(str(length))
    return b"%d %s=%s\n" % (length, key, value)


def _decimal(nanoseconds: int) -> bytes:
    sign = b"-" if nanoseconds < 0 else b""
    return sign + b"%d.%09d" % divmod(abs(nanoseconds), _NS)


def _is_utf8(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


def _acl_text(value: bytes) -> bytes:
    """`user::rwx,user:1000:r--,…`; empty for what is no ACL that we know."""
    if len(value) < 4 or (len(value) - 4) % _ACL_ENTRY.size or value[:4] != struct.pack("<I", _ACL_VERSION):
        return b""
    lines = []
    for tag, permissions, number in _ACL_ENTRY.iter_unpack(value[4:]):
        if tag not in _ACL_TAGS or permissions > 7:
            return b""
        letters = "".join(letter if permissions & bit else "-" for letter, bit in (("r", 4), ("w", 2), ("x", 1)))
        lines.append(f"{_ACL_TAGS[tag]}:{number if tag in _ACL_NAMED else ''}:{letters}")
    return ",".join(lines).encode()
