"""The entry point: one call of `lamina`, from words to exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from lamina import wiring
from lamina.cli import exit_codes
from lamina.cli.arguments import Parsed, option
from lamina.cli.call import Call
from lamina.cli.logfile import Log, opened_log
from lamina.cli.output import Output, Style, detach
from lamina.cli.parser import parse
from lamina.errors import LaminaError, Stopped

_STDERR = 2


def main(argv: Sequence[str] | None = None) -> int:
    """Carry out one call and return its exit code (docs/reference/exit-codes.md)."""
    _occupy_standard_descriptors()
    words = list(sys.argv[1:] if argv is None else argv)
    output = Output(Style(json="--json" in words), sys.stdout, sys.stderr)
    try:
        arguments = parse(words)
        output = Output(_style(arguments), sys.stdout, sys.stderr)
        with opened_log(option(arguments, "log_file")) as log:
            return _call(arguments, output, log)
    except SystemExit as request:  # argparse has printed help or version
        return int(request.code or exit_codes.DONE)
    except LaminaError as error:
        return _failed(error, output)
    except BrokenPipeError:  # the reader of our output went away: it has what it wanted
        detach(sys.stdout)
        return exit_codes.FAILED


def _occupy_standard_descriptors() -> None:
    """Open /dev/null under those that are closed: no file of ours may get their numbers, where strangers' code writes to."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= _STDERR:
        pass
    os.close(descriptor)


def _style(arguments: Parsed) -> Style:
    return Style(
        json=option(arguments, "json", default=False),
        quiet=option(arguments, "quiet", default=False),
        verbose=option(arguments, "verbose", default=False),
        data_on_stdout=getattr(arguments, "target", None) == "-",
    )


def _call(arguments: Parsed, output: Output, log: Log) -> int:
    """Run the verb; say and log what came of it."""
    log.info("start", verb=arguments.verb)
    signals = wiring.Signals()
    try:
        with signals.caught():
            code: int = arguments.run(Call(arguments, output, signals))
    except LaminaError as error:
        log.error(error.message, error=type(error).__name__, hint=error.hint)
        code = _failed(error, output)
    except KeyboardInterrupt:
        log.error("interrupted")
        code = _failed(Stopped("interrupted", hint="run the same command again: what was stored is used again"), output)
    except BrokenPipeError:
        raise
    except Exception as fault:  # noqa: BLE001 - the last place that can say something about it
        log.crash(fault)
        output.crash(fault, option(arguments, "log_file"))
        code = exit_codes.FAILED
    log.info("end", verb=arguments.verb, exit_code=code)
    return code


def _failed(error: LaminaError, output: Output) -> int:
    code = exit_codes.exit_code(error)
    output.error(error, code)
    return code
