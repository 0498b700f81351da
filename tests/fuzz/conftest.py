"""Counts what was tried, for the summary of `make soak`."""

from __future__ import annotations

from collections.abc import Generator

import pytest

from tests.fuzz import mutations


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    """Note with a test how many changed encodings it tried."""
    before = mutations.tried
    yield
    item.user_properties.append(("encodings fuzzed", mutations.tried - before))
