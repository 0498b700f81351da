"""Prune generations as writers see them: which packs are condemned (spec: generations)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from lamina.errors import Damaged, RecordForged
from lamina.model.ids import PackId, SessionId
from lamina.repository.control import ControlRecords
from lamina.repository.format import Kind
from lamina.repository.records import GenerationClosedRecord, GenerationOpenRecord
from lamina.storage.storage import Storage

_FOLDER = "generations/"
_NUMBER = re.compile("[0-9]{8}")


@dataclass(frozen=True, slots=True)
class Generations:
    """The newest generation, and what the generations that are not closed have condemned."""

    newest: int
    condemned: frozenset[PackId]


def read_generations(storage: Storage, control: ControlRecords) -> Generations:
    """What is there now; forged records are ignored. Raises: Damaged, StorageError."""
    names = {found.name for found in storage.objects(_FOLDER)}
    newest = 0
    condemned: set[PackId] = set()
    for name in sorted(names):
        number, _, state = name.removeprefix(_FOLDER).partition("/")
        if state != "open" or not _NUMBER.fullmatch(number):
            continue
        try:
            opened = control.read(name, Kind.GENERATION_OPEN, GenerationOpenRecord)
        except RecordForged:
            continue
        newest = max(newest, int(number))
        if not _is_closed(control, f"{_FOLDER}{number}/closed", names):
            condemned.update(PackId(pack) for pack in opened.structure.condemned)
    return Generations(newest, frozenset(condemned))


def buried_by(storage: Storage, control: ControlRecords, session: SessionId) -> int | None:
    """The generation that buries *session*: a closed one's final list is believed, an open one's is a warning."""
    names = {found.name for found in storage.objects(_FOLDER)}
    for name in sorted(names, reverse=True):
        number, _, state = name.removeprefix(_FOLDER).partition("/")
        if state != "open" or not _NUMBER.fullmatch(number):
            continue
        closed = f"{_FOLDER}{number}/closed"
        try:
            if _is_closed(control, closed, names):
                buried = control.read(closed, Kind.GENERATION_CLOSED, GenerationClosedRecord).structure.buried
            else:
                buried = control.read(name, Kind.GENERATION_OPEN, GenerationOpenRecord).structure.buried
        except RecordForged:
            continue
        if session in buried:
            return int(number)
    return None


def _is_closed(control: ControlRecords, name: str, names: set[str]) -> bool:
    if name not in names:
        return False
    try:
        control.read(name, Kind.GENERATION_CLOSED, GenerationClosedRecord)
    except RecordForged:
        return False
    return True


def generation_name(number: int, state: str) -> str:
    """The name of one record of a generation. Raises: Damaged for a number that no name can carry."""
    if not 0 < number < 10**8:
        raise Damaged(f"there is no generation {number}")
    return f"{_FOLDER}{number:08d}/{state}"
