"""Snapshot records: list, find, read, change (spec: snapshots, attributes, removals)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import tzinfo

from lamina.errors import (
    Damaged,
    NotPermitted,
    ObjectMissing,
    RecordForged,
    SnapshotMissing,
    UsageError,
)
from lamina.model.ids import ChunkId, SessionId
from lamina.model.order import in_order
from lamina.model.selector_text import parse
from lamina.model.selectors import ById, Either, HashName, Selector, only, select
from lamina.model.snapshots import Origin, Role, Snapshot, Statistics, Trust
from lamina.repository.access import Access
from lamina.repository.attributes import Attributes, fold_attributes, fold_removals, names_of, next_name
from lamina.repository.control import Signed, seal_body, unseal_body
from lamina.repository.decisions import DECISIONS, make_commits_durable
from lamina.repository.format import Kind
from lamina.repository.generations import buried_by, read_buried
from lamina.repository.object_names import ATTRIBUTES, REMOVALS, SNAPSHOTS, snapshot_name
from lamina.repository.records import (
    AttributesBody,
    AttributesRecord,
    SnapshotBody,
    SnapshotRecord,
    from_us,
    to_us,
)
from lamina.repository.session_keys import Purpose
from lamina.repository.sessions import hash_name
from lamina.repository.snapshot_cache import Remembered, SnapshotCache, mark_of
from lamina.storage.storage import StoredObject


@dataclass(frozen=True, slots=True)
class _Found:
    """One committed snapshot with what its attributes say."""

    signed: Signed[SnapshotRecord]
    attributes: Attributes
    removed: bool


@dataclass(frozen=True, slots=True)
class _Objects:
    """What a storage lists of one session."""

    snapshot: StoredObject
    attributes: Sequence[StoredObject]
    removals: Sequence[StoredObject]

    def mark(self) -> bytes:
        """Tells these objects from all others; what lies under one name never changes."""
        return mark_of([self.snapshot, *self.attributes, *self.removals])


class Manifests:
    """The snapshots of one repository, as one key sees them."""

    def __init__(self, access: Access, warn: Callable[[str], None]) -> None:
        """*warn* is told of every record that is damaged and therefore left out of a list."""
        self._access = access
        self._warn = warn
        self._warnings = 0  # how many there were
        self._cache = SnapshotCache(access.cache, access.cache_key, access.repository)

    def all(self, *, removed: bool) -> list[Snapshot]:
        """Every snapshot, oldest first. Raises: StorageError."""
        attributes, removals = self._by_session(ATTRIBUTES), self._by_session(REMOVALS)
        known, listed = self._cache.load(), []
        for item in self._access.storage.objects(SNAPSHOTS):
            session = item.name.removeprefix(SNAPSHOTS)
            objects = _Objects(item, attributes.get(session, []), removals.get(session, []))
            one, mark = known.get(item.name), objects.mark()
            if one is None or one.mark != mark:
                one = self._read_anew(objects, mark)
            if one is not None:
                listed.append(one)
        self._cache.store({one.name: one for one in listed if one.mark})
        found, buried = (one.recall() for one in listed), self._buried()
        return in_order(
            [one for one in found if one is not None and (removed or not one.removed) and one.id not in buried]
        )

    def _buried(self) -> frozenset[SessionId]:
        """Whom prunes buried: they are no snapshots any more. What cannot be read hides nothing that could be restored."""
        try:
            return read_buried(self._access.storage, self._access.control)
        except Damaged as error:
            self._say(f"snapshots that a prune buried may be listed, because {error.message}")
            return frozenset()

    def ignore_cache(self) -> None:
        """From now on, list only what is read from the storage itself."""
        self._cache.ignore()

    def _read_anew(self, objects: _Objects, mark: bytes) -> Remembered | None:
        """What the records of one session say, with *mark* unless a warning has to come again; None if nothing is believed."""
        name, said = objects.snapshot.name, self._warnings
        try:
            found = self._read(name, *([one.name for one in about] for about in (objects.attributes, objects.removals)))
            snapshot = self._describe(found) if found is not None else None
        except RecordForged:
            return None  # nobody who may says that this is a snapshot
        except Damaged as error:
            self._say(f"a snapshot is left out of the list, because {error.message}; `lamina verify` says more")
            return None
        return Remembered.of(name, mark if self._warnings == said else b"", snapshot)

    def _say(self, warning: str) -> None:
        self._warnings += 1
        self._warn(warning)

    def find(self, text: str, zone: tzinfo, *, removed: bool) -> Snapshot:
        """The one snapshot that *text* selects; with *removed* a removed one where no other is selected.

        Raises: UsageError, SnapshotMissing, SnapshotAmbiguous, NotPermitted, StorageError.
        """
        selector, everything = parse(text), self.all(removed=True)
        kept = _kept(everything)
        if removed:
            with suppress(SnapshotMissing):
                return only(select(selector, kept, zone, self._hash_name), repr(text))
        return only(self._selected(selector, everything if removed else kept, everything, zone), repr(text))

    def select(self, texts: Iterable[str], zone: tzinfo, *, removed: bool) -> list[Snapshot]:
        """What each of *texts* selects, in order, each snapshot once. Raises: as `find`."""
        selector, everything = Either(tuple(parse(text) for text in texts)), self.all(removed=True)
        return self._selected(selector, everything if removed else _kept(everything), everything, zone)

    def _selected(
        self, selector: Selector, searched: Sequence[Snapshot], everything: Sequence[Snapshot], zone: tzinfo
    ) -> list[Snapshot]:
        try:
            return select(selector, searched, zone, self._hash_name)
        except SnapshotMissing as error:
            self._tell_more(error, selector, searched, everything)
            raise

    def _tell_more(
        self,
        error: SnapshotMissing,
        selector: Selector,
        searched: Sequence[Snapshot],
        everything: Sequence[Snapshot],
    ) -> None:
        """Say of ids that fit nothing in what was *searched* what became of their snapshots."""
        for prefix in _ids_in(selector):
            if _fits(prefix, (one.id for one in searched)):
                continue
            if _fits(prefix, (one.id for one in everything)):
                error.say_too(f"{prefix} is forgotten")
                error.hint = f"`lamina unforget {prefix}` brings it back, as long as no prune buries it"
            elif _fits(prefix, self._buried()):
                error.say_too(f"{prefix} was forgotten, and a prune has buried it")

    @property
    def _hash_name(self) -> HashName | None:
        """How names are told that this key cannot read; None where they cannot."""
        return (lambda name: hash_name(self._access, name)) if self._access.id_key is not None else None

    def get(self, session: SessionId) -> Snapshot:
        """The snapshot that a session made. Raises: SnapshotMissing, Damaged, StorageError."""
        names = [names_of(self._access.storage, folder, session) for folder in (ATTRIBUTES, REMOVALS)]
        found = self._look(session, *names)
        if found is None or session in self._buried():
            raise SnapshotMissing(f"there is no snapshot {session.hex()}", hint="see `lamina snapshots --removed`")
        return self._describe(found)

    def is_there(self, session: SessionId) -> bool:
        """Whether a snapshot is committed, not removed and not about to be buried, read from the storage now.

        Removals are read first: one that is taken back while a prune buries it does not make it live.
        Raises: StorageError, Damaged.
        """
        storage = self._access.storage
        found = self._look(session, [], names_of(storage, REMOVALS, session))
        return found is not None and not found.removed and buried_by(storage, self._access.control, session) is None

    def edit(
        self, snapshot: Snapshot, *, add_tags: Iterable[str], remove_tags: Iterable[str], **changes: object
    ) -> Snapshot:
        """Write the next numbered attributes record. Raises: NotPermitted, ObjectExists if another was faster."""
        access, session = self._access, snapshot.id
        names = names_of(access.storage, ATTRIBUTES, session)
        found = self._look(session, names, [])
        if found is None:
            raise SnapshotMissing(f"snapshot {snapshot.short_id} is gone")
        now = self._describe(found)
        tags = (now.tags | set(add_tags)) - set(remove_tags)
        changed = replace(now, tags=tags, **changes)  # type: ignore[arg-type]
        self._check_may_edit(found, changed, now)
        make_commits_durable(access.storage, session)
        body, tag_hashes = found.attributes.body, found.attributes.tag_hashes
        if (changed.tags, changed.note) != (now.tags, now.note):
            body = self._seal_names(found, changed)
            tag_hashes = tuple(sorted(hash_name(access, tag) for tag in tags))
        expires = to_us(changed.expires) if changed.expires else None
        trust = changed.trust
        damaged = changed.damaged if trust is Trust.DISTRUSTED else 0
        record = AttributesRecord(trust.value, expires, changed.protected, list(tag_hashes), damaged)
        name = next_name(ATTRIBUTES, session, names, after=found.attributes.number)
        access.control.write(Kind.ATTRIBUTES, name, record, body)
        return changed

    def _check_may_edit(self, found: _Found, changed: Snapshot, now: Snapshot) -> None:
        signer = self._access.control.signer
        if signer.role is not Role.WRITER:
            return
        own = found.signed.signer.slot == signer.slot and found.attributes.number == 0
        harmless = changed.tags >= now.tags and (changed.expires, changed.protected) == (now.expires, now.protected)
        if not (own and harmless):
            raise NotPermitted(
                f"a writer key may not change snapshot {now.short_id} any more",
                hint="use an owner's or a steward's passphrase",
            )

    def _seal_names(self, found: _Found, changed: Snapshot) -> bytes:
        key = self._access.opener.find_key(found.signed.structure.keys, Purpose.METADATA)
        if key is None:
            raise NotPermitted(
                "this key cannot read or change the names of this snapshot", hint="use an owner's passphrase"
            )
        body = AttributesBody(sorted(changed.tags), changed.note)
        return seal_body(key, changed.id, body, self._access.repository)

    def _by_session(self, folder: str) -> Mapping[str, list[StoredObject]]:
        objects: defaultdict[str, list[StoredObject]] = defaultdict(list)
        for found in self._access.storage.objects(folder):
            objects[found.name[len(folder) :].partition("/")[0]].append(found)
        return objects

    def _look(self, session: SessionId, attributes: Sequence[str], removals: Sequence[str]) -> _Found | None:
        """What stands under a session's name; None if nothing does, or an abort marker."""
        try:
            return self._read(snapshot_name(session), attributes, removals)
        except ObjectMissing:
            return None

    def _read(self, name: str, attributes: Sequence[str], removals: Sequence[str]) -> _Found | None:
        """The snapshot under *name*; None if an abort marker stands there. Raises: Damaged, ObjectMissing."""
        control = self._access.control
        signed = control.decode(self._access.storage.get(name), name, DECISIONS)
        record = signed.structure
        if not isinstance(record, SnapshotRecord):
            return None
        if record.keys.session.hex() != name.removeprefix(SNAPSHOTS):
            raise Damaged(f"{name} brings the key of another session")
        expires = from_us(record.expires) if record.expires is not None else None
        first = Attributes(Trust.FRESH, expires, record.protected, tuple(record.tag_hashes))
        snapshot: Signed[SnapshotRecord] = Signed(
            signed.name, signed.kind, record, signed.body, signed.signer, signed.hash
        )
        return _Found(
            snapshot,
            fold_attributes(control, attributes, signed.signer, first, self._say),
            fold_removals(control, removals, self._say).removed,
        )

    def _describe(self, found: _Found) -> Snapshot:
        record, attributes, signer = found.signed.structure, found.attributes, found.signed.signer
        session = SessionId(bytes.fromhex(found.signed.name.removeprefix(SNAPSHOTS)))
        snapshot = Snapshot(
            id=session,
            started=from_us(record.started),
            finished=from_us(record.finished),
            root=ChunkId(record.root),
            size=record.size,
            partial=record.partial,
            readable=False,
            parent=SessionId(record.parent) if record.parent else None,
            decoded=record.decoded,
            made_by="owner" if signer.role is Role.OWNER else signer.slot.hex(),
            statistics=Statistics(size=record.size, stored=record.stored),
            trust=attributes.trust,
            damaged=attributes.damaged,
            expires=attributes.expires,
            protected=attributes.protected,
            removed=found.removed,
            name_hash=record.name_hash,
            tag_hashes=frozenset(attributes.tag_hashes),
        )
        key = self._access.opener.find_key(record.keys, Purpose.METADATA)
        return snapshot if key is None else self._with_names(snapshot, found, key)

    def _with_names(self, snapshot: Snapshot, found: _Found, key: bytes) -> Snapshot:
        repository, session = self._access.repository, snapshot.id
        body = unseal_body(key, session, found.signed.body, SnapshotBody, repository)
        tags, note = body.tags, ""
        if found.attributes.body:
            said = unseal_body(key, session, found.attributes.body, AttributesBody, repository)
            tags, note = said.tags, said.note
        return replace(
            snapshot,
            readable=True,
            name=body.name,
            host=body.host,
            paths=tuple(path.decode("utf-8", "surrogateescape") for path in body.paths),
            users={number: name.decode("utf-8", "surrogateescape") for number, name in body.users},
            groups={number: name.decode("utf-8", "surrogateescape") for number, name in body.groups},
            copied_from=Origin.decode(body.copied_from),
            tags=frozenset(tags),
            note=note,
            statistics=Statistics(snapshot.size, body.read, body.new, snapshot.statistics.stored),
        )


def _kept(snapshots: Sequence[Snapshot]) -> list[Snapshot]:
    return [snapshot for snapshot in snapshots if not snapshot.removed]


def _fits(prefix: str, ids: Iterable[SessionId]) -> bool:
    return any(one.hex().startswith(prefix) for one in ids)


def _ids_in(selector: Selector) -> Iterator[str]:
    """The ids, or beginnings of some, that a list of snapshots names."""
    if isinstance(selector, ById):
        yield selector.prefix
    elif isinstance(selector, Either):
        for part in selector.parts:
            yield from _ids_in(part)


def check_not_protected(snapshot: Snapshot) -> None:
    """Refuse a snapshot that must stay. Raises: UsageError."""
    if snapshot.protected:
        raise UsageError(f"snapshot {snapshot.short_id} is protected", hint="lift the protection first")
