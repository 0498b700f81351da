"""One call of the command line: its settings, its output, its operation, and the passphrase it asks for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import tzinfo
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

from lamina import wiring
from lamina.cli.arguments import Parsed, option
from lamina.cli.output import Output, ask_secret, can_ask
from lamina.errors import UsageError

if TYPE_CHECKING:
    from lamina.model.operation import Operation
    from lamina.model.secret import Secret
    from lamina.repository.repository import Repository
    from lamina.settings import Settings

HOW_TO_GIVE = "give --passphrase-file FILE or --passphrase-command COMMAND, or set LAMINA_PASSPHRASE[_FILE|_COMMAND]"


class Call:
    """What a verb's function gets: the arguments, and the world they are carried out in."""

    def __init__(self, arguments: Parsed, output: Output, signals: wiring.Signals) -> None:
        self.arguments = arguments
        self.output = output
        self.stop = Event()  # the stop button of this call
        self._signals = signals
        self._settings: Settings | None = None

    @property
    def settings(self) -> Settings:
        """Flags, environment and settings file, put together once."""
        if self._settings is None:
            from lamina.settings import Flags, load

            flags = {name: option(self.arguments, name) for name in Flags.__dataclass_fields__}
            self._settings = load(Flags(**flags), wiring.environment())
        return self._settings

    @property
    def zone(self) -> tzinfo:
        """Where days begin, when snapshots are chosen by date or by a policy."""
        return self.settings.zone

    @contextmanager
    def operation(self) -> Iterator[Operation]:
        """The operation of this call; inside the block it shows its progress, and a signal stops it cleanly."""
        from lamina.model.operation import Operation, SystemClock

        clock = SystemClock()
        with self.output.progress(clock) as progress:
            operation = Operation(clock=clock, progress=progress, stop=self.stop)
            with self._signals.stopping(operation):
                yield operation

    @contextmanager
    def repository(self) -> Iterator[tuple[Repository, Operation]]:
        """The repository, opened, and the operation of this call."""
        if not self.settings.address:
            self.missing_address()
        passphrase = self.passphrase()
        with self.operation() as operation, wiring.open_repository(self.settings, passphrase, operation) as repository:
            yield repository, operation

    def missing_address(self) -> None:
        """Raise UsageError: nobody said which repository."""
        raise UsageError(
            "no repository was named",
            hint="give -r REPOSITORY, or set LAMINA_REPOSITORY or default_repository in the settings file",
        )

    def passphrase(self, *, new: bool = False) -> Secret:
        """The passphrase from where it is configured, or from the person at the terminal (a *new* one is asked for twice)."""
        from lamina.settings import read_passphrase

        known = read_passphrase(self.settings.passphrase, self.output.warning)
        if known is not None:
            return known
        return self.ask_new("passphrase for the new repository") if new else self.ask("passphrase")

    def new_passphrase(self, file: str | None) -> Secret:
        """A passphrase that is to be set: from *file*, or asked for twice."""
        from lamina.settings import read_passphrase_file

        return read_passphrase_file(Path(file), self.output.warning) if file else self.ask_new("new passphrase")

    def ask_new(self, question: str) -> Secret:
        """Ask twice, because a typing error here would lock everybody out."""
        first, second = self.ask(question), self.ask(f"{question}, again")
        if first.reveal() != second.reveal():
            raise UsageError("the two passphrases differ", hint="nothing was changed; try again")
        return first

    def ask(self, question: str) -> Secret:
        """What the person at the terminal types. Raises: UsageError if there is none."""
        from lamina.settings import check_passphrase

        if not can_ask():
            raise UsageError("a passphrase is needed, and there is no terminal to ask at", hint=HOW_TO_GIVE)
        try:
            typed = ask_secret(question)
        except EOFError as error:
            raise UsageError("no passphrase was typed", hint=HOW_TO_GIVE) from error
        return check_passphrase(typed.encode("utf-8", "surrogateescape"), "the terminal")
