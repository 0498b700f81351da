"""Stamps of directories: found among many, whatever their first bytes; kept only with their check."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from lamina.model.ids import SessionId
from lamina.repository.looks import Looks, read_looks, write_looks
from lamina.testing.repositories import SmallRepository

SESSION = SessionId(bytes(16))
heads = st.sampled_from([bytes(8), b"\xff" * 8, b"\x01" + bytes(7)]) | st.binary(min_size=8, max_size=8)
stamps = st.builds(bytes.__add__, heads, st.binary(min_size=8, max_size=8))


@given(st.sets(stamps, max_size=20), st.lists(stamps, max_size=10))
def test_a_stamp_is_known_if_it_is_there(there: set[bytes], others: list[bytes]):
    repository = SmallRepository().open()
    looks = Looks(repository.access, b"".join(sorted(there)))
    assert len(looks) == len(there)
    assert all(looks.knows(stamp) for stamp in there)
    assert [looks.knows(stamp) for stamp in others] == [stamp in there for stamp in others]
    repository.close()


def test_stamps_depend_on_place_and_look(small: SmallRepository):
    repository = small.open()
    looks = Looks(repository.access)
    root = looks.place(b"", b"")
    places = {root, looks.place(root, b"a"), looks.place(looks.place(root, b"a"), b"a"), looks.place(root, b"aa")}
    assert len({looks.stamp(place, look) for place in places for look in (b"", b"x")}) == 8
    repository.close()


def test_every_changed_byte_makes_a_note_worthless(small: SmallRepository, tmp_path: Path):
    repository = small.open(cache=tmp_path)
    known = [bytes([number]) * 16 for number in range(3)]
    write_looks(repository.access, "n", "p", SESSION, known)
    (file,) = tmp_path.glob("*/looks/*")
    data = file.read_bytes()
    assert len(read_looks(repository.access, "n", "p", SESSION)) == 3
    for number in range(len(data)):
        file.write_bytes(data[:number] + bytes([data[number] ^ 1]) + data[number + 1 :])
        assert len(read_looks(repository.access, "n", "p", SESSION)) == 0
    repository.close()
