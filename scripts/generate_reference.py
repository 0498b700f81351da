"""Write docs/reference/{cli,exit-codes,settings}.md and the man pages from the code they describe.

Usage: python scripts/generate_reference.py [DIRECTORY]    (default: the docs of this checkout)
"""

# ruff: noqa: SLF001 - argparse has no other way to be walked

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Iterator
from pathlib import Path

from lamina import errors
from lamina.cli import exit_codes
from lamina.cli.arguments import iter_parsers
from lamina.cli.parser import build_parser
from lamina.settings import ENVIRONMENT
from lamina.settings_file import PolicyTable, Profile, SettingsFile

DOCS = Path(__file__).parents[1] / "docs"
GENERATED = "<!-- Written by `make docs` from the code; change it there. -->"
GLOBAL_GROUP = "global options"


def main() -> int:
    """Write every page."""
    root = Path(sys.argv[1]) if len(sys.argv) > 1 else DOCS
    for name, text in pages().items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return 0


def pages() -> dict[str, str]:
    """Every generated page: its name below docs/ and its text."""
    parsers = list(iter_parsers(build_parser()))
    written = {
        "reference/cli.md": cli_page(parsers),
        "reference/exit-codes.md": exit_codes_page(),
        "reference/settings.md": settings_page(),
    }
    for parser in parsers:
        written[f"man/{parser.prog.replace(' ', '-')}.1"] = man_page(parser)
    return written


# What a parser holds, without argparse's own layout, which changes from one Python to the next.


def _rows(parser: argparse.ArgumentParser, *, shared: bool) -> Iterator[tuple[str, str]]:
    """Each argument as it is written, and its help; *shared* ones are the global options."""
    for group in parser._action_groups:
        if (group.title or "").startswith(GLOBAL_GROUP) is not shared:
            continue
        for action in group._group_actions:
            if not isinstance(action, argparse._SubParsersAction) and action.help is not argparse.SUPPRESS:
                yield _written(action), action.help or ""


def _verbs(parser: argparse.ArgumentParser) -> Iterator[tuple[str, str]]:
    """Each verb below the parser, and its summary."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for choice in action._choices_actions:
                yield f"{parser.prog} {choice.dest}", choice.help or ""


def _value(action: argparse.Action) -> str:
    if action.nargs == 0:
        return ""
    if action.metavar is None and action.choices is not None:
        return "|".join(action.choices)
    return str(action.metavar or action.dest.upper())


def _written(action: argparse.Action) -> str:
    value = _value(action)
    if not action.option_strings:
        return f"{value}..." if action.nargs == "+" else value
    return ", ".join(action.option_strings) + (f" {value}" if value else "")


def usage(parser: argparse.ArgumentParser) -> str:
    """One line: the command with its arguments, required ones outside brackets."""
    words = [parser.prog]
    has_options = False
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            words.append("VERB")
        elif not action.option_strings:
            words.append(_written(action))
        elif action.required:
            words.append(f"{action.option_strings[-1]} {_value(action)}")
        else:
            has_options = True
    return " ".join([words[0], *(["[OPTION...]"] if has_options else []), *words[1:]])


# The pages.


def cli_page(parsers: list[argparse.ArgumentParser]) -> str:
    root = parsers[0]
    lines = [GENERATED, "", "# The command line", "", root.description or "", "", f"    {usage(root)}", ""]
    lines += ["## Global options", "", "They work before and after the verb.", ""]
    lines += [*_list(_rows(root, shared=True)), *_list(_rows(root, shared=False)), ""]
    lines += [
        "Snapshots are named by an id or its beginning (four digits or more), `latest`, `latest~2` (two before it),"
    ]
    lines += ["`NAME@latest` or `NAME@latest~1`; `SNAPSHOT:PATH` names one entry.", ""]
    lines += ["See also: [exit codes](exit-codes.md), [settings](settings.md), [JSON events](json.md).", ""]
    for parser in parsers[1:]:
        lines += [f"## {parser.prog}", "", parser.description or "", "", f"    {usage(parser)}", ""]
        verbs = [(name, text) for name, text in _verbs(parser)]
        lines += _list(verbs or _rows(parser, shared=False))
        examples = parser.get_default("examples")
        lines += ["", "```sh", *examples, "```", ""] if examples else [""]
    return "\n".join(lines).rstrip() + "\n"


def _list(rows: Iterator[tuple[str, str]] | list[tuple[str, str]]) -> list[str]:
    return [f"- `{written}`: {text}" for written, text in rows]


def error_classes(top: type[errors.LaminaError] = errors.LaminaError) -> Iterator[type[errors.LaminaError]]:
    """The error tree, from the top."""
    yield top
    for below in top.__subclasses__():
        if below.__module__ == errors.__name__:
            yield from error_classes(below)


def exit_codes_page() -> str:
    """What each code means, and which errors end with it."""
    lines = [GENERATED, "", "# Exit codes", "", "| code | means |", "|---|---|"]
    lines += [f"| {code} | {meaning} |" for code, meaning in exit_codes.MEANINGS.items()]
    lines += ["", "3, 10, 12 and 130 mean what they mean in restic.", ""]
    lines += ["## Errors", "", "The names stand in the `error` field of [JSON error events](json.md).", ""]
    lines += ["| error | means | exit code |", "|---|---|---|"]
    for kind in error_classes():
        meaning = (kind.__doc__ or "").splitlines()[0].rstrip(".")
        lines.append(f"| `{kind.__name__}` | {meaning} | {exit_codes.exit_code(kind)} |")
    return "\n".join(lines) + "\n"


def settings_page() -> str:
    """The settings file and the environment."""
    lines = [GENERATED, "", "# Settings", ""]
    lines += ["What is nearer to you wins: a flag, then the environment, then the profile in the settings file.", ""]
    lines += [
        "## The settings file",
        "",
        "`~/.config/lamina/lamina.toml` (or below `XDG_CONFIG_HOME`); it need not exist.",
    ]
    lines += ["A key that Lamina does not know is an error. Relative paths are taken from the file's directory.", ""]
    lines += ["```toml", 'default_repository = "nas"', "", "[repository.nas]", 'address = "/mnt/nas/repository"']
    lines += [
        'passphrase_command = ["pass", "show", "lamina/nas"]',
        'compression = "better"',
        "",
        "[repository.offsite]",
    ]
    lines += ['address = "s3://backups/lab?endpoint=https://s3.example.org"', 'passphrase_file = "offsite.passphrase"']
    lines += ['limit_upload = "10MiB"', "", "[policy.standard]", 'keep = "within 2d, daily 7, weekly 4, monthly 12"']
    lines += ["```", "", "| key | means |", "|---|---|", *_keys(SettingsFile), ""]
    lines += [
        "In each `[repository.NAME]`; use it as `-r NAME`:",
        "",
        "| key | means |",
        "|---|---|",
        *_keys(Profile),
        "",
    ]
    lines += [
        "In each `[policy.NAME]`; use it as `lamina forget --policy NAME` ([retention](../concepts/retention.md)):",
        "",
        "| key | means |",
        "|---|---|",
        *_keys(PolicyTable),
        "",
    ]
    lines += ["## The environment", "", "| variable | means |", "|---|---|"]
    lines += [f"| `{name}` | {meaning} |" for name, meaning in ENVIRONMENT.items()]
    lines += [
        "",
        "Storages read their own, such as `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and `AWS_PROFILE`.",
        "",
    ]
    lines += ["## The passphrase", "", "The first of these that is there is used:", ""]
    lines += [
        "1. `--passphrase-file` or `--passphrase-command`",
        "2. `LAMINA_PASSPHRASE`",
        "3. `LAMINA_PASSPHRASE_FILE`",
    ]
    lines += ["4. `LAMINA_PASSPHRASE_COMMAND`", "5. `passphrase_file` or `passphrase_command` of the profile"]
    lines += ["6. a question at the terminal", ""]
    lines += [
        "A file, or what a command prints, loses one trailing newline. The recovery key works wherever a passphrase does."
    ]
    return "\n".join(lines) + "\n"


def _keys(kind: type) -> list[str]:
    return [f"| `{one.name}` | {one.metadata['help']} |" for one in dataclasses.fields(kind)]


def man_page(parser: argparse.ArgumentParser) -> str:
    """One page in section 1."""
    name = parser.prog.replace(" ", "-")
    description = parser.description or ""
    summary = description.partition(". ")[0].rstrip(".")
    lines = [f'.TH "{_roff(name).upper()}" "1" "" "lamina" "Lamina"', ".SH NAME", f"{_roff(name)} \\- {_roff(summary)}"]
    lines += [".SH SYNOPSIS", f"\\fB{_roff(usage(parser))}\\fR", ".SH DESCRIPTION", _roff(description)]
    for title, rows in (
        ("VERBS", list(_verbs(parser))),
        ("OPTIONS", list(_rows(parser, shared=False))),
        ("GLOBAL OPTIONS", list(_rows(parser, shared=True))),
    ):
        if rows:
            lines += [f".SH {title}", *_tagged(rows)]
    lines += [".SH EXIT STATUS", *_tagged([(str(code), text) for code, text in exit_codes.MEANINGS.items()])]
    if parser.prog == "lamina":
        lines += [".SH ENVIRONMENT", *_tagged([(one, text.replace("`", "")) for one, text in ENVIRONMENT.items()])]
        lines += [".SH FILES", *_tagged([("~/.config/lamina/lamina.toml", "the settings file")])]
    examples = parser.get_default("examples")
    if examples:
        lines += [".SH EXAMPLES", ".nf", *(_roff(example) for example in examples), ".fi"]
    return "\n".join(lines) + "\n"


def _tagged(rows: list[tuple[str, str]]) -> list[str]:
    return [line for written, text in rows for line in (".TP", f"\\fB{_roff(written)}\\fR", _roff(text))]


def _roff(text: str) -> str:
    """Text that troff shows as it is."""
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("…", "...").replace("`", "\\(ga")
    return f"\\&{text}" if text.startswith((".", "'")) else text


if __name__ == "__main__":
    sys.exit(main())
