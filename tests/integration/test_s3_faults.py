"""S3 that answers badly, late or not at all: a proxy of ours misbehaves in front of a real server."""

from __future__ import annotations

import itertools
from contextlib import closing

import pytest

from lamina.errors import (
    ObjectExists,
    ObjectMissing,
    StorageDenied,
    StorageError,
    StorageFull,
    StorageUnavailable,
    UsageError,
)
from lamina.model.operation import Operation
from lamina.storage.addresses import parse_address
from lamina.storage.backends.s3 import S3Storage, Timeouts, open_storage
from lamina.storage.backends.s3_credentials import find_account
from lamina.storage.probe import probe
from lamina.storage.retrying import Patience, Retrying
from lamina.testing.clocks import FrozenClock
from tests.integration.fault_proxy import QUOTED, FaultProxy, Mischief

pytestmark = pytest.mark.integration
_SHORT = Timeouts(connect_s=2, silence_s=1, transfer_s=2)
_numbers = itertools.count()
_PASSING = [
    Mischief.REFUSE,
    Mischief.FAIL_500,
    Mischief.FAIL_503,
    Mischief.STALL,
    Mischief.CUT,
    Mischief.DROP_REPLY,
    Mischief.LATE_REPLY,
]


@pytest.fixture
def proxy(s3_server):
    with closing(FaultProxy(s3_server.port)) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def bucket(s3_server):
    return s3_server.new_bucket()


@pytest.fixture
def storage(s3_server, bucket, proxy):
    address = parse_address(s3_server.address(bucket, f"faults/{next(_numbers)}", proxy.endpoint), {})
    return S3Storage(address, find_account(address.options, s3_server.environment), _SHORT)


@pytest.fixture
def retrying(storage):
    return Retrying(storage, Operation(clock=FrozenClock()), patience=Patience(tries=3))


@pytest.mark.parametrize("mischief", _PASSING)
def test_a_put_survives_one_fault(storage, retrying, proxy, mischief):
    proxy.plan.append(mischief)
    retrying.put("data/object", [b"bytes" * 1000])
    assert storage.get("data/object") == b"bytes" * 1000


@pytest.mark.parametrize("mischief", _PASSING)
def test_a_read_survives_one_fault(storage, retrying, proxy, mischief):
    storage.put("object", [b"0123456789" * 1000])
    proxy.plan.append(mischief)
    assert retrying.get("object") == b"0123456789" * 1000
    proxy.plan.append(mischief)
    assert retrying.get_range("object", 5, 10) == b"5678901234"


@pytest.mark.parametrize("mischief", _PASSING)
def test_a_listing_survives_one_fault_and_shows_nothing_twice(storage, retrying, proxy, mischief):
    for number in range(5):
        storage.put(f"list/{number}", [b"x"])
    proxy.plan.append(mischief)
    assert [stored.name for stored in retrying.objects("list/")] == [f"list/{number}" for number in range(5)]


@pytest.mark.parametrize("mischief", _PASSING)
def test_a_delete_survives_one_fault(storage, retrying, proxy, mischief):
    storage.put("object", [b"x"])
    proxy.plan.append(mischief)
    retrying.delete("object")
    with pytest.raises(ObjectMissing):
        storage.get("object")


@pytest.mark.parametrize("mischief", [Mischief.DROP_REPLY, Mischief.LATE_REPLY])
def test_a_put_that_lost_the_race_unseen_is_told_so(storage, retrying, proxy, mischief):
    """Another writer's bytes are there, and the reply that says so is lost."""
    storage.put("snapshots/one", [b"theirs"])
    proxy.plan.append(mischief)
    with pytest.raises(ObjectExists):
        retrying.put("snapshots/one", [b"ours"])
    assert storage.get("snapshots/one") == b"theirs"


@pytest.mark.parametrize("mischief", _PASSING)
def test_a_fault_that_stays_is_reported_and_never_read_as_absence(storage, retrying, proxy, mischief):
    storage.put("object", [b"x" * 1000])
    proxy.plan.extend([mischief] * 3)
    with pytest.raises(StorageUnavailable) as caught:
        retrying.get("object")
    assert "object" in caught.value.message
    assert len(proxy.requests) == 4  # the put, and as many tries as the patience allows: none of the client's own


@pytest.mark.parametrize("mischief", [Mischief.STALL, Mischief.DROP_REPLY])
def test_a_large_put_survives_one_fault_too(storage, retrying, proxy, mischief):
    """Large uploads go through a client with other time-outs."""
    proxy.plan.append(mischief)
    retrying.put("large", [b"x" * (1 << 20), b"y" * (1 << 20)])
    assert storage.stat("large").size == 2 << 20


def test_a_large_upload_is_one_request(storage, proxy):
    storage.put("large", [b"x" * (20 << 20)])
    assert [line.split()[0] for line in proxy.requests] == ["PUT"]
    assert storage.stat("large").size == 20 << 20


@pytest.mark.parametrize(
    ("mischief", "error"),
    [
        (Mischief.FAIL_403, StorageDenied),
        (Mischief.FAIL_507, StorageFull),
        (Mischief.FAIL_404_PAGE, StorageError),
        (Mischief.FAIL_500, StorageUnavailable),
    ],
)
def test_a_refusal_is_named_and_quotes_nothing(storage, proxy, mischief, error):
    for call in (
        lambda: storage.put("object", [b"x"]),
        lambda: storage.get("object"),
        lambda: storage.get_range("object", 0, 1),
        lambda: list(storage.objects()),
        lambda: storage.delete("object"),
    ):
        proxy.plan.append(mischief)
        with pytest.raises(error) as caught:
            call()
        assert not isinstance(caught.value, ObjectMissing)
        assert caught.value.__suppress_context__
        assert QUOTED not in f"{caught.value} {caught.value.hint}"


def test_a_missing_bucket_is_not_a_missing_object(s3_server):
    address = parse_address(s3_server.address("no-such-bucket"), {})
    storage = open_storage(address, s3_server.environment, create=False)
    for call in (
        lambda: storage.get("object"),
        lambda: storage.get_range("object", 0, 1),
        lambda: storage.stat("object"),
        lambda: list(storage.objects()),
    ):
        with pytest.raises(StorageError, match="bucket does not exist") as caught:
            call()
        assert type(caught.value) is StorageError


def test_wrong_keys_are_denied_and_never_shown(s3_server, bucket):
    address = parse_address(s3_server.address(bucket), {})
    environment = {**s3_server.environment, "AWS_SECRET_ACCESS_KEY": "not-the-secret", "AWS_SESSION_TOKEN": "a-token"}
    storage = open_storage(address, environment, create=False)
    for call in (lambda: storage.put("a", [b"x"]), lambda: storage.get("a"), lambda: list(storage.objects())):
        with pytest.raises(StorageDenied) as caught:
            call()
        assert "not-the-secret" not in str(caught.value)
        assert "a-token" not in str(caught.value)


def test_a_read_only_key_reads_and_is_denied_writing(s3_server, bucket):
    address = parse_address(s3_server.address(bucket, "shared"), {})
    open_storage(address, s3_server.environment, create=False).put("object", [b"x"])
    storage = open_storage(address, s3_server.read_only_environment, create=False)
    assert storage.get("object") == b"x"
    with pytest.raises(StorageDenied):
        storage.put("other", [b"x"])
    with pytest.raises(StorageDenied):
        probe(storage, Operation())


def test_a_listing_hides_what_is_not_ours(s3_server):
    bucket = s3_server.new_bucket()
    top = open_storage(parse_address(s3_server.address(bucket, ""), {}), s3_server.environment, create=False)
    ours = open_storage(parse_address(s3_server.address(bucket, "ours"), {}), s3_server.environment, create=False)
    top.put("ours-too/object", [b"x"])
    ours.put("data/object", [b"x"])
    s3_server.put_raw(bucket, "ours/data/.hidden", b"x")
    s3_server.put_raw(bucket, "ours/data/white space", b"x")
    assert [stored.name for stored in ours.objects("data/")] == ["data/object"]
    assert [stored.name for stored in ours.objects()] == ["data/object"]


def test_a_server_that_is_gone_is_unavailable(s3_server):
    address = parse_address("s3://bucket/prefix?endpoint=http://127.0.0.1:9", {})
    with pytest.raises(StorageUnavailable):
        open_storage(address, s3_server.environment, create=False).get("object")


def test_without_credentials_the_hint_says_where_they_belong(s3_server, tmp_path):
    with pytest.raises(UsageError) as caught:
        open_storage(parse_address("s3://bucket", {}), {"HOME": str(tmp_path)}, create=False)
    assert "AWS_ACCESS_KEY_ID" in caught.value.hint


def test_credentials_come_from_a_profile(s3_server, bucket, tmp_path):
    folder = tmp_path / ".aws"
    folder.mkdir()
    keys = s3_server.environment
    (folder / "credentials").write_text(
        f"[backup]\naws_access_key_id = {keys['AWS_ACCESS_KEY_ID']}\n"
        f"aws_secret_access_key = {keys['AWS_SECRET_ACCESS_KEY']}\n"
    )
    (folder / "config").write_text(f"[profile backup]\nregion = eu-test-1\nendpoint_url = {s3_server.endpoint}\n")
    environment = {"HOME": str(tmp_path), "AWS_PROFILE": "backup"}
    storage = open_storage(parse_address(f"s3://{bucket}/profile", {}), environment, create=False)
    storage.put("object", [b"x"])
    assert storage.get("object") == b"x"


def test_the_probe_finds_a_real_server_suitable_and_leaves_nothing(s3_server, bucket):
    storage = open_storage(parse_address(s3_server.address(bucket, "probed"), {}), s3_server.environment, create=False)
    report = probe(storage, Operation())
    assert [check for check in report.checks if not check.ok] == []
    assert report.suitable
    assert report.upload_bytes_per_s > 0
    assert list(storage.objects()) == []
