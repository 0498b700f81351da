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
class Saved:
    """One snapshot, or what might become one."""

    tree: Tree
    is_promised: bool = False  # its commit was acknowledged
    is_refused: bool = False  # its commit failed for certain
    may_go: bool = False  # somebody began to forget it, and nobody brought it back for certain
    forgets: int = 0  # that began so far
    forgetting: int = 0  # that are under way
    is_protected: bool = False  # somebody protected it, and nobody began to end that
    unprotects: int = 0  # that began so far
    unprotecting: int = 0  # that are under way


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

    def begin_forget(self, session: SessionId) -> None:
        """From now on the snapshot may be removed."""
        saved = self.saved[session]
        saved.may_go = True
        saved.forgets += 1
        saved.forgetting += 1

    def end_forget(self, session: SessionId) -> None:
        self.saved[session].forgetting -= 1

    def begin_unforget(self, session: SessionId) -> int:
        """What `promise_again` wants to hear; no promise comes of an unforget while somebody forgets."""
        saved = self.saved[session]
        return saved.forgets if not saved.forgetting else -1

    def promise_again(self, session: SessionId, forgets: int) -> None:
        """An unforget said that it succeeded."""
        saved = self.saved[session]
        if saved.forgets == forgets:
            saved.may_go = False
            self.counts["unforgets"] += 1

    def begin_protect(self, session: SessionId) -> int:
        """What `promise_protection` wants to hear, as of `begin_unforget`."""
        saved = self.saved[session]
        return saved.unprotects if not saved.unprotecting else -1

    def promise_protection(self, session: SessionId, unprotects: int) -> None:
        """A `protect` said that it succeeded: from now on no forget and no prune may take the snapshot."""
        saved = self.saved[session]
        if saved.unprotects == unprotects:
            saved.is_protected = True
            self.counts["protected"] += 1

    def begin_unprotect(self, session: SessionId) -> None:
        saved = self.saved[session]
        saved.is_protected = False
        saved.unprotects += 1
        saved.unprotecting += 1

    def end_unprotect(self, session: SessionId) -> None:
        self.saved[session].unprotecting -= 1

    def must_stay(self, session: SessionId) -> bool:
        """Whether the snapshot has to be there now."""
        saved = self.saved.get(session)
        return saved is not None and saved.is_promised and (saved.is_protected or not saved.may_go)

    def must_be_listed(self, session: SessionId) -> bool:
        """Whether nobody may have removed the snapshot, not even somebody who died before he saw that it is protected."""
        return self.must_stay(session) and not self.saved[session].may_go

    def lose(self, what: str) -> None:
        """Something that was promised is not so."""
        self.losses.append(what)
