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


def _kind(signed: Signed[msgspec.Struct]) -> Decision:
    return Decision.COMMITTED if signed.kind is Kind.SNAPSHOT else Decision.ABORTED
