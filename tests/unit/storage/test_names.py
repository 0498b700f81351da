"""Names and their paths."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lamina.storage.names import flat_name, is_name, spread_name

_PARTS = st.from_regex(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,9}", fullmatch=True) | st.from_regex(
    r"[0-9a-f]{64}", fullmatch=True
)
_NAMES = st.lists(_PARTS, min_size=1, max_size=4).map("/".join)


@given(_NAMES)
def test_a_path_leads_back_to_its_name(name):
    assert is_name(name)
    assert flat_name(spread_name(name)) == name


@given(_NAMES, _NAMES)
def test_two_names_never_share_a_path(one, other):
    assert (spread_name(one) == spread_name(other)) == (one == other)


@given(_NAMES)
def test_a_path_that_no_name_leads_to_has_no_name(path):
    name = flat_name(path)
    assert name is None or spread_name(name) == path


@given(st.text(max_size=12))
def test_no_name_leaves_the_directory(text):
    if is_name(text):
        assert not text.startswith("/")
        assert all(part not in {"", ".", ".."} for part in text.split("/"))
