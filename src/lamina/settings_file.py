"""The settings file: its keys, each with its line in the reference page, and how it is read and checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import Field, dataclass, field, fields
from datetime import timedelta
from pathlib import Path
from typing import Any

from lamina.errors import UsageError
from lamina.model.keep_rules import parse_rules
from lamina.model.quantities import parse_duration, parse_rate
from lamina.model.retention import Policy, parse_group_by

COMPRESSIONS = ("off", "fast", "default", "better", "best")


def _key(help_text: str, **options: Any) -> Any:
    """A key of the settings file, with its line in the reference page."""
    return field(metadata={"help": help_text}, **options)


@dataclass(frozen=True, slots=True)
class Profile:
    """One `[repository.NAME]` table of the settings file."""

    address: str = _key("a path, `file:///…` or `s3://BUCKET/PREFIX`; required")
    passphrase_file: str | None = _key("a file with the passphrase; loses one trailing newline", default=None)
    passphrase_command: tuple[str, ...] = _key(
        "a command that prints the passphrase: a list of words, or one string split into words (never run by a shell)",
        default=(),
    )
    cache_dir: str | None = _key("where the cache is kept; it may be deleted at any time", default=None)
    compression: str | None = _key(f"how hard to compress: {', '.join(COMPRESSIONS)}", default=None)
    limit_upload: int | None = _key('most bytes sent a second, for example `"10MiB"`', default=None)
    limit_download: int | None = _key("most bytes fetched a second", default=None)


@dataclass(frozen=True, slots=True)
class PolicyTable:
    """One `[policy.NAME]` table of the settings file, as it is written there."""

    keep: str | tuple[str, ...] = _key(
        'the rules, as one text (`"within 2d, daily 7, weekly 4"`) or as a list; what any of them keeps stays; required'
    )
    group_by: str = _key("what snapshots share that compete: `name`, `host`, `tags`, or `none`", default="name")
    merge_keys: bool = _key("let snapshots compete that were signed with different keys", default=False)


@dataclass(frozen=True, slots=True)
class SettingsFile:
    """The settings file, read and checked."""

    default_repository: str | None = _key("the profile used when no repository is named", default=None)
    cache_dir: str | None = _key("where the cache is kept, for all profiles without their own", default=None)
    timezone: str | None = _key(
        "where days begin, when snapshots are chosen by date and by policies, like `Europe/Berlin` (default: UTC)",
        default=None,
    )
    protect_younger_than: timedelta | None = _key(  # noqa: RUF009 - a field, as all others
        "`lamina forget SNAPSHOT` removes nothing younger without `--force` (default: `6d`)", default=None
    )
    repository: Mapping[str, Profile] = _key("one table a repository: `[repository.NAME]`", default_factory=dict)
    policy: Mapping[str, Policy] = _key("one table a policy: `[policy.NAME]`", default_factory=dict)


def read_settings_file(path: Path | None) -> SettingsFile:
    """Read and check the file at *path*; a file that does not exist says nothing. Raises: UsageError."""
    if path is None:
        return SettingsFile()
    try:
        text = path.read_text("utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return SettingsFile()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"the settings file {path} cannot be read: {error}") from error
    import tomllib

    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"the settings file {path} is not valid TOML: {error}") from error
    return decode_settings(document, path)


def decode_settings(document: Mapping[str, Any], path: Path) -> SettingsFile:
    """Check a parsed settings file; relative paths in it are taken from its own directory. Raises: UsageError."""
    _check_keys(document, fields(SettingsFile), str(path), "")
    repositories, policies = (_tables(document, key, path) for key in ("repository", "policy"))
    return SettingsFile(
        default_repository=_text(document, "default_repository", path),
        cache_dir=_place(document, "cache_dir", path),
        timezone=_text(document, "timezone", path),
        protect_younger_than=_duration(document, "protect_younger_than", path),
        repository={name: _decode_profile(name, table, path) for name, table in repositories.items()},
        policy={name: _decode_policy(name, table, path) for name, table in policies.items()},
    )


def _tables(document: Mapping[str, Any], key: str, path: Path) -> dict[str, dict[str, Any]]:
    tables = document.get(key, {})
    if not isinstance(tables, dict) or not all(isinstance(table, dict) for table in tables.values()):
        raise UsageError(f"{path}: `{key}` must hold tables", hint=f"write [{key}.NAME]")
    return tables


def _decode_profile(name: str, table: Mapping[str, Any], path: Path) -> Profile:
    where = f"[repository.{name}]"
    _check_keys(table, fields(Profile), str(path), f" in {where}")
    address = _text(table, "address", path)
    if not address:
        raise UsageError(f"{path}: {where} has no address", hint='add a line like address = "/backups/repository"')
    compression = _text(table, "compression", path)
    if compression is not None and compression not in COMPRESSIONS:
        known = ", ".join(COMPRESSIONS)
        raise UsageError(f"{path}: {where} has the compression {compression!r}", hint=f"choose one of {known}")
    if table.get("passphrase_file") and table.get("passphrase_command"):
        raise UsageError(f"{path}: {where} has both passphrase_file and passphrase_command")
    return Profile(
        address=address if "://" in address else str(_absolute(address, path)),
        passphrase_file=_place(table, "passphrase_file", path),
        passphrase_command=_command(table, path),
        cache_dir=_place(table, "cache_dir", path),
        compression=compression,
        limit_upload=_rate(table, "limit_upload", path),
        limit_download=_rate(table, "limit_download", path),
    )


def _decode_policy(name: str, table: Mapping[str, Any], path: Path) -> Policy:
    where = f"[policy.{name}]"
    _check_keys(table, fields(PolicyTable), str(path), f" in {where}")
    keep, group_by, merge = table.get("keep"), table.get("group_by", "name"), table.get("merge_keys", False)
    rules: list[Any] = keep if isinstance(keep, list) else [keep]
    if (
        not all(isinstance(rule, str) for rule in rules)
        or not rules
        or not isinstance(group_by, str)
        or not isinstance(merge, bool)
    ):
        raise UsageError(
            f"{path}: {where} needs `keep`, a text or a list of texts; `group_by` is a text, `merge_keys` true or false",
            hint='add a line like keep = "within 2d, daily 7, weekly 4"',
        )
    try:
        return Policy(tuple(rule for text in rules for rule in parse_rules(text)), parse_group_by(group_by), merge)
    except UsageError as error:
        raise UsageError(f"{path}: {where}: {error.message}", hint=error.hint) from error


def _check_keys(table: Mapping[str, Any], known: tuple[Field[Any], ...], path: str, where: str) -> None:
    names = [one.name for one in known]
    for key in table:
        if key not in names:
            raise UsageError(f"{path} has the unknown key {key!r}{where}", hint=f"known keys: {', '.join(names)}")


def _text(table: Mapping[str, Any], key: str, path: Path) -> str | None:
    value = table.get(key)
    if value is not None and not isinstance(value, str):
        raise UsageError(f"{path}: {key} must be a string")
    return value


def _absolute(text: str, path: Path) -> Path:
    return path.parent / Path(text).expanduser()


def _place(table: Mapping[str, Any], key: str, path: Path) -> str | None:
    text = _text(table, key, path)
    return str(_absolute(text, path)) if text else None


def _rate(table: Mapping[str, Any], key: str, path: Path) -> int | None:
    value = table.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise UsageError(f"{path}: {key} must be a string like '10MiB', or a number of bytes a second")
    try:
        return parse_rate(str(value))
    except UsageError as error:
        raise UsageError(f"{path}: {key}: {error.message}", hint=error.hint) from error


def _duration(table: Mapping[str, Any], key: str, path: Path) -> timedelta | None:
    text = _text(table, key, path)
    try:
        return None if text is None else parse_duration(text)
    except UsageError as error:
        raise UsageError(f"{path}: {key}: {error.message}", hint=error.hint) from error


def _command(table: Mapping[str, Any], path: Path) -> tuple[str, ...]:
    value = table.get("passphrase_command")
    if value is None:
        return ()
    if isinstance(value, str):
        return split_command(value, f"{path}: passphrase_command")
    if not isinstance(value, list) or not value or not all(isinstance(word, str) for word in value):
        raise UsageError(f"{path}: passphrase_command must be a list of words")
    return tuple(value)


def split_command(text: str, where: str) -> tuple[str, ...]:
    """Split a command into words as a shell would, without ever running one. Raises: UsageError."""
    import shlex

    try:
        words = tuple(shlex.split(text))
    except ValueError as error:
        raise UsageError(f"{where} cannot be split into words: {error}") from error
    if not words:
        raise UsageError(f"{where} is empty")
    return words
