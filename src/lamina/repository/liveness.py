"""Which stored chunks a set of snapshots needs: a bit for each, found by following links with the structure key alone.

Whoever holds a writer's key can seal anything under the id of somebody else's metadata chunk. An owner checks ids, and follows a
copy that is what its id says. A steward cannot: every copy is read, and what *any* of them links to is needed. So a lie can cost
space, never a chunk. For the same reason a link's word for what it leads to is not believed, only that of the chunk itself.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator

from lamina.crypto.hashing import public_hash
from lamina.errors import ChunkMissing, Damaged, ObjectMissing, ObjectTruncated, PruneRefused
from lamina.model.ids import ChunkId, PackId
from lamina.repository.access import Access
from lamina.repository.chunks import ChunkReader
from lamina.repository.format import BLOB_HEADER_SIZE, BlobKind, decode_blob_header
from lamina.repository.index import Index
from lamina.repository.ordinals import Ordinals
from lamina.repository.tables import ChunkPlace
from lamina.repository.trees import children

BATCH = 2048  # metadata chunks that are read at a time, in the order in which they lie
GAP = 64 << 10  # bytes between two of them that are read through rather than asked for separately
SPAN = 4 << 20  # bytes read at once, at most
_ID = 32  # bytes of a chunk that is still to be followed
_FAULTS = (Damaged, ObjectMissing, ObjectTruncated)

_Link = tuple[BlobKind, ChunkId]
_Wanted = tuple[ChunkPlace, ChunkId]


class Liveness:
    """Marks what snapshots need. Roots may be added at any time; nothing is followed twice. Not for several threads."""

    def __init__(self, access: Access, index: Index, check_stop: Callable[[], None]) -> None:
        """Numbers the chunks that *index* knows now; what it learns later is remembered one by one."""
        self._access = access
        self._index = index
        self._check_stop = check_stop
        self._reader = ChunkReader(access, index)
        self._ordinals = Ordinals(index)
        self._needed = bytearray(len(self._ordinals) // 8 + 1)
        self._followed = bytearray(
            len(self._needed)
        )  # or to be; a lie may call a metadata chunk data, the truth comes later
        self._later: set[ChunkId] = set()  # metadata chunks that are followed, and have no number
        self._todo = bytearray()
        self._intact: dict[PackId, bool] = {}
        self.count = 0  # chunks marked
        self.later_packs: set[PackId] = set()  # that hold something needed that has no number

    def mark(self, root: ChunkId) -> None:
        """Mark everything below a directory. Raises: PruneRefused if any of it cannot be read or found; StorageError."""
        self._reach(BlobKind.DIRECTORY, root)
        while self._todo:
            self._check_stop()
            batch, self._todo = self._todo[-BATCH * _ID :], self._todo[: -BATCH * _ID]
            self._follow([ChunkId(bytes(batch[at : at + _ID])) for at in range(0, len(batch), _ID)])

    def is_live(self, chunk: ChunkId) -> bool:
        """Whether a chunk is needed that had a number when this was made."""
        ordinal = self._ordinals.find(chunk)
        return ordinal is not None and self.is_marked(ordinal)

    def is_marked(self, ordinal: int) -> bool:
        """The same by number; only the first of the places of a chunk is ever marked."""
        return _has(self._needed, ordinal)

    def _reach(self, kind: BlobKind, chunk: ChunkId) -> None:
        ordinal = self._ordinals.find(chunk)
        if ordinal is None:
            self._reach_later(kind, chunk)
            return
        if not _has(self._needed, ordinal):
            _set(self._needed, ordinal)
            self.count += 1
        if kind is not BlobKind.DATA and not _has(self._followed, ordinal):
            _set(self._followed, ordinal)
            self._todo += chunk

    def _reach_later(self, kind: BlobKind, chunk: ChunkId) -> None:
        """A chunk that came after the numbers were given, nearly always in a pack that came then, too."""
        if chunk in self._later:
            return
        packs = {place.pack for place in self._index.places(chunk)}
        if not packs:
            raise _nowhere(chunk)
        self.later_packs |= packs
        if kind is not BlobKind.DATA:
            self._later.add(chunk)
            self._todo += chunk

    def _follow(self, nodes: list[ChunkId]) -> None:
        """Reach what *nodes* link to."""
        places = {chunk: list(self._index.places(chunk)) for chunk in nodes}
        wanted = [(place, chunk) for chunk, found in places.items() for place in found]
        wanted.sort(key=lambda one: (one[0].pack, one[0].offset))
        links: defaultdict[ChunkId, list[tuple[BlobKind, list[_Link]]]] = defaultdict(list)
        failed: defaultdict[ChunkId, list[tuple[ChunkPlace, Exception]]] = defaultdict(list)
        for (place, chunk), blob in self._blobs(wanted):
            try:
                links[chunk].append(self._links(place, chunk, blob))
            except _FAULTS as error:
                failed[chunk].append((place, error))
        for chunk in nodes:
            for kind, below in self._believed(chunk, links[chunk], failed[chunk]):
                self._reach(kind, below)

    def _believed(
        self, chunk: ChunkId, copies: list[tuple[BlobKind, list[_Link]]], failed: list[tuple[ChunkPlace, Exception]]
    ) -> list[_Link]:
        """What a metadata chunk links to, given its *copies* and those that *failed*. Raises: PruneRefused."""
        if len(copies) == 1 and not failed:
            return copies[0][1]
        if not copies and not failed:
            raise _nowhere(chunk)  # the index was loaded again since the chunk got its number
        for kind in {kind for kind, _ in copies}:
            true = self._true_links(kind, chunk)
            if true is not None:
                return true
        doubts = [(place, error) for place, error in failed if not self._is_lie(place)]
        if doubts or not copies:
            place, error = (doubts or failed)[0]
            name = place.pack_name
            raise PruneRefused(
                f"metadata chunk {chunk.hex()} in {name} cannot be read, so that nobody knows what it needs",
                hint="`lamina verify` says what is damaged, `lamina repair` mends what can be mended; and an owner's key"
                " knows a whole copy from a lie, where a steward's does not",
            ) from error
        return [one for _, below in copies for one in below]

    def _links(self, place: ChunkPlace, chunk: ChunkId, blob: bytes) -> tuple[BlobKind, list[_Link]]:
        name = place.pack_name
        header = decode_blob_header(blob[:BLOB_HEADER_SIZE], name=name)
        if header.id != chunk or header.stored_size != len(blob):
            raise Damaged(f"{name} holds another blob than {chunk.hex()} where the index says it lies")
        if header.kind is BlobKind.DATA:
            return header.kind, []  # somebody's lie called it metadata
        links = self._access.sealer.unseal_links(header, blob)
        return header.kind, list(children(header.kind, links, name=f"metadata chunk {chunk.hex()}"))

    def _true_links(self, kind: BlobKind, chunk: ChunkId) -> list[_Link] | None:
        """What the copy links to that is what its id says; None if there is none, or this key cannot know."""
        if self._access.id_key is None or kind is BlobKind.DATA:
            return None
        try:
            links = self._reader.get_node(kind, chunk).links
        except (ChunkMissing, Damaged):
            return None
        return list(children(kind, links, name=f"metadata chunk {chunk.hex()}"))

    def _blobs(self, wanted: list[_Wanted]) -> Iterator[tuple[_Wanted, bytes]]:
        """The bytes at each place, those that lie close together read at once; none at all where nothing can be read."""
        for run in _runs(wanted):
            start = run[0][0].offset
            end = max(place.offset + place.stored_size for place, _ in run)
            try:
                data = self._access.storage.get_range(_name(run[0]), start, end - start)
            except _FAULTS:
                yield from ((one, self._read_alone(one)) for one in run)
                continue
            for one in run:
                at = one[0].offset - start
                yield one, data[at : at + one[0].stored_size]

    def _read_alone(self, one: _Wanted) -> bytes:
        try:
            return self._access.storage.get_range(_name(one), one[0].offset, one[0].stored_size)
        except _FAULTS:
            return b""

    def _is_lie(self, place: ChunkPlace) -> bool:
        """Whether no true copy ever lay there: the pack is as it was written, or gone and only an aborted session's."""
        if place.pack not in self._intact:
            try:
                data = self._access.storage.get(place.pack_name)
                self._intact[place.pack] = public_hash([data]) == place.pack
            except ObjectMissing:
                self._intact[place.pack] = self._index.is_doubtful(place.pack)
            except ObjectTruncated:
                self._intact[place.pack] = False
        return self._intact[place.pack]


def _has(bits: bytearray, number: int) -> bool:
    return bool(bits[number >> 3] & (1 << (number & 7)))


def _set(bits: bytearray, number: int) -> None:
    bits[number >> 3] |= 1 << (number & 7)


def _name(one: _Wanted) -> str:
    return one[0].pack_name


def _nowhere(chunk: ChunkId) -> PruneRefused:
    return PruneRefused(
        f"chunk {chunk.hex()} is in no pack that the index knows",
        hint="`lamina verify` says what is hurt, `lamina repair` finds packs that no index names",
    )


def _runs(wanted: list[_Wanted]) -> Iterator[list[_Wanted]]:
    """Places of one pack that lie close together."""
    run: list[_Wanted] = []
    end = 0
    for one in wanted:
        place = one[0]
        reach = place.offset + place.stored_size
        if run and (place.pack != run[0][0].pack or place.offset > end + GAP or reach - run[0][0].offset > SPAN):
            yield run
            run, end = [], 0
        run.append(one)
        end = max(end, reach)
    if run:
        yield run
