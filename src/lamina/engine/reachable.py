"""Whether all that a snapshot refers to is there and whole."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet

from lamina.errors import Damaged, NotPermitted
from lamina.model.entries import Entry, Position
from lamina.model.ids import ChunkId, PackId
from lamina.model.snapshots import Snapshot
from lamina.repository.format import BlobKind, pack_name
from lamina.repository.repository import Repository
from lamina.repository.streams import FANOUT, decode_fixed_node, tree_depth
from lamina.repository.trees import children, walk_tree

_Marks = dict[tuple[ChunkId, int, int], frozenset[str]]


class Reachability:
    """Follows every link of every snapshot; a node that several share is followed once."""

    def __init__(
        self, repository: Repository, bad_blobs: AbstractSet[tuple[ChunkId, PackId]], good_packs: Mapping[PackId, int]
    ) -> None:
        """*bad_blobs*: those that do not open; *good_packs*: packs that were read and fit their name."""
        self._reader = repository.reader()
        self._index = repository.index
        self._bad_blobs = bad_blobs
        self._good_packs = good_packs
        self._nodes: _Marks = {}  # what is wrong under a node of (id, level, positions): names of objects
        self._links: dict[ChunkId, frozenset[str]] = {}
        self._affected: defaultdict[str, set[str]] = defaultdict(set)

    def check(self, snapshot: Snapshot) -> Iterator[tuple[str, str]]:
        """What of a snapshot cannot be restored: where, and why."""
        label = f"snapshot {snapshot.short_id}"
        try:
            entries = list(walk_tree(self._reader, snapshot.root))
        except NotPermitted:  # this key may not read its names; links it may follow
            yield from self._verdict(snapshot, label, self._follow(BlobKind.DIRECTORY, snapshot.root))
            return
        except Damaged as error:
            yield label, error.message
            return
        for path, entry in entries:
            yield from self._verdict(snapshot, f"{label}:{path}", self._check_entry(entry))

    def affected(self) -> dict[str, set[str]]:
        """Which snapshots need something from an object that is missing or damaged."""
        return dict(self._affected)

    def _verdict(self, snapshot: Snapshot, where: str, wrong: frozenset[str]) -> Iterator[tuple[str, str]]:
        for name in wrong:
            self._affected[name].add(snapshot.id.hex())
        if wrong:
            shown = ", ".join(sorted(wrong)[:3])
            more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
            yield where, f"needs what is missing or damaged: {shown}{more}"

    def _check_entry(self, entry: Entry) -> frozenset[str]:
        content = entry.content
        if content is None or content.id is None:
            return frozenset()
        count = -(-content.size // content.chunk_size)
        if content.position is not Position.DATA or not tree_depth(count):
            return self._chunk(content.id)
        return self._node(content.id, tree_depth(count), count)

    def _node(self, chunk: ChunkId, level: int, chunks: int) -> frozenset[str]:
        """What is wrong under a node of *level* that must stand for *chunks* chunks."""
        key = (chunk, level, chunks)
        if key not in self._nodes:
            self._nodes[key] = self._read_node(chunk, level, chunks)
        return self._nodes[key]

    def _read_node(self, chunk: ChunkId, level: int, chunks: int) -> frozenset[str]:
        name = f"metadata chunk {chunk.hex()}"
        try:
            node = decode_fixed_node(self._reader.get_links(BlobKind.FIXED_NODE, chunk), name=name)
        except Damaged:
            return frozenset({self._where(chunk)})
        under = FANOUT ** (level - 1)
        if node.level != level or len(node.slots) != -(-chunks // under):
            return frozenset({f"{name} (it has another shape than the size of the stream needs)"})
        wrong: set[str] = set()
        for number, (kind, child) in enumerate(node.slots):
            if child is None:
                continue
            if level == 1 or kind is not Position.DATA:
                wrong |= self._chunk(child)
            else:
                wrong |= self._node(child, level - 1, min(under, chunks - number * under))
        return frozenset(wrong)

    def _follow(self, kind: BlobKind, root: ChunkId) -> frozenset[str]:
        """The same with links only, the deepest first: a hostile tree may be deeper than Python's stack."""
        todo = [(kind, root)]
        below: dict[ChunkId, list[tuple[BlobKind, ChunkId]] | None] = {}
        while todo:
            kind, chunk = todo[-1]
            if chunk not in below:
                below[chunk] = self._children(kind, chunk) if kind is not BlobKind.DATA else []
                todo += [child for child in below[chunk] or () if child[1] not in self._links]
                continue
            todo.pop()
            if chunk not in self._links:
                found = below[chunk]
                wrong = self._chunk(chunk) if kind is BlobKind.DATA or found is None else frozenset[str]()
                self._links[chunk] = wrong.union(*(self._links[child] for _, child in found or ()))
        return self._links[root]

    def _children(self, kind: BlobKind, chunk: ChunkId) -> list[tuple[BlobKind, ChunkId]] | None:
        """What a metadata chunk links to; None if it cannot be read."""
        try:
            links = self._reader.get_links(kind, chunk)
            return list(children(kind, links, name=f"metadata chunk {chunk.hex()}"))
        except Damaged:
            return None

    def _chunk(self, chunk: ChunkId) -> frozenset[str]:
        """Empty if a chunk is whole in some pack."""
        for place in self._index.places(chunk):
            if place.pack in self._good_packs and (chunk, place.pack) not in self._bad_blobs:
                return frozenset()
        return frozenset({self._where(chunk)})

    def _where(self, chunk: ChunkId) -> str:
        """The object that should hold a chunk."""
        place = next(self._index.places(chunk), None)
        return f"chunk {chunk.hex()}" if place is None else pack_name(place.pack, meta=place.meta)
