"""Addresses as people write them."""

from __future__ import annotations

import pytest

from lamina.errors import UsageError
from lamina.storage.addresses import parse_address


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("/srv/backup", "/srv/backup"),
        ("backup", "backup"),
        ("./odd name?&#", "./odd name?&#"),
        ("file:///srv/backup", "/srv/backup"),
        ("file://localhost/srv/back%20up", "/srv/back up"),
        ("~/backup", "/home/u/backup"),
        ("C:/looks/like/a/scheme", "C:/looks/like/a/scheme"),
    ],
)
def test_a_directory(text, path):
    address = parse_address(text, {"HOME": "/home/u"})
    assert (address.kind, dict(address.options)) == ("file", {"path": path})
    assert str(address) == path


def test_a_bucket_with_everything():
    text = "s3://my-bucket/backups/host?endpoint=https://s3.example.org:9000&region=eu-1&style=virtual"
    address = parse_address(text, {})
    assert address.kind == "s3"
    assert dict(address.options) == {
        "bucket": "my-bucket",
        "prefix": "backups/host",
        "endpoint": "https://s3.example.org:9000",
        "region": "eu-1",
        "style": "virtual",
    }
    assert str(address) == text
    assert parse_address(str(address), {}) == address


@pytest.mark.parametrize("text", ["s3://bucket", "s3://bucket/", "S3://bucket//"])
def test_a_bucket_alone(text):
    assert dict(parse_address(text, {}).options) == {"bucket": "bucket", "prefix": ""}
    assert str(parse_address(text, {})) == "s3://bucket"


def test_another_scheme_is_the_name_of_a_plug_in():
    address = parse_address("swift://container/x", {})
    assert (address.kind, dict(address.options)) == ("swift", {"url": "swift://container/x"})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a\0b",
        "file://host/srv",
        "file:///srv?x=1",
        "s3://",
        "s3:///prefix",
        "s3://b/short",
        "s3://bucket/../up",
        "s3://bucket/a//b",
        "s3://bucket/white space",
        "s3://bucket:99999/x",
        "s3://bucket/x#fragment",
        "s3://bucket/x?unknown=1",
        "s3://bucket/x?region=",
        "s3://bucket/x?region=a&region=b",
        "s3://bucket/x?bucket=other",
        "s3://bucket/x?style=odd",
        "s3://bucket/x?endpoint=s3.example.org",
        "s3://bucket/x?endpoint=ftp://s3.example.org",
        "s3://bucket/x?endpoint=https://",
    ],
)
def test_nonsense_is_refused(text):
    with pytest.raises(UsageError):
        parse_address(text, {})


@pytest.mark.parametrize(
    "text",
    [
        "s3://AKIAKEY:topsecret@bucket/prefix",
        "s3://topsecret@bucket/prefix",
        "s3://bucket/prefix?secret_access_key=topsecret",
        "s3://bucket/prefix?aws_session_token=topsecret",
        "s3://bucket/prefix?access_key_id=topsecret",
        "s3://bucket/prefix?endpoint=https://u:topsecret@host",
        "sftp://user:topsecret@host/x",
    ],
)
def test_credentials_are_refused_and_not_repeated(text):
    with pytest.raises(UsageError) as caught:
        parse_address(text, {})
    assert "topsecret" not in f"{caught.value} {caught.value.hint}"
