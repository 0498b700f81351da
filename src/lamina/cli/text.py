"""Text for people: tables, frames, times. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, tzinfo


def printable(text: str) -> str:
    """*text* with control characters shown instead of obeyed: names in a repository are not ours."""
    if text.isprintable():
        return text
    return "".join(
        letter if letter.isprintable() or letter == "\n" else letter.encode("unicode_escape").decode()
        for letter in text
    )


def table(header: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[str] = ()) -> list[str]:
    """Lines with aligned columns; the columns named in *right* are aligned to the right.

    >>> table(["ID", "SIZE"], [["a", "1 B"], ["bc", "10 B"]], right=["SIZE"])
    ['ID  SIZE', 'a    1 B', 'bc  10 B']
    """
    shown = [[printable(cell) for cell in row] for row in (header, *rows)]
    widths = [max(len(row[column]) for row in shown) for column in range(len(header))]
    return [
        "  ".join(
            cell.rjust(width) if name in right else cell.ljust(width)
            for cell, width, name in zip(row, widths, header, strict=True)
        ).rstrip()
        for row in shown
    ]


def pairs(rows: Sequence[tuple[str, str]]) -> list[str]:
    """Lines of `name: value` with the values aligned; rows without a value are left out.

    >>> pairs([("id", "3f"), ("name", "vm"), ("tags", "")])
    ['id    3f', 'name  vm']
    """
    kept = [(name, printable(value)) for name, value in rows if value]
    width = max((len(name) for name, _ in kept), default=0)
    return [f"{name.ljust(width)}  {value}" for name, value in kept]


def framed(lines: Sequence[str]) -> list[str]:
    """The lines in a box, for what must not be overlooked.

    >>> framed(["ab", "c"])
    ['┌────┐', '│ ab │', '│ c  │', '└────┘']
    """
    width = max(len(line) for line in lines)
    return [
        f"┌{'─' * (width + 2)}┐",
        *(f"│ {line.ljust(width)} │" for line in lines),
        f"└{'─' * (width + 2)}┘",
    ]


def format_time(moment: datetime, zone: tzinfo | None = None) -> str:
    """A moment in *zone* (None: that of this machine), with its offset.

    >>> from datetime import UTC
    >>> len(format_time(datetime(2026, 11, 21, 12, 0, tzinfo=UTC))) >= len("2026-11-21 12:00 UTC")
    True
    """
    local = moment.astimezone(zone)
    offset = local.strftime("%z")
    return local.strftime("%Y-%m-%d %H:%M ") + ("UTC" if offset == "+0000" else f"{offset[:3]}:{offset[3:]}")
