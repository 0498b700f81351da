"""Packs: their ends, their key tables."""

from __future__ import annotations

import pytest

from lamina.crypto.hashing import public_hash
from lamina.errors import Damaged
from lamina.model.ids import ChunkId, PackId, RepositoryId, SessionId
from lamina.repository.format import MAX_KEYS, BlobHeader, BlobKind, decode_pack_header
from lamina.repository.packs import PackWriter, check_pack, decode_tail, tail_length
from lamina.repository.records import KeyEntry, Recipient

KEY = bytes(range(32))
HOME, SESSION = RepositoryId(b"r" * 16), SessionId(b"s" * 16)


def entry(number: int, size: int = 40) -> KeyEntry:
    return KeyEntry(number.to_bytes(16, "big"), 1, [Recipient(bytes(8), 0, 1, bytes(size))])


def blob(number: int, size: int = 100, key: int = 0) -> tuple[BlobHeader, bytes]:
    body = bytes([number]) * size
    return BlobHeader(BlobKind.DATA, key, ChunkId(bytes([number]) * 32), b"s" * 16, 0, size), body


def pack(*, entries: int = 1, blobs: int = 3) -> tuple[PackId, bytes]:
    writer = PackWriter(HOME, SESSION, KEY, meta=False)
    for number in range(entries):
        assert writer.find_key(entry(number, 1200)) == number
    for number in range(blobs):
        header, body = blob(number)
        writer.add(header, b"", body, plain_size=7)
    finished = writer.finish()
    data = b"".join(finished.parts)
    assert (len(data), public_hash([data])) == (finished.size, finished.id)
    return finished.id, data


def check(data: bytes) -> None:
    check_pack(data, PackId(public_hash([data])), KEY, name="the pack")


def test_the_end_of_a_pack_says_what_is_in_it():
    _, data = pack(entries=2)
    header = decode_pack_header(data, name="p")
    tail = decode_tail(data[-tail_length(data, name="p") :], header, KEY, name="p")
    assert [row.id[0] for row in tail.rows] == [0, 1, 2]
    assert tail.keys == (entry(0, 1200), entry(1, 1200))
    assert (header.repository, header.session) == (HOME, SESSION)


def test_a_key_table_has_an_end_and_takes_each_entry_once():
    writer = PackWriter(HOME, SESSION, KEY, meta=False)
    assert [writer.find_key(entry(number)) for number in range(MAX_KEYS)] == list(range(MAX_KEYS))
    assert writer.find_key(entry(MAX_KEYS)) is None
    assert writer.find_key(entry(5)) == 5


def test_two_packs_of_the_same_blobs_have_different_names():
    assert pack()[0] != pack()[0]


@pytest.mark.parametrize("place", [0, 20, 60, 90, 200, 400, -200, -60, -20, -10, -1])
def test_a_flipped_bit_is_noticed_by_the_name(place: int):
    name, data = pack()
    spoilt = bytearray(data)
    spoilt[place] ^= 1
    with pytest.raises(Damaged, match="do not fit its name"):
        check_pack(bytes(spoilt), name, KEY, name="the pack")


def test_bytes_that_no_footer_lists_are_noticed():
    _, data = pack()
    end = tail_length(data, name="p")
    with pytest.raises(Damaged, match="the pack"):
        check(data[:-end] + bytes(10) + data[-end:])


def test_a_footer_of_another_pack_does_not_open():
    _, one = pack()
    _, other = pack()
    with pytest.raises(Damaged, match="footer"):
        check(one[: -tail_length(one, name="p")] + other[-tail_length(other, name="p") :])


def test_two_blobs_that_change_places_are_noticed():
    _, data = pack()
    start, size = 88, 168
    swapped = (
        data[:start] + data[start + size : start + 2 * size] + data[start : start + size] + data[start + 2 * size :]
    )
    with pytest.raises(Damaged, match="disagree"):
        check(swapped)


def test_a_blob_whose_key_is_not_in_the_table_is_noticed():
    writer = PackWriter(HOME, SESSION, KEY, meta=False)
    writer.find_key(entry(0))
    header, body = blob(1, key=1)
    writer.add(header, b"", body, plain_size=1)
    with pytest.raises(Damaged, match="disagree"):
        check(b"".join(writer.finish().parts))


@pytest.mark.parametrize("size", [0, 10, 88, 100, 400])
def test_a_cut_pack_is_damage_even_if_its_name_fits(size: int):
    with pytest.raises(Damaged):
        check(pack()[1][:size])


def test_an_empty_pack_is_whole():
    check(pack(blobs=0, entries=0)[1])
