"""Laws of selectors, and what no text may do to their parser."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from lamina.errors import LaminaError, UsageError
from lamina.model.ids import ChunkId, SessionId
from lamina.model.paths import parse_snapshot_path
from lamina.model.selector_text import parse, split_path
from lamina.model.selectors import All, Between, Both, Either, First, Last, Not, Reversed, Selector, select
from lamina.model.snapshots import Snapshot, Trust

WORDS = ("all", "latest", "latest~1", "first", "0", "1", "aaaa", "0000", "name:a", "tag:t", "host:h", "trust:fresh",
         "partial", "removed", "2026-01-02", "2026-01-02T12:00", "..", "&", ",", "(", ")", "not(", "first(", "last(",
         "reverse(", ":", "'", '"', "'a b'", "a@latest", "~", " ", "\\", "x", "\udcff", "é")  # fmt: skip
FILTERS = ("all", "name:a", "name:b", "tag:t", "tag:u", "host:h", "trust:fresh", "trust:verified", "partial",
           "protected", "2026-01-02", "2026-01-02..2026-01-04", "..2026-01-03", "2026-01-03T12:00..")  # fmt: skip

texts = st.one_of(st.text(max_size=30), st.lists(st.sampled_from(WORDS), max_size=12).map("".join))


@st.composite
def lists(draw: st.DrawFn) -> list[Snapshot]:
    def snapshot(number: int) -> Snapshot:
        time = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(hours=draw(st.integers(0, 120)))
        return Snapshot(
            id=SessionId(number.to_bytes(16, "big")),
            started=time,
            finished=time,
            root=ChunkId(bytes(32)),
            size=0,
            partial=draw(st.booleans()),
            protected=draw(st.booleans()),
            name=draw(st.sampled_from("ab")),
            tags=draw(st.frozensets(st.sampled_from("tu"))),
            host="h",
            trust=draw(st.sampled_from(Trust)),
        )

    return [snapshot(number) for number in range(draw(st.integers(0, 6)))]


def _larger(inner: st.SearchStrategy[Selector]) -> st.SearchStrategy[Selector]:
    several = st.lists(inner, min_size=1, max_size=3).map(tuple)
    return st.one_of(
        *(inner.map(kind) for kind in (First, Last, Not, Reversed)), several.map(Both), several.map(Either)
    )


selectors = st.recursive(st.sampled_from(FILTERS).map(parse), _larger, max_leaves=6)


def chosen(selector: Selector, snapshots: list[Snapshot]) -> list[SessionId]:
    return [one.id for one in select(selector, snapshots, UTC)]


@given(texts, lists())
def test_any_text_is_read_or_refused_with_a_reason(text: str, snapshots: list[Snapshot]):
    with suppress(LaminaError):
        selector = parse(text)
        select(selector, snapshots, UTC)


@given(texts)
def test_a_path_is_cut_off_where_the_selector_ends(text: str):
    try:
        selector, path = split_path(text)
    except UsageError:
        return
    parse(selector)
    assert text == selector if path is None else text == f"{selector}:{path}"
    assert parse_snapshot_path(text).snapshot == selector


@given(texts, texts)
def test_a_path_may_be_anything(text: str, path: str):
    try:
        parse(text)
    except UsageError:
        return
    if text.rstrip() == text and text[-1] != ":":
        assert split_path(f"{text}:/{path}") == (text, f"/{path}")


@given(selectors, lists())
def test_no_snapshot_is_selected_twice(selector: Selector, snapshots: list[Snapshot]):
    found = chosen(selector, snapshots)
    assert len(set(found)) == len(found)


@given(selectors, lists())
def test_not_is_the_complement(selector: Selector, snapshots: list[Snapshot]):
    found, others = set(chosen(selector, snapshots)), set(chosen(Not(selector), snapshots))
    assert not found & others
    assert found | others == set(chosen(All(), snapshots))
    assert chosen(Not(Not(selector)), snapshots) == sorted(found)


@given(selectors, lists())
def test_reversing_twice_changes_nothing(selector: Selector, snapshots: list[Snapshot]):
    assert chosen(Reversed(Reversed(selector)), snapshots) == chosen(selector, snapshots)
    assert chosen(First(selector), snapshots) == chosen(Last(Reversed(selector)), snapshots)


@given(selectors, selectors, lists())
def test_and_takes_away_and_comma_adds(one: Selector, other: Selector, snapshots: list[Snapshot]):
    both, either = chosen(Both((one, other)), snapshots), chosen(Either((one, other)), snapshots)
    first, second = chosen(one, snapshots), chosen(other, snapshots)
    assert both == [each for each in first if each in second]
    assert either == [*first, *(each for each in second if each not in first)]
    assert chosen(Not(Both((one, other))), snapshots) == sorted(
        set(chosen(Not(one), snapshots)) | set(chosen(Not(other), snapshots))
    )


@given(st.sampled_from((*FILTERS[-4:], "0", "latest~1", "first", "last(tag:t)")), lists())
def test_a_range_is_the_same_from_both_ends(end: str, snapshots: list[Snapshot]):
    there, back = (parse(text) for text in (f"2026-01-02T18:00..({end})", f"({end})..2026-01-02T18:00"))
    assert isinstance(there, Between)
    try:
        found = chosen(there, snapshots)
    except LaminaError:
        return
    assert chosen(back, snapshots) == found
