"""Sessions that a prune waits for, and those it gives up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import msgspec

from lamina.errors import ObjectExists, PruneRefused
from lamina.model.ids import SessionId
from lamina.model.process import Process
from lamina.repository.access import Access
from lamina.repository.announcements import Announcement, last_signs, undecided
from lamina.repository.decisions import decide_abort, read_decision
from lamina.repository.format import Kind
from lamina.repository.object_names import ATTRIBUTES, REMOVALS, session_folder, snapshot_name
from lamina.repository.records import AbortRecord, AttributesRecord, RemovalRecord, StartRecord
from lamina.repository.sessions import hash_machine

_ABOUT: list[tuple[str, Kind, type[msgspec.Struct]]] = [
    (ATTRIBUTES, Kind.ATTRIBUTES, AttributesRecord),
    (REMOVALS, Kind.REMOVAL, RemovalRecord),
]
DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Waited:
    """A session that a prune waits for."""

    session: SessionId
    started: datetime


@dataclass(frozen=True, slots=True)
class Patience:
    """When a session counts as dead."""

    process: Process  # who asks
    is_running: Callable[[Process], bool]  # whether a process of this machine still runs
    abort_after: timedelta  # without a sign of life


def blockers(access: Access, generation: int) -> list[Announcement]:
    """Undecided sessions that may need something of what *generation* condemned. Raises: StorageError."""
    return [one for one in undecided(access.storage, access.control) if one.level < generation]


def give_up_dead(access: Access, found: Sequence[Announcement], patience: Patience, now: datetime) -> set[SessionId]:
    """Abort those among *found* that show no life; returns them. Can cost a backup, never data. Raises: StorageError."""
    dead = find_dead(access, found, patience, now)
    for one in found:
        if one.session in dead:
            with suppress(ObjectExists):  # it was decided in the same moment; whoever asks next sees how
                decide_abort(access.control, one.session, AbortRecord(one.level, dead[one.session]))
    return set(dead)


def find_dead(access: Access, found: Sequence[Announcement], patience: Patience, now: datetime) -> dict[SessionId, str]:
    """Those among *found* that will never go on, and why.

    Raises: PruneRefused if one of them was committed, for all that others say, and its record is lost; StorageError.
    """
    signs = last_signs(access.storage, {one.session for one in found}) if found else {}
    reasons = {one.session: why_dead(access, one, signs[one.session], patience, now) for one in found}
    dead = {session: reason for session, reason in reasons.items() if reason}
    for session in dead:
        _check_never_committed(access, session)
    return dead


def _check_never_committed(access: Access, session: SessionId) -> None:
    """Nobody says anything about a snapshot that never was: its record is lost. Raises: PruneRefused."""
    for folder, kind, record in _ABOUT:
        listed = [found.name for found in access.storage.objects(session_folder(folder, session))]
        for signed in access.control.numbered(listed, kind, record, lambda _: None):
            name = snapshot_name(session)
            if read_decision(access.storage, access.control, session) is None:
                raise PruneRefused(
                    f"{name} is missing, and {signed.name} says that it was committed",
                    hint="put it back from a copy of the storage; or if nobody ever made that snapshot, delete what is said of it",
                )


def why_dead(access: Access, one: Announcement, signs: Sequence[datetime], patience: Patience, now: datetime) -> str:
    """Why a session will never go on; empty if it may."""
    if one.start is not None and _is_gone(access, one.start, patience):
        return "its process on the host of this prune is gone"
    silent = now - last_sign(one, signs, now)
    return f"no sign of life for {int(silent.total_seconds())} seconds" if silent > patience.abort_after else ""


def last_sign(one: Announcement, signs: Sequence[datetime], now: datetime) -> datetime:
    """When a session was last heard of. Clocks that are more than a day ahead say nothing: they would be waited for for ever."""
    times = [min(one.started, one.seen), *(time for time in signs if time <= now + DAY)]
    return max(times)


def _is_gone(access: Access, start: StartRecord, patience: Patience) -> bool:
    """Whether the process of a session of this machine ended, as far as the machine itself can say."""
    process = patience.process
    if not process.host or not start.process_started or start.host != hash_machine(access, process.host):
        return False
    if not start.namespace:  # of the first release, whose `boot` said both
        same = start.boot == hash_machine(access, process.boot + process.namespace)
    elif start.boot != hash_machine(access, process.boot):
        return bool(process.boot)
    else:
        same = start.namespace == hash_machine(access, process.namespace)
    theirs = replace(process, number=start.process, started=start.process_started)
    return same and not patience.is_running(theirs)
