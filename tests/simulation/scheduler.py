"""Many clients in one thread: who is next, what becomes of its step, who dies, who falls asleep for days.

Everything is drawn from the seed, so that the same seed gives the same run.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from greenlet import getcurrent, greenlet

from lamina.errors import LaminaError
from lamina.model.operation import Operation
from lamina.testing.simulated_storage import Disk, Fate, Listing

BEGINNING = datetime(2026, 1, 1, tzinfo=UTC)
MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0
STEP_S = 0.2  # what a step takes on average
DECISIVE = ("snapshots/", "generations/", "sessions/", "removed/", "index/manifest/")  # puts that others act upon
HASTE = 8  # so much more often something happens at these, and at the next step


class Killed(BaseException):
    """Unwinds a client that is no more; it cannot reach the storage again."""


@dataclass(frozen=True)
class Weather:
    """How bad the days of one run are: chances per step, if not said otherwise."""

    crash: float = 0.0
    error: float = 0.0
    sleep: float = 0.0  # a client stops for minutes, hours or days
    jump: float = 0.0  # a client's clock jumps
    odd_listing: float = 0.0  # of a listing: it takes its time
    stale_listing: float = 0.0  # of a listing: it breaks its promise
    late: float = 0.3  # of a failing put: it may arrive later
    power_cuts: int = 0  # in the whole run
    lazy: bool = False  # the storage is a directory, not an object store
    tempo: float = 1.0  # of the time between two things that a client does
    habit: str = "even"  # who is next: "even", "long" (mostly the same again) or "first" (by rank, which changes)


class ClientClock:
    """A client's clock: right, or not; sleeping lets the others work."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def now(self) -> datetime:
        return self._client.world.now() + self._client.skew

    def monotonic(self) -> float:
        return self._client.world.time

    def sleep(self, seconds: float) -> None:
        self._client.pause(seconds)


class Quiet:
    """Progress that only remembers messages."""

    def __init__(self) -> None:
        self.messages: list[str] = []

    def start(self, phase: str, total: int | None) -> None:
        """Ignore it."""

    def advance(self, *, read: int = 0, skipped: int = 0, new: int = 0, stored: int = 0) -> None:
        """Ignore it."""

    def message(self, text: str) -> None:
        self.messages.append(text)


class Client:
    """One process on one machine, run as a coroutine."""

    def __init__(self, world: World, name: str, life: Callable[[Client], None]) -> None:
        self.world = world
        self.name = name
        self.chance = random.Random(world.chance.getrandbits(64))
        self.skew = timedelta()
        self.wake = 0.0
        self.rank = world.chance.random()
        self.is_dead = False
        self.is_calm = False  # nothing bad happens to it
        self.is_acting = False  # its last call was one that others act upon
        self.coroutine = greenlet(self._live)
        self._life = life

    def operation(self) -> Operation:
        """The world of one call."""
        return Operation(ClientClock(self), Quiet())

    def pause(self, seconds: float) -> None:
        """Let the others work for that long."""
        self._check_alive()
        self.wake = self.world.time + max(0.0, seconds)
        self.world.hub.switch()
        self._check_alive()

    def rest(self, *lengths: float) -> None:
        """Do nothing, for any time up to one of *lengths*."""
        self.pause(self.chance.choice(lengths) * self.chance.random() * self.world.weather.tempo)

    # what its storage asks

    def step(self, call: str, name: str) -> Fate:
        """Wait for our turn; what is to become of this call."""
        self._check_alive()
        self.world.hub.switch()
        self._check_alive()
        fate = self.world.fate(self, call, name)
        self.world.note(self, call, name, fate)
        return fate

    def after(self, call: str, name: str) -> None:
        """The call has had its effect; we may die before we know."""
        if self.world.is_fatal(self):
            self.world.note(self, call, name, "died behind it")
            self.world.kill(self)
            raise Killed

    def listing(self) -> Listing:
        return self.world.listing(self)

    def share(self) -> float:
        return self.world.chance.random()

    def _check_alive(self) -> None:
        if self.is_dead:
            raise Killed

    def _live(self) -> None:
        try:
            self._life(self)
        except Killed:
            pass
        except Exception as error:
            if not (self.world.expects_errors and isinstance(error, LaminaError)):
                self.world.failures.append(error)
        self.world.leave(self)


@dataclass
class World:
    """All clients, the time and the disk."""

    seed: int
    weather: Weather
    trace: list[str] | None = None
    chance: random.Random = field(init=False)
    time: float = 0.0
    steps: int = 0
    crashes: int = 0

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)
        self.disk = Disk(self.now, lazy=self.weather.lazy)
        self.clients: list[Client] = []
        self.failures: list[Exception] = []
        self.hub = getcurrent()
        self.last: Client | None = None
        self._power_cuts = sorted(self.chance.randrange(200, 6000) for _ in range(self.weather.power_cuts))
        self.on_power_cut: Callable[[], None] = lambda: None
        self.is_calm = False  # nothing bad happens any more
        self.expects_errors = False  # a client may fail with an error of ours

    def now(self) -> datetime:
        return BEGINNING + timedelta(seconds=self.time)

    def add(self, name: str, life: Callable[[Client], None]) -> Client:
        """Start one more client."""
        client = Client(self, name, life)
        self.clients.append(client)
        return client

    def run(self, most_steps: int) -> None:
        """Let the clients work until all have ended or *most_steps* were made; then what is left dies."""
        self.hub = getcurrent()
        last = self.steps + most_steps
        while self.clients and self.steps < last and not self.failures:
            self.steps += 1
            self.time += self.chance.expovariate(1 / STEP_S)
            self._let_things_happen()
            client = self._next()
            if client is not None:
                self.last = client
                client.coroutine.switch()
        for client in list(self.clients):
            self.kill(client)
            client.coroutine.switch()

    def fate(self, client: Client, call: str, name: str) -> Fate:
        """What becomes of a step of *client*, which may be its death."""
        if self._is_calm(client):
            return Fate.DONE
        chance, weather = self.chance, self.weather
        is_decisive = call == "put" and name.startswith(DECISIVE)
        haste = HASTE if is_decisive or client.is_acting else 1
        client.is_acting = is_decisive
        if chance.random() < haste * weather.crash / 2:
            self.note(client, call, name, "died before it")
            self.kill(client)
            raise Killed
        if chance.random() < haste * weather.sleep:
            self.note(client, call, name, "fell asleep before it")
            client.pause(chance.choice((MINUTE, HOUR, HOUR, DAY, 3 * DAY)) * chance.uniform(0.5, 1.5))
        if chance.random() >= weather.error:
            return Fate.DONE
        if call == "put" and chance.random() < weather.late:
            return Fate.LATE
        return chance.choice((Fate.REFUSED, Fate.UNACKNOWLEDGED))

    def is_fatal(self, client: Client) -> bool:
        """Whether *client* dies right now."""
        return not self._is_calm(client) and self.chance.random() < self.weather.crash / 2

    def listing(self, client: Client) -> Listing:
        """How the next listing of *client* comes about."""
        if self._is_calm(client):
            return Listing.AT_ONCE
        if self.chance.random() < self.weather.stale_listing:
            return Listing.STALE
        if self.chance.random() < self.weather.odd_listing:
            return self.chance.choice((Listing.OLD, Listing.IN_PARTS))
        return Listing.AT_ONCE

    def kill(self, client: Client) -> None:
        """From now on *client* is no more; it unwinds when it is next switched to."""
        client.is_dead = True
        client.wake = self.time
        self.crashes += 1

    def leave(self, client: Client) -> None:
        """*client* has ended."""
        self.clients.remove(client)

    def note(self, client: Client | None, call: str, name: str, what: object) -> None:
        """Write one line into the trace."""
        if self.trace is not None:
            said = "" if what is Fate.DONE else f"  {what.value if isinstance(what, Fate) else what}"
            who = client.name if client is not None else "-"
            self.trace.append(
                f"{self.steps:6} {timedelta(seconds=int(self.time))!s:>18} {who:12} {call:7} {name}{said}"
            )

    def _is_calm(self, client: Client) -> bool:
        return self.is_calm or client.is_calm

    def _let_things_happen(self) -> None:
        if self.is_calm:
            return
        if self.chance.random() < 0.05:
            name = self.disk.deliver(self.chance.randrange)
            if name is not None:
                self.note(None, "arrive", name, "")
        if self.chance.random() < self.weather.jump and self.clients:
            client = self.chance.choice(self.clients)
            client.skew = timedelta(seconds=self.chance.choice((HOUR, DAY, 30 * DAY)) * self.chance.uniform(-1, 1))
        if self._power_cuts and self.steps >= self._power_cuts[0]:
            self._power_cuts.pop(0)
            self.cut_power()

    def cut_power(self) -> None:
        """Every client dies, and the disk loses what it was not asked to keep."""
        for client in list(self.clients):
            self.kill(client)
            client.coroutine.switch()
        for line in self.disk.cut_power(lambda: self.chance.random() < 0.5):
            self.note(None, "power", line, "")
        self.on_power_cut()

    def _next(self) -> Client | None:
        awake = [client for client in self.clients if client.wake <= self.time]
        if not awake:
            self.time = min((client.wake for client in self.clients), default=self.time)
            return None
        if self.weather.habit == "long" and self.last in awake and self.chance.random() < 0.95:
            return self.last
        if self.weather.habit == "first":
            first = max(awake, key=lambda client: client.rank)
            if self.chance.random() < 0.02:
                first.rank = self.chance.random() * min(client.rank for client in awake)
            return first
        return self.chance.choice(awake)
