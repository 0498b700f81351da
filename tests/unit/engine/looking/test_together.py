"""Walking several trees at once meets what walking each alone meets, and reads what they share once."""

from __future__ import annotations

from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st

from lamina.engine.looking.together import walk_together
from lamina.model.entries import Entry
from lamina.model.ids import ChunkId
from lamina.repository.blobs import Node
from lamina.repository.chunks import ChunkReader
from lamina.repository.format import BlobKind
from lamina.repository.repository import Repository
from lamina.repository.trees import walk_tree
from lamina.testing.repositories import SmallRepository
from tests.unit.engine.stored_trees import save

names = st.sampled_from(["a", "b", "c", "d"])
trees = st.dictionaries(
    st.lists(names, min_size=1, max_size=3).map("/".join), st.sampled_from([b"one", b"two"]), min_size=1, max_size=6
).filter(lambda tree: not any(other.startswith(f"{path}/") for path in tree for other in tree))


class CountingReader:
    """A `ChunkReader` that counts the nodes it is asked for."""

    def __init__(self, reader: ChunkReader) -> None:
        self.reader = reader
        self.asked: list[ChunkId] = []

    def get_node(self, kind: BlobKind, chunk: ChunkId) -> Node:
        self.asked.append(chunk)
        return self.reader.get_node(kind, chunk)


def met_by_each(opened: Repository, roots: list[ChunkId], skip: int = 0) -> list[dict[str, Entry]]:
    """What a walk through all of them together says that each has."""
    bits: dict[ChunkId, int] = {}
    for number, root in enumerate(roots):
        bits[root] = bits.get(root, 0) | 1 << number
    found: list[dict[str, Entry]] = [{} for _ in roots]
    paths = []
    for met in walk_together(opened.reader(), bits, skip=skip):
        paths.append(met.path)
        seen = 0
        for version in met.versions:
            assert not seen & version.trees
            seen |= version.trees
            for number in range(len(roots)):
                if version.trees >> number & 1:
                    found[number][met.path] = version.entry()
    assert len(paths) == len(set(paths))
    assert paths == sorted(paths, key=lambda path: path.encode().split(b"/"))
    return found


@given(st.lists(trees, min_size=1, max_size=4))
def test_together_they_have_what_each_has_alone(several: list[Mapping[str, bytes]]):
    small = SmallRepository()
    roots = [save(small, tree).root for tree in several]
    opened = small.open()
    alone = [dict(walk_tree(opened.reader(), root)) for root in roots]
    assert met_by_each(opened, roots) == alone
    opened.close()


@given(trees, trees)
def test_what_is_skipped_is_equal_and_all_that_differs_is_met(before: Mapping[str, bytes], after: Mapping[str, bytes]):
    small = SmallRepository()
    roots = [save(small, tree).root for tree in (before, after)]
    opened = small.open()
    alone = [dict(walk_tree(opened.reader(), root)) for root in roots]
    if roots[0] != roots[1]:
        met = met_by_each(opened, roots, skip=3)
        for mine, found in zip(alone, met, strict=True):
            assert found.items() <= mine.items()
        left_out = [{path: one for path, one in a.items() if path not in m} for a, m in zip(alone, met, strict=True)]
        assert left_out[0] == left_out[1]
    opened.close()


def test_a_thousand_snapshots_of_one_tree_cost_as_much_as_one(small: SmallRepository):
    snapshot = save(small, {"etc/ssh/config": b"1", "etc/passwd": b"2", "home/u/f": b"3"})
    opened = small.open()
    reader = CountingReader(opened.reader())
    met = list(walk_together(reader, {snapshot.root: (1 << 1000) - 1}))  # type: ignore[arg-type]
    assert [one.path for one in met] == ["etc", "etc/passwd", "etc/ssh", "etc/ssh/config", "home", "home/u", "home/u/f"]
    assert len(reader.asked) == len(set(reader.asked)) == 5
    opened.close()


def test_of_a_long_directory_in_many_versions_shared_parts_are_read_once(small: SmallRepository):
    """One part of it differs in each version; all others are joined again, however far the versions were apart."""
    tree = {f"d/{number:05d}": b"" for number in range(6000)}
    roots = [save(small, tree | {f"d/{number:05d}": b"changed"}).root for number in (0, 3000, 5999)]
    roots += [save(small, {path: tree[path] for path in tree if path != "d/01000"}).root, save(small, tree).root]
    opened = small.open()
    alone = [dict(walk_tree(opened.reader(), root)) for root in roots]
    assert met_by_each(opened, roots) == alone
    reader = CountingReader(opened.reader())
    single = CountingReader(opened.reader())
    list(walk_together(single, {roots[4]: 1}))  # type: ignore[arg-type]
    list(walk_together(reader, {root: 1 << number for number, root in enumerate(roots)}))  # type: ignore[arg-type]
    assert len(single.asked) > 6  # it has parts
    assert len(reader.asked) <= len(single.asked) + 4 * 4  # of each version its top, its directory, and what differs
    skipping = CountingReader(opened.reader())
    met = list(walk_together(skipping, {roots[0]: 1, roots[1]: 2}, skip=3))  # type: ignore[arg-type]
    assert {"d", "d/00000", "d/03000"} <= {one.path for one in met}
    assert len(met) < 6000
    opened.close()


def test_a_directory_that_is_not_entered_is_met_and_nothing_below_it(small: SmallRepository):
    snapshot = save(small, {"a/b/c": b"1", "d": b"2"})
    opened = small.open()
    met = walk_together(opened.reader(), {snapshot.root: 1}, enter=lambda one: one.path != "a/b")
    assert [one.path for one in met] == ["a", "a/b", "d"]
    opened.close()
