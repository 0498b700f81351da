"""The whole configuration as frozen dataclasses: settings file + environment + flags → `Settings`.

What is nearer to the user wins: a flag, then the environment, then the profile in the file, then the file's own keys.
Below this module nobody reads a settings file, the environment or a global.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import Field, dataclass, field, fields
from datetime import UTC, timedelta, tzinfo
from pathlib import Path
from typing import Any

from lamina.errors import UsageError
from lamina.model.keep_rules import parse_rules
from lamina.model.quantities import parse_duration, parse_rate
from lamina.model.retention import Policy, parse_group_by
from lamina.model.secret import Secret

COMPRESSIONS = ("off", "fast", "default", "better", "best")
PASSPHRASE_MAX = 1 << 16  # bytes; more is a wrong file, not a passphrase

# What each variable does, in the order of the reference page.
ENVIRONMENT = {
    "LAMINA_REPOSITORY": "the repository, as for `-r`",
    "LAMINA_PASSPHRASE": "the passphrase itself (taken out of the environment once read, so that no child inherits it)",
    "LAMINA_PASSPHRASE_FILE": "a file with the passphrase, as for `--passphrase-file`",
    "LAMINA_PASSPHRASE_COMMAND": "a command that prints the passphrase, as for `--passphrase-command`",
    "LAMINA_TO_PASSPHRASE": "the passphrase of the repository that `copy --to` names; also with `_FILE` or `_COMMAND` behind it",
    "LAMINA_FROM_PASSPHRASE": "the passphrase of the repository that `repair --from` names; likewise",
    "LAMINA_TO_AWS_*": "S3 credentials of that repository where they differ, as `LAMINA_TO_AWS_ACCESS_KEY_ID`; likewise `LAMINA_FROM_AWS_*`",
    "LAMINA_CACHE_DIR": "where the cache is kept, as for `--cache-dir`",
    "XDG_CONFIG_HOME": "the settings file is `lamina/lamina.toml` below it (default: `~/.config`)",
    "XDG_CACHE_HOME": "the cache is `lamina` below it (default: `~/.cache`)",
}


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


@dataclass(frozen=True, slots=True)
class Flags:
    """What the command line said; None where it said nothing."""

    repository: str | None = None
    passphrase_file: str | None = None
    passphrase_command: str | None = None
    cache_dir: str | None = None
    timezone: str | None = None
    compression: str | None = None
    limit_upload: int | None = None  # bytes a second
    limit_download: int | None = None  # bytes a second


@dataclass(frozen=True, slots=True)
class PassphraseSource:
    """Where the passphrase comes from; all empty: ask the person at the terminal."""

    value: Secret | None = None
    file: Path | None = None
    command: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything one call needs to know."""

    address: str | None  # of the repository, not yet parsed
    profile: str | None = None  # the name of the profile it came from
    passphrase: PassphraseSource = PassphraseSource()
    cache_dir: Path | None = None  # None: nowhere to keep one
    zone: tzinfo = UTC  # where days begin; never that of the machine unless somebody named it
    policies: Mapping[str, Policy] = field(default_factory=dict)
    protect_younger_than: timedelta | None = None  # None: the default of forgetting
    compression: str = "default"
    limit_upload: int | None = None  # bytes a second
    limit_download: int | None = None  # bytes a second
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)  # for storages; holds their credentials


def load(flags: Flags, environment: MutableMapping[str, str]) -> Settings:
    """Put flags, *environment* and the settings file together.

    `LAMINA_PASSPHRASE` is taken out of *environment*, so that no child process inherits it.
    Raises: UsageError for a settings file or a value that makes no sense.
    """
    passphrase = environment.pop("LAMINA_PASSPHRASE", None)
    path = settings_path(environment)
    file = read_settings_file(path)
    name = flags.repository or environment.get("LAMINA_REPOSITORY") or file.default_repository
    profile = file.repository.get(name) if name and "/" not in name else None
    if profile is None and name and name == file.default_repository and "/" not in name:
        raise UsageError(f"default_repository names {name!r}, and {path} has no [repository.{name}]")
    chosen = profile or Profile(address="")
    cache_dir = flags.cache_dir or environment.get("LAMINA_CACHE_DIR") or chosen.cache_dir or file.cache_dir
    return Settings(
        address=chosen.address or name,
        profile=name if profile else None,
        passphrase=_passphrase_source(flags, environment, passphrase, chosen),
        cache_dir=Path(cache_dir) if cache_dir else _default_cache_dir(environment),
        zone=find_zone(flags.timezone or file.timezone or "UTC"),
        policies=file.policy,
        protect_younger_than=file.protect_younger_than,
        compression=flags.compression or chosen.compression or "default",
        limit_upload=flags.limit_upload or chosen.limit_upload,
        limit_download=flags.limit_download or chosen.limit_download,
        environment=dict(environment),
    )


def load_second(word: str, flags: Flags, environment: MutableMapping[str, str]) -> Settings:
    """The settings of a second repository of one call, which *flags* name; *word* says which: `TO` or `FROM`.

    Nothing that says where the first one is and what opens it is used: variables that begin with `LAMINA_TO_` (or so) do.
    Raises: as `load`.
    """
    prefix = f"LAMINA_{word}_"
    given = {name.removeprefix(prefix): value for name, value in environment.items() if name.startswith(prefix)}
    environment.pop(f"{prefix}PASSPHRASE", None)
    first = ["LAMINA_REPOSITORY", "LAMINA_PASSPHRASE", "LAMINA_TO_", "LAMINA_FROM_"]
    if any(name.startswith("AWS_") for name in given):
        first.append("AWS_")  # another account: nothing of the first one's
    names = {name: name if name.startswith("AWS_") else f"LAMINA_{name}" for name in given}
    own = {name: value for name, value in environment.items() if not name.startswith(tuple(first))}
    return load(flags, own | {names[name]: value for name, value in given.items()})


def _passphrase_source(
    flags: Flags, environment: Mapping[str, str], passphrase: str | None, profile: Profile
) -> PassphraseSource:
    """The first place that names one: flags, environment, profile."""
    if flags.passphrase_file and flags.passphrase_command:
        raise UsageError("--passphrase-file and --passphrase-command were both given", hint="leave one of them out")
    if flags.passphrase_file:
        return PassphraseSource(file=Path(flags.passphrase_file))
    if flags.passphrase_command:
        return PassphraseSource(command=split_command(flags.passphrase_command, "--passphrase-command"))
    if passphrase is not None:
        return PassphraseSource(value=check_passphrase(os.fsencode(passphrase), "LAMINA_PASSPHRASE"))
    if file := environment.get("LAMINA_PASSPHRASE_FILE"):
        return PassphraseSource(file=Path(file))
    if command := environment.get("LAMINA_PASSPHRASE_COMMAND"):
        return PassphraseSource(command=split_command(command, "LAMINA_PASSPHRASE_COMMAND"))
    if profile.passphrase_file:
        return PassphraseSource(file=Path(profile.passphrase_file))
    return PassphraseSource(command=profile.passphrase_command)


def find_zone(name: str) -> tzinfo:
    """The time zone of a name of the IANA database, like `Europe/Berlin`. Raises: UsageError."""
    if name.upper() == "UTC":
        return UTC  # also where the system has no database
    from zoneinfo import ZoneInfo

    try:
        return ZoneInfo(name)
    except (ValueError, OSError, KeyError) as error:  # ZoneInfoNotFoundError is a KeyError
        raise UsageError(
            f"there is no time zone {name!r} on this machine",
            hint="write a name like Europe/Berlin or UTC; the package tzdata brings them",
        ) from error


def _home(environment: Mapping[str, str]) -> Path | None:
    home = environment.get("HOME")
    return Path(home) if home else None


def _below_home(environment: Mapping[str, str], variable: str, default: str) -> Path | None:
    """The XDG directory *variable* names; as that standard wants, a relative one is ignored."""
    named = environment.get(variable, "")
    if named.startswith("/"):
        return Path(named)
    home = _home(environment)
    return home / default if home else None


def _default_cache_dir(environment: Mapping[str, str]) -> Path | None:
    cache = _below_home(environment, "XDG_CACHE_HOME", ".cache")
    return cache / "lamina" if cache else None


def settings_path(environment: Mapping[str, str]) -> Path | None:
    """Where the settings file is, or would be."""
    config = _below_home(environment, "XDG_CONFIG_HOME", ".config")
    return config / "lamina" / "lamina.toml" if config else None


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


def read_passphrase(source: PassphraseSource, warn: Callable[[str], None]) -> Secret | None:
    """Fetch the passphrase from where it is configured; None if a person has to be asked.

    Raises: UsageError if it cannot be read, or is empty.
    """
    if source.value is not None:
        return source.value
    if source.file is not None:
        return read_passphrase_file(source.file, warn)
    if source.command:
        return _run_passphrase_command(source.command)
    return None


def read_passphrase_file(path: Path, warn: Callable[[str], None]) -> Secret:
    """Read a passphrase from a file, which loses one trailing newline. Raises: UsageError."""
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            content = file.read(PASSPHRASE_MAX + 2)
    except OSError as error:
        raise UsageError(f"the passphrase file {path} cannot be read: {error.strerror}") from error
    if stat.S_ISREG(mode) and mode & stat.S_IROTH:
        warn(f"the passphrase file {path} can be read by everybody on this machine; run: chmod 600 {path}")
    return check_passphrase(content.removesuffix(b"\n"), f"the passphrase file {path}")


def _run_passphrase_command(command: tuple[str, ...]) -> Secret:
    """The command's standard output, less one newline; it may use the terminal."""
    import subprocess

    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, check=False)
    except OSError as error:
        raise UsageError(f"the passphrase command {command[0]!r} cannot be run: {error.strerror}") from error
    if done.returncode:
        raise UsageError(f"the passphrase command {command[0]!r} failed with exit code {done.returncode}")
    return check_passphrase(done.stdout.removesuffix(b"\n"), f"the passphrase command {command[0]!r}")


def check_passphrase(passphrase: bytes, where: str) -> Secret:
    """Wrap a passphrase. Raises: UsageError if it is empty or absurdly long; *where* says where it came from."""
    if not passphrase:
        raise UsageError(f"{where} gives an empty passphrase")
    if len(passphrase) > PASSPHRASE_MAX:
        raise UsageError(f"{where} gives more than {PASSPHRASE_MAX} bytes: that is no passphrase")
    return Secret(passphrase)
