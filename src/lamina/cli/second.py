"""A second repository of one call: its options, and what opens it."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from lamina import wiring
from lamina.cli.arguments import option
from lamina.errors import UsageError, WrongPassphrase

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from lamina.cli.call import Call
    from lamina.model.operation import Operation
    from lamina.model.secret import Secret
    from lamina.repository.repository import Repository


def add_second_options(parser: argparse.ArgumentParser, word: str, what: str, *, required: bool) -> None:
    """Add `--WORD REPOSITORY` and what says how to open it."""
    parser.add_argument(f"--{word}", metavar="REPOSITORY", required=required, dest="second", help=what)
    parser.add_argument(
        f"--{word}-passphrase-file", metavar="FILE", dest="second_passphrase_file",
        help=f"read the passphrase of the other repository from FILE (or LAMINA_{word.upper()}_PASSPHRASE[_FILE|_COMMAND])",
    )  # fmt: skip
    parser.add_argument(
        f"--{word}-passphrase-command", metavar="COMMAND", dest="second_passphrase_command",
        help="read it from what COMMAND prints",
    )  # fmt: skip


@contextmanager
def opened_second(call: Call, word: str, operation: Operation) -> Iterator[Repository]:
    """The other repository, opened with a passphrase of its own, and closed at the end of the block."""
    from lamina.settings import Flags, load_second, read_passphrase

    arguments = call.arguments
    flags = Flags(
        repository=arguments.second,
        passphrase_file=arguments.second_passphrase_file,
        passphrase_command=arguments.second_passphrase_command,
        cache_dir=option(arguments, "cache_dir"),
        compression=option(arguments, "compression"),
        limit_upload=option(arguments, "limit_upload"),
        limit_download=option(arguments, "limit_download"),
    )
    settings = load_second(word.upper(), flags, wiring.environment())
    passphrase = read_passphrase(settings.passphrase, call.output.warning)
    if passphrase is None:
        passphrase = _ask(call, word)
    with ExitStack() as stack:
        try:
            repository = stack.enter_context(wiring.open_repository(settings, passphrase, operation))
        except WrongPassphrase as error:
            error.say_too(f"it was tried on {arguments.second}")
            raise
        yield repository


def _ask(call: Call, word: str) -> Secret:
    try:
        return call.ask(f"passphrase of {call.arguments.second}")
    except UsageError as error:
        how = f"give --{word}-passphrase-file FILE, or set LAMINA_{word.upper()}_PASSPHRASE[_FILE|_COMMAND]"
        raise UsageError(f"{error.message} for that of {call.arguments.second}", hint=how) from error
