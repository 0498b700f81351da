"""Names of things, as bytes with a type.

`NewType` over `bytes` because ids are made and compared by the million: a frozen dataclass costs nine times as much.
"""

from __future__ import annotations

from typing import NewType

ChunkId = NewType("ChunkId", bytes)  # 32 bytes: keyed hash of the content
PackId = NewType("PackId", bytes)  # 32 bytes: hash of the stored bytes
SessionId = NewType("SessionId", bytes)  # 16 random bytes: one run of a writer; also the id of the snapshot it makes
RepositoryId = NewType("RepositoryId", bytes)  # 16 random bytes
SlotId = NewType("SlotId", bytes)  # 8 random bytes: one key slot

SNAPSHOT_PREFIX_MIN = 4  # hex digits a snapshot id may be shortened to
