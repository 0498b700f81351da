"""What must be restorable, whatever happened: the simulator's memory of what was promised to whom."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field
from functools import cache

from lamina.model.ids import SessionId

Pieces = tuple[int, ...]  # numbers of the pieces that a file consists of
Tree = dict[str, dict[str, Pieces]]  # directory → file → its pieces

PIECES = 16  # that all clients' files are made of, so that they share many


@cache
def piece(number: int) -> bytes:
    """The content of one piece."""
    chance = random.Random(number)
    return chance.randbytes(chance.randint(60, 420))


def content(pieces: Pieces) -> bytes:
    """The content of a file."""
    return b"".join(map(piece, pieces))


@dataclass
class Promise:
    """What somebody was told, until somebody else begins to take it back."""

    holds: bool
    breaks: int = 0  # that began so far
    breaking: int = 0  # that are under way

    def begin_break(self) -> None:
        """From now on nobody may rely on it."""
        self.holds = False
        self.breaks += 1
        self.breaking += 1

    def end_break(self) -> None:
        self.breaking -= 1

    def begin(self) -> int:
        """What `renew` wants to hear; nothing is promised while somebody takes it back."""
        return self.breaks if not self.breaking else -1

    def renew(self, begun: int) -> bool:
        """It was said again; whether that counts, because nobody began to take it back since."""
        self.holds = self.holds or self.breaks == begun
        return self.breaks == begun


@dataclass
class Saved:
    """One snapshot, or what might become one."""

    tree: Tree
    is_promised: bool = False  # its commit was acknowledged
    is_refused: bool = False  # its commit failed for certain
    kept: Promise = field(default_factory=lambda: Promise(holds=True))  # nobody began to forget it
    protected: Promise = field(default_factory=lambda: Promise(holds=False))  # somebody protected it


@dataclass
class Oracle:
    """Everything that was said to be safe, and what turned out not to be."""

    saved: dict[SessionId, Saved] = field(default_factory=dict)
    losses: list[str] = field(default_factory=list)
    forged: set[str] = field(default_factory=set)  # objects that a thief put there
    counts: Counter[str] = field(default_factory=Counter)

    def intend(self, session: SessionId, tree: Tree) -> None:
        """From now on a snapshot of *session* may be seen; it must hold *tree*."""
        self.saved[session] = Saved(tree)

    def promise(self, session: SessionId) -> None:
        """The commit was acknowledged."""
        self.saved[session].is_promised = True
        self.counts["commits"] += 1

    def refuse(self, session: SessionId) -> None:
        """The commit failed, and not for want of an answer."""
        self.saved[session].is_refused = True

    def must_stay(self, session: SessionId) -> bool:
        """Whether the snapshot has to be there now."""
        saved = self.saved.get(session)
        return saved is not None and saved.is_promised and (saved.protected.holds or saved.kept.holds)

    def must_be_listed(self, session: SessionId) -> bool:
        """Whether nobody may have removed the snapshot, not even somebody who died before he saw that it is protected."""
        return self.must_stay(session) and self.saved[session].kept.holds

    def lose(self, what: str) -> None:
        """Something that was promised is not so."""
        self.losses.append(what)
