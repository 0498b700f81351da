"""Which account an S3 address gets."""

from __future__ import annotations

import pytest

from lamina.errors import UsageError
from lamina.storage.backends.s3_credentials import find_account

_KEYS = {"AWS_ACCESS_KEY_ID": "env-key", "AWS_SECRET_ACCESS_KEY": "env-secret"}


@pytest.fixture
def home(tmp_path):
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws" / "credentials").write_text(
        "[default]\naws_access_key_id=default-key\naws_secret_access_key=per%cent\n"
        "[other]\naws_access_key_id=other-key\naws_secret_access_key=x\naws_session_token=token\n"
    )
    (tmp_path / ".aws" / "config").write_text(
        "[default]\nregion=eu-default\n[profile other]\nregion=eu-other\nendpoint_url=https://other.example/\n"
        "[profile sso]\nsso_session=x\n"
    )
    return {"HOME": str(tmp_path)}


def test_the_environment_wins_over_a_profile(home):
    account = find_account({}, {**home, **_KEYS, "AWS_PROFILE": "other"})
    assert (account.access_key_id, account.secret_access_key.reveal()) == ("env-key", b"env-secret")
    assert account.session_token.reveal() == b""


def test_the_default_profile_is_read(home):
    account = find_account({}, home)
    assert (account.access_key_id, account.secret_access_key.reveal()) == ("default-key", b"per%cent")
    assert (account.region, account.endpoint) == ("eu-default", "")


def test_a_named_profile_is_read_from_both_files(home):
    account = find_account({}, {**home, "AWS_PROFILE": "other"})
    assert (account.access_key_id, account.session_token.reveal()) == ("other-key", b"token")
    assert (account.region, account.endpoint) == ("eu-other", "https://other.example")


def test_other_files_can_be_named(tmp_path):
    (tmp_path / "keys").write_text("[default]\naws_access_key_id=a\naws_secret_access_key=b\n")
    environment = {"HOME": "/nowhere", "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "keys")}
    assert find_account({}, environment).access_key_id == "a"


def test_the_address_wins_over_the_environment():
    environment = {**_KEYS, "HOME": "/nowhere", "AWS_ENDPOINT_URL": "http://env", "AWS_REGION": "env-1"}
    assert find_account({}, environment).endpoint == "http://env"
    assert find_account({}, {**environment, "AWS_ENDPOINT_URL_S3": "http://s3"}).endpoint == "http://s3"
    account = find_account({"endpoint": "http://address", "region": "address-1"}, environment)
    assert (account.endpoint, account.region) == ("http://address", "address-1")


def test_an_unknown_profile_is_named(home):
    with pytest.raises(UsageError, match="nosuch"):
        find_account({}, {**home, "AWS_PROFILE": "nosuch"})


def test_a_profile_we_cannot_follow_gets_a_hint(home):
    with pytest.raises(UsageError) as caught:
        find_account({}, {**home, "AWS_PROFILE": "sso"})
    assert "sso_session" in caught.value.hint


def test_a_broken_file_is_named_and_not_quoted(home, tmp_path):
    (tmp_path / ".aws" / "credentials").write_text("topsecret without a section\n")
    with pytest.raises(UsageError, match="credentials") as caught:
        find_account({}, home)
    assert "topsecret" not in str(caught.value)
    assert caught.value.__suppress_context__


def test_no_secret_shows_itself(home):
    shown = repr(find_account({}, {**home, "AWS_PROFILE": "other"}))
    assert "token'" not in shown
    assert "***" in shown
