"""One seed, one life of a repository: many clients under bad weather, then quiet, then everything promised is restored."""

from __future__ import annotations

import random
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache
from pathlib import Path

import msgspec

from lamina.engine.prune import PruneOptions, PruneReport, prune
from lamina.engine.verify import verify
from lamina.errors import LaminaError
from lamina.repository.format import Kind
from lamina.testing.damage import copy_storage
from lamina.testing.repositories import SmallRepository
from lamina.testing.storages import MemoryStorage
from tests.simulation.clients import Actors, Host, contents, read_tree
from tests.simulation.determinism import reproducible
from tests.simulation.oracle import Oracle
from tests.simulation.scheduler import DAY, Client, Weather, World

PACK = 600  # bytes; so small that a session fills several
MOST_STEPS = 6000
FRAGILE = Path("/dev/shm")


@dataclass
class Outcome:
    """What came of one seed."""

    seed: int
    counts: Counter[str]
    losses: list[str]
    trace: list[str] = field(default_factory=list)


def run_seed(seed: int, *, trace: bool = False, only_losses: bool = False) -> Outcome:
    """Run one seed to its end. Everything in it follows from *seed* (and from PYTHONHASHSEED).

    With *only_losses* a client may fail with any error of ours: what counts is what cannot be restored in the end.
    """
    _template()  # made at the first call, and with chance of its own
    with reproducible(random.Random(seed)), _scratch() as scratch:
        run = _Run(seed, scratch, trace=trace)
        run.world.expects_errors = only_losses
        run.live()
        if not run.losses():
            run.settle()
        if not run.losses() and not only_losses:
            run.leave_nothing()
        counts = run.oracle.counts
        counts["crashes"] = run.world.crashes
        counts["steps"] = run.world.steps
        counts["caught up"] = sum("/gen-" in name for name in run.names("sessions/"))
        counts["generations"] = len(run.names("generations/", "/closed"))
        return Outcome(seed, counts, run.losses(), run.world.trace or [])


def run_task(task: tuple[int, str, bool]) -> Outcome:
    """Run one seed, with one rule left out if the task names a plant."""
    from tests.simulation.plants import planted

    seed, plant, trace = task
    with planted(plant) if plant else nullcontext():
        return run_seed(seed, trace=trace, only_losses=bool(plant))


class _Run:
    """One seed under way."""

    def __init__(self, seed: int, scratch: Path, *, trace: bool) -> None:
        chance = random.Random(f"weather {seed}")
        self.world = World(seed, _weather(chance), [] if trace else None)
        self.oracle = Oracle()
        self.small = SmallRepository(MemoryStorage())
        self.actors = Actors(self.small, self.oracle)
        for name, data in _template().items():
            self.world.disk.put(name, data)
            self.world.disk.make_durable(name)
        self.hosts = [
            Host(f"host {number}", chance.choice(("owner", "writer")), _cache(chance, scratch / f"host-{number}"))
            for number in range(chance.randint(2, 4))
        ]
        self.pruning = Host("keeper's host", "steward", _cache(chance, scratch / "pruning"))
        self.chance = chance

    def live(self) -> None:
        """The bad days."""
        self._people_the_world(self.chance.randint(3, 6))
        self.world.on_power_cut = lambda: self._people_the_world(2)
        self.world.run(MOST_STEPS)
        self._blame("the bad days")

    def settle(self) -> None:
        """The weather clears up; a prune ends what was begun, and everything that was promised is there."""
        world = self.world
        while world.disk.deliver(self.chance.randrange) is not None:
            pass
        world.is_calm = True
        world.time += 3 * DAY
        reports: list[PruneReport] = []
        self._alone("pruner", lambda client: self._prune(client, timedelta(days=7), reports))
        self._alone("pruner", lambda client: self._prune(client, timedelta(days=7), reports))
        opened, closed = self.names("generations/", "/open"), self.names("generations/", "/closed")
        if len(opened) != len(closed) and not self.losses() and not self.world.expects_errors:
            self.oracle.lose(f"{len(opened) - len(closed)} generations cannot be closed")
        self._alone("judge", self._judge)

    def leave_nothing(self) -> None:
        """Everything is forgotten, and all space comes back; then the repository is as good as new."""

        def forget(client: Client) -> None:
            with self.actors.opened(client, "owner") as repository:
                for snapshot in repository.snapshots(removed=True):
                    saved = self.oracle.saved[snapshot.id]
                    saved.protected.begin_break()
                    repository.protect(snapshot, protected=False)
                    saved.kept.begin_break()
                    repository.forget(snapshot)

        self._alone("owner", forget)
        for _ in range(3):
            self.world.time += 40 * DAY  # also of clocks that were a month ahead
            self._alone("pruner", lambda client: self._prune(client, timedelta(0), []))
        left = self.names("data/") + self.names("meta/")
        if left and not self.losses():
            self.oracle.lose(f"no space comes back: {len(left)} packs are left when nothing is")
        host = Host("new host", "owner", None)
        self._alone("new", self.actors.writer(host, 1))
        self._alone("judge", self._judge)

    def losses(self) -> list[str]:
        """What went wrong so far."""
        return self.oracle.losses

    def names(self, prefix: str, suffix: str = "") -> list[str]:
        """Names of objects on the disk."""
        return [found.name for found in self.world.disk.objects(prefix) if found.name.endswith(suffix)]

    def _people_the_world(self, runs: int) -> None:
        for host in [*self.hosts, self.pruning]:
            host.reboot()
        for host in self.hosts:
            for number in range(self.chance.randint(1, 2)):
                self.world.add(f"{host.name[-1]} writer {number}", self.actors.writer(host, runs))
        for number in range(self.chance.choice((1, 1, 2))):
            self.world.add(
                f"pruner {number}", self.actors.pruner(self.chance.choice([*self.hosts, self.pruning]), 3 * runs)
            )
        for number in range(self.chance.choice((1, 1, 2))):
            self.world.add(f"keeper {number}", self.actors.keeper(self.chance.choice(("owner", "steward")), 3 * runs))
        self.world.add("reader", self.actors.reader(runs))
        if self.chance.random() < 0.5:
            self.world.add("verifier", self.actors.verifier(self.chance.choice(("owner", "steward")), runs))
        if self.chance.random() < 0.3:
            self.world.add("thief", self.actors.thief(runs))

    def _alone(self, name: str, life: object) -> None:
        if not self.losses():
            self.world.add(name, life)  # type: ignore[arg-type]
            self.world.run(100_000)
            self._blame(name)

    def _blame(self, whom: str) -> None:
        for error in self.world.failures:
            if self.world.expects_errors:
                raise error  # a plant that does not work finds nothing
            note = f" ({error.hint})" if isinstance(error, LaminaError) else ""
            at = _where(error)
            self.oracle.lose(f"{whom}: {type(error).__name__}: {error}{note} at {at}")
        self.world.failures.clear()

    def _prune(self, client: Client, undo_window: timedelta, reports: list[PruneReport]) -> None:
        options = PruneOptions(undo_window=undo_window, wait=timedelta(0), abort_after=timedelta(hours=1))
        with self.actors.opened(client, "steward") as repository:
            report = prune(repository, self.pruning.process(client), options, client.operation())
            self.actors.count_prune(report)
            reports.append(report)

    def _judge(self, client: Client) -> None:
        """Restore everything with a fresh client, and let verify look at all of it."""
        oracle = self.oracle
        with self.actors.opened(client, "owner") as repository:
            there = {snapshot.id: snapshot for snapshot in repository.snapshots(removed=True)}
            for session, saved in oracle.saved.items():
                if session not in there and oracle.must_stay(session):
                    oracle.lose(f"snapshot {session.hex()[:8]} was committed, not forgotten, and is gone")
                if session in there and saved.is_refused:
                    oracle.lose(f"snapshot {session.hex()[:8]} is there although its commit failed")
            for snapshot in there.values():
                if oracle.must_be_listed(snapshot.id) and snapshot.removed:
                    oracle.lose(f"snapshot {snapshot.short_id} counts as removed, and nobody forgot it")
                try:
                    found = read_tree(repository.reader(), snapshot)
                except LaminaError as error:
                    oracle.lose(f"snapshot {snapshot.short_id} cannot be restored: {error.message}")
                    continue
                if found != contents(oracle.saved[snapshot.id].tree):
                    oracle.lose(f"snapshot {snapshot.short_id} holds something else")
            for problem in verify(repository, client.operation()).problems:
                if problem.object not in oracle.forged:
                    oracle.lose(f"verify: {problem.object}: {problem.what}")


def _weather(chance: random.Random) -> Weather:
    """What kind of days these are."""
    bad = chance.choice((0.0, 0.5, 1.0, 1.0, 2.0))
    lazy = chance.random() < 0.5
    return Weather(
        crash=bad * chance.choice((0.0, 0.001, 0.003)),
        error=bad * chance.choice((0.0, 0.01, 0.05)),
        sleep=chance.choice((0.0, 0.005, 0.02)),
        jump=chance.choice((0.0, 0.001)),
        odd_listing=chance.choice((0.0, 0.3)),
        power_cuts=chance.choice((0, 0, 1, 2)) if lazy else 0,
        lazy=lazy,
        tempo=chance.choice((1.0, 1.0, 0.05, 0.002)),
        habit=chance.choice(("even", "long", "first")),
    )


def _cache(chance: random.Random, path: Path) -> Path | None:
    return path if chance.random() < 0.4 else None


@contextmanager
def _scratch() -> Iterator[Path]:
    before = tempfile.tempdir
    scratch = Path(tempfile.mkdtemp(prefix="lamina-simulation-", dir=FRAGILE if FRAGILE.is_dir() else None))
    tempfile.tempdir = str(scratch)
    try:
        yield scratch
    finally:
        tempfile.tempdir = before
        shutil.rmtree(scratch, ignore_errors=True)


@cache
def _template() -> dict[str, bytes]:
    """A new repository of very small packs."""
    with reproducible(random.Random(0)):
        storage = copy_storage(SmallRepository().storage)
        repository = SmallRepository(storage).open()
        access = repository.access
        record = msgspec.structs.replace(access.format, number=2, data_pack=PACK, meta_pack=PACK)
        access.control.write(Kind.FORMAT, f"format/{2:08d}", record)
        return {found.name: storage.get(found.name) for found in storage.objects()}


def _where(error: Exception) -> str:
    trace = error.__traceback__
    last = ""
    while trace is not None:
        last = f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}"
        trace = trace.tb_next
    return last
