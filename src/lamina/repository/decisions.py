"""What was decided about a session: the one object under `snapshots/` that is created once (spec: sessions)."""

from __future__ import annotations

from enum import Enum

import msgspec

from lamina.errors import ObjectMissing, RecordForged
from lamina.model.ids import SessionId
from lamina.repository.control import ControlRecords, Signed
from lamina.repository.format import Kind
from lamina.repository.object_names import snapshot_name
from lamina.repository.records import AbortRecord, SnapshotRecord
from lamina.storage.storage import Storage

DECISIONS: dict[Kind, type[msgspec.Struct]] = {Kind.SNAPSHOT: SnapshotRecord, Kind.ABORT: AbortRecord}


class Decision(Enum):
    """What became of a session; for ever."""

    COMMITTED = "committed"
    ABORTED = "aborted"
    SPOILED = "spoiled"  # something forged lies where its snapshot would: it cannot commit any more


def read_decision(storage: Storage, control: ControlRecords, session: SessionId) -> Decision | None:
    """What was decided, or None if nothing was. Raises: Damaged, StorageError."""
    name = snapshot_name(session)
    try:
        return _kind(control.decode(storage.get(name), name, DECISIONS))
    except ObjectMissing:
        return None
    except RecordForged:
        return Decision.SPOILED


def decide_abort(control: ControlRecords, session: SessionId, record: AbortRecord) -> None:
    """Put the abort marker. Raises: ObjectExists if something was decided before."""
    control.write(Kind.ABORT, snapshot_name(session), record)


def make_commits_durable(storage: Storage, session: SessionId) -> None:
    """Let the commit of *session*, and all that were seen before, survive a power cut.

    To be called before anything is said of them: words about a snapshot that never came to be would stop prunes.
    In a directory a name is seen before it is durable; a second put of the same bytes ends when its folder is.
    Raises: ObjectMissing if it is gone already, StorageError.
    """
    name = snapshot_name(session)
    storage.put(name, [storage.get(name)])


def _kind(signed: Signed[msgspec.Struct]) -> Decision:
    return Decision.COMMITTED if signed.kind is Kind.SNAPSHOT else Decision.ABORTED
