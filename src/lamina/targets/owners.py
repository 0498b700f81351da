"""Whose a restored object is: who has that name on this machine, or else that number."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping

ACL_XATTRS = frozenset({b"system.posix_acl_access", b"system.posix_acl_default"})
_ACL_USER, _ACL_GROUP = 0x02, 0x08  # tags of entries that name somebody
_ACL_HEAD = struct.Struct("<I")
_ACL_ENTRY = struct.Struct("<HHI")  # tag, permissions, id


def find_user(name: str) -> int | None:
    """The number of a user of this machine."""
    import pwd

    try:
        return pwd.getpwnam(name).pw_uid
    except (KeyError, ValueError, UnicodeError):
        return None


def find_group(name: str) -> int | None:
    """The number of a group of this machine."""
    import grp

    try:
        return grp.getgrnam(name).gr_gid
    except (KeyError, ValueError, UnicodeError):
        return None


class Owners:
    """Translates owners' numbers where they were saved into numbers of this machine, by their names."""

    def __init__(
        self,
        users: Mapping[int, str],
        groups: Mapping[int, str],
        find_user: Callable[[str], int | None] = find_user,
        find_group: Callable[[str], int | None] = find_group,
    ) -> None:
        """*users* and *groups*: names by number; empty, every number stays."""
        self._users = _numbers(users, find_user)
        self._groups = _numbers(groups, find_group)

    def user(self, uid: int) -> int:
        return self._users.get(uid, uid)

    def group(self, gid: int) -> int:
        return self._groups.get(gid, gid)

    def xattr(self, name: bytes, value: bytes) -> bytes:
        """The value of an extended attribute here: in POSIX ACLs are numbers too."""
        if name not in ACL_XATTRS or not (self._users or self._groups) or len(value) % 8 != _ACL_HEAD.size:
            return value
        entries = list(_ACL_ENTRY.iter_unpack(value[_ACL_HEAD.size :]))
        here = [(tag, permissions, self._acl_id(tag, number)) for tag, permissions, number in entries]
        here.sort(key=lambda entry: (entry[0], entry[2]))  # the kernel wants ids of one tag in order
        return value[: _ACL_HEAD.size] + b"".join(_ACL_ENTRY.pack(*entry) for entry in here)

    def _acl_id(self, tag: int, number: int) -> int:
        if tag == _ACL_USER:
            return self.user(number)
        return self.group(number) if tag == _ACL_GROUP else number


def _numbers(names: Mapping[int, str], find: Callable[[str], int | None]) -> dict[int, int]:
    """Those that are another number here."""
    found = {number: find(name) for number, name in names.items()}
    return {number: here for number, here in found.items() if here is not None and here != number}
