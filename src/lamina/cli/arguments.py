"""How the command line is cut into words: verbs with examples, and options that work before and after the verb."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn

from lamina.errors import UsageError

Parsed = argparse.Namespace
VERSION_HELP = "print the version and exit"


class Parser(argparse.ArgumentParser):
    """An argument parser that raises instead of exiting, and knows no abbreviations (they break when options come)."""

    def __init__(self, **options: Any) -> None:
        options.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(allow_abbrev=False, add_help=False, **options)
        self.add_argument("-h", "--help", action="help", help="show this help and exit")

    def error(self, message: str) -> NoReturn:
        raise UsageError(message, hint=f"see: {self.prog} -h")


def add_global_options(parser: argparse.ArgumentParser) -> None:
    """Add what every verb understands, on either side of it.

    No option has a default here: a default after the verb would overwrite what was said before it.
    """
    group = parser.add_argument_group("global options, before or after the verb")
    add = group.add_argument
    suppress = argparse.SUPPRESS
    add(
        "-r", "--repository", metavar="REPOSITORY", default=suppress,
        help="a path, file:///…, s3://BUCKET/PREFIX, or a profile of the settings file (or LAMINA_REPOSITORY)",
    )  # fmt: skip
    add("--passphrase-file", metavar="FILE", default=suppress, help="read the passphrase from FILE")
    add(
        "--passphrase-command", metavar="COMMAND", default=suppress,
        help="read the passphrase from what COMMAND prints (split into words, never run by a shell)",
    )  # fmt: skip
    add("--cache-dir", metavar="DIR", default=suppress, help="keep the cache in DIR (it may be deleted at any time)")
    add(
        "--timezone", metavar="ZONE", default=suppress,
        help="the time zone in which snapshots are listed and chosen by date, like Europe/Berlin (default: UTC)",
    )  # fmt: skip
    add("--json", action="store_true", default=suppress, help="print JSON Lines events instead of text")
    add("-v", "--verbose", action="store_true", default=suppress, help="say more; show tracebacks")
    add("-q", "--quiet", action="store_true", default=suppress, help="say only results, warnings and errors")
    add("--log-file", metavar="FILE", default=suppress, help="append a log to FILE (as JSON if it ends in .json[l])")


class Once(argparse.Action):
    """Refuses an option that stands there twice, where nobody could tell which of the two is meant."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: Parsed, values: Any, option_string: str | None = None
    ) -> None:
        if getattr(namespace, self.dest) is not None:
            parser.error(f"{option_string} was given twice")
        setattr(namespace, self.dest, values)


class Verbs:
    """The verbs of one parser; each is added with its help, its examples and the function that runs it."""

    def __init__(self, parser: argparse.ArgumentParser, *, title: str, dest: str) -> None:
        self._parsers: argparse._SubParsersAction[Parser] = parser.add_subparsers(
            title=title, dest=dest, metavar="VERB", required=True, parser_class=Parser
        )

    def add(self, name: str, *, summary: str, about: str = "", examples: Sequence[str] = (), **defaults: Any) -> Parser:
        """Add a verb. *examples* are whole commands; `run=` is called with the parsed arguments."""
        shown = "\n".join(f"  {example}" for example in examples)
        parser = self._parsers.add_parser(
            name,
            help=summary,
            description=f"{summary[0].upper()}{summary[1:]}.{' ' + about if about else ''}",
            epilog=f"examples:\n{shown}" if shown else None,
        )
        parser.set_defaults(examples=tuple(examples), **defaults)
        return parser


def typed(parse: Callable[[str], Any]) -> Callable[[str], Any]:
    """Let *parse*, which raises UsageError, serve as the type of an argument."""

    def parsed(text: str) -> Any:
        try:
            return parse(text)
        except UsageError as error:
            raise argparse.ArgumentTypeError(
                f"{error.message}; {error.hint}" if error.hint else error.message
            ) from error

    return parsed


def option(arguments: Parsed, name: str, default: Any = None) -> Any:
    """What was said for a global option, on either side of the verb."""
    return getattr(arguments, name, default)


def iter_parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """*parser* and every parser of a verb below it, in the order they were added."""
    yield parser
    for action in parser._actions:  # noqa: SLF001 - argparse has no other way to walk a parser
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            for below in action.choices.values():
                yield from iter_parsers(below)
