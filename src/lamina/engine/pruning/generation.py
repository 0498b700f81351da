"""One generation, step by step (spec: what a prune does)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack, suppress
from datetime import timedelta

from lamina.engine.pruning.outlook import Outlook, check_committed, evidence, mark_all
from lamina.engine.pruning.rescue import Rescue, Rescuer
from lamina.engine.pruning.waiting import Patience, Waited, blockers, give_up_dead
from lamina.errors import ObjectExists, ObjectMissing, PruneRefused, StorageDenied, StorageFull
from lamina.model.ids import PackId, SessionId
from lamina.model.operation import Operation
from lamina.repository.access import Access
from lamina.repository.announcements import undecided
from lamina.repository.committed import Committed, read_committed
from lamina.repository.decisions import decide_abort, make_commits_durable
from lamina.repository.format import Kind
from lamina.repository.generations import (
    Generation,
    all_buried,
    due_of,
    generation_name,
    generation_session,
    last_closed,
    newest_generation,
    next_number,
    read_closed,
)
from lamina.repository.index_records import CountedRecords, newest_manifest
from lamina.repository.moving import PackMover
from lamina.repository.object_names import DELTAS, SEGMENTS, delta_session, pack_name
from lamina.repository.pack_use import StoredPack, list_packs, pack_sizes
from lamina.repository.records import AbortRecord, GenerationClosedRecord, GenerationOpenRecord, ManifestRecord
from lamina.repository.segments import fold, manifest_hash, manifest_of, publish
from lamina.repository.tables import Table

_TOO_FULL = (
    "make room on the disk; or run `lamina prune --max-repack SIZE` with a SIZE below what is free: it copies no more than"
    " that before it deletes"
)
POLL_S = 2.0  # between two looks at the sessions that are waited for


class Pruning:
    """One run of a prune, and what it did so far."""

    def __init__(self, access: Access, patience: Patience, operation: Operation) -> None:
        self._access = access
        self._patience = patience
        self._operation = operation
        self._began = operation.clock.monotonic()
        self.aborted: set[SessionId] = set()  # sessions that were given up
        self.problems: list[str] = []
        self.buried: tuple[SessionId, ...] = ()
        self.deleted = 0  # packs
        self.freed = 0  # bytes of them
        self.copied = 0  # bytes of blobs
        self.left = 0  # condemned packs that stay for lack of time or room

    def finish_deletions(self) -> None:
        """Delete what the last generation left to be deleted. Raises: StorageError."""
        self._delete(due_of(last_closed(self._access.storage, self._access.control)))

    def give_up_the_dead(self) -> None:
        """Abort every session that shows no life: nothing waits for it any more. Raises: StorageError."""
        found = undecided(self._access.storage, self._access.control)
        self.aborted |= give_up_dead(self._access, found, self._patience, self._operation.clock.now())

    def give_up_orphans(self, seen: Outlook) -> None:
        """Abort sessions that nobody announced, once a pack of theirs is old: the next prune takes it. Raises: StorageError."""
        before = self._operation.clock.now() - self._patience.abort_after
        for session, name in seen.orphans.items():
            with suppress(ObjectMissing, ObjectExists):
                if self._access.storage.stat(name).modified < before:
                    decide_abort(self._access.control, session, AbortRecord(0, "it never announced itself"))

    def open(self, seen: Outlook) -> Generation | None:
        """Say what the generation condemns and buries; None if another prune was faster. Raises: StorageError.

        Of a generation that is under way that was said before, and is not changed by what was removed since.
        """
        if seen.under_way is not None:
            return seen.under_way
        removed = [session for session, one in seen.committed.items() if one.removed_at is not None]
        said = evidence(self._access, seen)
        record = GenerationOpenRecord(
            sorted(seen.committed), sorted(removed), sorted(seen.burying), sorted(seen.condemned), said
        )
        number = seen.number
        if record.committed:
            make_commits_durable(self._access.storage, SessionId(record.committed[0]))  # and all beside it
        while True:
            with suppress(ObjectExists):
                self._access.control.write(Kind.GENERATION_OPEN, generation_name(number, "open"), record)
                return Generation(number, record, None)
            newest = newest_generation(self._access.storage, self._access.control)
            if newest is not None and newest.number >= number:
                return None
            number = next_number(self._access.storage, self._access.control, number)  # something forged lies there

    def wait(self, generation: int, patience: timedelta) -> tuple[Waited, ...]:
        """Wait until no session may need what is condemned and not know it; those that are waited for still.

        Raises: Stopped, StorageError.
        """
        clock = self._operation.clock
        until = clock.monotonic() + patience.total_seconds()
        told = False
        while found := blockers(self._access, generation):
            given_up = give_up_dead(self._access, found, self._patience, clock.now())
            self.aborted |= given_up
            waited = tuple(Waited(one.session, one.started) for one in found if one.session not in given_up)
            if waited and clock.monotonic() >= until:
                return waited
            if waited and not told:
                self._operation.progress.message(_waiting_for(waited))
                told = True
            if waited:
                self._operation.check_stop()
                clock.sleep(min(POLL_S, max(until - clock.monotonic(), 0.0)))
        return ()

    def carry_out(self, generation: Generation, seen: Outlook, max_time: timedelta | None) -> None:
        """Do what the generation is for, once nobody is waited for. Raises: PruneRefused, StorageError, Stopped."""
        if self._believe_closed(generation.number):
            return
        manifest = manifest_of(self._access, generation.number)
        if manifest is None:
            try:
                manifest = self._make_manifest(generation, seen, max_time)
            except (PruneRefused, ObjectMissing, StorageFull) as error:
                if self._believe_closed(generation.number):
                    return  # another prune was faster, and deleted what this one looked for
                manifest = manifest_of(self._access, generation.number)
                if manifest is None:
                    if not isinstance(error, ObjectMissing):
                        self.call_off(generation)  # on a full disk too: the next prune may choose less to be copied
                    raise
                # another prune has decided, and what this one looked for is left out of the index already
        self._close(generation, manifest)

    def _believe_closed(self, number: int) -> bool:
        """Finish what another prune closed; False if nobody did."""
        closed = read_closed(self._access.control, number)
        if closed is None:
            return False
        self.buried = tuple(SessionId(session) for session in closed.buried)
        self._delete(closed.due)
        return True

    def call_off(self, generation: Generation) -> None:
        """End a generation that cannot go on: nothing is buried or deleted. Raises: StorageError, Damaged.

        Without that whoever commits a snapshot that needs what is nowhere would stop all prunes for ever: the next one can
        bury it.
        """
        base = newest_manifest(self._access.storage, self._access.control)
        if base is None or base.generation != generation.number:
            segments, folded = (base.segments, base.folded) if base is not None else ([], [])
            kept = generation.opened.condemned
            previous = manifest_hash(self._access, base)
            record = ManifestRecord(0, previous, segments, folded, generation.number, [], kept)
            base = publish(self._access, record, base)
        self._close(generation, base)

    def _make_manifest(self, generation: Generation, seen: Outlook, max_time: timedelta | None) -> ManifestRecord:
        """Look again, copy what is needed, and publish the index without what is condemned."""
        self._operation.progress.start("copy", seen.choice.copied)
        access, opened = self._access, generation.opened
        committed = read_committed(access.storage, access.control, all_buried(seen.last))
        check_committed(generation, committed, all_buried(seen.last))
        buried = still_removed(opened, committed)
        seen.index.load(access.storage, access.control)
        mark_all(seen.live, committed, buried)
        condemned = frozenset(PackId(pack) for pack in opened.condemned)
        with ExitStack() as stack:
            rescued, tables = self._rescue(generation, seen, max_time, stack)
            counted = CountedRecords(access.storage, access.control)
            there = self._packs_there(seen)
            decided = sorted(name for name in counted.deltas if delta_session(name) not in counted.undecided)
            gone = condemned - rescued.kept
            folded = fold(access, counted.manifest, decided, tables, gone, lambda pack: pack in there)
        # What was deleted a moment ago is not listed, and a power cut may bring it back: it must still count as folded.
        deltas = self._listed(DELTAS).union(due_of(seen.last))
        before = deltas.intersection(counted.manifest.folded if counted.manifest else ())
        record = ManifestRecord(
            0, manifest_hash(access, counted.manifest), folded.segments, sorted({*before, *folded.deltas}),
            generation.number, sorted(buried), sorted(rescued.kept & condemned),
        )  # fmt: skip
        return publish(access, record, counted.manifest)

    def _rescue(
        self, generation: Generation, seen: Outlook, max_time: timedelta | None, stack: ExitStack
    ) -> tuple[Rescue, list[Table]]:
        """Copy what is needed of what is condemned; on a full disk nothing, if what nobody needs makes room without that.

        The tables last as long as *stack*. Raises: StorageError, Stopped.
        """
        try:
            rescued, tables = self._copy(generation, seen, lambda: self._is_late(max_time), stack)
        except StorageFull as error:
            rescued, tables = self._copy(generation, seen, lambda: True, stack)
            if not generation.opened.condemned or rescued.kept >= set(map(PackId, generation.opened.condemned)):
                raise StorageFull(error.message, hint=_TOO_FULL) from error
            rescued.problems.append(f"{error.message}; only packs of which nothing is needed are deleted")
        self.problems += rescued.problems
        self.left = rescued.late
        return rescued, tables

    def _copy(
        self, generation: Generation, seen: Outlook, is_late: Callable[[], bool], stack: ExitStack
    ) -> tuple[Rescue, list[Table]]:
        access = self._access
        mover = PackMover(access, generation_session(access.structure_key, generation.number), self._stored)
        stack.callback(mover.close)
        condemned = frozenset(PackId(pack) for pack in generation.opened.condemned)
        rescued = Rescuer(access, seen.index, seen.live, mover, self._operation).empty(
            condemned, self._packs_there(seen), is_late
        )
        tables = mover.finish()
        self.copied = mover.moved
        return rescued, tables

    def _close(self, generation: Generation, manifest: ManifestRecord) -> None:
        """Say what is buried and to be deleted, or believe who said it first; only then delete."""
        storage, control = self._access.storage, self._access.control
        last = last_closed(storage, control)
        due = self._due(generation, manifest, last)
        closed = GenerationClosedRecord(manifest.buried, due, sorted(all_buried(last)))
        name = generation_name(generation.number, "closed")
        with suppress(ObjectExists):
            control.write(Kind.GENERATION_CLOSED, name, closed)
        if not self._believe_closed(generation.number):
            raise PruneRefused(
                f"something forged lies under {name}, where this prune has to end",
                hint="delete that object, and find out who can write to the storage: see the threat model",
            )

    def _due(self, generation: Generation, manifest: ManifestRecord, last: Generation | None) -> list[str]:
        """Everything that is there and nobody needs once the generation is closed."""
        condemned = {PackId(pack) for pack in generation.opened.condemned} - {PackId(pack) for pack in manifest.kept}
        sizes = pack_sizes(self._access.storage)
        called = (pack_name(pack, meta=meta) for pack in sorted(condemned) for meta in (False, True))
        packs = [name for name in called if name in sizes]  # what somebody put under such a name elsewhere goes as well
        deltas = sorted(set(manifest.folded) & self._listed(DELTAS))
        segments = sorted(self._listed(SEGMENTS) - set(manifest.segments))
        rest = [name for name in due_of(last) if self._is_there(name)]
        return list(dict.fromkeys([*packs, *deltas, *segments, *rest]))

    def _delete(self, due: Iterable[str]) -> None:
        """Delete what is due and there; what may not be deleted is left to the next prune. Raises: StorageError."""
        sizes = pack_sizes(self._access.storage)
        index = self._listed(DELTAS) | self._listed(SEGMENTS)
        for name in due:
            if name not in sizes and name not in index:
                continue
            try:
                self._access.storage.delete(name)
            except StorageDenied as error:
                self.problems.append(f"{name} cannot be deleted yet: {error.message}")
                continue
            self.deleted += name in sizes
            self.freed += sizes.get(name, 0)

    def _packs_there(self, seen: Outlook) -> dict[PackId, StoredPack]:
        """Packs that are there, without those that were due before: what a delta says of others is not true any more."""
        due = set(due_of(seen.last))
        listed = list_packs(self._access.storage)
        return {pack: one for pack, one in listed.items() if pack_name(pack, meta=one.meta) not in due}

    def _is_late(self, max_time: timedelta | None) -> bool:
        passed = self._operation.clock.monotonic() - self._began
        return max_time is not None and passed > max_time.total_seconds()

    def _listed(self, folder: str) -> set[str]:
        return {found.name for found in self._access.storage.objects(folder)}

    def _is_there(self, name: str) -> bool:
        try:
            self._access.storage.stat(name)
        except ObjectMissing:
            return False
        return True

    def _stored(self, size: int) -> None:
        self._operation.progress.advance(stored=size)


def still_removed(opened: GenerationOpenRecord, committed: Mapping[SessionId, Committed]) -> set[SessionId]:
    """Whom a generation buries: those it named at the beginning, unless they were brought back meanwhile."""
    there = ((SessionId(session), committed.get(SessionId(session))) for session in opened.buried)
    return {session for session, one in there if one is not None and one.removed_at is not None}


def _waiting_for(waited: tuple[Waited, ...]) -> str:
    first = min(waited, key=lambda one: one.started)
    more = f" and {len(waited) - 1} more" if len(waited) > 1 else ""
    return f"waiting for session {first.session.hex()[:16]}, which began {first.started:%Y-%m-%d %H:%M} UTC{more}"
