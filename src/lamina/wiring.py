"""The composition root: `Settings` → a ready storage and repository; the world outside → an `Operation`."""

from __future__ import annotations

import gc
import os
import resource
import signal
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from lamina.errors import RepositoryMissing, StorageUnavailable, UsageError

if TYPE_CHECKING:
    from lamina.model.operation import Operation
    from lamina.model.process import Process
    from lamina.model.secret import Secret
    from lamina.repository.repository import CreateOptions, Repository
    from lamina.settings import Settings
    from lamina.storage.addresses import StorageAddress
    from lamina.storage.storage import Storage

OPEN_FILES = 16384  # a backup of a tree needs about 1,000, a restore fewer
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8  # glibc, malloc.h


def environment() -> MutableMapping[str, str]:
    """The environment of this process itself: what is taken out of it is gone for children too."""
    return os.environ


def working_directory() -> str:
    """Where relative sources are taken from."""
    return os.getcwd()


def host_name() -> str:
    """What this machine calls itself."""
    return os.uname().nodename


def this_process() -> Process:
    """Who runs here, so that a prune on this host can see later whether it still does. Unknown parts stay empty."""
    from lamina.model.process import Process

    with suppress(OSError):
        return Process(
            host=f"{_read('/etc/machine-id')} {host_name()}",
            boot=_read("/proc/sys/kernel/random/boot_id"),
            number=os.getpid(),
            started=_process_start(os.getpid()),
            namespace=os.readlink("/proc/self/ns/pid"),
        )
    return Process(host=host_name(), number=os.getpid())


def is_running(process: Process) -> bool:
    """Whether a process of this machine, boot and namespace still runs; where that cannot be told, it may."""
    try:
        os.kill(process.number, 0)  # /proc alone may hide the processes of other users
    except ProcessLookupError:
        return False
    except OSError:
        pass
    try:
        return _process_start(process.number) == process.started
    except OSError:
        return True


def _process_start(number: int) -> int:
    """When a process began, in clock ticks after boot. Raises: OSError."""
    fields = Path(f"/proc/{number}/stat").read_text().rpartition(") ")[2].split()
    return int(fields[19])  # proc(5): field 22, counted from the one after the name


def _read(path: str) -> str:
    with suppress(OSError):
        return Path(path).read_text().strip()
    return ""


def tune_memory() -> None:
    """Keep freed chunk buffers instead of giving each back to the system: 4–18 % faster (measured), where glibc is.

    Without it malloc maps every buffer of a chunk anew, and the kernel clears a thousand pages for each.
    """
    import ctypes

    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another libc: nothing to tune
        return
    mallopt(_M_ARENA_MAX, 1)  # with one for each thread trees need 320 MiB instead of 200 (measured), and no less time
    mallopt(_M_MMAP_THRESHOLD, 64 << 20)
    mallopt(_M_TRIM_THRESHOLD, 256 << 20)


def tune_collector() -> None:
    """Look for cycles of garbage seldom: a tree's entries are many and have none, and looking costs a tenth of the time."""
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)


def raise_file_limit() -> None:
    """Let this process open more files than a login shell's usual 1,024: trees are walked and read with many open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(OSError, ValueError):  # then it has to do with what there is
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


class Signals:
    """What SIGINT and SIGTERM do: press the stop button of a running operation, or interrupt at once."""

    def __init__(self) -> None:
        self._operation: Operation | None = None

    @contextmanager
    def caught(self) -> Iterator[None]:
        """Handle both signals inside this block as this class says."""
        before = [(number, signal.signal(number, self._pressed)) for number in (signal.SIGINT, signal.SIGTERM)]
        try:
            yield
        finally:
            for number, handler in before:
                signal.signal(number, handler)

    @contextmanager
    def stopping(self, operation: Operation) -> Iterator[None]:
        """Inside this block the first signal asks *operation* to stop cleanly; the second interrupts at once."""
        self._operation = operation
        try:
            yield
        finally:
            self._operation = None

    def _pressed(self, _number: int, _frame: FrameType | None) -> None:
        if self._operation is None or self._operation.stop.is_set():
            raise KeyboardInterrupt
        self._operation.stop.set()
        with suppress(RuntimeError):  # the signal came while this very stream was being written to
            self._operation.progress.message("stopping cleanly; once more to stop at once")


def open_storage(settings: Settings, operation: Operation, *, create: bool = False) -> Storage:
    """The storage the settings name, with retries and speed limits around it. *create*: make the place if need be."""
    from lamina.storage.interruptible import Interruptible
    from lamina.storage.retrying import Retrying
    from lamina.storage.throttled import Throttled

    storage = open_bare_storage(settings, create=create)
    if _parsed_address(settings).is_remote:
        storage = Interruptible(storage, operation)
    storage = Retrying(storage, operation)
    if settings.limit_upload or settings.limit_download:
        storage = Throttled(
            storage,
            operation.clock,
            upload_bytes_per_s=settings.limit_upload,
            download_bytes_per_s=settings.limit_download,
            stop=operation.stop,
        )
    return storage


def open_bare_storage(settings: Settings, *, create: bool = False) -> Storage:
    """The storage the settings name, with nothing around it: to be probed."""
    from lamina.plugins import find_plugin

    address = _parsed_address(settings)
    storage: Storage = find_plugin("storage", address.kind).open_storage(address, settings.environment, create=create)
    return storage


def _parsed_address(settings: Settings) -> StorageAddress:
    from lamina.storage.addresses import parse_address

    if not settings.address:
        raise UsageError(
            "no repository was named", hint="give -r PATH_OR_URL, or set LAMINA_REPOSITORY (see `lamina init -h`)"
        )
    return parse_address(settings.address, settings.environment)


def own_paths(settings: Settings) -> list[str]:
    """What lies on this machine and a restore must never remove: the repository, its cache and its passphrase."""
    from lamina.settings import settings_path

    path = _parsed_address(settings).options.get("path")
    paths = (path, settings.cache_dir, settings.passphrase.file, settings_path(settings.environment))
    return [os.fspath(one) for one in paths if one is not None]


def own_folders(settings: Settings) -> list[str]:
    """Directories of this machine that no backup of a tree is meant to hold: the repository itself, and its cache."""
    places = [_parsed_address(settings).options.get("path") if settings.address else None, settings.cache_dir]
    return [os.path.abspath(one) for one in places if one is not None]


@contextmanager
def open_repository(settings: Settings, passphrase: Secret, operation: Operation) -> Iterator[Repository]:
    """The repository the settings name, opened, and closed at the end of the block."""
    from lamina.repository.repository import Repository

    tune_memory()
    tune_collector()
    raise_file_limit()
    try:
        storage = open_storage(settings, operation)
    except StorageUnavailable as error:
        if isinstance(error.__cause__, FileNotFoundError):  # not even the place: certainly no repository in it
            raise RepositoryMissing(f"there is no repository: {error.message}", hint=error.hint) from error
        raise
    try:
        repository = Repository.open(storage, passphrase, operation, cache=settings.cache_dir)
    except BaseException:
        storage.close()
        raise
    try:
        yield repository
    finally:
        repository.close()


def create_repository(
    settings: Settings, storage: Storage, passphrase: Secret, options: CreateOptions, operation: Operation
) -> tuple[Repository, str]:
    """Make a repository in *storage*; returns it and its recovery key, to be shown once."""
    from lamina.repository.repository import Repository

    return Repository.create(storage, passphrase, options, operation, cache=settings.cache_dir)
