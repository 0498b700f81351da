"""A zoo of damaged repositories: every kind of object, missing, cut, swapped, or with one bit turned over in any part."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import cache

from lamina.errors import UsageError
from lamina.model.ids import SessionId
from lamina.repository.format import PACK_HEADER_SIZE, TRAILER_SIZE, decode_pack_header, decode_trailer
from lamina.repository.object_names import PACKS as FOLDERS
from lamina.storage.storage import Storage
from lamina.testing.damage import cut_object, flip_bit, replace_object, swap_objects
from lamina.testing.eventful import Eventful, make_eventful
from lamina.testing.repositories import SmallRepository

THINGS: dict[str, str] = {  # what objects there are, and their names
    "birth": r"lamina\.json",
    "format": "format/.*",
    "epoch": "keys/epoch-.*",
    "slot": "keys/[0-9a-f]{16}",
    "data-pack": "data/.*",
    "metadata-pack": "meta/.*",
    "delta": "index/delta/.*",
    "segment": "index/segment/.*",
    "manifest": "index/manifest/.*",
    "start": "sessions/.*/start",
    "caught-up": "sessions/.*/gen-.*",
    "snapshot": "snapshots/.*",
    "abort": "snapshots/.*",
    "attributes": "attributes/.*",
    "removal": "removed/.*",
    "opened-generation": "generations/.*/open",
    "closed-generation": "generations/.*/closed",
}
PACKS = ("data-pack", "metadata-pack")

# Nobody can tell that these were there: nothing else speaks of them. Without them the repository is as it was before
# they were written: a key less, older attributes, a snapshot that comes back, a session or a prune that has yet to end.
_UNNOTICED = frozenset({
    "missing-slot", "missing-attributes", "missing-removal", "missing-abort", "missing-caught-up",
    "duplicated-slot", "swapped-slot",  # a slot's name means nothing, and it may have several objects
})  # fmt: skip
# What a delta listed is in no index any more, and nothing says which delta had it; a last record has no number.
_UNNAMED = frozenset({"missing-delta", "missing-format", "missing-epoch"})
_HEX = "0123456789abcdef"

_Damage = Callable[
    [Storage, str, str], tuple[str, ...]
]  # storage, an object, another of its kind → what is damaged now


def whole_repository() -> SmallRepository:
    """A copy of what all of them were before."""
    return _zoo().repository.copy()


class Notice(Enum):
    """What a plain verify can say of damage."""

    NAMED = "named"  # which objects are damaged
    EFFECT = "effect"  # what is lost by it: nothing says what the object was called
    NONE = "none"  # nothing: the repository is whole, only as it was earlier


@dataclass(frozen=True, slots=True)
class DamagedRepository:
    """One animal of the zoo, and what may be expected of it."""

    kind: str
    repository: SmallRepository
    objects: tuple[str, ...]  # names of what is damaged now
    contents: Mapping[str, bytes]  # snapshot id → what its image held
    may_lose: frozenset[str]  # ids of snapshots that need the damaged objects: all others must still restore
    notice: Notice
    before: Mapping[str, bytes]  # what the objects were, as far as they were there

    def heal(self) -> None:
        """Put back what was there, as from a copy of the storage."""
        for name in self.objects:
            self.repository.storage.delete(name)
        for name, data in self.before.items():
            self.repository.storage.put(name, [data])


def damage_kinds() -> list[str]:
    """Every kind that `damaged_repository` takes, for example `missing-data-pack` or `flipped-footer-metadata-pack`."""
    return [f"{damage}-{thing}" for thing in THINGS for damage in _damages(thing)]


def instances(kind: str) -> int:
    """How many objects the damage of *kind* could be done to."""
    _, thing = _split(kind)
    return len(_objects(_zoo(), thing))


def damaged_repository(kind: str, number: int = 0) -> DamagedRepository:
    """A repository in memory with some history and several snapshots, in which one thing is wrong.

    *number* says which of the objects of that kind is hit, in the order in which they were written (negative: from the
    last). Raises: UsageError for a kind that is not in `damage_kinds`.
    """
    damage, thing = _split(kind)
    zoo = _zoo()
    found = _objects(zoo, thing)
    name = found[number]
    other = next((one for one in found if one != name), "")
    needing = _needing(zoo, thing, name)
    if damage == "swapped":
        needing |= _needing(zoo, thing, other)
    repository = zoo.repository.copy()
    objects = _damages(thing)[damage](repository.storage, name, other)
    notice = _notice(kind, is_newest=name == found[-1])
    if kind == "missing-start" and not _has_traces(zoo, name):
        notice = Notice.NONE  # of a session that was given up, and whose packs a prune has deleted
    whole = zoo.repository.storage
    before = {one: whole.get(one) for one in objects if one in {item.name for item in whole.objects()}}
    return DamagedRepository(kind, repository, objects, zoo.contents, frozenset(needing), notice, before)


def _notice(kind: str, *, is_newest: bool) -> Notice:
    if kind == "missing-manifest":  # an old one is history
        return Notice.EFFECT if is_newest else Notice.NONE
    if kind in _UNNOTICED or (kind == "missing-closed-generation" and is_newest):
        return Notice.NONE
    return Notice.EFFECT if kind in _UNNAMED else Notice.NAMED


def _has_traces(zoo: Eventful, start: str) -> bool:
    """Whether a pack is there, or a snapshot, of the session that *start* announces."""
    storage, session = zoo.repository.storage, start.split("/")[1]
    packs = [item.name for folder in FOLDERS for item in storage.objects(folder)]
    headers = (decode_pack_header(storage.get(name)[:PACK_HEADER_SIZE], name=name) for name in packs)
    return session in zoo.contents or session in {header.session.hex() for header in headers}


@cache
def _zoo() -> Eventful:
    return make_eventful()


def _split(kind: str) -> tuple[str, str]:
    for thing in sorted(THINGS, key=len, reverse=True):
        damage = kind.removesuffix(f"-{thing}")
        if damage != kind and damage in _damages(thing):
            return damage, thing
    raise UsageError(f"there is no damage of the kind {kind!r}", hint="see damage_kinds()")


def _objects(zoo: Eventful, thing: str) -> list[str]:
    found = [item.name for item in zoo.repository.storage.objects() if re.fullmatch(THINGS[thing], item.name)]
    if thing in {"snapshot", "abort"}:
        return [name for name in found if (name.partition("/")[2] in zoo.contents) is (thing == "snapshot")]
    return found


def _needing(zoo: Eventful, thing: str, name: str) -> set[str]:
    """The snapshots that need something of an object."""
    if thing in {"slot", "caught-up", "abort", "attributes", "removal"}:
        return set()  # they say what else there is to know, not where content lies
    if thing == "snapshot":
        return {name.partition("/")[2]}
    if thing in PACKS:
        return zoo.using(decode_pack_header(zoo.repository.storage.get(name), name=name).session)
    if thing in {"delta", "start"}:
        found = re.search("[0-9a-f]{32}", name)
        assert found, name
        return zoo.using(SessionId(bytes.fromhex(found[0])))
    return set(zoo.contents)


def _damages(thing: str) -> dict[str, _Damage]:
    """What can happen to an object."""
    damages: dict[str, _Damage] = {
        "missing": _remove,
        "empty": _cut(lambda _: 0),
        "truncated": _cut(lambda size: size // 2),
        "shortened": _cut(lambda size: size - 1),
        "lengthened": _lengthen,
        "duplicated": _duplicate,
    }
    if thing not in {"birth", "format", "epoch"}:  # of which there is one
        damages["swapped"] = _swap
    return damages | {f"flipped-{part}": _flip(where) for part, where in _parts(thing).items()}


def _parts(thing: str) -> dict[str, Callable[[bytes], int]]:
    """The parts of an object of some kind: where each is, given its bytes."""
    if thing == "birth":
        return {"header": lambda _: 3, "body": lambda data: len(data) // 2, "hash": lambda data: len(data) - 20}
    if thing not in PACKS:
        return {
            "magic": lambda _: 0,
            "version": lambda _: 7,
            "features": lambda _: 9,
            "body": lambda data: len(data) // 2,
            "signature": lambda data: len(data) - 70,
            "hash": lambda data: len(data) - 1,
        }
    return {
        "header": lambda _: 60,
        "blob-header": lambda _: PACK_HEADER_SIZE + 10,
        "blob": lambda _: PACK_HEADER_SIZE + 100,
        "keys": lambda data: len(data) - TRAILER_SIZE - sum(decode_trailer(data[-TRAILER_SIZE:], name="")[:2]) + 40,
        "footer": lambda data: len(data) - TRAILER_SIZE - 20,
        "trailer": lambda data: len(data) - 14,
    }


def _remove(storage: Storage, name: str, _other: str) -> tuple[str, ...]:
    storage.delete(name)
    return (name,)


def _cut(size: Callable[[int], int]) -> _Damage:
    def cut(storage: Storage, name: str, _other: str) -> tuple[str, ...]:
        cut_object(storage, name, size(storage.stat(name).size))
        return (name,)

    return cut


def _lengthen(storage: Storage, name: str, _other: str) -> tuple[str, ...]:
    replace_object(storage, name, storage.get(name) + b"\0")
    return (name,)


def _duplicate(storage: Storage, name: str, _other: str) -> tuple[str, ...]:
    """Put the same bytes under another name of the same kind; that one is wrong then."""
    copy = _similar(name)
    storage.put(copy, [storage.get(name)])
    return (copy,)


def _similar(name: str) -> str:
    """Another name of the same kind: the next number, or another id."""
    if name == "lamina.json":
        return "lamina-1.json"
    number = re.search("(?<![0-9a-f])[0-9]{8}(?![0-9a-f])", name)
    if number:
        return f"{name[: number.start()]}{int(number[0]) + 70:08d}{name[number.end() :]}"
    found = re.search("[0-9a-f]{16,}", name)
    assert found, name
    turned = "".join(_HEX[15 - _HEX.index(digit)] for digit in found[0])
    return name.replace(found[0], turned)


def _swap(storage: Storage, name: str, other: str) -> tuple[str, ...]:
    swap_objects(storage, name, other)
    return name, other


def _flip(where: Callable[[bytes], int]) -> _Damage:
    def flip(storage: Storage, name: str, _other: str) -> tuple[str, ...]:
        flip_bit(storage, name, where(storage.get(name)))
        return (name,)

    return flip
