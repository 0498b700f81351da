"""The whole command line: every verb in one parser."""

from __future__ import annotations

from collections.abc import Sequence

from lamina import __version__
from lamina.cli import (
    backup,
    benchmark,
    browse,
    completion,
    contents,
    copy,
    diff,
    forget,
    init,
    keys,
    protect,
    prune,
    repair,
    restore,
    snapshots,
    storage,
    usage,
    verify,
)
from lamina.cli.arguments import VERSION_HELP, Parsed, Parser, Verbs, add_global_options, iter_parsers

ABOUT = (
    "Back up directories and disk images into a deduplicated, compressed, encrypted repository, and bring them back."
)
EXAMPLES = (
    "lamina -r /backups/repository init",
    "lamina -r /backups/repository backup /home --exclude-caches",
    "lamina -r /backups/repository restore latest:/home/ann ./ann",
)


def build_parser() -> Parser:
    """The parser of `lamina`."""
    parser = Parser(prog="lamina", description=ABOUT, epilog="examples:\n" + "\n".join(f"  {one}" for one in EXAMPLES))
    parser.add_argument("--version", action="version", version=f"lamina {__version__}", help=VERSION_HELP)
    parser.set_defaults(examples=EXAMPLES)
    verbs = Verbs(parser, title="verbs", dest="verb")
    for family in (
        init, backup, restore, snapshots, protect, forget, copy, browse, contents, diff, usage, verify, repair, prune, keys,
        storage, benchmark,
    ):  # fmt: skip
        family.add_to(verbs)
    completion.add_to(verbs, parser)
    for one in iter_parsers(parser):
        add_global_options(one)
    return parser


def parse(words: Sequence[str]) -> Parsed:
    """Read the words of one call. Raises: UsageError; SystemExit after help or version were printed.

    argparse takes a repeated argument only in one piece; here `backup a.img --tag t b.img` works as with `cp`.
    """
    parser = build_parser()
    arguments, rest = parser.parse_known_args(words)
    repeated: str | None = getattr(arguments, "repeated", None)
    strangers = [word for word in rest if repeated is None or (word.startswith("-") and word != "-")]
    if strangers:
        parser.error(f"not understood: {' '.join(strangers)}")
    if repeated is not None:
        setattr(arguments, repeated, [*getattr(arguments, repeated), *rest])
    return arguments
