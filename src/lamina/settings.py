"""The whole configuration as frozen dataclasses: settings file + environment + flags → `Settings`.

What is nearer to the user wins: a flag, then the environment, then the profile in the file, then the file's own keys.
Below this module nobody reads a settings file, the environment or a global.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from datetime import UTC, timedelta, tzinfo
from pathlib import Path

from lamina.errors import UsageError
from lamina.model.retention import Policy
from lamina.model.secret import Secret
from lamina.settings_file import Profile, read_settings_file, split_command

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
