"""Many committed snapshots at once, for what only their number shows: their records are real, and there is nothing behind them
but what one root leads to.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta

from lamina.model.ids import ChunkId, SessionId
from lamina.model.snapshots import Trust
from lamina.repository.control import seal_body
from lamina.repository.format import Kind
from lamina.repository.object_names import ATTRIBUTES, REMOVALS, numbered, session_folder, snapshot_name
from lamina.repository.records import AttributesRecord, RemovalRecord, SnapshotBody, SnapshotRecord, to_us
from lamina.repository.repository import Repository
from lamina.repository.session_keys import make_session_keys
from lamina.repository.sessions import hash_name

NAMES = 100
REMOVED = 50  # one of so many was forgotten
_BEGIN = datetime(2020, 1, 1, tzinfo=UTC)
_DAY = timedelta(days=1)


def add_snapshots(repository: Repository, count: int, root: ChunkId | None = None) -> None:
    """Commit *count* snapshots of `NAMES` names, a day apart; each was verified, some were forgotten.

    All of them are of *root*; None: of directories that do not exist.
    """
    access = repository.access
    for number in range(count):
        session = SessionId(os.urandom(16))
        name = f"machine-{number % NAMES:02d}"
        keys = make_session_keys(access.repository, session, access.epoch, access.own_slot)
        begin = to_us(_BEGIN + number // NAMES * _DAY)
        record = SnapshotRecord(
            started=begin,
            finished=begin + 60_000_000,
            generation=0,
            root=root or os.urandom(32),
            size=number << 20,
            stored=number << 10,
            partial=False,
            name_hash=hash_name(access, name),
            tag_hashes=[],
            expires=None,
            protected=False,
            parent=b"",
            keys=keys.metadata_entry,
            decoded=True,
        )
        body = SnapshotBody(name, "host", [b"home", b"etc"], [], 0, 0, "lamina", [(0, b"root")], [(0, b"root")])
        sealed = seal_body(keys.metadata, session, body, access.repository)
        access.control.write(Kind.SNAPSHOT, snapshot_name(session), record, sealed)
        attributes = AttributesRecord(Trust.VERIFIED.value, None, protected=False, tag_hashes=[])
        access.control.write(Kind.ATTRIBUTES, numbered(session_folder(ATTRIBUTES, session), 1), attributes)
        if number % REMOVED == 0:
            removal = RemovalRecord(removed=True, time=begin)
            access.control.write(Kind.REMOVAL, numbered(session_folder(REMOVALS, session), 1), removal)
