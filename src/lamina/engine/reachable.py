"""Whether all that a snapshot refers to is there and whole."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Sequence

from lamina.errors import ChunkMissing, Damaged, FormatUnknown, NotPermitted
from lamina.model.entries import CutContent, Entry, FixedContent, Position, SlicedContent
from lamina.model.ids import ChunkId
from lamina.model.snapshots import Snapshot
from lamina.repository.cut_streams import Child, read_cut_node
from lamina.repository.directories import DirectoryNode
from lamina.repository.format import BlobKind
from lamina.repository.repository import Repository
from lamina.repository.streams import FANOUT, decode_fixed_node, tree_depth
from lamina.repository.tables import ChunkPlace
from lamina.repository.trees import children, directory_nodes, get_directory_node

PATHS_NAMED = 100  # of one snapshot; who has lost more than that needs a count, not a list

_Wrong = frozenset[str]  # names of objects that are missing or damaged
_NOTHING: _Wrong = frozenset()
_LOOP: _Wrong = frozenset({"metadata that leads back to itself"})  # no ids are like that: they are somebody's lies
_Below = tuple[str, Sequence[ChunkId], _Wrong]  # of one entry: its name, directory nodes below it, what else is wrong


class Reachability:
    """Follows every link of every snapshot; a node that several share is followed once."""

    def __init__(self, repository: Repository, is_whole: Callable[[ChunkId, ChunkPlace], bool]) -> None:
        """*is_whole*: whether the copy of a chunk at one place is."""
        self._reader = repository.reader()
        self._index = repository.index
        self._is_whole = is_whole
        self._fixed: dict[tuple[ChunkId, int, int, int], _Wrong] = {}  # under a node of (id, level, size, chunk size)
        self._cut: dict[tuple[Child, int | None], _Wrong] = {}  # under a node of (size and id, level)
        self._metadata: dict[ChunkId, _Wrong] = {}  # under a directory, or any other node that only links are known of
        self._affected: defaultdict[str, set[str]] = defaultdict(set)

    def check(self, snapshot: Snapshot) -> Iterator[tuple[str, str]]:
        """What of a snapshot cannot be restored: where, and why."""
        label = f"snapshot {snapshot.short_id}"
        wrong = self._below_directory(snapshot.root)
        for name in wrong:
            self._affected[name].add(snapshot.id.hex())
        if not wrong:
            return
        named = 0
        for path, found in self._paths(snapshot.root):
            named += 1
            if named > PATHS_NAMED:
                yield label, f"needs what is missing or damaged in more than {PATHS_NAMED} places"
                return
            yield (f"{label}:{path}" if path else label), _text(found)
        if not named:
            yield label, _text(wrong)

    def is_whole_below(self, directory: ChunkId) -> bool:
        """Whether a directory and all below it can be restored."""
        return not self._below_directory(directory)

    def is_whole_content(self, entry: Entry) -> bool:
        """Whether the content of an entry can be restored."""
        return not self._below_content(entry)

    def affected(self) -> dict[str, set[str]]:
        """Which snapshots need something from an object that is missing or damaged."""
        return dict(self._affected)

    def _below_directory(self, root: ChunkId) -> _Wrong:
        """What is wrong in and below a directory, the deepest first: a tree may be deeper than Python's stack."""
        todo = [root]
        begun: dict[ChunkId, list[_Below]] = {}
        while todo:
            chunk = todo[-1]
            if chunk in self._metadata:
                todo.pop()
            elif chunk not in begun:
                begun[chunk] = self._entries(chunk)
                todo += [child for _, below, _ in begun[chunk] for child in below if child not in self._metadata]
            else:
                todo.pop()
                found = begun.pop(chunk)
                self._metadata[chunk] = _NOTHING.union(
                    *(self._metadata[child] for _, below, _ in found for child in below), *(own for _, _, own in found)
                )
        return self._metadata[root]

    def _paths(self, root: ChunkId) -> Iterator[tuple[str, _Wrong]]:
        """The entries below a directory that need what is wrong; ways that lead to none are not walked."""
        todo = [("", root)]
        while todo:
            start, chunk = todo.pop()
            deeper: list[tuple[str, ChunkId]] = []
            for name, below, own in self._entries(chunk):
                path = f"{start}/{name}" if start and name else start or name
                if own:
                    yield path, own
                deeper += [(path, child) for child in below if self._metadata[child]]
            todo += reversed(deeper)

    def _entries(self, chunk: ChunkId) -> list[_Below]:
        """What a directory node says, entry by entry; if its names may not be read, its links as one."""
        try:
            node = get_directory_node(self._reader, chunk)
            if node.has_parts:
                return [("", [node.part(number) for number in range(len(node.records))], self._misplaced(chunk))]
            return [self._entry(node, number) for number in range(len(node.records))]
        except NotPermitted:
            return [("", (), self._below_links(BlobKind.DIRECTORY, chunk))]
        except FormatUnknown as error:
            return [("", (), frozenset({f"metadata chunk {chunk.hex()} ({error.message})"}))]
        except Damaged:
            return [("", (), frozenset({self._where(chunk)}))]

    def _misplaced(self, chunk: ChunkId) -> _Wrong:
        """Whether the parts of a long directory do not make one."""
        try:
            deque(directory_nodes(self._reader, chunk), maxlen=0)
        except (ChunkMissing, FormatUnknown):
            return _NOTHING  # that is said of the part itself
        except Damaged as error:
            return frozenset({error.message})
        return _NOTHING

    def _entry(self, node: DirectoryNode, number: int) -> _Below:
        name = node.records[number].name.decode("utf-8", "surrogateescape")
        try:
            entry = node.entry(number)
        except (Damaged, FormatUnknown) as error:
            return name, (), frozenset({error.message})
        return name, () if entry.child is None else (entry.child,), self._below_content(entry)

    def _below_content(self, entry: Entry) -> _Wrong:
        content = entry.content
        if isinstance(content, SlicedContent):
            return _NOTHING.union(*(self._chunk(chunk, offset + length) for chunk, offset, length in content.slices))
        if isinstance(content, CutContent):
            return self._cut_node(Child(content.size, content.id), None)
        if content is None or content.id is None:
            return _NOTHING
        return self._below_fixed(content, content.id)

    def _below_fixed(self, content: FixedContent, chunk: ChunkId) -> _Wrong:
        depth = tree_depth(-(-content.size // content.chunk_size))
        if content.position is not Position.DATA:
            return self._chunk(chunk)
        return self._fixed_node(chunk, depth, content.size, content.chunk_size)

    def _fixed_node(self, chunk: ChunkId, level: int, size: int, chunk_size: int) -> _Wrong:
        """What is wrong under a node of *level* that must stand for *size* bytes; on level 0, with a chunk."""
        if not level:
            return self._chunk(chunk, size, exactly=True)
        key = (chunk, level, size, chunk_size)
        if key not in self._fixed:
            self._fixed[key] = self._read_fixed_node(chunk, level, size, chunk_size)
        return self._fixed[key]

    def _read_fixed_node(self, chunk: ChunkId, level: int, size: int, chunk_size: int) -> _Wrong:
        name = f"metadata chunk {chunk.hex()}"
        try:
            node = decode_fixed_node(self._reader.get_links(BlobKind.FIXED_NODE, chunk), name=name)
        except Damaged:
            return frozenset({self._where(chunk)})
        under = chunk_size * FANOUT ** (level - 1)
        if node.level != level or len(node.slots) != -(-size // under):
            return frozenset({f"{name} (it has another shape than the size of the stream needs)"})
        wrong: set[str] = set()
        for number, (kind, child) in enumerate(node.slots):
            if child is None:
                continue
            if kind is not Position.DATA:
                wrong |= self._chunk(child)  # kept, and as long as it was then
            else:
                wrong |= self._fixed_node(child, level - 1, min(under, size - number * under), chunk_size)
        return frozenset(wrong)

    def _cut_node(self, node: Child, level: int | None) -> _Wrong:
        """What is wrong under a node of a stream that its content cut; of *level*, if it is not the root."""
        if level == 0:
            return self._chunk(node.id, node.size, exactly=True)
        key = (node, level)
        if key not in self._cut:
            self._cut[key] = self._read_cut_node(node, level)
        return self._cut[key]

    def _read_cut_node(self, node: Child, level: int | None) -> _Wrong:
        try:
            found, below = read_cut_node(self._reader, node)
        except ChunkMissing:
            return frozenset({self._where(node.id)})
        except Damaged as error:
            return frozenset({error.message})
        if level is not None and found != level:
            return frozenset({f"metadata chunk {node.id.hex()} (it is of level {found} where {level} is needed)"})
        return _NOTHING.union(*(self._cut_node(child, found - 1) for child in below))

    def _below_links(self, kind: BlobKind, root: ChunkId) -> _Wrong:
        """The same with links only, the deepest first."""
        todo = [(kind, root)]
        begun: dict[ChunkId, list[tuple[BlobKind, ChunkId]] | None] = {}
        while todo:
            kind, chunk = todo[-1]
            if chunk in self._metadata:
                todo.pop()
            elif chunk not in begun:
                begun[chunk] = self._children(kind, chunk)
                todo += [
                    one for one in begun[chunk] or () if one[0] is not BlobKind.DATA and one[1] not in self._metadata
                ]
            else:
                todo.pop()
                self._metadata[chunk] = self._below_children(chunk, begun.pop(chunk))
        return self._metadata[root]

    def _below_children(self, chunk: ChunkId, found: list[tuple[BlobKind, ChunkId]] | None) -> _Wrong:
        if found is None:
            return self._chunk(chunk) or frozenset({f"metadata chunk {chunk.hex()}"})
        return _NOTHING.union(
            *(
                self._chunk(child) if kind is BlobKind.DATA else self._metadata.get(child, _LOOP)
                for kind, child in found
            )
        )

    def _children(self, kind: BlobKind, chunk: ChunkId) -> list[tuple[BlobKind, ChunkId]] | None:
        """What a metadata chunk links to; None if it cannot be read."""
        try:
            links = self._reader.get_links(kind, chunk)
            return list(children(kind, links, name=f"metadata chunk {chunk.hex()}"))
        except (Damaged, FormatUnknown):
            return None

    def _chunk(self, chunk: ChunkId, needed: int = 0, *, exactly: bool = False) -> _Wrong:
        """Empty if a chunk is whole in some pack, and has the bytes that are needed, or *exactly* these."""
        for place in self._index.places(chunk):
            if self._is_whole(chunk, place):
                if place.plain_size < needed:
                    return frozenset({f"chunk {chunk.hex()} (it has fewer bytes than a file needs of it)"})
                if exactly and place.plain_size > needed:
                    return frozenset({f"chunk {chunk.hex()} (it has more bytes than a file needs of it)"})
                return _NOTHING
        return frozenset({self._where(chunk)})

    def _where(self, chunk: ChunkId) -> str:
        """The object that should hold a chunk."""
        place = next(self._index.places(chunk), None)
        return f"chunk {chunk.hex()}" if place is None else place.pack_name


def _text(wrong: _Wrong) -> str:
    shown = ", ".join(sorted(wrong)[:3])
    more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
    return f"needs what is missing or damaged: {shown}{more}"
