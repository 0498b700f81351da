"""The same product on object storage: a real S3 server."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.end_to_end.lamina_cli import Person
from tests.integration.s3_server import S3Server

pytestmark = pytest.mark.integration

MIB = 1 << 20


@pytest.fixture
def tenant(s3_server: S3Server, s3_bucket: str, tmp_path: Path) -> Person:
    """Somebody with a bucket, and no repository yet."""
    variables = {"LAMINA_REPOSITORY": s3_server.address(s3_bucket), **s3_server.environment}
    return Person(tmp_path, variables=variables)


def test_a_repository_in_a_bucket_is_probed_made_filled_verified_and_restored_from(tenant: Person):
    made = tenant.report("init")
    assert made["address"].startswith("s3://")
    content = random.Random(1).randbytes(40 * MIB)
    tenant.write("a.img", content)
    assert tenant.report("backup", "a.img")["coverage"]["share"] == 1.0
    assert tenant.report("backup", "a.img")["new_bytes"] == 0
    tenant.do("restore", "latest~1", "b.img", "--verify")
    assert (tenant.directory / "b.img").read_bytes() == content
    assert tenant.report("verify")["problems"] == []


def test_an_empty_bucket_is_no_repository(tenant: Person):
    assert tenant.run("snapshots").returncode == 10


def test_refused_credentials_are_said_and_not_shown(tenant: Person):
    tenant.variables["AWS_SECRET_ACCESS_KEY"] = "wrong-and-secret"
    done = tenant.run("snapshots", "-v")
    assert done.returncode == 1
    assert b"403" in done.stderr
    assert b"wrong-and-secret" not in done.stdout + done.stderr


def test_credentials_in_an_address_are_a_usage_error(tenant: Person):
    done = tenant.run("-r", "s3://key:hunter2@bucket/prefix", "snapshots")
    assert done.returncode == 2
    assert b"hunter2" not in done.stderr
