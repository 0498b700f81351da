"""`lamina completion`: let a shell complete verbs and options."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lamina.cli import exit_codes
from lamina.cli.arguments import Parser, Verbs, iter_parsers

if TYPE_CHECKING:
    from lamina.cli.call import Call

FILES = {"FILE", "SOURCE", "TARGET", "DIR", "REPOSITORY"}  # metavars that are completed as files
SHELLS = ("bash", "zsh", "tcsh")


def add_to(verbs: Verbs, root: Parser) -> None:
    parser = verbs.add(
        "completion",
        summary="print a completion script for a shell",
        examples=(
            "lamina completion bash > ~/.local/share/bash-completion/completions/lamina",
            "lamina completion zsh > ~/.zfunc/_lamina",
        ),
        run=run_completion,
        root=root,
    )
    parser.add_argument("shell", choices=SHELLS, help="the shell to write it for")


def run_completion(call: Call) -> int:
    import shtab

    for parser in iter_parsers(call.arguments.root):
        for action in parser._actions:  # noqa: SLF001 - argparse has no other way to walk a parser
            if action.metavar in FILES:
                action.complete = shtab.FILE  # type: ignore[attr-defined]  # shtab looks for it
    script = shtab.complete(call.arguments.root, shell=call.arguments.shell)
    call.output.raw(script if script.endswith("\n") else f"{script}\n")
    return exit_codes.DONE
