"""What the simulated clients do: they call the same code as the program, one storage operation at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from fractions import Fraction
from pathlib import Path

from lamina.engine.prune import PruneOptions, PruneReport, prune
from lamina.engine.verify import VerifyOptions, verify
from lamina.errors import (
    ChunkMissing,
    Damaged,
    RepositoryError,
    SessionAborted,
    SnapshotMissing,
    StorageError,
)
from lamina.model.entries import Entry, EntryType, Slice, SlicedContent
from lamina.model.process import Process
from lamina.model.snapshots import Snapshot
from lamina.repository.chunks import ChunkReader
from lamina.repository.repository import Repository
from lamina.repository.sessions import Session, SnapshotFacts
from lamina.repository.trees import DirectoryWriter, read_directory, walk_tree
from lamina.repository.writer import EncodingOptions
from lamina.storage.retrying import Patience, Retrying
from lamina.testing.repositories import SmallRepository
from lamina.testing.simulated_storage import SimulatedStorage
from tests.simulation.oracle import PIECES, Oracle, Pieces, Tree, content, piece
from tests.simulation.people import People
from tests.simulation.scheduler import DAY, HOUR, MINUTE, Client

Life = Callable[[Client], None]
ENCODING = EncodingOptions(level=None, check=False, uploads=0)
PATIENCE = Patience(tries=3)


@dataclass
class Host:
    """One machine: its name, its cache, and what it would save now."""

    name: str
    holder: str
    cache: Path | None
    boot: int = 0
    tree: Tree = field(default_factory=dict)
    processes: dict[int, Client] = field(default_factory=dict)  # by number; those of this boot

    def process(self, client: Client) -> Process:
        """What *client* is called on this machine."""
        number = 1 + len(self.processes)
        self.processes[number] = client
        return Process(self.name, f"boot {self.boot}", number, number * 10)

    def is_running(self, process: Process) -> bool:
        """What the machine says of one of its processes."""
        client = self.processes.get(process.number)
        return client is not None and not client.is_dead and process.started == process.number * 10

    def reboot(self) -> None:
        """Every process is gone."""
        self.boot += 1
        self.processes.clear()


@dataclass
class Actors:
    """Makes clients' lives; they tell the oracle what they were promised."""

    small: SmallRepository
    oracle: Oracle

    def __post_init__(self) -> None:
        self.people = People(self.oracle)

    @contextmanager
    def opened(self, client: Client, holder: str, cache: Path | None = None) -> Iterator[Repository]:
        """The repository as *client* opens it."""
        operation = client.operation()
        bare = SimulatedStorage(client.world.disk, client)
        storage = Retrying(bare, operation, patience=PATIENCE, draw=client.chance.random)
        repository = self.small.open(holder, storage=storage, cache=cache, operation=operation)
        try:
            yield repository
        finally:
            repository.index.close()

    # lives

    def writer(self, host: Host, runs: int) -> Life:
        """Saves what the host has, again and again."""

        def live(client: Client) -> None:
            for _ in range(runs):
                client.rest(0, MINUTE, HOUR)
                change_tree(client, host.tree)
                try:
                    with self.opened(client, host.holder, host.cache) as repository:
                        self._back_up(client, repository, host)
                except (StorageError, SessionAborted) as error:
                    self.oracle.counts[f"failed: {type(error).__name__}"] += 1
                except ChunkMissing as error:  # the rules see to it that what a session refers to stays
                    self._lose(client, f"{client.name} cannot end its backup: {error.message}")

        return live

    def keeper(self, holder: str, runs: int) -> Life:
        """Forgets snapshots, and regrets it."""

        def live(client: Client) -> None:
            for _ in range(runs):
                client.rest(MINUTE, HOUR, DAY)
                try:
                    with self.opened(client, holder) as repository:
                        self.people.keep(client, repository)
                except (StorageError, SnapshotMissing):
                    self.oracle.counts["failed to keep"] += 1

        return live

    def pruner(self, host: Host, runs: int, holder: str = "steward") -> Life:
        """Prunes now and then."""

        def live(client: Client) -> None:
            chance = client.chance
            for _ in range(runs):
                client.rest(HOUR, HOUR, DAY)
                options = PruneOptions(
                    undo_window=timedelta(seconds=chance.choice((0, 0, 0, HOUR, 7 * DAY))),
                    wait=timedelta(seconds=chance.choice((0, 0, MINUTE / 6))),
                    abort_after=timedelta(seconds=chance.choice((HOUR, DAY, 5 * DAY, 5 * DAY))),
                    threshold=chance.choice((0.3, 0.7, 0.95)),
                    max_repack=chance.choice((None, None, 0, 1000)),
                    max_time=timedelta(seconds=chance.choice((MINUTE, HOUR, DAY))),
                    is_running=host.is_running,
                )
                try:
                    with self.opened(client, holder, host.cache) as repository:
                        if chance.random() < 0.6:
                            self.people.keep(client, repository)  # as `forget --prune` does
                        self.count_prune(prune(repository, host.process(client), options, client.operation()))
                except (StorageError, SnapshotMissing):
                    self.oracle.counts["failed prunes"] += 1

        return live

    def reader(self, runs: int) -> Life:
        """Restores snapshots, some of them slowly, as a mount does."""

        def live(client: Client) -> None:
            for _ in range(runs):
                client.rest(MINUTE, HOUR, DAY)
                try:
                    with self.opened(client, "owner") as repository:
                        snapshots = repository.snapshots(removed=client.chance.random() < 0.3)
                        if snapshots:
                            is_slow = client.chance.random() < 0.4
                            self._restore(client, repository, client.chance.choice(snapshots), is_slow=is_slow)
                except StorageError:
                    self.oracle.counts["failed restores"] += 1

        return live

    def verifier(self, holder: str, runs: int) -> Life:
        """Verifies, all or a share, and writes down what came of it. Nothing is ever damaged, so nothing may be found."""

        def live(client: Client) -> None:
            for _ in range(runs):
                client.rest(MINUTE, HOUR, DAY)
                try:
                    with self.opened(client, holder) as repository:
                        self._verify(client, repository)
                except StorageError:
                    self.oracle.counts["failed verifies"] += 1

        return live

    def thief(self, runs: int) -> Life:
        """Has stolen a writer's key, and wants snapshots to go."""

        def live(client: Client) -> None:
            for _ in range(runs):
                client.rest(HOUR)
                try:
                    with self.opened(client, "other") as repository:
                        snapshots = repository.snapshots()
                        if snapshots:
                            self.people.forge_removal(repository, client.chance.choice(snapshots))
                except (StorageError, RepositoryError):
                    continue

        return live

    def count_prune(self, report: PruneReport) -> None:
        """Remember what prunes did, so that a test can see that all of it happens."""
        counts = self.oracle.counts
        counts["prunes"] += 1
        counts["waiting prunes"] += not report.finished
        counts["buried"] += len(report.buried)
        counts["aborted"] += len(report.aborted)
        counts["packs deleted"] += report.deleted
        counts["bytes copied"] += report.copied

    # what they do

    def _lose(self, client: Client, what: str) -> None:
        client.world.note(client, "LOST", "", what)
        self.oracle.lose(what)

    def _back_up(self, client: Client, repository: Repository, host: Host) -> None:
        wanted = {folder: dict(files) for folder, files in host.tree.items()}
        known = self._choose_parent(client, repository)
        session = repository.begin(host.process(client), ENCODING, client.operation())
        try:
            if known is not None and not session.rely_on(repository.parent(known)):
                known = None
            root = self._put(client, session, wanted, known)
            facts = SnapshotFacts(root, 0, 0, False, host.name, host.name, "", (), frozenset(), None)
            self.oracle.intend(session.id, wanted)
            try:
                session.commit(facts)
            except SessionAborted:
                self.oracle.refuse(session.id)
                raise
            self.oracle.promise(session.id)
        except ChunkMissing as error:
            if client.world.disk.objects(f"snapshots/{session.id.hex()}"):  # it was given up: then anything may be gone
                raise SessionAborted("given up") from error
            raise
        except StorageError:
            if client.chance.random() < 0.5:
                session.give_up()
            raise
        finally:
            session.close()

    def _choose_parent(self, client: Client, repository: Repository) -> Snapshot | None:
        if client.chance.random() < 0.4:
            return None
        known = [one for one in repository.snapshots() if one.readable and one.id in self.oracle.saved]
        return client.chance.choice(known[-3:]) if known else None

    def _put(self, client: Client, session: Session, wanted: Tree, known: Snapshot | None) -> bytes:
        """Store a tree; what the parent has is referred to without looking it up."""
        had = self.oracle.saved[known.id].tree if known is not None else {}
        folders = self._folders(session.reader, known)
        root = DirectoryWriter(session.writer)
        for folder, files in sorted(wanted.items()):
            if folder in folders and had.get(folder) == files:
                root.add(folders[folder])
                continue
            entries = self._files(session.reader, folders.get(folder))
            directory = DirectoryWriter(session.writer)
            for name, pieces in sorted(files.items()):
                if name in entries and had[folder].get(name) == pieces:
                    directory.add(entries[name])
                else:
                    directory.add(_put_file(session, name, pieces))
                self._rest(client, session)
            child, totals = directory.finish()
            root.add(Entry(folder.encode(), EntryType.DIRECTORY, child=child, totals=totals))
        return root.finish()[0]

    def _folders(self, reader: ChunkReader, known: Snapshot | None) -> dict[str, Entry]:
        if known is None:
            return {}
        try:
            return {entry.name.decode(): entry for entry in read_directory(reader, known.root)}
        except Damaged:  # what cannot be read of a parent only means that more is read
            return {}

    def _files(self, reader: ChunkReader, folder: Entry | None) -> dict[str, Entry]:
        if folder is None or folder.child is None:
            return {}
        try:
            return {entry.name.decode(): entry for entry in read_directory(reader, folder.child)}
        except Damaged:
            return {}

    def _rest(self, client: Client, session: Session) -> None:
        """Between two files: a checkpoint, or a long time with a slow source."""
        if client.chance.random() < 0.5:
            client.rest(HOUR, HOUR, DAY)
        session.checkpoint()
        if session.is_behind:
            session.catch_up()

    def _verify(self, client: Client, repository: Repository) -> None:
        share, is_writing = client.chance.choice((Fraction(1), Fraction(1, 3))), client.chance.random() < 0.5
        options = VerifyOptions(share=share, record=is_writing, mark=is_writing, threads=0)
        report = verify(repository, client.operation(), options)
        self.oracle.counts["verifies"] += 1
        self.oracle.counts["unsettled verifies"] += not report.settled
        for problem in report.problems:
            if report.settled and problem.object not in self.oracle.forged:
                self._lose(client, f"{client.name} finds damage where none is: {problem.object}: {problem.what}")

    def _restore(self, client: Client, repository: Repository, snapshot: Snapshot, *, is_slow: bool) -> None:
        """Read a snapshot; it must be whole unless somebody began to forget it meanwhile."""
        stayed = self.oracle.must_stay(snapshot.id)
        forgets = self.oracle.saved[snapshot.id].kept.breaks
        try:
            found = read_tree(repository.reader(), snapshot, rest=(lambda: _doze(client)) if is_slow else None)
        except Damaged as error:
            if stayed and self.oracle.saved[snapshot.id].kept.breaks == forgets:
                self._lose(client, f"{client.name} cannot read snapshot {snapshot.short_id}: {error.message}")
            return
        self.oracle.counts["restores"] += 1
        if found != contents(self.oracle.saved[snapshot.id].tree):
            self._lose(client, f"{client.name} reads something else from snapshot {snapshot.short_id}")


def _doze(client: Client) -> None:
    if client.chance.random() < 0.3:
        client.pause(client.chance.choice((MINUTE, HOUR, DAY, 9 * DAY)))


def _put_file(session: Session, name: str, pieces: Pieces) -> Entry:
    slices = []
    for number in pieces:
        chunk = session.writer.data_id(piece(number))
        session.writer.put_data(chunk, piece(number))
        slices.append(Slice(chunk, 0, len(piece(number))))
    found = SlicedContent(sum(one.length for one in slices), tuple(slices))
    return Entry(name.encode(), EntryType.FILE, content=found)


def change_tree(client: Client, tree: Tree) -> None:
    """What happened on a host since: some files changed, came, or went."""
    chance = client.chance
    for folder in ("a", "b"):
        files = tree.setdefault(folder, {})
        if files and chance.random() < 0.3:
            continue
        for _ in range(chance.randint(1, 2)):
            name = f"file-{chance.randrange(4)}"
            files[name] = tuple(chance.randrange(PIECES) for _ in range(chance.randint(1, 2)))
        if len(files) > 2:
            del files[chance.choice(sorted(files))]


def contents(tree: Tree) -> dict[str, bytes]:
    """What a restore of *tree* must give, by path."""
    return {f"{folder}/{name}": content(pieces) for folder, files in tree.items() for name, pieces in files.items()}


def read_tree(reader: ChunkReader, snapshot: Snapshot, rest: Callable[[], None] | None = None) -> dict[str, bytes]:
    """Everything in a snapshot, by path. Raises: Damaged, StorageError."""
    found = {}
    for path, entry in walk_tree(reader, snapshot.root):
        if rest is not None:
            rest()
        if isinstance(entry.content, SlicedContent):
            chunks = reader.get_many([one.id for one in entry.content.slices])
            found[path] = b"".join(chunks[one.id][one.offset : one.offset + one.length] for one in entry.content.slices)
    return found
