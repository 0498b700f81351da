"""Who may cut content, and how."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from lamina.errors import Damaged, FormatUnknown, NotPermitted
from lamina.repository.access import Access
from lamina.testing.repositories import SmallRepository

MIB = 1 << 20


def access_of(small: SmallRepository, holder: str = "owner", **format_fields: Any) -> Access:
    """One holder's access; the format record says something else."""
    repository = small.open(holder)
    repository.close()
    access = repository.access
    return replace(access, format=msgspec.structs.replace(access.format, **format_fields))


def test_all_who_write_cut_at_the_same_places(small: SmallRepository):
    data = random.Random(1).randbytes(8 * MIB)
    ends = [access_of(small, holder).chunker().cuts(data, final=True) for holder in ("owner", "writer", "other")]
    assert ends[0] == ends[1] == ends[2]
    assert len(ends[0]) > 2


def test_a_steward_cuts_nothing(small: SmallRepository):
    with pytest.raises(NotPermitted, match="steward"):
        access_of(small, "steward").chunker()


def test_a_chunker_of_a_newer_lamina_is_refused(small: SmallRepository):
    with pytest.raises(FormatUnknown, match="'toeplitz'"):
        access_of(small, chunker="toeplitz").chunker()


@pytest.mark.parametrize(
    "sizes", [{"chunker_min": 0}, {"chunker_average": 3 * MIB}, {"chunker_max": MIB // 2}, {"chunker_max": 1 << 40}]
)
def test_sizes_that_make_no_sense_are_damage(small: SmallRepository, sizes: dict[str, int]):
    with pytest.raises(Damaged, match="format record"):
        access_of(small, **sizes).chunker()
