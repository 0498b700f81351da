"""The storage contract over S3, on a real server."""

from __future__ import annotations

import itertools
from contextlib import closing

import pytest

from lamina.model.operation import Operation
from lamina.plugins import find_plugin
from lamina.storage.addresses import parse_address
from lamina.storage.backends.s3 import open_storage
from lamina.storage.retrying import Retrying
from lamina.testing.clocks import FrozenClock
from lamina.testing.contracts.storage import StorageContract

pytestmark = pytest.mark.integration
_numbers = itertools.count()


@pytest.fixture(scope="module")
def bucket(s3_server):
    return s3_server.new_bucket()


@pytest.fixture
def open_s3(s3_server, bucket):
    """Open a storage of the test's own prefix."""

    def opened():
        address = parse_address(s3_server.address(bucket, f"contract/{next(_numbers)}"), {})
        return open_storage(address, s3_server.environment, create=False)

    return opened


class TestS3(StorageContract):
    @pytest.fixture
    def storage(self, open_s3):
        with closing(open_s3()) as storage:
            yield storage


class TestRetryingS3(StorageContract):
    @pytest.fixture
    def storage(self, open_s3):
        with closing(Retrying(open_s3(), Operation(clock=FrozenClock()))) as storage:
            yield storage


class TestS3AtTheTopOfABucket(StorageContract):
    @pytest.fixture
    def storage(self, s3_server, bucket):
        address = parse_address(s3_server.address(bucket, ""), {})
        with closing(open_storage(address, s3_server.environment, create=False)) as storage:
            yield storage

    @pytest.fixture
    def folder(self):
        return f"top/{next(_numbers)}/"


def test_the_back_end_is_found_by_its_plug_in_name():
    assert find_plugin("storage", "s3").open_storage is open_storage
