from __future__ import annotations

import os
from datetime import UTC, timedelta
from pathlib import Path

import pytest

from lamina.errors import UsageError
from lamina.model.keep_rules import format_rules
from lamina.model.retention import GroupBy
from lamina.settings import Flags, PassphraseSource, Settings, load, load_second, read_passphrase, settings_path

FILE = """
default_repository = "nas"
cache_dir = "/var/cache/everybody"

[repository.nas]
address = "relative/repository"
passphrase_command = "pass show 'lamina nas'"
limit_upload = "10MiB"
compression = "best"

[repository.offsite]
address = "s3://bucket/prefix"
passphrase_file = "offsite.passphrase"
cache_dir = "/var/cache/offsite"
"""


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    folder = tmp_path / "lamina"
    folder.mkdir()
    (folder / "lamina.toml").write_text(FILE)
    return {"XDG_CONFIG_HOME": str(tmp_path), "HOME": "/home/u"}


def _write(environment: dict[str, str], text: str) -> None:
    path = settings_path(environment)
    assert path
    path.write_text(text)


def test_flags_beat_environment_beat_profile(environment: dict[str, str]):
    flags = Flags(repository="nas", passphrase_file="flag.txt", cache_dir="/flag", compression="fast", limit_upload=7)
    variables = {"LAMINA_REPOSITORY": "offsite", "LAMINA_CACHE_DIR": "/env", "LAMINA_PASSPHRASE_FILE": "env.txt"}
    by_flag = load(flags, environment | variables)
    by_environment = load(Flags(repository="nas"), environment | variables)
    by_profile = load(Flags(repository="nas"), environment)
    assert (by_flag.cache_dir, by_environment.cache_dir) == (Path("/flag"), Path("/env"))
    assert by_profile.cache_dir == Path("/var/cache/everybody")
    assert by_flag.passphrase == PassphraseSource(file=Path("flag.txt"))
    assert by_environment.passphrase == PassphraseSource(file=Path("env.txt"))
    assert by_profile.passphrase == PassphraseSource(command=("pass", "show", "lamina nas"))
    assert (by_flag.compression, by_profile.compression) == ("fast", "best")
    assert (by_flag.limit_upload, by_profile.limit_upload) == (7, 10 << 20)


def test_the_repository_comes_from_flag_environment_or_default(environment: dict[str, str]):
    assert load(Flags(repository="/x"), environment | {"LAMINA_REPOSITORY": "/y"}).address == "/x"
    assert load(Flags(), environment | {"LAMINA_REPOSITORY": "/y"}).address == "/y"
    assert load(Flags(), environment).profile == "nas"
    assert load(Flags(), {"HOME": "/nowhere"}).address is None


def test_a_profile_wins_over_a_directory_only_without_a_slash(environment: dict[str, str]):
    assert load(Flags(repository="offsite"), environment).address == "s3://bucket/prefix"
    assert load(Flags(repository="./offsite"), environment).address == "./offsite"
    assert load(Flags(repository="unknown"), environment).address == "unknown"


def test_paths_in_the_file_are_relative_to_it(environment: dict[str, str], tmp_path: Path):
    assert load(Flags(repository="nas"), environment).address == str(tmp_path / "lamina/relative/repository")
    offsite = load(Flags(repository="offsite"), environment)
    assert offsite.passphrase.file == tmp_path / "lamina/offsite.passphrase"
    assert offsite.cache_dir == Path("/var/cache/offsite")


def test_the_cache_goes_where_xdg_says():
    assert load(Flags(), {"HOME": "/home/u"}).cache_dir == Path("/home/u/.cache/lamina")
    assert load(Flags(), {"HOME": "/home/u", "XDG_CACHE_HOME": "/c"}).cache_dir == Path("/c/lamina")
    assert load(Flags(), {}).cache_dir is None


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("colour = 1", "colour"),
        ("[repository.a]\naddress = '/x'\npasswort = 'x'", "passwort"),
        ("[repository.a]\npassphrase_file = 'x'", "address"),
        ("[repository.a]\naddress = 3", "address"),
        ("[repository.a]\naddress = '/x'\nlimit_upload = 'fast'", "limit_upload"),
        ("[repository.a]\naddress = '/x'\nlimit_upload = true", "limit_upload"),
        ("[repository.a]\naddress = '/x'\ncompression = 'brotli'", "brotli"),
        ("[repository.a]\naddress = '/x'\npassphrase_command = [1]", "passphrase_command"),
        ("[repository.a]\naddress = '/x'\npassphrase_command = \"'\"", "passphrase_command"),
        ("[repository.a]\naddress = '/x'\npassphrase_command = 'a'\npassphrase_file = 'b'", "both"),
        ("repository = 'a'", "repository"),
        ("default_repository = 'gone'", "gone"),
        ("not toml", "TOML"),
    ],
)
def test_a_settings_file_that_makes_no_sense_is_named_with_the_key(environment: dict[str, str], text: str, named: str):
    _write(environment, text)
    with pytest.raises(UsageError) as caught:
        load(Flags(), environment)
    assert named in caught.value.message
    assert "lamina.toml" in caught.value.message


def test_the_passphrase_leaves_the_environment(environment: dict[str, str]):
    environment |= {"LAMINA_PASSPHRASE": "secret words", "LAMINA_PASSPHRASE_FILE": "/nowhere"}
    settings = load(Flags(repository="offsite"), environment)
    assert "LAMINA_PASSPHRASE" not in environment
    assert settings.passphrase.value
    assert settings.passphrase.value.reveal() == b"secret words"
    assert "secret words" not in repr(settings)


def test_a_flag_takes_the_passphrase_out_of_the_environment_too(environment: dict[str, str]):
    environment["LAMINA_PASSPHRASE"] = "secret words"
    settings = load(Flags(passphrase_file="x"), environment)
    assert settings.passphrase.value is None
    assert "LAMINA_PASSPHRASE" not in environment


def test_settings_do_not_show_the_environment():
    assert "hunter2" not in repr(load(Flags(), {"AWS_SECRET_ACCESS_KEY": "hunter2"}))


@pytest.mark.parametrize(
    ("content", "passphrase"),
    [(b"a", b"a"), (b"a\n", b"a"), (b"a\n\n", b"a\n"), (b" a ", b" a "), (b"a\nb\n", b"a\nb")],
)
def test_a_passphrase_file_loses_one_newline(tmp_path: Path, content: bytes, passphrase: bytes):
    path = tmp_path / "p"
    path.write_bytes(content)
    path.chmod(0o600)
    warnings: list[str] = []
    found = read_passphrase(PassphraseSource(file=path), warnings.append)
    assert found
    assert found.reveal() == passphrase
    assert warnings == []


def test_a_passphrase_file_open_to_everybody_warns(tmp_path: Path):
    path = tmp_path / "p"
    path.write_bytes(b"a")
    path.chmod(0o604)
    warnings: list[str] = []
    read_passphrase(PassphraseSource(file=path), warnings.append)
    assert len(warnings) == 1
    assert "chmod 600" in warnings[0]


@pytest.mark.parametrize("content", [b"", b"\n", b"x" * 100_000])
def test_an_empty_or_absurd_passphrase_is_refused(tmp_path: Path, content: bytes):
    path = tmp_path / "p"
    path.write_bytes(content)
    with pytest.raises(UsageError):
        read_passphrase(PassphraseSource(file=path), lambda _: None)


def test_an_empty_passphrase_in_the_environment_is_refused():
    with pytest.raises(UsageError, match="LAMINA_PASSPHRASE"):
        load(Flags(), {"LAMINA_PASSPHRASE": ""})


def test_a_missing_passphrase_file_is_named(tmp_path: Path):
    with pytest.raises(UsageError, match="nothing-here"):
        read_passphrase(PassphraseSource(file=tmp_path / "nothing-here"), lambda _: None)


def test_a_passphrase_command_is_run_without_a_shell():
    found = read_passphrase(PassphraseSource(command=("printf", "%s\n", "$HOME; echo x")), lambda _: None)
    assert found
    assert found.reveal() == b"$HOME; echo x"


@pytest.mark.parametrize("command", [("false",), ("/nowhere/at-all",), ("true",)])
def test_a_passphrase_command_that_fails_or_is_silent_is_named(command: tuple[str, ...]):
    with pytest.raises(UsageError, match=os.path.basename(command[0])):
        read_passphrase(PassphraseSource(command=command), lambda _: None)


def test_with_nothing_configured_a_person_is_asked():
    assert read_passphrase(Settings(address=None).passphrase, lambda _: None) is None


def test_two_flags_for_the_passphrase_are_one_too_many():
    with pytest.raises(UsageError):
        load(Flags(passphrase_file="a", passphrase_command="b"), {})


def test_days_begin_in_utc_unless_a_zone_is_named(environment: dict[str, str]):
    path = settings_path(environment)
    assert path
    path.write_text('timezone = "Europe/Berlin"\n')
    by_file, by_flag = load(Flags(), environment), load(Flags(timezone="America/New_York"), environment)
    assert load(Flags(), {"TZ": "Asia/Tokyo"}).zone is UTC
    assert (str(by_file.zone), str(by_flag.zone)) == ("Europe/Berlin", "America/New_York")


@pytest.mark.parametrize("name", ["Europe/Atlantis", "../../etc/passwd", "/etc/localtime", "Europe", "\0", "x" * 5000])
def test_a_zone_that_does_not_exist_is_refused(name: str):
    with pytest.raises(UsageError, match="time zone"):
        load(Flags(timezone=name), {})


def test_a_second_repository_takes_nothing_from_the_first(environment: dict[str, str]):
    environment |= {
        "LAMINA_REPOSITORY": "first",
        "LAMINA_PASSPHRASE_FILE": "first.txt",
        "LAMINA_TO_PASSPHRASE": "sesame",
        "LAMINA_FROM_PASSPHRASE": "other",
        "LAMINA_CACHE_DIR": "/cache",
        "AWS_ACCESS_KEY_ID": "mine",
    }
    settings = load_second("TO", Flags(repository="second"), environment)
    assert settings.address == "second"
    assert settings.passphrase.value is not None
    assert settings.passphrase.value.reveal() == b"sesame"
    assert (settings.cache_dir, settings.environment["AWS_ACCESS_KEY_ID"]) == (Path("/cache"), "mine")
    assert "LAMINA_TO_PASSPHRASE" not in environment
    assert environment["LAMINA_FROM_PASSPHRASE"] == "other"


def test_a_second_repository_in_another_account_takes_nothing_of_the_first_one(environment: dict[str, str]):
    environment |= {"AWS_SESSION_TOKEN": "mine", "LAMINA_TO_AWS_ACCESS_KEY_ID": "theirs"}
    settings = load_second("TO", Flags(repository="offsite"), environment)
    assert settings.address == "s3://bucket/prefix"
    assert settings.environment["AWS_ACCESS_KEY_ID"] == "theirs"
    assert "AWS_SESSION_TOKEN" not in settings.environment


def load_text(text: str, environment: dict[str, str]) -> Settings:
    _write(environment, text)
    return load(Flags(), environment)


def test_policies_are_read_with_their_rules(environment: dict[str, str]):
    settings = load_text(
        'protect_younger_than = "12h"\n'
        '[policy.one]\nkeep = "within 2d, daily 7"\n'
        '[policy.two]\nkeep = ["last 3", "daily: every 1d keep 7"]\ngroup_by = "name,host"\nmerge_keys = true\n',
        environment,
    )
    assert settings.protect_younger_than == timedelta(hours=12)
    one, two = settings.policies["one"], settings.policies["two"]
    assert (format_rules(one.keep), one.group_by, one.merge_keys) == ("within 2d, daily 7", {GroupBy.NAME}, False)
    assert format_rules(two.keep) == "last 3, daily: every 1d keep 7"
    assert (two.group_by, two.merge_keys) == ({GroupBy.NAME, GroupBy.HOST}, True)


@pytest.mark.parametrize(
    "text",
    [
        "policy = 3",
        "[policy.a]",
        "[policy.a]\nkeep = []",
        "[policy.a]\nkeep = 7",
        '[policy.a]\nkeep = "dayly 7"',
        '[policy.a]\nkeep = "daily 7"\ngroup_by = "size"',
        '[policy.a]\nkeep = "daily 7"\nmerge_keys = "yes"',
        '[policy.a]\nkeep = "daily 7"\nkeeps = "daily 7"',
        'protect_younger_than = "soon"',
    ],
)
def test_policies_that_make_no_sense_are_refused(text: str, environment: dict[str, str]):
    with pytest.raises(UsageError, match=r"lamina\.toml"):
        load_text(text, environment)
