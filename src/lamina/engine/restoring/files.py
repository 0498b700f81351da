"""Write the contents of many files: fetched in batches by several threads, each file whole or not at all.

Long files are written by whoever fetched them, small ones all by one thread: of those, the calls are so short that several
threads would only wait for each other's Python.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from hashlib import blake2b

from lamina.engine.restoring.chunk_cache import ChunkCache
from lamina.engine.restoring.jobs import BATCH_BYTES, Batch, FileJob, Piece, Todo, small_piece
from lamina.engine.restoring.salvage import Losses
from lamina.errors import Damaged
from lamina.model.entries import Content, Entry, FixedContent, Metadata, SlicedContent
from lamina.model.ids import ChunkId
from lamina.model.operation import Operation
from lamina.repository.contents import ContentPart, cut_part, iter_parts
from lamina.repository.remains import iter_remaining_parts
from lamina.repository.repository import Repository
from lamina.targets.directory import HOPELESS, DirectoryTarget
from lamina.targets.faults import target_fault
from lamina.targets.folders import TargetFolder
from lamina.targets.new_files import NewFile


class FileWriter:
    """Writes the files of one restore."""

    def __init__(
        self, repository: Repository, target: DirectoryTarget, operation: Operation, *, salvage: bool = False
    ) -> None:
        """*salvage*: restore what is left of files that are not whole any more."""
        self._losses = Losses(repository.index) if salvage else None
        self._reader = repository.reader()
        self._namer = repository.access.namer()
        self._cache = ChunkCache(self._reader)
        self._target = target
        self._operation = operation

    def pieces(self, job: FileJob) -> Iterator[Piece]:
        """What there is to write of a file; of a long one, bit by bit."""
        small = small_piece(job)
        if small is not None:
            yield small
            return
        content = job.entry.content
        assert content is not None  # noqa: S101 - it is a file
        parts = self._data_parts(job, content)
        if content.size <= BATCH_BYTES:
            try:
                yield Piece(job, list(parts), is_first=True, is_last=True)
            except Damaged as error:
                job.failure = error
                yield Piece(job, (), is_first=True, is_last=True)
            return
        yield Piece(job, (), is_first=True, is_last=False)
        pending: list[ContentPart] = []
        try:
            for part in parts:
                if pending and sum(one.length for one in pending) + part.length > BATCH_BYTES:
                    yield Piece(job, pending, is_first=False, is_last=False)
                    pending = []
                pending.append(part)
        except Damaged as error:
            job.failure = error
        yield Piece(job, pending, is_first=False, is_last=True)

    def _data_parts(self, job: FileJob, content: Content) -> Iterator[ContentPart]:
        """Those that need writing: a new file is zeros."""
        for part in iter_parts(self._reader, content) if self._losses is None else self._remaining(job, content):
            if part.unread:
                job.unread += part.length
            if part.chunk is not None:
                yield part
            else:
                self._operation.progress.advance(skipped=part.length)

    def _remaining(self, job: FileJob, content: Content) -> Iterator[ContentPart]:
        """All parts; of those that are lost the job is told."""
        assert self._losses is not None  # noqa: S101 - else nothing is taken for lost
        for part in iter_remaining_parts(self._reader, content):
            if part.lost:
                job.lost.append(self._losses.missing("", part))
            yield part

    def begin(self, job: FileJob) -> None:
        """Open a large file, in the thread that makes the pieces."""
        try:
            job.file = self._open(job)
        except OSError as error:
            self._fail(job, error)

    def fetch(self, batch: Batch) -> Batch:
        """Fetch what a batch needs, and write its long files. For any thread. Raises: TargetUnwritable, StorageError, Stopped."""
        self._operation.check_stop()
        todo = [Todo(piece, self._missing(piece, batch)) for piece in batch.pieces if piece.job.failure is None]
        whole = {part.chunk: None for one in todo for part in one.parts if part.whole and part.chunk is not None}
        try:
            chunks = self._cache.get(list(batch.shared), list(whole))
        except Damaged:
            chunks = {}  # each file by itself then, so that the others are restored
        batch.todo = [one for one in todo if not one.piece.is_long]
        self._write_all(batch, [one for one in todo if one.piece.is_long], chunks)
        needed = {part.chunk for one in batch.todo for part in one.parts}
        batch.chunks = {chunk: content for chunk, content in chunks.items() if chunk in needed}
        return batch

    def write(self, batch: Batch) -> None:
        """Write and publish the small files of a batch that was fetched. Raises: TargetUnwritable, StorageError, Stopped."""
        self._write_all(batch, batch.todo, batch.chunks)
        batch.todo, batch.chunks = [], {}
        self._operation.progress.advance(read=batch.written, skipped=batch.kept)

    def unread_bytes(self, entry: Entry) -> int:
        """How much of a file could not be read when the snapshot was made. Raises: Damaged, StorageError."""
        if not isinstance(entry.content, FixedContent):
            return 0  # others are read whole or not at all
        return sum(part.length for part in iter_parts(self._reader, entry.content) if part.unread)

    def _write_all(self, batch: Batch, todo: Sequence[Todo], chunks: Mapping[ChunkId, bytes]) -> None:
        """Raises: TargetUnwritable, StorageError."""
        for piece, parts in todo:
            try:
                batch.written += self._write_piece(piece, parts, chunks)
            except OSError as error:
                self._fail(piece.job, error)
            except Damaged as error:
                piece.job.failure = error

    def is_there(self, entry: Entry, folder: TargetFolder) -> bool:
        """Whether a file holds the content already, byte for byte. Raises: OSError, Damaged, StorageError."""
        assert entry.content is not None  # noqa: S101 - it is a file
        fd = self._target.read(folder, entry.name)
        try:
            for part in iter_parts(self._reader, entry.content):
                self._operation.check_stop()
                if not self._is_same(part, fd):
                    return False
        finally:
            os.close(fd)
        return True

    def _is_same(self, part: ContentPart, fd: int) -> bool:
        if part.chunk is None and _is_hole(fd, part):
            return True
        buffer = memoryview(bytearray(part.length))
        length = os.preadv(fd, [buffer], part.offset)
        if part.chunk is None or part.whole:
            return self._is_right(part, buffer, length)
        return buffer[:length] == cut_part(part, self._cache.get([part.chunk], [])[part.chunk])

    def write_now(self, job: FileJob) -> int:
        """Write one file that nobody expected to be written; returns its bytes. Raises: as `write`."""
        batch = Batch()
        for piece in self.pieces(job):
            if piece.is_first and not piece.is_last:
                self.begin(job)
            batch.pieces = [piece]
            batch.shared = {part.chunk: None for part in piece.parts if part.chunk is not None and not part.whole}
            self.write(self.fetch(batch))
        self.finish(job)
        return batch.written

    def finish(self, job: FileJob) -> None:
        """Publish a large file, all of whose pieces are written, or give up one that failed."""
        if job.file is None:
            return
        try:
            if job.failure is None and job.lost and not job.has_content:
                job.failure = _nothing_left(job)
            if job.failure is None:
                job.identity = job.file.publish(_metadata(job))
        except OSError as error:
            self._fail(job, error)
        finally:
            if job.failure is not None:
                job.file.give_up()
            self.close(job)

    def close(self, job: FileJob) -> None:
        """Let go of what a job has open."""
        if job.file is not None:
            job.file.close()
            job.file = None
        if job.seed >= 0:
            os.close(job.seed)
            job.seed = -1

    def _write_piece(self, piece: Piece, parts: Sequence[ContentPart], chunks: Mapping[ChunkId, bytes]) -> int:
        """Raises: OSError, Damaged, StorageError."""
        job = piece.job
        if not all(part.chunk in chunks for part in parts):
            chunks = self._fetch([part.chunk for part in parts if part.chunk is not None])
        is_there = len(parts) < len(piece.parts)  # some of it
        if self._losses is not None:
            parts = self._left_of(job, parts, chunks, self._losses)
        if is_there or parts:
            job.has_content = True  # never taken back: other threads may be writing other pieces
        if job.file is not None:
            return _write_parts(job.file, job.entry, parts, chunks)
        if job.lost and not parts:
            raise _nothing_left(job)
        file = self._target.small_file(job.folder, job.entry, replace=job.replace)
        try:
            if isinstance(job.entry.content, FixedContent) or job.lost:
                file.set_size(job.entry.size)
            written = _write_parts(file, job.entry, parts, chunks)
            job.identity = file.publish(_metadata(job))
        finally:
            file.close()
        return written

    def _fetch(self, chunks: Sequence[ChunkId]) -> dict[ChunkId, bytes]:
        """All of *chunks*; or those that are not lost. Raises: Damaged unless losses are taken."""
        get = self._reader.get_many
        return get(chunks) if self._losses is None else self._losses.fetch(get, chunks)

    def _left_of(
        self, job: FileJob, parts: Sequence[ContentPart], chunks: Mapping[ChunkId, bytes], losses: Losses
    ) -> list[ContentPart]:
        """The parts that there are bytes for; of the others the job is told."""
        left = []
        for part in parts:
            try:
                if part.chunk is not None and part.chunk in chunks:
                    cut_part(part, chunks[part.chunk])
                    left.append(part)
                    continue
            except Damaged as error:
                losses.give_up(part.chunk, error)
            job.lost.append(losses.missing("", part))
        return left

    def _missing(self, piece: Piece, batch: Batch) -> Sequence[ContentPart]:
        """The parts that are not there already; those that are in the file to be replaced are copied."""
        job = piece.job
        if job.file is None or not (job.file.is_resumed or job.seed >= 0):
            return piece.parts
        missing = []
        for part in piece.parts:
            buffer = memoryview(bytearray(part.length))
            if job.file.is_resumed and self._is_right(part, buffer, job.file.read_into(part.offset, buffer)):
                batch.kept += part.length
            elif job.seed >= 0 and self._is_right(part, buffer, os.preadv(job.seed, [buffer], part.offset)):
                job.file.write(part.offset, buffer)
                batch.kept += part.length
            else:
                missing.append(part)
        return missing

    def _is_right(self, part: ContentPart, buffer: memoryview, length: int) -> bool:
        if length != part.length:
            return False
        if part.chunk is None:
            return buffer == bytes(length)
        return part.whole and self._namer.data_id(buffer) == part.chunk

    def _open(self, job: FileJob) -> NewFile:
        """Raises: OSError."""
        content, name = job.entry.content, job.entry.name
        root = b"" if content is None or isinstance(content, SlicedContent) else content.id or b""
        # of one content, two files may be written into one directory
        key = blake2b(root + name, digest_size=16).hexdigest() if root else ""
        file = self._target.new_file(job.folder, name, replace=job.replace, key=key)
        try:
            file.set_size(job.entry.size)
            if job.replace:
                with suppress(OSError):
                    job.seed = self._target.read(job.folder, name)
        except BaseException:
            file.close()
            raise
        return file

    def _fail(self, job: FileJob, error: OSError) -> None:
        """Note that a file cannot be written. Raises: TargetUnwritable if no other could be either."""
        if error.errno in HOPELESS:
            raise target_fault(self._target.name, error, resumable=False) from error
        job.failure = error


def _nothing_left(job: FileJob) -> Damaged:
    return Damaged(f"nothing of its content is left: {job.lost[0].reason}")


def _metadata(job: FileJob) -> Metadata:
    """What a file gets; one with holes looks as if it was last modified in 1970, so that nobody takes it for whole."""
    return job.entry.metadata._replace(mtime_ns=0) if job.lost else job.entry.metadata


def _is_hole(fd: int, part: ContentPart) -> bool:
    try:
        return os.lseek(fd, part.offset, os.SEEK_DATA) >= part.offset + part.length
    except OSError as error:
        return error.errno == errno.ENXIO  # no data from there on


def _write_parts(file: NewFile, entry: Entry, parts: Sequence[ContentPart], chunks: Mapping[ChunkId, bytes]) -> int:
    """Raises: OSError, Damaged."""
    is_sparse = isinstance(entry.content, FixedContent)
    written = 0
    for part in parts:
        if part.chunk is not None:
            data = cut_part(part, chunks[part.chunk])
            if is_sparse:
                file.write_sparsely(part.offset, data)
            else:
                file.write(part.offset, data)
            written += part.length
    return written
