"""Compare stored trees with their sources, right after the backup: by a sample, or all of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from functools import partial
from typing import NamedTuple

from lamina.engine.outcome import Difference
from lamina.engine.saving.compare import Coverage, VerifyMode
from lamina.engine.saving.images import ZEROS
from lamina.engine.saving.sampling import Reservoir
from lamina.engine.saving.tree_job import TreeJob
from lamina.engine.saving.watched import NotAnswering, Watch, WatchedThreads
from lamina.engine.threads import batched
from lamina.errors import Damaged, SourceMissing, SourceUnreadable
from lamina.model.entries import Content, Entry, EntryState, EntryType, Metadata
from lamina.model.ids import ChunkId
from lamina.model.operation import Operation
from lamina.model.snapshots import Role
from lamina.repository.contents import ContentPart, cut_part, iter_parts
from lamina.repository.repository import Repository
from lamina.repository.trees import find_entry, walk_tree
from lamina.sources.source import ImageSource

BATCH = 64  # entries handed to a thread at a time
PARTS = 4  # of a long file in a sample
_MODIFIED, _GONE = "it was modified since", "it is not there any more"


class Stored(NamedTuple):
    """A stored object, to be compared with its source."""

    names: tuple[bytes, ...]  # from the root of the source
    entry: Entry


class FileComparison:
    """Compares files of one tree with what is stored of them, with the key at hand.

    A writer cannot read content back: it checks that the stored bytes are whole, and of long files, whose chunks are listed
    in nodes, and files with holes, that the chunks have the ids which the source read again gives.
    """

    def __init__(
        self,
        repository: Repository,
        job: TreeJob,
        deadline_s: float,
        operation: Operation,
        tell: Callable[[str, str], None] | None = None,
    ) -> None:
        """*tell* is told the paths of files that are left out, and why."""
        self._tell = tell if tell is not None else _ignore
        self._reader = repository.reader()
        self._namer = repository.access.namer()
        self._reads_content = repository.role is Role.OWNER
        self._job = job
        self._deadline_s = deadline_s
        self._last: tuple[ChunkId, bytes] | None = None
        self._unanswered: list[int] = []  # sizes of files that cannot be read any more
        self._operation = operation

    def compare(self, root: Entry, mode: VerifyMode) -> Coverage:
        """Compare all files, or a sample; all are a sample if some cannot be read any more. A file that changed since is left out.

        Raises: StorageError, Stopped, Damaged.
        """
        compared = 0
        differences: list[Difference] = []
        for length, difference in self._outcomes(
            self._everything(root) if mode is VerifyMode.FULL else self._sample(root), mode
        ):
            compared += length
            self._operation.progress.advance(read=length)
            if difference is not None:
                differences.append(difference)
        if mode is VerifyMode.FULL:
            # What else was left out has changed since, and the next backup sees that.
            compared = root.size - sum(self._unanswered)
            mode = VerifyMode.SAMPLE if self._unanswered else mode
        else:
            self._operation.progress.advance(skipped=max(0, root.size - compared))
        return Coverage(mode, compared, root.size, tuple(differences))

    def _outcomes(self, entries: Iterator[Stored], mode: VerifyMode) -> Iterator[tuple[int, Difference | None]]:
        """What came of each entry; none of one that does not answer any more."""
        threads = WatchedThreads(1, self._operation, self._deadline_s)
        try:
            for batch in batched(entries, BATCH):
                left = batch
                while left:
                    done: list[tuple[int, Difference | None]] = []
                    watched = threads.submit(partial(self._compare_batch, left, mode, done))
                    try:
                        threads.result(watched)
                        left = []
                    except NotAnswering:
                        done = list(done)  # its thread was left behind, and might still go on
                        self._leave_out(left[len(done)], "it does not answer")
                        left = left[len(done) + 1 :]
                    yield from done
        finally:
            threads.close()

    def _compare_batch(
        self, batch: Sequence[Stored], mode: VerifyMode, done: list[tuple[int, Difference | None]], watch: Watch
    ) -> None:
        for one in batch:
            self._operation.check_stop()
            done.append(self._compare_entry(one, mode, watch))

    def _sample(self, root: Entry) -> Iterator[Stored]:
        for names, known in (*self._job.read_files.items, *self._job.unchanged.items):
            entry = known or self._find(root, names)
            if entry is not None:
                yield Stored(names, entry)

    def _find(self, root: Entry, names: Sequence[bytes]) -> Entry | None:
        at: Entry | None = root
        for name in names:
            at = find_entry(self._reader, at.child, name) if at is not None and at.child is not None else None
        return at

    def _everything(self, root: Entry) -> Iterator[Stored]:
        if root.child is None:
            return
        for path, entry in walk_tree(self._reader, root.child):
            yield Stored(tuple(path.encode("utf-8", "surrogateescape").split(b"/")), entry)

    def _compare_entry(self, one: Stored, mode: VerifyMode, watch: Watch) -> tuple[int, Difference | None]:
        """How many bytes were compared, and what is wrong."""
        entry = one.entry
        if entry.type is not EntryType.FILE or entry.content is None:
            return 0, None
        if entry.state is not EntryState.WHOLE:
            self._tell(self._shown(one), "its times cannot show whether it changed since, or it was not whole then")
            return 0, None
        try:
            with watch.asking():
                folder, found = self._job.source.look(one.names)
        except SourceMissing:
            return self._pass_over(one, _GONE)
        except SourceUnreadable as error:
            self._leave_out(one, error.message)
            return 0, None
        try:
            if _changed(found.metadata, entry.metadata):
                return self._pass_over(one, _MODIFIED)
            with watch.asking():
                opened = self._job.source.open(folder, found)
            with closing(opened) as file:
                image = file.image()
                length, reason = self._compare_content(image, entry.content, mode, watch)
                if reason and (file.changed() or _changed(file.found.metadata, entry.metadata)):
                    return self._pass_over(one, _MODIFIED)
                if not reason:
                    return length, None
        except SourceMissing:
            return self._pass_over(one, _GONE)
        except SourceUnreadable as error:  # that says nothing about what is stored
            self._leave_out(one, error.message)
            return 0, None
        finally:
            folder.release()
        return length, Difference(self._shown(one), 0, entry.size, reason)

    def _pass_over(self, one: Stored, why: str) -> tuple[int, None]:
        """A file that is another one now: what is stored cannot be compared with it."""
        self._tell(self._shown(one), why)
        return 0, None

    def _leave_out(self, one: Stored, why: str) -> None:
        """A file of which nobody knows whether it is as stored."""
        self._unanswered.append(one.entry.size)
        self._tell(self._shown(one), why)

    def _shown(self, one: Stored) -> str:
        """Its path as stored."""
        path = b"/".join(one.names).decode("utf-8", "surrogateescape")
        return f"{self._job.path}/{path}" if self._job.path else path

    def _compare_content(self, image: ImageSource, content: Content, mode: VerifyMode, watch: Watch) -> tuple[int, str]:
        parts = iter_parts(self._reader, content)
        if mode is VerifyMode.SAMPLE:
            chosen: Reservoir[ContentPart] = Reservoir(PARTS)
            for number, part in enumerate(parts, 1):  # there may be millions
                if number == chosen.next:
                    chosen.take(part)
            parts = iter(chosen.items)
        compared = 0
        for part in parts:
            self._operation.check_stop()
            reason = self._difference(image, part, watch)
            compared += part.length
            if reason:
                return compared, reason
        return compared, ""

    def _difference(self, image: ImageSource, part: ContentPart, watch: Watch) -> str:
        buffer = memoryview(bytearray(part.length))
        with watch.asking():
            got = image.read_into(part.offset, buffer)
        if got != part.length:
            return "the source is shorter than what is stored"
        if part.chunk is None:
            return "zeros are stored where the source has data" if not ZEROS.startswith(buffer) else ""
        try:
            if self._reads_content:
                same = bytes(cut_part(part, self._chunk(part.chunk))) == buffer.tobytes()
            else:
                self._reader.check_stored(part.chunk)
                same = not part.whole or self._namer.data_id(buffer) == part.chunk
        except Damaged as error:
            return error.message
        return "" if same else "the source has other content than what is stored"

    def _chunk(self, chunk: ChunkId) -> bytes:
        """The content of a chunk; files that lie in one bundle follow each other."""
        if self._last is None or self._last[0] != chunk:
            self._last = (chunk, self._reader.get_data(chunk))
        return self._last[1]


def _changed(now: Metadata, stored: Metadata) -> bool:
    """Whether a file was modified since it was stored."""
    return (now.mtime_ns, now.ctime_ns, now.inode) != (stored.mtime_ns, stored.ctime_ns, stored.inode)


def _ignore(_path: str, _why: str) -> None:
    """After a backup it says nothing that a file changed meanwhile: the next backup sees it."""
