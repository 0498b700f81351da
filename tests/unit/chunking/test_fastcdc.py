"""Content-defined cuts: where they are, today and in ten years, however a stream comes."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st
from pyfastcdc.py import FastCDC as SlowFastCDC

from lamina.chunking.chunker import Chunker
from lamina.chunking.fastcdc import FastCdc
from lamina.errors import UsageError

KIB, MIB = 1 << 10, 1 << 20
VECTORS: list[dict[str, Any]] = json.loads(Path(__file__).with_name("fastcdc_vectors.json").read_text())
SMALL = [one for one in VECTORS if one["size"] < 3 * MIB]  # what plain Python cuts in a moment
SIZES = (64, 256, KIB)
KEY = bytes(range(32))
# Of the paper's authors, by the number of bits that must be zero.
MASKS = {
    7: 0x18035100, 9: 0x19000353000, 11: 0xD90003530000, 13: 0xD90303530000, 15: 0xD90F03530000,
    19: 0xD91707537000, 21: 0xD91767537000,
}  # fmt: skip


def vector_data(vector: dict[str, Any]) -> bytes:
    """The content a vector is about."""
    if vector["content"] == "zeros":
        return bytes(vector["size"])
    noise = blake3(vector["content"].encode()).digest(length=vector["size"])
    return noise if vector["letters"] == 256 else bytes(byte % vector["letters"] for byte in noise)


def reference_cuts(data: bytes, sizes: tuple[int, int, int], key: bytes) -> list[int]:
    """FastCDC 2020 as the paper has it, one byte at a time, with the table made as the authors made it."""
    low, average, high = sizes
    seed = int.from_bytes(key[:8], "little")
    table = [int.from_bytes(hashlib.md5(bytes([byte]) * 64).digest()[:8], "big") ^ seed for byte in range(256)]
    bits = average.bit_length() - 1
    strict, lax = MASKS[bits + 1], MASKS[bits - 1]
    ends, start = [], 0
    while start < len(data):
        length = min(high, len(data) - start)
        cut, fingerprint = length, 0
        for position in range(low, length - length % 2):  # two bytes a step: the last odd one is not looked at
            fingerprint = ((fingerprint << 1) + table[data[start + position]]) & 0xFFFF_FFFF_FFFF_FFFF
            if not fingerprint & (strict if position < average else lax):
                cut = position
                break
        start += cut
        ends.append(start)
    return ends


def streamed(chunker: Chunker, data: bytes, pieces: Iterator[int]) -> list[int]:
    """The cuts of a stream that comes in *pieces*."""
    ends: list[int] = []
    begun = arrived = 0
    while arrived < len(data):
        arrived += min(next(pieces), len(data) - arrived)
        found = chunker.cuts(memoryview(data)[begun:arrived], final=False)
        ends += [begun + end for end in found]
        begun = ends[-1] if ends else 0
        assert arrived - begun < chunker.max_size
    return ends + [begun + end for end in chunker.cuts(data[begun:], final=True)]


def vector_id(vector: dict[str, Any]) -> str:
    return f"{vector['content']}-{vector['letters']}-{vector['sizes'][1]}-{vector['key'][:4]}"


@pytest.mark.parametrize("vector", VECTORS, ids=vector_id)
def test_cuts_are_where_they_always_were(vector: dict[str, Any]):
    chunker = FastCdc(*vector["sizes"], bytes.fromhex(vector["key"]))
    assert chunker.cuts(vector_data(vector), final=True) == vector["ends"]


@pytest.mark.parametrize("vector", SMALL, ids=vector_id)
def test_the_vectors_are_those_of_the_paper(vector: dict[str, Any]):
    """An independent implementation: the vectors do not only say what the library happens to do."""
    assert reference_cuts(vector_data(vector), vector["sizes"], bytes.fromhex(vector["key"])) == vector["ends"]


@pytest.mark.parametrize("vector", SMALL, ids=vector_id)
def test_the_library_without_its_compiled_part_cuts_at_the_same_places(vector: dict[str, Any]):
    """On a platform without a wheel it falls back to Python; a repository may be written from both."""
    low, average, high = vector["sizes"]
    seed = int.from_bytes(bytes.fromhex(vector["key"])[:8], "little")
    slow = SlowFastCDC(average, min_size=low, max_size=high, seed=seed)
    assert [chunk.offset + chunk.length for chunk in slow.cut_buf(vector_data(vector))] == vector["ends"]


contents = st.builds(
    lambda seed, size, letters: bytes(random.Random(seed).choices(range(letters), k=size)),
    st.integers(0, 2**32), st.integers(0, 6 * KIB), st.sampled_from([1, 2, 256]),
)  # fmt: skip
some_sizes = st.tuples(
    st.integers(32, 128).map(lambda half: 2 * half), st.sampled_from([256, 512]), st.integers(KIB, 3000)
)


@given(contents, some_sizes, st.binary(min_size=8, max_size=8), st.lists(st.integers(1, 4 * KIB), min_size=1))
def test_a_stream_has_the_same_cuts_however_it_comes(
    data: bytes, sizes: tuple[int, int, int], key: bytes, pieces: list[int]
):
    def endless() -> Iterator[int]:
        while True:
            yield from pieces

    chunker = FastCdc(*sizes, key)
    assert streamed(chunker, data, endless()) == chunker.cuts(data, final=True)


@given(contents, some_sizes, st.binary(min_size=8, max_size=8))
def test_chunks_cover_the_content_and_keep_their_limits(data: bytes, sizes: tuple[int, int, int], key: bytes):
    ends = FastCdc(*sizes, key).cuts(data, final=True)
    lengths = [end - start for start, end in pairwise([0, *ends])]
    assert sum(lengths) == len(data)
    assert all(sizes[0] <= length <= sizes[2] for length in lengths[:-1])
    assert all(0 < length <= sizes[2] for length in lengths[-1:])


def test_the_end_of_a_stream_comes_only_when_it_is_said():
    chunker = FastCdc(*SIZES, KEY)
    assert chunker.cuts(b"x" * 100, final=False) == []
    assert chunker.cuts(b"x" * 100, final=True) == [100]
    assert chunker.cuts(b"", final=True) == []


def test_a_chunk_of_the_largest_size_is_finished_even_at_the_end_of_a_buffer():
    chunker = FastCdc(*SIZES, KEY)
    assert chunker.cuts(bytes(KIB), final=False) == [KIB]  # zeros have no cut of their own under this key


def test_an_insertion_moves_only_the_cuts_around_it():
    data = random.Random(1).randbytes(256 * KIB)
    chunker = FastCdc(*SIZES, KEY)
    before = set(chunker.cuts(data, final=True))
    after = set(chunker.cuts(data[:1000] + b"inserted" + data[1000:], final=True))
    assert len({end + 8 for end in before} - after) < 10 < len(before)


def test_another_key_cuts_elsewhere():
    data = random.Random(1).randbytes(64 * KIB)
    one, other = (FastCdc(*SIZES, key).cuts(data, final=True) for key in (KEY, bytes(32)))
    assert len(set(one) & set(other)) < len(one) / 4


@pytest.mark.parametrize("key", [b"\xff" * 8, bytes(7) + b"\x80"], ids=["ones", "top bit"])
def test_every_key_is_possible(key: bytes):
    """The library refuses a seed with the top bit set; that bit decides no cut."""
    data = random.Random(1).randbytes(16 * KIB)
    assert FastCdc(*SIZES, key).cuts(data, final=True) == reference_cuts(data, SIZES, key)


def test_many_threads_may_cut_at_once():
    chunker = FastCdc(*SIZES, KEY)
    contents = [random.Random(number).randbytes(64 * KIB) for number in range(16)]
    alone = [chunker.cuts(content, final=True) for content in contents]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda content: chunker.cuts(content, final=True), contents)) == alone


@pytest.mark.parametrize("buffer", [bytes, bytearray, memoryview])
def test_every_kind_of_buffer_is_cut(buffer: Any):
    data = random.Random(1).randbytes(16 * KIB)
    assert FastCdc(*SIZES, KEY).cuts(buffer(data), final=True) == FastCdc(*SIZES, KEY).cuts(data, final=True)


def test_a_buffer_with_gaps_is_refused():
    """The library would read what is between."""
    with pytest.raises(TypeError):
        FastCdc(*SIZES, KEY).cuts(memoryview(bytes(8 * KIB))[::2], final=True)


@pytest.mark.parametrize(
    "sizes",
    [
        (32, 256, KIB), (65, 256, KIB), (2 * MIB, 4 * MIB, 8 * MIB), (64, 128, KIB), (64, 8 * MIB, 16 * MIB),
        (64, 384, KIB), (64, 256, 512), (64, 256, 32 * MIB), (512, 256, KIB), (64, 2048, KIB), (-64, 0, 0),
    ],
)  # fmt: skip
def test_impossible_sizes_are_refused(sizes: tuple[int, int, int]):
    with pytest.raises(UsageError, match=f"chunks of {sizes[0]} to {sizes[2]} bytes, {sizes[1]} on average"):
        FastCdc(*sizes, KEY)


def test_a_key_that_is_none_is_refused():
    with pytest.raises(ValueError, match="8 bytes"):
        FastCdc(*SIZES, b"short")
