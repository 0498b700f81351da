"""Every text that people, other programs and files give us is understood or refused with an explanation."""

from __future__ import annotations

import random
import tomllib
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from lamina.crypto.passphrases import format_recovery_key, parse_recovery_key
from lamina.errors import LaminaError, WrongPassphrase
from lamina.model.paths import parse_snapshot_path
from lamina.model.quantities import parse_duration, parse_expiry, parse_rate, parse_size, parse_timeout
from lamina.model.secret import Secret
from lamina.model.selector_text import parse
from lamina.settings_file import decode_settings, split_command
from lamina.sources.file_list import build_wanted, parse_file_list
from lamina.sources.hints import parse_rbd_diff
from lamina.sources.selection import Selection, parse_rule, parse_rules_file
from lamina.storage.addresses import parse_address
from lamina.storage.names import flat_name
from tests.fuzz.mutations import MANY, SOME, check, near, seeds

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SETTINGS = b"""
repository = "/srv/repository"
passphrase_command = ["pass", "show", "lamina"]
limit_upload = "10MiB"
timezone = "Europe/Berlin"
[profile.work]
repository = "s3:bucket/prefix?region=x"
"""


def text_of(decode: Callable[[str], object]) -> Callable[[bytes], object]:
    return lambda data: decode(data.decode("utf-8", "surrogateescape"))


TEXTS: dict[str, tuple[Callable[[bytes], object], list[bytes]]] = {
    "selector": (text_of(parse), [
        b"latest~2", b"vm@latest~1", b"first(3)&tag:daily", b"not(reverse(last(2))),(name:a|b)", b"1a2b..5c6d",
        b"2026-01-01..2026-02-01", b'tag:"with space"&trust:verified', b"last(latest,not(all))", b"0..", b"..5",
    ]),
    "snapshot-path": (text_of(parse_snapshot_path), [b"latest:/etc/ssh", b"tag:x:/a/*", b"vm@latest:a:b", b"name:n"]),
    "size": (text_of(parse_size), [b"10MiB", b"1.5G", b"5", b"1e9", b"9" * 400]),
    "rate": (text_of(parse_rate), [b"10MiB", b"1.5G/s", b"inf", b"nan"]),
    "duration": (text_of(parse_duration), [b"1d12h", b"90m", b"2w", b"9" * 30 + b"d", b"1e400d"]),
    "timeout": (text_of(parse_timeout), [b"5m", b"0", b"none", b"9" * 30 + b"w"]),
    "expiry": (text_of(lambda text: parse_expiry(text, NOW)), [b"2027-01-01", b"30d", b"2026-05-05T10:00Z", b"9999999d"]),
    "recovery-key": (
        lambda data: parse_recovery_key(Secret(data)),
        [format_recovery_key(bytes(range(32))).encode(), b"LAMINA-1-" + b"0" * 56],
    ),
    "address": (text_of(lambda text: parse_address(text, {"HOME": "/home/u"})), [
        b"/srv/x", b"file:///srv/x", b"s3:bucket/prefix?region=x&endpoint=http://[::1]:9000", b"~/x", b"s3://b/[", b"http://[",
    ]),
    "rule": (lambda data: parse_rule(data, exclude=True), [b"**/cache/*", b"re:^a(b|c)+$", b"[!a-z]*", b"path:/a/b", b"*.{a,b}"]),
    "rules-file": (lambda data: parse_rules_file(data, "it"), [b"# comment\n*.o\n!keep.o\nre:a+\n\\ \n", b"/a/**/b\r\n"]),
    "file-list": (lambda data: build_wanted(parse_file_list(data)), [b"a/b\nc\n", b"a\0b/c\0", b"/x/../y\n"]),
    "hints": (
        lambda data: parse_rbd_diff(data, size=1 << 20),
        [b'[{"offset":0,"length":65536,"exists":"true"},{"offset":65536,"length":4096,"exists":"false"}]'],
    ),
    "command": (text_of(lambda text: split_command(text, "it")), [b"pass show 'a b'", b'a "b\\"c"']),
    "stored-name": (text_of(flat_name), [b"data/ab/cd/" + b"ab" * 32, b"sessions/x/start", b".hidden/x"]),
}  # fmt: skip


@pytest.mark.parametrize("what", TEXTS)
@MANY
@seeds
def test_texts(what: str, seed: int):
    parse_it, valid = TEXTS[what]
    for data in near(seed, *valid):
        check(parse_it, data)


@SOME
@seeds
def test_settings(seed: int):
    def load(data: bytes) -> None:
        try:
            document = tomllib.loads(data.decode())
        except (ValueError, RecursionError):
            return  # what TOML is, tomllib decides
        decode_settings(document, Path("/etc/lamina.toml"))

    for data in near(seed, SETTINGS):
        check(load, data)


@MANY
@seeds
def test_one_misread_letter_of_a_recovery_key_is_noticed(seed: int):
    rng = random.Random(seed)
    root = rng.randbytes(32)
    text = format_recovery_key(root)
    at = rng.randrange(9, len(text))
    letters = set("0123456789ABCDEFGHJKMNPQRSTVWXYZ") - {text[at]}
    if text[at] != "-":
        with pytest.raises(WrongPassphrase):
            parse_recovery_key(Secret((text[:at] + rng.choice(sorted(letters)) + text[at + 1 :]).encode()))
    assert parse_recovery_key(Secret(text.lower().replace("-", " ").replace("lamina 1 ", "lamina-1-").encode())) == root


@SOME
@seeds
def test_rules_match_in_bounded_time(seed: int):
    """A pattern of stars against a long name: no step is tried twice."""
    for pattern in near(seed, b"*a*a*a*a*a*b", b"**/a/**/a/**/a/**/b", b"[a-z]*[a-z]*[a-z]*!"):
        try:
            rule = parse_rule(pattern[:60].replace(b"re:", b""), exclude=True)
        except LaminaError:
            continue
        Selection((rule,)).leaves_out(b"/a" * 40, b"a/" * 40, b"a" * 60, is_directory=False, size=0)
