"""What snapshots occupy: the worked example of docs/concepts/usage.md, by hand, and how it holds for trees."""

from __future__ import annotations

import random

import pytest

from lamina.engine.stats import gather
from lamina.engine.usage import measure, measure_as_backy, measure_paths
from lamina.errors import NotPermitted
from lamina.model.entries import Position
from lamina.model.snapshots import Snapshot
from lamina.repository.ordinals import Ordinals
from lamina.repository.repository import Repository
from lamina.testing.repositories import CHUNK, SmallRepository
from tests.unit.engine.stored_trees import Cut, Fixed, save

A, B, C, D, E = (random.Random(7).randbytes(5 * CHUNK)[n * CHUNK : (n + 1) * CHUNK] for n in range(5))


@pytest.fixture
def example(small: SmallRepository) -> tuple[SmallRepository, Snapshot, Snapshot]:
    """Two images of five chunks: one repeated, one shared, one single, and one that is nothing at all."""
    first = save(small, {"disk": Fixed(A, A, B, C, None)})
    second = save(small, {"disk": Fixed(B, D, E, E, Position.ZERO)})
    return small, first, second


def stored(opened: Repository, *contents: bytes) -> int:
    """Bytes in packs of some chunks."""
    namer, ordinals = opened.access.namer(), Ordinals(opened.index)
    found = [ordinals.find(namer.data_id(content)) for content in contents]
    return sum(ordinals.sizes(one)[0] for one in found if one is not None)


def test_the_columns_of_backy2_on_the_worked_example(example: tuple[SmallRepository, Snapshot, Snapshot]):
    small, *_ = example
    opened = small.open()
    for one in measure_as_backy(opened, small.operation()):
        assert one.real == 4 * CHUNK  # A A B C; B D E E
        assert one.null == 1 * CHUNK
        assert one.dedup_own == 1 * CHUNK  # the second A; the second E
        assert one.dedup_others == 1 * CHUNK  # B
        assert one.individual == 1 * CHUNK  # C; D
        assert one.space == 2.5 * CHUNK  # A 1/2 + A 1/2 + B 1/2 + C
        assert one.freed == 2 * CHUNK  # A C; D E
    opened.close()


def test_shares_of_chunks_on_the_worked_example(example: tuple[SmallRepository, Snapshot, Snapshot]):
    small, *_ = example
    opened = small.open()
    first, second = measure(opened, small.operation())
    assert (first.own.chunks, first.own.plain, first.own.stored) == (2, 2 * CHUNK, stored(opened, A, C))
    assert (second.own.chunks, second.own.plain, second.own.stored) == (2, 2 * CHUNK, stored(opened, D, E))
    for one in (first, second):
        assert (one.shared.chunks, one.shared.plain, one.shared.stored) == (1, CHUNK, stored(opened, B))
        assert one.own_metadata.chunks == 2  # the top directory, and the image's only node
        assert one.shared_metadata.chunks == 0
        assert one.fair == one.own.stored + one.own_metadata.stored + stored(opened, B) / 2
        assert one.freed == one.own.stored + one.own_metadata.stored
    opened.close()


def test_fair_shares_add_up_to_all_that_is_stored_and_forgetting_frees_what_was_said(
    example: tuple[SmallRepository, Snapshot, Snapshot],
):
    small, first, _ = example
    opened = small.open()
    usages = measure(opened, small.operation())
    before = gather(opened, small.operation())
    assert sum(one.fair for one in usages) == before.data.stored + before.metadata.stored
    assert before.reclaimable == 0
    opened.forget(first)
    after = gather(opened, small.operation())
    assert after.reclaimable == after.forgotten_only.stored == usages[0].freed
    assert (after.snapshots, after.forgotten) == (1, 1)
    (left,) = measure(opened, small.operation())
    assert left.shared.chunks == 0
    opened.close()


def test_figures_of_the_repository_on_the_worked_example(example: tuple[SmallRepository, Snapshot, Snapshot]):
    small, *_ = example
    opened = small.open()
    stats = gather(opened, small.operation())
    sizes = {item.name: item.size for item in small.storage.objects()}
    assert (stats.snapshots, stats.size) == (2, 10 * CHUNK)
    assert (stats.data.chunks, stats.data.plain, stats.data.stored) == (5, 5 * CHUNK, stored(opened, A, B, C, D, E))
    assert stats.deduplication == 2.0
    assert stats.compression == stats.data.plain / stats.data.stored
    assert stats.data_packs == sum(name.startswith("data/") for name in sizes)
    assert stats.metadata_packs == sum(name.startswith("meta/") for name in sizes)
    assert stats.pack_bytes == sum(size for name, size in sizes.items() if name.startswith(("data/", "meta/")))
    assert stats.index_bytes == sum(size for name, size in sizes.items() if name.startswith("index/"))
    assert stats.total == sum(sizes.values())
    assert 0 < stats.overhead < stats.pack_bytes
    (name,) = stats.names
    assert (name.name, name.snapshots, name.size) == ("vm", 2, 10 * CHUNK)
    assert name.own == stats.data.stored + stats.metadata.stored
    opened.close()


def test_a_steward_sees_figures_and_no_names(example: tuple[SmallRepository, Snapshot, Snapshot]):
    small, first, _ = example
    opened, steward = small.open(), small.open("steward")
    ours, theirs = (measure(one, small.operation()) for one in (opened, steward))
    assert [one.freed for one in theirs] == [one.freed for one in ours]
    assert [one.space for one in measure_as_backy(steward, small.operation())] == [2.5 * CHUNK] * 2
    stats = gather(steward, small.operation())
    assert [one.name for one in stats.names] == [None]
    with pytest.raises(NotPermitted, match="steward key cannot read the names"):
        list(measure_paths(steward, steward.get_snapshot(first.id), None, small.operation()))
    for one in (opened, steward):
        one.close()


def test_packs_in_no_index_count_as_space_that_a_prune_could_return(small: SmallRepository):
    save(small, {"f": b"1"})
    small.storage.put(f"data/{'ab' * 32}", [b"x" * 1000])
    opened = small.open()
    stats = gather(opened, small.operation())
    assert stats.unindexed_bytes == stats.reclaimable == 1000
    opened.close()
    small.storage.delete(f"data/{'ab' * 32}")


def test_a_chunk_of_a_tree_counts_once_wherever_it_stands(small: SmallRepository):
    """The same content in a cut stream, a small file and an image; and one directory under two names."""
    save(small, {"a/f": A, "b/f": A, "c": Cut(A, B), "d": Fixed(B)})
    save(small, {"x/y/f": A})
    opened = small.open()
    first, second = measure(opened, small.operation())
    assert (first.own.plain, first.shared.plain) == (CHUNK, CHUNK)
    assert (second.own.plain, second.shared.plain) == (0, CHUNK)
    assert first.shared_metadata.chunks == 1  # the directory that holds `f` alone
    opened.close()


def test_each_entry_of_a_directory_occupies_what_it_refers_to(small: SmallRepository):
    whole = save(
        small,
        {"d/one": Cut(A, B), "d/two": Cut(B, C), "d/e/f": D, "g": E},
        bundles={"d": [("s", A[:100]), ("t", A[100:400])]},
    )
    save(small, {"other": Cut(A, C)})
    opened = small.open()
    rows = {row.path: row for row in measure_paths(opened, whole, "d", small.operation())}
    assert set(rows) == {"one", "two", "e", "s", "t", "."}
    assert rows["one"].size == 2 * CHUNK
    node = rows["one"].stored - stored(opened, A, B)
    assert 0 < node < 500
    assert rows["one"].own == stored(opened, B) + node  # A is elsewhere too; B is nowhere else but in `two`
    bundle = stored(opened, A[:400])
    assert (rows["s"].stored, rows["t"].stored) == (round(bundle / 4), round(bundle * 3 / 4))
    assert rows["."].size == 5 * CHUNK + 400
    assert rows["."].stored < sum(row.stored for path, row in rows.items() if path != ".") - stored(opened, B) + 2000
    (single,) = measure_paths(opened, whole, "d/e/f", small.operation())
    assert (single.size, single.stored, single.own) == (CHUNK, stored(opened, D), stored(opened, D))
    opened.close()
