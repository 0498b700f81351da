"""Turn one tree of files into stored directories: walk, compare with the parent, read what changed, put."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from lamina.engine.saving.file_reader import FileReader, ToRead, unread
from lamina.engine.saving.growing import Batch, GrowingDirectory, Pending
from lamina.engine.saving.inside import Inside
from lamina.engine.saving.known import KnownEntry
from lamina.engine.saving.pace import Pace
from lamina.engine.saving.tree_job import Sampled, TreeJob
from lamina.engine.saving.watched import NotAnswering, Watch, Watched, WatchedThreads
from lamina.engine.saving.watched_walk import WatchedWalk
from lamina.errors import Damaged, SourceMissing, SourceUnreadable
from lamina.model.entries import Entry, EntryState, EntryType, Metadata
from lamina.model.ids import ChunkId
from lamina.repository.directories import BUNDLED
from lamina.repository.streams import ChunkPutter
from lamina.sources.source import Begin, End, Folder, Found, Members, Unchanged

BUNDLE_FILES, BUNDLE_BYTES = 1024, 4 << 20  # bundled at a time: of one directory, whatever else is read meanwhile
TASKS = 4  # under way at a time
BEHIND = 4096  # entries of a directory that may wait for one that is still being read
STEPS = 64  # of which few take any time, between two looks at what else is to be done
LINKS_HELD = 50_000  # files with several names, of which more may come; another name of one forgotten is read by itself


@dataclass(frozen=True, slots=True)
class Readers:
    """What reads a tree: a thread that walks, threads that read files at a certain pace."""

    walker: WatchedThreads
    threads: WatchedThreads
    pace: Pace
    files: FileReader


def store_tree(job: TreeJob, putter: ChunkPutter, readers: Readers, keep_up: Callable[[], None]) -> Entry:
    """Store a tree; the entry of its root. *keep_up* is called now and then.

    Raises: StorageError, SourceError, Stopped.
    """
    run = _Run(job, putter, readers)
    steps = WatchedWalk(job.source, readers.walker, job.recall).steps(keep_up)
    for number, step in enumerate(steps):
        if number % STEPS == 0 or isinstance(step, Members):
            keep_up()
        if isinstance(step, Unchanged):
            run.pass_by(step)
        elif isinstance(step, Begin):
            run.begin(step)
        elif isinstance(step, Members):
            run.members(step)
        else:
            run.end(step)
    return run.finish(keep_up)


class _Run:
    """One walk under way."""

    def __init__(self, job: TreeJob, putter: ChunkPutter, readers: Readers) -> None:
        self._job = job
        self._putter = putter
        self._threads = readers.threads
        self._pace = readers.pace
        self._reader = readers.files
        self._inside = Inside(job, putter)
        # By device and inode: a file with several names, and how many of them may still come.
        self._links: dict[tuple[int, int], tuple[Pending, int]] = {}
        self._batch = Batch()
        self._under_way: deque[tuple[Batch, Watched[list[Entry | None]]]] = deque()

    def begin(self, step: Begin) -> None:
        """Go into a directory."""
        found, job = step.found, self._job
        job.counts.directories += 1
        self._count_owner(found.metadata)
        if step.same is not None and self._inside.begin_same(step, step.same):
            return
        directory, known = self._inside.begin(step)
        if found.error:
            directory.metadata = found.metadata
        elif known is not None and job.comparison.is_same(known, found):
            directory.metadata = known.metadata()
        else:
            self._read(directory.slot, ToRead(step.folder, found), directory)

    def pass_by(self, step: Unchanged) -> None:
        """Deal with a directory that the walk did not go into."""
        self._job.counts.directories += 1
        self._count_owner(step.found.metadata)
        self._inside.pass_by(step)
        self._note(step.same.stamp)

    def members(self, step: Members) -> None:
        """Deal with some of what is in the innermost directory."""
        directory, job = self._inside.innermost(), self._job
        directory.stamp = b""
        is_same, take = job.comparison.is_same, directory.take
        for found in step.found:
            self._count_owner(found.metadata)
            known = take(found.name)
            if known is not None and is_same(known, found):
                job.counts.unchanged += 1
                if job.counts.unchanged == job.unchanged.next:
                    job.unchanged.take(Sampled(_names(directory, found.name), known.entry()))
                directory.waiting.append(known)
            else:
                self._member(directory, step.folder, found, known)
        directory.drain()
        while len(directory.waiting) > BEHIND:
            self._bundle(directory)
            self._dispatch()
            if not self._under_way:
                return  # it waits for a directory below it, which is not left yet
            self._collect()
            directory.drain()

    def end(self, step: End) -> None:
        """Leave the innermost directory."""
        stamp = b"" if step.error else self._inside.leave_reused()
        if stamp:
            self._note(stamp)
            return
        directory = self._inside.leave()
        if step.error:
            self._give_up(directory, step)
        directory.keep_rest()
        directory.is_ended = True
        self._bundle(directory)
        self._settle(directory)

    def finish(self, keep_up: Callable[[], None]) -> Entry:
        """Wait for what is still being read; the entry of the root."""
        self._dispatch()
        while self._under_way:
            self._collect(keep_up)
            self._dispatch()
        return self._inside.root()

    def _give_up(self, directory: GrowingDirectory, step: End) -> None:
        """Of what nobody could look at in a directory, keep what the parent has of it."""
        directory.error, directory.stamp = step.error, b""
        for known in directory.known.rest():
            found = Found(known.record.name, EntryType.UNKNOWN, Metadata(links=0), error=step.error)
            self._member(directory, step.folder, found, known)
            directory.drain()

    def _member(self, directory: GrowingDirectory, folder: Folder, found: Found, known: KnownEntry | None) -> None:
        slot = Pending(directory, found, known)
        directory.waiting.append(slot)
        if found.error:
            self._resolve(slot, unread(found, found.error))
            return
        first = self._first_name(slot) if found.metadata.links > 1 else slot
        if first is slot:
            same = known is not None and self._job.comparison.has_same_content(known, found)
            one = ToRead(folder, found, known.content() if same and known is not None else None)
            if one.known is None and found.type is EntryType.FILE and found.size <= BUNDLED:
                self._read_small(directory, slot, one)
            else:
                self._read(slot, one)
        elif first.is_done:
            self._resolve_twin(slot, first)
        else:
            first.twins = [*(first.twins or ()), slot]

    def _first_name(self, slot: Pending) -> Pending:
        """Under which name a file with several was met first."""
        data = slot.found.metadata
        key = (data.device, data.inode)
        first, left = self._links.get(key, (slot, data.links))
        if left > 1:
            self._links[key] = (first, left - 1)
        else:
            self._links.pop(key, None)
        if len(self._links) > LINKS_HELD:
            del self._links[next(iter(self._links))]  # the oldest
        return first

    def _count_owner(self, metadata: Metadata) -> None:
        self._job.users.add(metadata.uid)
        self._job.groups.add(metadata.gid)

    def _read_small(self, directory: GrowingDirectory, slot: Pending, one: ToRead) -> None:
        """Have a small file read with others of its directory: where bundles end depends on the directory alone."""
        directory.small.append((slot, one))
        directory.small_size += one.found.size
        if len(directory.small) >= BUNDLE_FILES or directory.small_size >= BUNDLE_BYTES:
            self._bundle(directory)

    def _bundle(self, directory: GrowingDirectory) -> None:
        small, directory.small, directory.small_size = directory.small, [], 0
        for slot, one in small:
            self._batch.add(slot, one, None)
        self._dispatch_if_full()

    def _read(self, slot: Pending, one: ToRead, opened: GrowingDirectory | None = None) -> None:
        """Have an object read, with others."""
        self._batch.add(slot, one, opened)
        self._dispatch_if_full()

    def _dispatch_if_full(self) -> None:
        if self._batch.is_full:
            self._dispatch()
            while len(self._under_way) > TASKS:
                self._collect()

    def _dispatch(self) -> None:
        """Hand what was gathered to a thread."""
        if self._batch.slots:
            batch, self._batch = self._batch, Batch()
            self._under_way.append((batch, self._submit(batch)))

    def _submit(self, batch: Batch) -> Watched[list[Entry | None]]:
        reader, pace, objects, hung = self._reader, self._pace, batch.objects, dict(batch.hung)
        is_small = all(one.found.size <= BUNDLED for one in objects)

        def read(watch: Watch) -> list[Entry | None]:
            with pace.reading(watch, len(objects), is_small=is_small):
                return reader.read(objects, hung, watch)

        return self._threads.submit(read)

    def _collect(self, keep_up: Callable[[], None] = lambda: None) -> None:
        """Wait for the oldest task and take over what it read."""
        batch, watched = self._under_way.popleft()
        while True:
            try:
                entries = self._threads.result(watched, keep_up)
                break
            except NotAnswering as error:
                batch.hung[watched.watch.step - 1] = error.message
                watched = self._submit(batch)
        batch.release()
        for number, (slot, entry) in enumerate(zip(batch.slots, entries, strict=True)):
            if number in batch.opened:
                self._take_directory(batch.opened[number], entry)
                continue
            self._resolve(slot, entry)
            twins, slot.twins = slot.twins, None
            for twin in twins or ():
                self._resolve_twin(twin, slot)

    def _take_directory(self, directory: GrowingDirectory, entry: Entry | None) -> None:
        """The metadata of a directory are known now, or why they are not."""
        if entry is None:
            directory.error = "it vanished while the backup ran"
        elif entry.state is EntryState.UNREAD:
            directory.error = entry.error
        directory.metadata = directory.slot.found.metadata if entry is None else entry.metadata
        self._settle(directory)

    def _resolve_twin(self, slot: Pending, first: Pending) -> None:
        """The entry of another name of a file that was read, unless something else was read under the first name."""
        entry = first.entry
        if isinstance(entry, Entry) and entry.metadata.identity == slot.found.metadata.identity:
            self._resolve(slot, entry._replace(name=slot.found.name))
            return
        try:
            folder, found = self._job.source.look(_names(slot.above, slot.found.name) if slot.above is not None else ())
        except SourceMissing:
            self._resolve(slot, None)
            return
        except SourceUnreadable as error:
            self._resolve(slot, unread(slot.found, error.message))
            return
        if found.type is EntryType.DIRECTORY:
            self._resolve(slot, unread(slot.found, "it was replaced by a directory while the backup ran"))
        else:
            slot.found = found
            self._read(slot, ToRead(folder, found))
        folder.release()

    def _resolve(self, slot: Pending, entry: Entry | None) -> None:
        """What became of an object that is no directory."""
        counts = self._job.counts
        if entry is None:
            counts.vanished += 1
        else:
            if entry.is_flawed:
                entry = self._kept(slot, entry)
            counts.changed += slot.known is not None
            counts.new += slot.known is None
            if counts.changed + counts.new == self._job.read_files.next and slot.above is not None:
                self._job.read_files.take(Sampled(_names(slot.above, slot.found.name), entry))
        slot.entry, slot.is_done = entry, True
        above = slot.above
        if above is not None and above.waiting[0] is slot and above.is_ended:
            self._settle(above)

    def _kept(self, slot: Pending, entry: Entry) -> Entry:
        """The entry; of what could not be read, what the parent has of it. What is wrong is remembered."""
        if entry.state is EntryState.UNREAD and slot.known is not None:
            try:
                old = slot.known.entry()
            except Damaged:
                old = entry
            if old.state is not EntryState.UNREAD:
                entry = old._replace(state=EntryState.KEPT, error=entry.error)
        return self._noted(slot, entry)

    def _noted(self, slot: Pending, entry: Entry) -> Entry:
        if entry.is_flawed:
            self._job.note(self._path(slot), entry)
        return entry

    def _settle(self, directory: GrowingDirectory) -> None:
        """Store a directory if it is complete, and those above it that thereby are."""
        while True:
            directory.drain()
            if not directory.is_complete:
                return
            slot = directory.slot
            slot.entry, slot.is_done = self._finished(directory), True
            if slot.above is None or slot.above.waiting[0] is not slot:
                return
            directory = slot.above

    def _finished(self, directory: GrowingDirectory) -> Entry | KnownEntry:
        """The entry of a complete directory; the parent's if it is the same."""
        slot, metadata = directory.slot, directory.metadata
        assert metadata is not None  # noqa: S101 - it is complete
        if slot.found.error:
            return self._kept(slot, unread(slot.found, directory.error))
        child, totals = directory.writer.finish()
        self._note_look(directory, child)
        if slot.known is not None and not directory.error:
            record = slot.known.record
            if record.type == EntryType.DIRECTORY and record.link >= 0 and not record.state:
                old = slot.known.entry()
                if (old.child, old.metadata) == (child, metadata):
                    return slot.known
        state = EntryState.UNREAD if directory.error else EntryState.WHOLE
        entry = Entry(
            slot.found.name,
            EntryType.DIRECTORY,
            metadata,
            child=child,
            totals=totals,
            state=state,
            error=directory.error,
        )
        return self._noted(slot, entry)

    def _note_look(self, directory: GrowingDirectory, child: ChunkId) -> None:
        """Note how a directory looks, unless some of it would be read again although it looks the same."""
        known = directory.known
        if directory.stamp:
            self._note(directory.stamp)
        elif self._job.recall is not None and (known.child is None or (known.child == child and not known.wastes)):
            look = directory.look()
            if look is not None:
                self._job.recall.note(directory.place, look)

    def _note(self, stamp: bytes) -> None:
        if self._job.recall is not None:
            self._job.recall.stamps.append(stamp)

    def _path(self, slot: Pending) -> str:
        """Where an object is stored."""
        names = () if slot.above is None else _names(slot.above, slot.found.name)
        inside = b"/".join(names).decode("utf-8", "surrogateescape")
        return f"{self._job.path}/{inside}" if self._job.path and inside else self._job.path or inside


def _names(directory: GrowingDirectory, name: bytes) -> tuple[bytes, ...]:
    """The names that lead from the root of a source to an object in *directory*."""
    names = [name]
    at: GrowingDirectory | None = directory
    while at is not None and at.slot.above is not None:
        names.append(at.slot.found.name)
        at = at.slot.above
    return tuple(reversed(names))
