"""What `lamina backup` is told to save, opened: images, trees, lists of files, standard input, a command's output."""

from __future__ import annotations

import argparse
import io
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

from lamina import wiring
from lamina.cli.arguments import Parsed, Parser, typed
from lamina.cli.stdin import StoppableInput, standard_input
from lamina.errors import HintsInvalid, SourceMissing, SourceUnreadable, UsageError
from lamina.model.paths import STDIN, check_distinct, source_path, stored_path
from lamina.model.quantities import parse_size

if TYPE_CHECKING:
    from lamina.engine.backup import Input
    from lamina.model.entries import Metadata
    from lamina.sources.hints import ChangedRanges
    from lamina.sources.selection import Selection

EXCLUDE, INCLUDE, RULES_FILE = "exclude", "include", "exclude-from"


class _Rule(argparse.Action):
    """Keeps the order of --exclude, --include and --exclude-from: the last rule that matches decides."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:  # noqa: ARG002
        kind = (option_string or "").lstrip("-")
        namespace.rules = [*namespace.rules, (kind, values)]


def add_selecting(parser: Parser) -> None:
    """Add the options that say what of a directory is saved."""
    group = parser.add_argument_group("what of a directory is saved (see docs/howto/exclude.md)")
    add = group.add_argument
    parser.set_defaults(rules=[])
    about = {
        EXCLUDE: ("PATTERN", "leave out what matches, like '*.o', 'build/', '/var/cache'"),
        INCLUDE: ("PATTERN", "save what matches, although an earlier rule leaves it out"),
        RULES_FILE: ("FILE", "rules from FILE, in the syntax of .gitignore"),
    }
    for kind, (metavar, text) in about.items():
        add(f"--{kind}", metavar=metavar, action=_Rule, dest="rules", default=argparse.SUPPRESS, help=text)
    add("--exclude-caches", action="store_true", help="leave out directories with a valid CACHEDIR.TAG")
    add(
        "--exclude-if-present", metavar="NAME", action="append", default=[],
        help="leave out what is in directories that hold a file NAME",
    )  # fmt: skip
    add("--exclude-larger-than", metavar="SIZE", type=typed(parse_size), help="leave out files larger than SIZE")
    add("-x", "--one-file-system", action="store_true", help="do not go into other file systems")
    add("--files-from", metavar="FILE", help="save the paths listed in FILE (or -), one a line or separated by NUL")


def stored_paths(arguments: Parsed, cwd: str) -> list[str]:
    """Where each source will stand in the snapshot. Raises: UsageError."""
    if arguments.files_from is not None:
        return [""]
    paths = [stored_path(arguments.stdin_name if one == STDIN else one, cwd) for one in arguments.sources]
    if arguments.from_command:
        paths.append(stored_path(arguments.stdin_name, cwd))
    check_distinct(paths)
    return paths


def check_sources(arguments: Parsed) -> None:
    """Refuse what cannot be meant. Raises: UsageError."""
    sources: list[str] = arguments.sources
    streams = sources.count(STDIN) + (arguments.files_from == STDIN) + (arguments.hints == STDIN)
    if not sources and arguments.files_from is None and not arguments.from_command:
        raise UsageError("nothing was named to back up", hint="name a directory, an image, a device, or - for stdin")
    if streams > 1:
        raise UsageError("standard input can be read once only")
    if arguments.files_from is not None and (sources.count(STDIN) or arguments.from_command):
        raise UsageError("--files-from lists files, and goes together with files and directories only")
    if arguments.hints is not None and (len(sources) != 1 or arguments.files_from is not None):
        raise UsageError("--hints describe one image", hint="back that image up alone")
    if arguments.hints is not None and sources == [STDIN]:
        raise UsageError("--hints cannot describe standard input, which has to be read in any case")
    if sources.count(STDIN) and standard_input().isatty():
        raise UsageError("standard input is a terminal", hint="pipe the data in: some-command | lamina backup -")


@contextmanager
def opened_inputs(arguments: Parsed, cwd: str, own: Sequence[str], stop: Event) -> Iterator[list[Input]]:
    """Every source, opened; of directories, *own* is left out unless a rule says otherwise. Raises: SourceMissing, SourceUnreadable, UsageError."""
    with ExitStack() as stack:
        opener = _Opener(arguments, cwd, selection(arguments, own), (stop, stack))
        if arguments.files_from is not None:
            yield [opener.listed()]
            return
        inputs = [opener.stdin() if text == STDIN else opener.path(text) for text in arguments.sources]
        if arguments.from_command:
            inputs.append(opener.command())
        yield inputs


class _Opener:
    """Opens sources of one call."""

    def __init__(self, arguments: Parsed, cwd: str, chosen: Selection, ending: tuple[Event, ExitStack]) -> None:
        """*ending*: the stop button, and what closes the sources."""
        self._arguments = arguments
        self._cwd = cwd
        self._stop, self._stack = ending
        self._devices: dict[int, int] = {}
        self._selection = chosen

    def path(self, text: str) -> Input:
        """An image, a device, or a directory."""
        from lamina.engine.backup import Input
        from lamina.sources.files import LocalFiles
        from lamina.sources.image import open_image

        stored = stored_path(text, self._cwd)
        above = self._above(text)
        if os.path.isdir(text):
            if self._arguments.hints is not None:
                raise UsageError(f"--hints describe an image, and {text} is a directory")
            tree = LocalFiles(os.fsencode(text), self._selection, devices=self._devices)
            self._stack.callback(tree.close)
            return Input(stored, tree, above=above)
        image = open_image(text, self._devices)
        self._stack.callback(image.close)
        return Input(stored, image, _hints(self._arguments.hints, image.size), above)

    def listed(self) -> Input:
        """What a file lists, together with what was named."""
        from lamina.engine.backup import Input
        from lamina.sources.file_list import build_wanted, parse_file_list
        from lamina.sources.files import LocalFiles

        file: str = self._arguments.files_from
        paths = [os.fsencode(one) for one in self._arguments.sources] + parse_file_list(_content(file, "the list"))
        if not paths:
            raise UsageError(f"the list {file} is empty", hint="nothing was backed up")
        is_absolute = any(path.startswith((b"/", b"..")) for path in paths)
        if is_absolute:
            paths = [os.path.normpath(os.path.join(os.fsencode(self._cwd), path)) for path in paths]
        root = b"/" if is_absolute else os.fsencode(self._cwd)
        tree = LocalFiles(root, self._selection, wanted=build_wanted(paths, root=root), devices=self._devices)
        self._stack.callback(tree.close)
        return Input("", tree)

    def stdin(self) -> Input:
        """Standard input."""
        from lamina.engine.backup import Input
        from lamina.sources.stream import StdinSource

        name: str = self._arguments.stdin_name
        stream = StdinSource(io.BufferedReader(StoppableInput(standard_input().fileno(), self._stop)), name=name)
        self._stack.callback(stream.close)
        return Input(stored_path(name, self._cwd), stream)

    def command(self) -> Input:
        """What a command prints."""
        from lamina.engine.backup import Input
        from lamina.sources.command import CommandSource

        name: str = self._arguments.stdin_name
        words: list[str] = self._arguments.from_command
        source = CommandSource(words, name=name, environment=wiring.environment(), stop=self._stop)
        self._stack.callback(source.close)
        return Input(stored_path(name, self._cwd), source)

    def _above(self, text: str) -> dict[str, Metadata]:
        """What is known of the directories above a source."""
        from lamina.sources.files import ancestors

        found: dict[str, Metadata] = {}
        path = ""
        for name, metadata in ancestors(os.fsencode(source_path(text, self._cwd)), self._devices):
            path = f"{path}/{os.fsdecode(name)}" if path else os.fsdecode(name)
            found[path] = metadata
        return found


def selection(arguments: Parsed, own: Sequence[str] = ()) -> Selection:
    """What of a directory is saved; *own* are absolute paths that are not, unless a rule says so. Raises: UsageError."""
    from lamina.sources.selection import Selection, parse_rule, parse_rules_file, rule_for_path

    rules = [rule_for_path(path) for path in own]
    for kind, value in arguments.rules:
        if kind == RULES_FILE:
            rules += parse_rules_file(_content(value, "the rules"), value)
        else:
            rules.append(parse_rule(value, exclude=kind == EXCLUDE))
    return Selection(
        tuple(rules),
        larger_than=arguments.exclude_larger_than,
        caches=arguments.exclude_caches,
        if_present=tuple(os.fsencode(name) for name in arguments.exclude_if_present),
        one_file_system=arguments.one_file_system,
    )


def _content(file: str, what: str) -> bytes:
    try:
        return standard_input().buffer.read() if file == STDIN else Path(file).read_bytes()
    except FileNotFoundError as error:
        raise SourceMissing(f"{what} {file} does not exist", hint="check the path") from error
    except OSError as error:
        raise SourceUnreadable(f"{what} {file} cannot be read: {error.strerror}") from error


def _hints(file: str | None, size: int) -> ChangedRanges | None:
    from lamina.sources.hints import parse_rbd_diff

    if file is None:
        return None
    try:
        data = standard_input().buffer.read() if file == STDIN else Path(file).read_bytes()
    except OSError as error:
        raise HintsInvalid(f"the hints {file} cannot be read: {error.strerror}") from error
    return parse_rbd_diff(data, size=size)
