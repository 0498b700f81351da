"""Nothing is trusted that nobody has seen decode, and clocks do not choose what is compared with what."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from lamina.engine.backup import VerifyMode
from lamina.errors import ChunkMissing, Damaged, Stopped
from lamina.filters import zstd
from lamina.model.operation import Operation
from lamina.model.snapshots import Trust
from lamina.repository.format import BlobKind
from lamina.sources.hints import ChangedRanges, Range
from lamina.testing.images import MemoryImage
from lamina.testing.repositories import CHUNK, SmallRepository, back_up

TEXT = b"a line that compresses well\n" * 20_000
EDITED = TEXT[:CHUNK] + b"EDIT" + TEXT[CHUNK + 4 :]


@pytest.fixture
def faulty_memory(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Every compressed frame comes out with one bit flipped, as bad memory or a bad release of the library makes it."""
    compress = zstd.compress

    def corrupt(data: Any, level: int) -> bytes:
        frame = bytearray(compress(data, level))
        frame[-1] ^= 1
        return bytes(frame)

    monkeypatch.setattr(zstd, "compress", corrupt)
    yield monkeypatch
    monkeypatch.undo()


@pytest.mark.parametrize("mode", list(VerifyMode))
def test_what_a_writer_stores_was_decoded_first(faulty_memory: pytest.MonkeyPatch, mode: VerifyMode):
    """A writer cannot read content back, so no comparison of its own would notice."""
    repository = SmallRepository()
    with pytest.raises(Damaged, match="did not decode"):
        repository.back_up(TEXT, holder="writer", verify=mode)


@pytest.mark.parametrize("mode", [VerifyMode.SAMPLE, VerifyMode.NONE])
def test_what_is_not_compared_as_a_whole_was_decoded_first(faulty_memory: pytest.MonkeyPatch, mode: VerifyMode):
    repository = SmallRepository()
    with pytest.raises(Damaged, match="did not decode"):
        repository.back_up(TEXT, verify=mode)


def interrupted(repository: SmallRepository, content: bytes, **options: Any) -> str:
    """A backup that is stopped between its commit and its comparison; returns what it said."""
    opened = repository.open()
    operation = repository.operation()

    class StopAtVerify:
        def start(self, phase: str, total: int | None) -> None:
            if phase == "verify":
                operation.stop.set()

        def advance(self, **_: int) -> None:
            pass

        def message(self, text: str) -> None:
            pass

    watched = Operation(operation.clock, StopAtVerify(), operation.stop)
    with pytest.raises(Stopped) as stopped:
        back_up(opened, [content], watched, **options)
    opened.close()
    return str(stopped.value)


def only_text_is_compressed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Damage data chunks alone: metadata is always decoded, and would fail the run at once."""
    compress = zstd.compress

    def corrupt(data: Any, level: int) -> bytes:
        frame = bytearray(compress(data, level))
        if bytes(data[:6]) == b"a line" or len(data) >= CHUNK:
            frame[-1] ^= 1
        return bytes(frame)

    monkeypatch.setattr(zstd, "compress", corrupt)


def test_a_snapshot_that_was_neither_decoded_nor_compared_is_not_built_on(
    small: SmallRepository, monkeypatch: pytest.MonkeyPatch
):
    with monkeypatch.context() as broken:
        only_text_is_compressed(broken)
        said = interrupted(small, TEXT)
    (snapshot,) = small.snapshots()
    assert snapshot.trust is Trust.FRESH
    assert snapshot.is_doubtful
    assert snapshot.short_id in said
    assert "not (wholly) compared" in said
    report = small.back_up(EDITED, hints=ChangedRanges((Range(CHUNK, 4),)))
    assert any("never compared" in note for note in report.notes)
    assert small.restore("latest") == EDITED
    healed = small.back_up(TEXT, name="other", verify=VerifyMode.NONE)
    assert healed.snapshot is not None
    assert small.restore("other@latest") == TEXT
    # what the faulty memory stored stays as it is until its snapshot goes
    small.storage.delete(f"snapshots/{snapshot.id.hex()}")


@pytest.fixture
def small() -> SmallRepository:
    """Not verified in the end: here damage stays on purpose, and each test restores what must restore."""
    return SmallRepository()


def test_the_parent_is_the_end_of_the_chain_whatever_a_clock_said(small: SmallRepository):
    small.clock.advance(timedelta(days=400))
    small.back_up(TEXT)
    small.clock.advance(timedelta(days=-400))
    second = small.back_up(EDITED)
    third = small.back_up(TEXT[:-1])
    assert third.parent == second.snapshot
    assert [one.id for one in small.snapshots()][-1] == third.snapshot
    assert small.restore("latest") == TEXT[:-1]


def test_hints_are_not_believed_while_the_parent_is_unclear(small: SmallRepository):
    small.clock.advance(timedelta(days=400))
    small.back_up(TEXT)
    small.clock.advance(timedelta(days=-400))
    report = small.back_up(EDITED, hints=ChangedRanges())
    assert any("not clear" in note for note in report.notes)
    assert small.restore(report.snapshot.hex() if report.snapshot else "") == EDITED


def test_two_ends_of_a_chain_make_hints_unclear_until_a_parent_is_named(small: SmallRepository):
    small.back_up(TEXT)
    first = small.snapshots()[0]
    small.back_up(EDITED, parent=first)
    small.back_up(TEXT, parent=first)
    unclear = small.back_up(TEXT, hints=ChangedRanges())
    assert any("not clear" in note for note in unclear.notes)
    named = small.back_up(TEXT, hints=ChangedRanges(), parent=small.snapshots()[-1])
    assert named.notes == ()


def test_an_index_record_that_is_not_believed_yet_is_looked_at_again(small: SmallRepository, tmp_path: Path):
    """A mirror that is still being copied has deltas before their start records."""
    small.back_up(TEXT)
    starts = [found.name for found in small.storage.objects("sessions/")]
    kept = {name: small.storage.get(name) for name in starts}
    for name in starts:
        small.storage.delete(name)
    opened = small.open(cache=tmp_path)
    with pytest.raises(ChunkMissing):
        opened.reader().get_links(BlobKind.DIRECTORY, opened.find_snapshot("latest").root)
    opened.close()
    for name, data in kept.items():
        small.storage.put(name, [data])
    opened = small.open(cache=tmp_path)
    opened.reader().get_links(BlobKind.DIRECTORY, opened.find_snapshot("latest").root)
    opened.close()
    assert small.verify().problems == ()


def test_a_cache_that_others_can_write_to_is_done_without(small: SmallRepository, tmp_path: Path):
    small.back_up(TEXT)
    opened = small.open(cache=tmp_path)
    place = next(tmp_path.iterdir(), tmp_path / opened.id.hex())
    place.mkdir(exist_ok=True)
    place.chmod(0o777)
    opened.reader()
    opened.close()
    assert list(place.glob("*.table")) == []
    assert any("of no use" in message for message in small.progress.messages)


def test_verify_misses_a_snapshot_that_other_records_speak_of(small: SmallRepository):
    small.back_up(TEXT)
    second = small.back_up(EDITED)
    small.back_up(TEXT)
    assert second.snapshot is not None
    small.storage.delete(f"snapshots/{second.snapshot.hex()}")
    (problem,) = small.verify().problems
    assert problem.object == f"snapshots/{second.snapshot.hex()}"
    assert "missing" in problem.what


@pytest.mark.parametrize("folder", ["attributes", "removed"])
def test_what_nobody_believes_does_not_decide_where_a_series_goes_on(small: SmallRepository, folder: str):
    """One junk object with the last number would otherwise silence every later edit."""
    small.back_up(TEXT)
    opened = small.open()
    snapshot = opened.find_snapshot("latest")
    small.storage.put(f"{folder}/{snapshot.id.hex()}/99999999", [b"junk"])
    opened.edit(snapshot, add_tags=["kept"])
    opened.forget(snapshot)
    (found,) = opened.snapshots(removed=True)
    assert (found.tags, found.removed) == ({"kept"}, True)
    opened.unforget(found)
    (found,) = opened.snapshots()
    assert found.tags == {"kept"}
    opened.close()


@pytest.mark.parametrize("holder", ["owner", "writer"])
def test_a_squatter_does_not_keep_the_outcome_of_a_comparison_from_being_recorded(small: SmallRepository, holder: str):
    source = MemoryImage(TEXT)
    read_into = source.read_into

    def squatting(offset: int, buffer: memoryview) -> int:
        for found in list(small.storage.objects("snapshots/")):
            small.storage.put(f"attributes/{found.name.partition('/')[2]}/00000001", [b"junk"])
        return read_into(offset, buffer)

    source.read_into = squatting  # type: ignore[method-assign]
    report = small.back_up(source, holder=holder)
    assert report.notes == ()
    assert [one.trust for one in small.snapshots()] == [Trust.VERIFIED]


def test_a_tree_deeper_than_pythons_stack_is_stored_walked_and_verified(small: SmallRepository):
    from lamina.model.entries import Entry, EntryType, FixedContent, Position
    from lamina.model.process import Process
    from lamina.repository.sessions import SnapshotFacts
    from lamina.repository.trees import put_tree, walk_tree
    from lamina.repository.writer import EncodingOptions

    opened = small.open()
    session = opened.begin(Process(), EncodingOptions(3, check=True), small.operation())
    deep = "/".join(["d"] * 2000)
    content = FixedContent(10, CHUNK, Position.ZERO, None)
    root = put_tree(session.writer, {f"{deep}/f": Entry(b"f", EntryType.FILE, content=content)})
    session.commit(SnapshotFacts(root, 10, 10, False, "deep", "", "", (), frozenset(), None))
    session.close()
    assert [path for path, _ in walk_tree(opened.reader(), root)][-1] == f"{deep}/f"
    opened.close()
    for holder in ("owner", "steward"):
        assert small.verify(holder).problems == ()


def test_a_dry_run_counts_what_lies_in_condemned_packs_as_new(small: SmallRepository):
    from lamina.model.ids import PackId
    from lamina.repository.format import Kind
    from lamina.repository.generations import generation_name
    from lamina.repository.records import GenerationOpenRecord

    content = random.Random(5).randbytes(2 * CHUNK)
    small.back_up(content)
    packs = [PackId(bytes.fromhex(found.name[5:])) for found in small.storage.objects("data/")]
    opened = small.open()
    opened.access.control.write(
        Kind.GENERATION_OPEN, generation_name(1, "open"), GenerationOpenRecord([], [], [], list(packs), "")
    )
    opened.close()
    report = small.back_up(content, name="other", dry_run=True)
    assert report.statistics.new >= len(content)
