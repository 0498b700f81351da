"""What the objects of a repository are called (pure; spec: objects)."""

from __future__ import annotations

import re

from lamina.errors import Damaged
from lamina.model.ids import PackId, SessionId

ROOT = "lamina.json"
FORMATS = "format/"
SLOTS = "keys/"
EPOCHS = "keys/epoch-"  # among the key slots, and none of them
SESSIONS = "sessions/"
SNAPSHOTS = "snapshots/"  # decisions: snapshots and abort markers
ATTRIBUTES = "attributes/"
REMOVALS = "removed/"
GENERATIONS = "generations/"
DELTAS = "index/delta/"
SEGMENTS = "index/segment/"
MANIFESTS = "index/manifest/"
COVERAGE = "coverage/"
DATA = "data/"
META = "meta/"  # apart from data, so that listing and pruning metadata never touches it
PACKS = (DATA, META)

_PACK_NAME = re.compile(f"(?:{DATA}|{META})([0-9a-f]{{64}})")
_DELTA_NAME = re.compile(f"{DELTAS}[0-9a-f]{{32}}-[0-9]{{8}}")


def numbered(prefix: str, number: int) -> str:
    """A name in a numbered series: eight digits, so that names sort as their numbers do.

    >>> numbered(MANIFESTS, 12)
    'index/manifest/00000012'
    """
    return f"{prefix}{number:08d}"


def session_folder(folder: str, session: SessionId) -> str:
    """Where in *folder* the records of one session lie."""
    return f"{folder}{session.hex()}/"


def start_name(session: SessionId) -> str:
    """The record by which a session announced itself."""
    return session_folder(SESSIONS, session) + "start"


def caught_up_name(session: SessionId, generation: int) -> str:
    """The record by which a session says that it caught up with a generation."""
    return numbered(session_folder(SESSIONS, session) + "gen-", generation)


def snapshot_name(session: SessionId) -> str:
    """The one object that decides what became of a session: its snapshot, or an abort marker."""
    return SNAPSHOTS + session.hex()


def delta_name(session: SessionId, number: int) -> str:
    """The *number*-th index delta of a session."""
    return numbered(f"{DELTAS}{session.hex()}-", number)


def is_delta(name: str) -> bool:
    """Whether an index delta may be called so; anything else under its folder is none of ours."""
    return _DELTA_NAME.fullmatch(name) is not None


def delta_session(name: str) -> SessionId:
    """Which session a delta belongs to, by its name. Raises: Damaged."""
    try:
        return SessionId(bytes.fromhex(name.removeprefix(DELTAS).partition("-")[0]))
    except ValueError:
        raise Damaged(f"{name} is no name of an index delta") from None


def pack_name(pack: PackId, *, meta: bool) -> str:
    """The object that a pack is."""
    return f"{META if meta else DATA}{pack.hex()}"


def pack_id(name: str) -> PackId:
    """The id that a pack's name gives. Raises: ValueError for any other object."""
    found = find_pack(name)
    if found is None:
        raise ValueError(name)
    return found


def find_pack(name: str) -> PackId | None:
    """The pack that lies under a name; None for any other object."""
    found = _PACK_NAME.fullmatch(name)
    return PackId(bytes.fromhex(found[1])) if found else None
