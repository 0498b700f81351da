"""What becomes of one image of a backup: its parent's map, its hints, its chunk size."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from lamina.chunking.chunker import FixedChunker
from lamina.engine.saving.hinting import are_hints_true
from lamina.engine.saving.images import ImageJob, ImageReader
from lamina.engine.saving.parent import Parent
from lamina.model.entries import FixedContent
from lamina.model.operation import Operation
from lamina.repository.repository import Repository
from lamina.sources.hints import ChangedRanges
from lamina.sources.source import ImageSource


@dataclass(frozen=True, slots=True)
class StoredImage:
    """One image, stored."""

    job: ImageJob
    content: FixedContent
    is_hinted: bool


@dataclass(slots=True)
class ImageBackup:
    """Stores images; one for a whole backup."""

    repository: Repository
    parent: Parent
    warn: Callable[[str], None]
    distrust: Callable[[str], None]  # told the path of an image whose hints lie
    operation: Operation

    def chunk_size(self, path: str, wanted: int | None) -> int:
        """What the user says, else as the parent has it, else the repository's."""
        if wanted is not None:
            return wanted
        content = self.parent.image_content(path)
        return content.chunk_size if content is not None else self.repository.access.format.chunk_size

    def store(
        self, reader: ImageReader, path: str, source: ImageSource, hints: ChangedRanges | None, chunk_size: int
    ) -> StoredImage:
        """Store one image. Raises: StorageError, Stopped."""
        job = ImageJob(path, FixedChunker(chunk_size), source.size, self.parent.image(path, chunk_size))
        believed = self._believed(job, source, hints)
        return StoredImage(job, reader.store_image(job, source, believed), believed is not None)

    def _believed(self, job: ImageJob, source: ImageSource, hints: ChangedRanges | None) -> ChangedRanges | None:
        """The hints, if there is a parent they can refer to and a sample does not contradict them."""
        if hints is None:
            return None
        snapshot = self.parent.snapshot
        if snapshot is None or job.parent is None or not self.parent.is_clear:
            self.warn(
                f"the hints for {job.path} were not used, everything was read: {self.parent.why_no_hints(job.path)}"
            )
            return None
        job.whole_leaves = not snapshot.partial
        if are_hints_true(source, job, hints, self.repository.access.namer(), self.operation):
            return hints
        self.distrust(job.path)
        return None
