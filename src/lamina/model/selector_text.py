"""Text → selectors: the grammar in which people say which snapshots they mean. Pure.

    selector  = both { "," both }                     one list after the other, each snapshot once
    both      = range { "&" range }                   what is in all of them; binds tighter than ","
    range     = end | [ end ] ".." [ end ]            a DATE alone is all of that day
    end       = term | DATE                           beside "..", a term that stands for one snapshot
    term      = ID | NUMBER | age | "all" | "partial" | "protected" | "removed"
              | ( "name" | "tag" | "host" ) ":" TEXT | "trust:" ( "fresh" | "verified" | "distrusted" )
              | ( "first" | "last" | "not" | "reverse" ) "(" selector ")" | "(" selector ")"
    age       = [ TEXT "@" ] ( "latest" | "last" | "first" ) [ "~" NUMBER ]

A TEXT with blanks or one of ( ) & , : ' " or `..` stands in quotes, in which a backslash takes what follows as it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta

from lamina.errors import UsageError
from lamina.model.ids import SNAPSHOT_PREFIX_MIN
from lamina.model.selectors import (
    All,
    Being,
    Between,
    Both,
    ByAge,
    ById,
    Either,
    Field,
    First,
    Having,
    Last,
    Moment,
    Not,
    Reversed,
    Selector,
    State,
    Trusted,
)
from lamina.model.snapshots import Trust

MAX_DEPTH = 50  # brackets in brackets; deeper than anybody writes, and far from the end of the stack
FORMS = "an id or its first four digits, a number, latest, latest~2, NAME@latest, name:N, tag:T, a date, or more"
QUOTE = "write what has blanks or any of ( ) & , : ' \" in quotes, like name:'web server'"

_WORD = re.compile(r"(?:(?!\.\.)[^\s()&,:\"'])+")
_QUOTED = re.compile(r"\"((?:[^\"\\]|\\.)*)\"|'((?:[^'\\]|\\.)*)'", re.DOTALL)
_OPEN = re.compile(r"\(")
_CALL = re.compile(r"(first|last|not|reverse)\(")
_KEYED = re.compile(r"(name|tag|host|trust):")
_AGE = re.compile(r"(?:(?P<name>.*)@)?(?P<word>latest|last|first)(?:~(?P<back>[0-9]{1,9}))?", re.DOTALL)
_NUMBER = re.compile(r"[0-9]{1,3}")  # with a fourth digit it begins an id
_ID = re.compile(f"[0-9a-fA-F]{{{SNAPSHOT_PREFIX_MIN},32}}")
_DATE = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
    r"(?P<time>T[0-9]{2}:[0-9]{2}(?P<seconds>:[0-9]{2})?(?:Z|[+-][0-9]{2}:?[0-9]{2})?)?"
    r"(?=$|[\s()&,:]|\.\.)"
)
_YEARS = range(1970, 9999)  # further away no arithmetic of days in time zones is safe
_CALLS: dict[str, Callable[[Selector], Selector]] = {"first": First, "last": Last, "not": Not, "reverse": Reversed}


def parse(text: str) -> Selector:
    """Read a selector. Raises: UsageError, which says where it goes wrong.

    >>> parse("web@latest~2")
    ByAge(back=2, name='web', oldest=False)
    >>> parse("tag:daily & not(protected), 0")
    Either(parts=(Both(parts=(Having(field=<Field.TAG: 'tag'>, text='daily'), \
Not(of=Being(state=<State.PROTECTED: 'protected'>)))), ByAge(back=0, name=None, oldest=False)))
    """
    parser = _Parser(text)
    selector = parser.selector()
    if not parser.is_done:
        raise parser.wrong("`,` or `&` or the end should stand", hint=QUOTE)
    return selector


def split_path(text: str) -> tuple[str, str | None]:
    """Cut `SELECTOR:PATH` behind the longest beginning that the grammar knows; None if there is no path.

    >>> split_path("name:web:etc/ssh"), split_path("latest:tag:x"), split_path("'a:b'@latest")
    (('name:web', 'etc/ssh'), ('latest', 'tag:x'), ("'a:b'@latest", None))
    """
    parser = _Parser(text)
    parser.selector()
    if parser.is_done:
        return text, None
    if not text.startswith(":", parser.at):
        raise parser.wrong("`,` or `&` or `:PATH` or the end should stand")
    return text[: parser.at], text[parser.at + 1 :]


class _Parser:
    """Reads one text from left to right; `at` is the place it has come to."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._depth = 0
        self.at = 0
        if self.is_done:
            raise UsageError(f"{text!r} names no snapshot", hint=f"write {FORMS}")

    @property
    def is_done(self) -> bool:
        """Whether only blanks are left."""
        return not self._text[self.at :].strip()

    def wrong(self, expected: str, *, at: int | None = None, hint: str = "") -> UsageError:
        """What to raise if something else should stand at this place."""
        place = self._next() if at is None else at
        rest = self._text[place:]
        found = f"{rest[:20]!r}" + ("…" if len(rest) > 20 else "") if rest.strip() else "the end"
        return UsageError(
            f"{self._text!r}: where {found} stands (letter {place + 1}), {expected}", hint=hint or f"write {FORMS}"
        )

    def selector(self) -> Selector:
        """Read the longest selector that begins here."""
        parts = [self._both()]
        while self._take(","):
            parts.append(self._both())
        return parts[0] if len(parts) == 1 else Either(tuple(parts))

    def _both(self) -> Selector:
        parts = [self._range()]
        while self._take("&"):
            parts.append(self._range())
        return parts[0] if len(parts) == 1 else Both(tuple(parts))

    def _range(self) -> Selector:
        if self._take(".."):
            return Between(None, self._other_end())
        term = self._term()
        if self._take(".."):
            return Between(term, self._other_end())
        return Between(term, term) if isinstance(term, Moment) else term

    def _other_end(self) -> Selector | Moment | None:
        """What stands behind `..`, if anything does."""
        begin = self._next()
        return None if begin == len(self._text) or self._text[begin] in "),&:" else self._term()

    def _term(self) -> Selector | Moment:
        self.at = self._next()
        if call := self._match(_CALL):
            return _CALLS[call[1]](self._in_brackets())
        if self._match(_OPEN):
            return self._in_brackets()
        if keyed := self._match(_KEYED):
            return self._keyed(keyed[1])
        begin = self.at
        if date := self._match(_DATE):
            return self._moment(date, begin)
        if in_quotes := self._match(_QUOTED):
            return self._quoted_age(_unquoted(in_quotes), begin)
        if word := self._match(_WORD):
            return self._word(word[0], begin)
        raise self.wrong(
            "a snapshot should stand", hint=QUOTE if self._text[self.at : self.at + 1] in {"'", '"'} else ""
        )

    def _in_brackets(self) -> Selector:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise self.wrong(f"no more than {MAX_DEPTH} brackets may stand in each other")
        inner = self.selector()
        if not self._take(")"):
            raise self.wrong("`)` should stand", hint=QUOTE)
        self._depth -= 1
        return inner

    def _keyed(self, key: str) -> Selector:
        begin = self.at
        if key == "trust":
            word = self._match(_WORD)
            states = {trust.value: trust for trust in Trust}
            if word is None or word[0] not in states:
                raise self.wrong(f"one of {', '.join(states)} should stand", at=begin)
            return Trusted(states[word[0]])
        if in_quotes := self._match(_QUOTED):
            return Having(Field(key), _unquoted(in_quotes))
        if word := self._match(_WORD):
            return Having(Field(key), word[0])
        raise self.wrong(f"a {key} should stand", hint=QUOTE)

    def _moment(self, date: re.Match[str], begin: int) -> Moment:
        length = timedelta(days=1)
        if date["time"]:
            length = timedelta(seconds=1) if date["seconds"] else timedelta(minutes=1)
        try:
            moment = datetime.fromisoformat(date[0])
        except ValueError as error:
            raise self.wrong(f"a date should stand ({error})", at=begin) from error
        if moment.year not in _YEARS:
            raise self.wrong(f"a date from {_YEARS[0]} to {_YEARS[-1]} should stand", at=begin)
        return Moment(moment, length)

    def _quoted_age(self, name: str, begin: int) -> ByAge:
        """What follows a name in quotes."""
        word = self._match(_WORD)
        age = _AGE.fullmatch(word[0]) if word else None
        if age is None or age["name"] != "":
            raise self.wrong("a name in quotes should be followed by @latest, or stand behind name:", at=begin)
        return ByAge(int(age["back"] or 0), name, oldest=age["word"] == "first")

    def _word(self, word: str, begin: int) -> Selector:
        if word == "all":
            return All()
        if word in {state.value for state in State}:
            return Being(State(word))
        if (age := _AGE.fullmatch(word)) and age["name"] != "":
            return ByAge(int(age["back"] or 0), age["name"], oldest=age["word"] == "first")
        if _NUMBER.fullmatch(word):
            return ByAge(int(word))
        if _ID.fullmatch(word):
            return ById(word.lower())
        hint = f"write {FORMS}; of a name: name:{word} or {word}@latest" + ("" if self.is_done else f"; {QUOTE}")
        raise self.wrong("a snapshot should stand", at=begin, hint=hint)

    def _next(self) -> int:
        """Where the next thing that is no blank begins."""
        place = self.at
        while place < len(self._text) and self._text[place].isspace():
            place += 1
        return place

    def _take(self, sign: str) -> bool:
        """Go past *sign* if it comes next."""
        place = self._next()
        if not self._text.startswith(sign, place):
            return False
        self.at = place + len(sign)
        return True

    def _match(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        """Go past what fits *pattern*, if that stands here."""
        found = pattern.match(self._text, self.at)
        if found is not None:
            self.at = found.end()
        return found


def _unquoted(found: re.Match[str]) -> str:
    return re.sub(r"\\(.)", r"\1", found[0][1:-1], flags=re.DOTALL)


def quoted(text: str) -> str:
    r"""*text* in quotes, so that it is one TEXT whatever signs are in it.

    >>> quoted("it's"), parse("name:" + quoted("it's")) == Having(Field.NAME, "it's")
    ("'it\\'s'", True)
    """
    return "'" + re.sub(r"(['\\])", r"\\\1", text) + "'"
