"""Run one command as a whole process and say what it cost."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from benchmarks.images import data_ranges

_SAMPLING_S = 0.02
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_READ_SIZE = 1 << 20

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Command:
    """What is run, where, and what must be durable before the clock stops."""

    arguments: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)  # beside our own
    directory: Path = Path("/")
    durable: Path | None = None  # flushed as part of the run: not every program does so itself


@dataclass(frozen=True, slots=True)
class Figures:
    """What one run cost."""

    wall_s: float
    cpu_s: float  # user and system, children included
    rss_anon: int  # bytes: peak of the anonymous memory of the process tree, sampled
    max_rss: int  # bytes: the kernel's own maximum, mapped files included, of the largest process
    others_cpu_s: float  # what the rest of the machine used meanwhile, stolen time included: low means trustworthy

    def __add__(self, other: Figures) -> Figures:
        """Both runs one after the other."""
        return Figures(
            self.wall_s + other.wall_s,
            self.cpu_s + other.cpu_s,
            max(self.rss_anon, other.rss_anon),
            max(self.max_rss, other.max_rss),
            self.others_cpu_s + other.others_cpu_s,
        )


class CommandFailed(Exception):
    """A measured command did not succeed; figures of failures are worth nothing."""


def measure(command: Command, *, log: Path) -> Figures:
    """Run *command* to its end; its output goes to *log*. Raises: CommandFailed with the end of the output."""
    # The kernel lets a child inherit the peak of whoever starts it, so this process must stay smaller than any rival.
    with log.open("ab") as output:
        output.write(f"\n$ {' '.join(command.arguments)}\n".encode())
        output.flush()
        busy, started = _busy_s(), time.perf_counter()
        process = subprocess.Popen(
            list(command.arguments),
            cwd=command.directory,
            env={**os.environ, **command.environment},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        with _sampled(process.pid) as peak:
            _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if command.durable is not None and process.returncode == 0:
            _flush(command.durable)
        wall_s = time.perf_counter() - started
        cpu_s = usage.ru_utime + usage.ru_stime
        others_cpu_s = max(0.0, _busy_s() - busy - cpu_s)
    if process.returncode:
        raise CommandFailed(f"{' '.join(command.arguments)} ended with {process.returncode}:\n{_tail(log)}")
    return Figures(wall_s, cpu_s, peak[0], usage.ru_maxrss << 10, others_cpu_s)


def warm(path: Path) -> None:
    """Settle what earlier runs left to write and read *path* once, so that every program finds the same cache."""
    os.sync()
    buffer = bytearray(_READ_SIZE)
    if path.is_dir():
        _read_tree(str(path), buffer)
        return
    with path.open("rb", buffering=0) as opened:
        for offset, length in data_ranges(path):
            opened.seek(offset)
            for _ in range(0, length, len(buffer)):
                opened.readinto(buffer)


def run_apart(function: Callable[..., T], *arguments: object) -> T:
    """Call *function* in a process of its own, whatever memory it takes: see `measure`."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)


def _read_tree(folder: str, buffer: bytearray) -> None:
    """Look at everything below *folder* and read what is a file; a million of them take seconds, not minutes."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                _read_tree(entry.path, buffer)
            elif not entry.is_file(follow_symlinks=False):
                entry.stat(follow_symlinks=False)
            else:
                descriptor = os.open(entry.path, os.O_RDONLY)
                while os.readv(descriptor, [buffer]) == _READ_SIZE:
                    pass
                os.close(descriptor)


@contextmanager
def _sampled(pid: int) -> Iterator[list[int]]:
    """Keep the peak of the anonymous memory of *pid* and its descendants in the one place of the list."""
    peak, stop = [0], threading.Event()

    def sample() -> None:
        while not stop.wait(_SAMPLING_S):
            peak[0] = max(peak[0], sum(_rss_anon(one) for one in _tree(pid)))

    sampler = threading.Thread(target=sample, daemon=True)
    sampler.start()
    try:
        yield peak
    finally:
        stop.set()
        sampler.join()


def _tree(pid: int) -> Iterator[int]:
    yield pid
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            for child in Path(f"/proc/{pid}/task/{task}/children").read_text().split():
                yield from _tree(int(child))
    except OSError:  # it ended meanwhile
        return


def _rss_anon(pid: int) -> int:
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) << 10
    except OSError:  # it ended meanwhile
        pass
    return 0


def _busy_s() -> float:
    """Seconds all cores were busy, or taken away from us, since the machine started."""
    fields = [int(one) for one in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]]
    user, nice, system, _idle, _iowait, interrupts, soft_interrupts, stolen = fields[:8]
    return (user + nice + system + interrupts + soft_interrupts + stolen) / _TICKS_PER_S


def _flush(path: Path) -> None:
    """Make *path* durable: a file alone, a directory with all else on its file system."""
    if path.is_dir():
        subprocess.run(["sync", "--file-system", str(path)], check=True)
        return
    with path.open("r+b") as file:
        os.fsync(file.fileno())


def _tail(log: Path) -> str:
    return log.read_bytes()[-2000:].decode(errors="replace")
