"""Check what lies in a storage without any key: every object bears its own hash."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

from lamina.engine.threads import each
from lamina.engine.verifying.findings import Amount, Problem, VerifyReport
from lamina.engine.verifying.packs import FAULTS
from lamina.errors import ObjectMissing, RepositoryMissing
from lamina.model.ids import RepositoryId
from lamina.model.operation import Operation
from lamina.repository.birth import decode_birth
from lamina.repository.format import Kind
from lamina.repository.generations import missing_generations
from lamina.repository.inspection import check_stored, kinds_of
from lamina.repository.object_names import EPOCHS, FORMATS, ROOT, SESSIONS, SNAPSHOTS
from lamina.storage.storage import Storage, StoredObject

THREADS = 2  # each holds a whole pack
LIMIT = "without a key only stored bytes were checked: not what they say, nor whether anything is missing that nothing names"
_NEEDED = (ROOT, FORMATS, EPOCHS)


def verify_without_key(storage: Storage, operation: Operation) -> VerifyReport:
    """Check that every object holds what was stored, and that those are there that others name.

    Raises: RepositoryMissing, StorageError, Stopped.
    """
    begun = operation.clock.monotonic()
    found = sorted(storage.objects(), key=lambda item: item.name)
    repository = _repository_id(storage, found)
    operation.progress.start("verify", sum(item.size for item in found))
    strangers = [item for item in found if item.name != ROOT and not kinds_of(item.name)]
    known = [item for item in found if item.name == ROOT or kinds_of(item.name)]
    packs = [item for item in known if Kind.PACK in kinds_of(item.name)]

    def check(item: StoredObject) -> Problem | None:
        operation.check_stop()
        try:
            check_stored(storage.get(item.name), item.name, repository)
        except FAULTS as error:
            return Problem(item.name, error.message)
        finally:
            operation.progress.advance(read=item.size)
        return None

    with ThreadPoolExecutor(THREADS, thread_name_prefix="verify") as executor:
        problems = [problem for problem in each(executor, check, known, operation) if problem is not None]
    names = {item.name for item in found}
    amount = Amount(len(packs), sum(item.size for item in packs))
    return VerifyReport(
        objects=len(found),
        read=sum(item.size for item in known),
        chunks=0,
        snapshots=sum(name.startswith(SNAPSHOTS) for name in names),
        duration=timedelta(seconds=operation.clock.monotonic() - begun),
        problems=(*problems, *(Problem(*one) for one in _missing(names))),
        warnings=tuple(
            Problem(item.name, "does not belong to a repository; it was not looked at") for item in strangers
        ),
        limits=(LIMIT,),
        packs=amount,
        checked=amount,
    )


def _repository_id(storage: Storage, found: list[StoredObject]) -> RepositoryId | None:
    """Whose objects these should be; None if that cannot be read. Raises: RepositoryMissing."""
    if not found:
        raise RepositoryMissing(f"there is no repository at {storage.address}", hint="check the address")
    try:
        return decode_birth(storage.get(ROOT)).repository
    except (*FAULTS, ObjectMissing):
        return None


def _missing(names: set[str]) -> Iterator[tuple[str, str]]:
    """What must be there because of what is there."""
    for needed in _NEEDED:
        if not any(name.startswith(needed) for name in names):
            yield needed, "is missing: the repository cannot be opened without it"
    for name in missing_generations(names):
        yield name, "is missing, and later records of prunes say that there was one"
    for name in sorted(names):
        start = f"{SESSIONS}{name.removeprefix(SNAPSHOTS)}/start"
        if name.startswith(SNAPSHOTS) and start not in names:
            yield start, f"is missing, and {name} says that there was one"
