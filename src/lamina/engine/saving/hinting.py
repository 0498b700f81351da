"""Hints are claims: read a sample of what they call unchanged (Ceph issues 42248, 50787 and 54970 were real lies)."""

from __future__ import annotations

from lamina.engine.saving.images import ZEROS, ImageJob
from lamina.engine.saving.sampling import sample_positions
from lamina.errors import Damaged, SourceUnreadable
from lamina.model.entries import Position
from lamina.model.operation import Operation
from lamina.repository.blobs import ChunkNamer
from lamina.repository.streams import FANOUT, FixedMap, Slot
from lamina.sources.hints import ChangedRanges, Claim
from lamina.sources.source import ImageSource


def are_hints_true(
    source: ImageSource, job: ImageJob, hints: ChangedRanges, namer: ChunkNamer, operation: Operation
) -> bool:
    """Whether a sample of the positions that *hints* leave out is what the parent has, and of the zeroed ones zero."""
    assert job.parent is not None  # noqa: S101 - hints without a parent are not asked about
    size = job.chunker.size
    sample = dict.fromkeys(sample_positions(source, job.chunker))
    claims = {position: claim for position, claim in hints.positions(job.size, size) if position in sample}
    buffer = memoryview(bytearray(size))
    for position in sample:
        if claims.get(position) is Claim.READ:
            continue
        operation.check_stop()
        view = buffer[: job.chunker.length(position, job.size)]
        try:
            got = source.read_into(position * size, view)
        except SourceUnreadable:
            continue  # says nothing about the hints; the backup itself will meet it if it has to
        job.read += got
        claimed = _claimed(job.parent, position, len(view), zeroed=position in claims)
        if not _is_as_claimed(view[:got], claimed, namer):
            return False
    return True


def _claimed(parent: FixedMap, position: int, length: int, *, zeroed: bool) -> Slot | None:
    """What the hints and the parent together say; None where they say nothing."""
    if zeroed:
        return (Position.ZERO, None)
    if position >= parent.count or parent.chunker.length(position, parent.content.size) != length:
        return None  # the image grew or shrank, and what its last chunk holds is read anyway
    try:
        return parent.leaf(position // FANOUT)[position % FANOUT]
    except Damaged:
        return None


def _is_as_claimed(content: memoryview, claimed: Slot | None, namer: ChunkNamer) -> bool:
    if claimed is None or claimed[0] in (Position.UNREAD, Position.UNREAD_KEPT):
        return True
    if claimed[1] is None:
        return ZEROS.startswith(content)
    return namer.data_id(content) == claimed[1]
