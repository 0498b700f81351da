"""Turn one tree of files into stored directories: walk, compare with the parent, read what changed, put."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass, field
from typing import NamedTuple

from lamina.engine.file_reader import FileReader, ToRead, unread
from lamina.engine.known import KnownDirectory, KnownEntry, TreeComparison
from lamina.engine.outcome import Flaw
from lamina.engine.pace import Pace
from lamina.engine.sampling import Reservoir
from lamina.engine.watched import NotAnswering, Watch, Watched, WatchedThreads
from lamina.engine.watched_walk import WatchedWalk
from lamina.errors import Damaged, SourceMissing, SourceUnreadable
from lamina.model.entries import Entry, EntryState, EntryType, Metadata
from lamina.repository.directories import BUNDLED
from lamina.repository.streams import ChunkPutter
from lamina.repository.trees import DirectoryWriter
from lamina.sources.source import Begin, End, FileSource, Folder, Found, Members

TASK_FILES, TASK_BYTES = 256, 4 << 20  # handed to a thread at a time: its cost is small against reading so much
BUNDLE_FILES, BUNDLE_BYTES = 1024, 4 << 20  # bundled at a time: of one directory, whatever else is read meanwhile
TASKS = 4  # under way at a time
FOLDERS_HELD = 64  # directories kept open for one task
BEHIND = 4096  # entries of a directory that may wait for one that is still being read
FLAWS_NAMED = 1000  # more are only counted
SAMPLE_READ, SAMPLE_UNCHANGED = 256, 64  # files compared with the source afterwards: what was read anew weighs more


@dataclass(slots=True)
class TreeCounts:
    """What a backup met; all but directories are files and other objects."""

    new: int = 0
    changed: int = 0
    unchanged: int = 0
    vanished: int = 0
    directories: int = 0
    flawed: int = 0  # of all


def sum_counts(counts: Sequence[TreeCounts]) -> TreeCounts:
    """All of them together."""
    return TreeCounts(*(sum(values) for values in zip(*map(astuple, counts), strict=True)))


class Sampled(NamedTuple):
    """A stored object, to be compared with its source."""

    names: tuple[bytes, ...]  # from the root of the source
    entry: Entry


@dataclass(slots=True)
class TreeJob:
    """One tree on its way into the repository, and what was met on the way."""

    path: str  # it is stored under
    source: FileSource
    known: KnownEntry | None  # the same tree in the parent, whose chunks may be used as they are
    comparison: TreeComparison
    counts: TreeCounts = field(default_factory=TreeCounts)
    flaws: list[Flaw] = field(default_factory=list)
    users: set[int] = field(default_factory=set)
    groups: set[int] = field(default_factory=set)
    lost: int = 0  # entries that could not be read; of some, an earlier snapshot's stand there
    read_files: Reservoir[Sampled] = field(default_factory=lambda: Reservoir(SAMPLE_READ))
    unchanged: Reservoir[Sampled] = field(default_factory=lambda: Reservoir(SAMPLE_UNCHANGED))


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
    for step in WatchedWalk(job.source, readers.walker).steps(keep_up):
        keep_up()
        if isinstance(step, Begin):
            run.begin(step)
        elif isinstance(step, Members):
            run.members(step)
        else:
            run.end(step)
    return run.finish(keep_up)


@dataclass(slots=True, eq=False)
class _Pending:
    """An entry that is not known yet."""

    above: _Directory | None  # None: it is the root
    found: Found
    known: KnownEntry | None
    entry: Entry | KnownEntry | None = None
    is_done: bool = False  # with or without an entry: it may have vanished
    twins: list[_Pending] | None = None  # other names of the same file


class _Directory:
    """One directory under construction."""

    def __init__(self, slot: _Pending, writer: DirectoryWriter, known: KnownDirectory) -> None:
        self.slot = slot
        self.writer = writer
        self.known = known
        self.waiting: deque[_Pending | KnownEntry] = deque()  # in the order of names
        self.is_ended = False
        self.metadata: Metadata | None = None  # when it is known
        self.error = slot.found.error
        self.small: list[tuple[_Pending, ToRead]] = []  # files to be bundled
        self.small_size = 0  # bytes

    def drain(self) -> None:
        """Write the entries that are known, up to the first that is not."""
        waiting, writer = self.waiting, self.writer
        while waiting:
            first: _Pending | KnownEntry | Entry | None = waiting[0]
            if isinstance(first, _Pending):
                if not first.is_done:
                    return
                first = first.entry
            if isinstance(first, KnownEntry):
                writer.keep(first.node, first.number)
            elif isinstance(first, Entry):
                writer.add(first)
            waiting.popleft()

    @property
    def is_complete(self) -> bool:
        return self.is_ended and not self.waiting and self.metadata is not None


class _Batch:
    """Objects that one task reads."""

    def __init__(self) -> None:
        self.slots: list[_Pending] = []
        self.objects: list[ToRead] = []
        self.opened: dict[int, _Directory] = {}  # by the number of an object that is a directory
        self.hung: dict[int, str] = {}
        self._folders: list[Folder] = []  # held
        self._size = 0  # bytes

    def add(self, slot: _Pending, one: ToRead, opened: _Directory | None) -> None:
        if opened is not None:
            self.opened[len(self.slots)] = opened
        if not self._folders or self._folders[-1] is not one.folder:
            one.folder.hold()
            self._folders.append(one.folder)
        self.slots.append(slot)
        self.objects.append(one)
        if one.known is None:
            self._size += one.found.size

    @property
    def is_full(self) -> bool:
        return len(self.slots) >= TASK_FILES or self._size >= TASK_BYTES or len(self._folders) >= FOLDERS_HELD

    def release(self) -> None:
        for folder in self._folders:
            folder.release()


class _Run:
    """One walk under way."""

    def __init__(self, job: TreeJob, putter: ChunkPutter, readers: Readers) -> None:
        self._job = job
        self._putter = putter
        self._threads = readers.threads
        self._pace = readers.pace
        self._reader = readers.files
        self._inside: list[_Directory] = []
        self._root: _Pending | None = None
        self._links: dict[
            tuple[int, int], tuple[_Pending, int]
        ] = {}  # a file with several names, how many may still come
        self._batch = _Batch()
        self._under_way: deque[tuple[_Batch, Watched[list[Entry | None]]]] = deque()

    def begin(self, step: Begin) -> None:
        """Go into a directory."""
        found, job = step.found, self._job
        job.counts.directories += 1
        self._count_owner(found.metadata)
        above = self._inside[-1] if self._inside else None
        known = job.known if above is None else above.known.take(found.name)
        slot = _Pending(above, found, known)
        if above is None:
            self._root = slot
        else:
            above.waiting.append(slot)
        directory = _Directory(slot, DirectoryWriter(self._putter), job.comparison.open(known))
        self._inside.append(directory)
        if found.error:
            directory.metadata = found.metadata
        elif known is not None and job.comparison.is_same(known, found):
            directory.metadata = known.metadata()
        else:
            self._read(slot, ToRead(step.folder, found), directory)

    def members(self, step: Members) -> None:
        """Deal with some of what is in the innermost directory."""
        directory, job = self._inside[-1], self._job
        is_same, take = job.comparison.is_same, directory.known.take
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
        directory = self._inside.pop()
        if step.error:
            self._give_up(directory, step)
        directory.is_ended = True
        self._bundle(directory)
        self._settle(directory)

    def finish(self, keep_up: Callable[[], None]) -> Entry:
        """Wait for what is still being read; the entry of the root."""
        self._dispatch()
        while self._under_way:
            self._collect(keep_up)
            self._dispatch()
        assert self._root is not None  # noqa: S101 - a walk begins with it
        entry = self._root.entry
        assert entry is not None  # noqa: S101 - a walk ends by leaving it, and what was read is settled
        return entry.entry() if isinstance(entry, KnownEntry) else entry

    def _give_up(self, directory: _Directory, step: End) -> None:
        """Of what nobody could look at in a directory, keep what the parent has of it."""
        directory.error = step.error
        for known in directory.known.rest():
            found = Found(known.record.name, EntryType.UNKNOWN, Metadata(links=0), error=step.error)
            self._member(directory, step.folder, found, known)
            directory.drain()

    def _member(self, directory: _Directory, folder: Folder, found: Found, known: KnownEntry | None) -> None:
        slot = _Pending(directory, found, known)
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

    def _first_name(self, slot: _Pending) -> _Pending:
        """Under which name a file with several was met first."""
        data = slot.found.metadata
        key = (data.device, data.inode)
        first, left = self._links.get(key, (slot, data.links))
        if left > 1:
            self._links[key] = (first, left - 1)
        else:
            self._links.pop(key, None)
        return first

    def _count_owner(self, metadata: Metadata) -> None:
        self._job.users.add(metadata.uid)
        self._job.groups.add(metadata.gid)

    def _read_small(self, directory: _Directory, slot: _Pending, one: ToRead) -> None:
        """Have a small file read with others of its directory: where bundles end depends on the directory alone."""
        directory.small.append((slot, one))
        directory.small_size += one.found.size
        if len(directory.small) >= BUNDLE_FILES or directory.small_size >= BUNDLE_BYTES:
            self._bundle(directory)

    def _bundle(self, directory: _Directory) -> None:
        small, directory.small, directory.small_size = directory.small, [], 0
        for slot, one in small:
            self._batch.add(slot, one, None)
        self._dispatch_if_full()

    def _read(self, slot: _Pending, one: ToRead, opened: _Directory | None = None) -> None:
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
            batch, self._batch = self._batch, _Batch()
            self._under_way.append((batch, self._submit(batch)))

    def _submit(self, batch: _Batch) -> Watched[list[Entry | None]]:
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

    def _take_directory(self, directory: _Directory, entry: Entry | None) -> None:
        """The metadata of a directory are known now, or why they are not."""
        if entry is None:
            directory.error = "it vanished while the backup ran"
        elif entry.state is EntryState.UNREAD:
            directory.error = entry.error
        directory.metadata = directory.slot.found.metadata if entry is None else entry.metadata
        self._settle(directory)

    def _resolve_twin(self, slot: _Pending, first: _Pending) -> None:
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

    def _resolve(self, slot: _Pending, entry: Entry | None) -> None:
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

    def _kept(self, slot: _Pending, entry: Entry) -> Entry:
        """The entry; of what could not be read, what the parent has of it. What is wrong is remembered."""
        if entry.state is EntryState.UNREAD and slot.known is not None:
            try:
                old = slot.known.entry()
            except Damaged:
                old = entry
            if old.state is not EntryState.UNREAD:
                entry = old._replace(state=EntryState.KEPT, error=entry.error)
        return self._noted(slot, entry)

    def _noted(self, slot: _Pending, entry: Entry) -> Entry:
        if entry.is_flawed:
            self._job.counts.flawed += 1
            self._job.lost += entry.state is not EntryState.CHANGED
            if len(self._job.flaws) < FLAWS_NAMED:
                self._job.flaws.append(Flaw(self._path(slot), entry.state, entry.error))
        return entry

    def _settle(self, directory: _Directory) -> None:
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

    def _finished(self, directory: _Directory) -> Entry | KnownEntry:
        """The entry of a complete directory; the parent's if it is the same."""
        slot, metadata = directory.slot, directory.metadata
        assert metadata is not None  # noqa: S101 - it is complete
        if slot.found.error:
            return self._kept(slot, unread(slot.found, directory.error))
        child, totals = directory.writer.finish()
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

    def _path(self, slot: _Pending) -> str:
        """Where an object is stored."""
        names = () if slot.above is None else _names(slot.above, slot.found.name)
        inside = b"/".join(names).decode("utf-8", "surrogateescape")
        return f"{self._job.path}/{inside}" if self._job.path and inside else self._job.path or inside


def _names(directory: _Directory, name: bytes) -> tuple[bytes, ...]:
    """The names that lead from the root of a source to an object in *directory*."""
    names = [name]
    at: _Directory | None = directory
    while at is not None and at.slot.above is not None:
        names.append(at.slot.found.name)
        at = at.slot.above
    return tuple(reversed(names))
