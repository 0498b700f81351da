"""What becomes of one tree, or one stream, of a backup: its parent, its threads, its content."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from lamina.engine.saving.cutting import ContentStorer, GatedPutter
from lamina.engine.saving.file_reader import FileReader
from lamina.engine.saving.known import Compare, KnownEntry, TreeComparison
from lamina.engine.saving.pace import MOST, Pace
from lamina.engine.saving.parent import Parent
from lamina.engine.saving.recall import Recall
from lamina.engine.saving.tree_job import TreeJob
from lamina.engine.saving.trees import Readers, store_tree
from lamina.engine.saving.watched import WatchedThreads
from lamina.errors import Damaged, FormatUnknown, NotPermitted
from lamina.model.entries import Content, Entry
from lamina.model.ids import SessionId
from lamina.model.operation import Operation
from lamina.repository.looks import Looks, read_looks, write_looks
from lamina.repository.repository import Repository
from lamina.repository.sessions import Session
from lamina.repository.streams import ChunkPutter
from lamina.sources.source import FileSource, StreamSource

FILE_TIMEOUT_S = 300.0  # a disk that wakes up or a server that comes back takes a minute


@dataclass(frozen=True, slots=True)
class TreeOptions:
    """How trees are read."""

    compare: frozenset[Compare] | None = frozenset(Compare)  # None: every file is read
    file_timeout_s: float = FILE_TIMEOUT_S
    readers: int | None = None  # threads that read files; None: as many as profit


class TreeBackup:
    """Stores trees and streams; one for a whole backup."""

    def __init__(
        self, repository: Repository, parent: Parent, putter: ChunkPutter, session: Session | None, operation: Operation
    ) -> None:
        """*session* is None for a dry run."""
        self._repository = repository
        self._parent = parent
        self._putter = GatedPutter(putter)
        self._session = session
        self._operation = operation
        self._count = min(len(os.sched_getaffinity(0)), 4)
        self._sealers = ThreadPoolExecutor(self._count, thread_name_prefix="seal")
        chunker = repository.access.chunker()
        self._storer = ContentStorer(self._putter, chunker, self._sealers, operation)

    @property
    def read(self) -> int:
        """Bytes of contents read so far."""
        return self._storer.read

    def store_tree(self, path: str, source: FileSource, options: TreeOptions) -> tuple[TreeJob, Entry]:
        """Store a tree. Raises: StorageError, SourceError, Stopped."""
        known = self._parent.tree(path)
        recall = self._recall(path, options, known)
        if recall is not None and not recall.is_empty:
            try:
                return self._store(path, source, options, known, recall)
            except (Damaged, FormatUnknown, NotPermitted) as error:
                self._parent.say_damaged(error.message)  # what was passed over is needed: look at everything
                recall.begin_again()
        try:
            return self._store(path, source, options, known, recall)
        except (Damaged, FormatUnknown) as error:
            if known is None:
                raise
            self._parent.say_damaged(error.message)  # the parent makes no sense there: read everything
            return self._store(path, source, options, None, None)

    def _recall(self, path: str, options: TreeOptions, known: KnownEntry | None) -> Recall | None:
        """What is known of looks. Where something is damaged, more is read than what seems to have changed."""
        access, snapshot = self._repository.access, self._parent.snapshot
        if access.cache is None:
            return None
        is_of_use = known is not None and options.compare is not None and not self._parent.must_heal
        if not is_of_use or snapshot is None:
            return Recall(Looks(access))
        return Recall(read_looks(access, self._parent.name, path, snapshot.id))

    def _store(
        self, path: str, source: FileSource, options: TreeOptions, known: KnownEntry | None, recall: Recall | None
    ) -> tuple[TreeJob, Entry]:
        comparison = TreeComparison(self._repository, options.compare, self._parent.say_damaged)
        job = TreeJob(path, source, known, comparison, recall)
        reader = FileReader(source, self._storer, self._repository.access.format.chunk_size, self._operation)
        most = options.readers or MOST
        walker = WatchedThreads(1, self._operation, options.file_timeout_s)
        threads = WatchedThreads(most, self._operation, options.file_timeout_s)
        try:
            readers = Readers(walker, threads, Pace(most, self._count), reader)
            return job, store_tree(job, self._putter, readers, self._keep_up)
        finally:
            walker.close()
            threads.close()

    def store_stream(self, source: StreamSource) -> Content:
        """Store a stream. Raises: SourceError, StorageError, Stopped."""

        def read_into(buffer: memoryview) -> int:
            self._keep_up()
            return source.read_into(buffer)

        return self._storer.store_stream(read_into)

    def close(self) -> None:
        """Wait for the threads to end."""
        self._sealers.shutdown(wait=True, cancel_futures=True)

    def _keep_up(self) -> None:
        """Publish what is stored, and catch up with a prune that began; files go on being read meanwhile."""
        self._operation.check_stop()
        if self._session is None:
            return
        self._session.checkpoint()
        if self._session.is_behind:
            with self._putter.closed():
                self._session.catch_up()


def remember_looks(
    repository: Repository, name: str, snapshot: SessionId, jobs: Sequence[TreeJob], operation: Operation
) -> None:
    """Note what the directories of a snapshot of that name looked like, for the next backup."""
    try:
        for job in jobs:
            if job.recall is not None:
                write_looks(repository.access, name, job.path, snapshot, job.recall.stamps)
    except OSError as error:
        operation.progress.message(f"the next backup takes longer, for the cache cannot be written: {error.strerror}")
