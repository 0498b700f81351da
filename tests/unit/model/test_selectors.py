from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo
from hashlib import sha256
from zoneinfo import ZoneInfo

import pytest

from lamina.errors import NotPermitted, SnapshotAmbiguous, SnapshotMissing, UsageError
from lamina.model.ids import ChunkId, SessionId
from lamina.model.selector_text import parse, split_path
from lamina.model.selectors import only, select
from lamina.model.snapshots import Snapshot, Trust

IDS = ["aaaa", "bbbb", "1234", "12345", "2026", "ffff"]  # oldest first; one a day, from 2026-01-01 on, at noon
NAMES = ["web", "mail", "web", "web server", "mail", "a:b, (c)"]


def hashed(text: str) -> bytes:
    return sha256(text.encode()).digest()[:16]


def snapshot(number: int, **said: object) -> Snapshot:
    started = datetime(2026, 1, 1, 12, tzinfo=UTC) + timedelta(days=number)
    facts: dict[str, object] = {
        "started": started,
        "finished": started + timedelta(hours=13),
        "name": NAMES[number],
        "host": "h1" if number % 2 else "h2",
        "tags": frozenset({"daily"} if number < 4 else {"weekly", "it's"}),
        "partial": number == 1,
        "protected": number == 2,
        "trust": (Trust.FRESH, Trust.VERIFIED, Trust.DISTRUSTED)[number % 3],
    }
    return Snapshot(
        id=SessionId(bytes.fromhex(IDS[number].ljust(32, "0"))),
        root=ChunkId(bytes(32)),
        size=0,
        **{**facts, **said},  # type: ignore[arg-type]
    )


ALL = [snapshot(number) for number in range(6)]


def chosen(text: str, snapshots: list[Snapshot] = ALL, zone: tzinfo = UTC) -> list[int]:
    """The numbers of what *text* selects, oldest 0."""
    return [IDS.index(one.id.hex().rstrip("0")) for one in select(parse(text), snapshots, zone)]


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("all", [0, 1, 2, 3, 4, 5]), (" all ", [0, 1, 2, 3, 4, 5]), ("(all)", [0, 1, 2, 3, 4, 5]),
        ("aaaa", [0]), ("BBBB00", [1]), ("0", [5]), ("2", [3]), ("005", [0]), ("2026", [4]),
        ("latest", [5]), ("latest~2", [3]), ("last", [5]), ("first", [0]), ("first~1", [1]),
        ("web@latest", [2]), ("web@latest~1", [0]), ("web@first", [0]), ("'web server'@latest", [3]),
        ('"a:b, (c)"@latest', [5]), ("name:'a:b, (c)'", [5]),
        ("name:web", [0, 2]), ("host:h1", [1, 3, 5]), ("tag:weekly", [4, 5]), ("tag:none", []), ('tag:"it\'s"', [4, 5]),
        (r"tag:'it\'s'", [4, 5]),
        ("trust:distrusted", [2, 5]), ("partial", [1]), ("protected", [2]), ("removed", []),
        ("first(name:mail)", [1]), ("last(name:mail)", [4]), ("first(reverse(all))", [5]), ("first(tag:none)", []),
        ("last(aaaa, bbbb, aaaa)", [1]), ("reverse(tag:weekly)", [5, 4]), ("not(tag:daily)", [4, 5]),
        ("not(reverse(all))", []), ("not(0, 1)", [0, 1, 2, 3]),
        ("latest, first", [5, 0]), ("0,1 , 0", [5, 4]), ("tag:daily & name:web", [0, 2]),
        ("reverse(all) & name:web", [2, 0]), ("name:web & tag:daily, latest", [0, 2, 5]),
        ("latest, name:web & tag:daily", [5, 0, 2]), ("(latest, name:web) & tag:daily", [0, 2]),
        ("all & host:h1 & tag:weekly", [5]), ("not(not(tag:weekly))", [4, 5]),
        ("reverse(reverse(name:web))", [0, 2]),
    ],
)  # fmt: skip
def test_a_selector_stands_for_snapshots_in_its_order(text: str, numbers: list[int]):
    assert chosen(text) == numbers


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("..", [0, 1, 2, 3, 4, 5]), ("bbbb..", [1, 2, 3, 4, 5]), ("..bbbb", [0, 1]), ("bbbb..12345", [1, 2, 3]),
        ("12345..bbbb", [1, 2, 3]), ("bbbb .. 12345", [1, 2, 3]), ("1..0", [4, 5]), ("..latest~4", [0, 1]),
        ("web@first..web@latest", [0, 1, 2]), ("last(tag:daily)..", [3, 4, 5]),
        ("2026-01-03", [2]), ("2026-01-03..", [2, 3, 4, 5]), ("..2026-01-03", [0, 1, 2]),
        ("2026-01-02..2026-01-04", [1, 2, 3]), ("2026-01-04..2026-01-02", [1, 2, 3]), ("2025-01-01..2025-12-31", []),
        ("2026-01-03T12:00..", [2, 3, 4, 5]), ("2026-01-03T12:01..", [3, 4, 5]), ("..2026-01-03T12:00", [0, 1, 2]),
        ("..2026-01-03T11:59", [0, 1]), ("2026-01-03T12:00:00", [2]), ("2026-01-03T13:00+01:00", [2]),
        ("2026-01-03T12:00Z..latest", [2, 3, 4, 5]), ("bbbb..2026-01-04", [1, 2, 3]), ("2026-01-04..bbbb", [1, 2, 3]),
        ("2026-01-02..12345", [1, 2, 3]), ("(bbbb..) & name:web", [2]), ("bbbb..&name:web", [2]),
        ("..bbbb, latest", [0, 1, 5]),
    ],
)  # fmt: skip
def test_a_range_holds_both_its_ends_whichever_is_the_older(text: str, numbers: list[int]):
    assert chosen(text) == numbers


def test_a_day_begins_where_the_zone_says():
    midnight = snapshot(0, started=datetime(2026, 1, 1, 23, 30, tzinfo=UTC))
    assert chosen("2026-01-01", [midnight]) == [0]
    assert chosen("2026-01-01", [midnight], ZoneInfo("Europe/Berlin")) == []
    assert chosen("2026-01-02..", [midnight], ZoneInfo("Europe/Berlin")) == [0]
    assert chosen("2026-01-02T00:30", [midnight], ZoneInfo("Europe/Berlin")) == [0]
    assert chosen("2026-01-02T00:30Z", [midnight], ZoneInfo("Europe/Berlin")) == []


@pytest.mark.parametrize(
    ("day", "first", "last"),
    [("2026-03-29", "2026-03-28T23:00", "2026-03-29T21:59"), ("2026-10-25", "2026-10-24T22:00", "2026-10-25T22:59")],
)
def test_a_day_may_have_23_or_25_hours(day: str, first: str, last: str):
    begin, end = (datetime.fromisoformat(text).replace(tzinfo=UTC) for text in (first, last))
    minute = timedelta(minutes=1)
    times = [begin - minute, begin, end, end + minute]
    days = [snapshot(number, started=time) for number, time in enumerate(times)]
    assert chosen(day, days, ZoneInfo("Europe/Berlin")) == [1, 2]


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("dddd", SnapshotMissing), ("1234", SnapshotAmbiguous), ("6", SnapshotMissing), ("latest~6", SnapshotMissing),
        ("nobody@latest", SnapshotMissing), ("web@latest~2", SnapshotMissing), ("all, dddd", SnapshotMissing),
        ("tag:daily..", SnapshotAmbiguous), ("last(tag:none)..", SnapshotMissing), ("dddd..", SnapshotMissing),
        ("not(dddd)", SnapshotMissing),
    ],
)  # fmt: skip
def test_what_must_name_a_snapshot_and_does_not_is_an_error(text: str, error: type[Exception]):
    with pytest.raises(error):
        chosen(text)


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("all)", 4), ("(all", 5), ("first(", 7), ("tag:", 5), ("trust:strange", 7), ("a,b", 1), ("aaaa,", 6), ("& all", 1),
        ("all all", 5), ("all & & all", 7), ("tag:a:b", 6), ("web", 1), ("abc", 1), ("a" * 33, 1), ("web server@latest", 1),
        ("2026-13-01", 1), ("2026-02-30..", 1), ("1969-12-31", 1), ("9999-01-01", 1), ("2026-01-01T25:00", 1),
        ("'web'", 1), ("'web", 1), ("'web'@latest'x'", 13), ("@latest", 1), ("latest~", 1), ("latest~x", 1),
        ("aaaa...bbbb", 7), ("aaaa....", 7), ("(" * 60 + "all", 52), ("not all", 1), ("name:(x)", 6), ("2026-01-01T18", 1),
    ],
)  # fmt: skip
def test_an_error_points_at_its_place(text: str, letter: int):
    with pytest.raises(UsageError, match=rf"letter {letter}\)") as raised:
        parse(text)
    assert raised.value.hint


@pytest.mark.parametrize("text", ["", "  ", "\n"])
def test_nothing_names_no_snapshot(text: str):
    with pytest.raises(UsageError, match="names no snapshot"):
        parse(text)


@pytest.mark.parametrize(
    ("text", "selector", "path"),
    [
        ("latest:etc", "latest", "etc"), ("tag:daily:etc:x", "tag:daily", "etc:x"), ("name:web", "name:web", None),
        ("latest:tag:x", "latest", "tag:x"), ("latest:", "latest", ""), ("name:'a:b':c", "name:'a:b'", "c"),
        ("last(tag:a, tag:b):c", "last(tag:a, tag:b)", "c"), ("2026-01-01:etc", "2026-01-01", "etc"),
        ("2026-01-01T18:00:etc", "2026-01-01T18:00", "etc"), ("2026-01-01T18:00:30:etc", "2026-01-01T18:00:30", "etc"),
        ("aaaa..:etc", "aaaa..", "etc"), ("latest:a,b & c", "latest", "a,b & c"), ("latest:a\nb", "latest", "a\nb"),
    ],
)  # fmt: skip
def test_a_path_begins_behind_the_longest_selector(text: str, selector: str, path: str | None):
    assert split_path(text) == (selector, path)


@pytest.mark.parametrize("text", ["latest :etc", "strange:etc", ":etc", "(latest:etc", "latest etc", ""])
def test_a_path_needs_a_selector_before_it(text: str):
    with pytest.raises(UsageError):
        split_path(text)


def test_hidden_names_are_told_by_their_hashes():
    hidden = [snapshot(0), snapshot(1, readable=False, name=None, host="", tags=frozenset(), name_hash=hashed("web"))]
    assert select(parse("name:web"), hidden, UTC, hashed) == hidden
    assert select(parse("tag:daily"), hidden, UTC, hashed) == hidden[:1]
    tagged = [
        snapshot(1, readable=False, name=None, tags=frozenset(), tag_hashes=frozenset({hashed("x"), hashed("y")}))
    ]
    assert select(parse("tag:x"), tagged, UTC, hashed) == tagged


@pytest.mark.parametrize("text", ["name:web", "tag:daily", "web@latest", "not(name:web)", "all & tag:x"])
def test_what_hinges_on_hidden_names_is_refused_rather_than_guessed(text: str):
    hidden = [snapshot(0), snapshot(1, readable=False, name=None, host="", tags=frozenset())]
    with pytest.raises(NotPermitted):
        select(parse(text), hidden, UTC)


def test_a_hidden_host_is_never_guessed():
    with pytest.raises(NotPermitted):
        select(parse("host:h1"), [snapshot(0, readable=False)], UTC, hashed)


def test_where_one_is_meant_several_are_an_error_that_says_how_many():
    assert only(ALL[:1], "'x'") is ALL[0]
    with pytest.raises(SnapshotMissing, match="'x'"):
        only([], "'x'")
    with pytest.raises(SnapshotAmbiguous, match="fits 6 snapshots"):
        only(ALL, "'x'")


def test_who_names_a_snapshot_without_quotes_is_told_of_them():
    for text in ("web server@latest", "a..b@latest", "x,y@latest"):
        with pytest.raises(UsageError) as caught:
            parse(text)
        assert "in quotes" in caught.value.hint
