"""Recovery keys on paper."""

from __future__ import annotations

import pytest

from lamina.crypto.passphrases import KdfCost, format_recovery_key, parse_recovery_key, stretch
from lamina.errors import WrongPassphrase
from lamina.model.secret import Secret

ROOT = bytes(range(200, 232))
TEXT = format_recovery_key(ROOT)


def parse(text: str) -> bytes | None:
    return parse_recovery_key(Secret(text.encode()))


@pytest.mark.parametrize("root", [ROOT, bytes(32), b"\xff" * 32], ids=["any", "zeros", "ones"])
def test_a_written_key_is_read_again(root: bytes):
    assert parse(format_recovery_key(root)) == root


@pytest.mark.parametrize(
    "text",
    [TEXT.lower(), f"  {TEXT}\n", TEXT.replace("-", " ").replace("LAMINA 1 ", "LAMINA-1-"), "LAMINA-1-" + TEXT[9:].replace("-", "")],
    ids=["lower", "blanks", "spaces", "joined"],
)  # fmt: skip
def test_how_it_is_typed_does_not_matter(text: str):
    assert parse(text) == ROOT


def test_letters_that_people_write_for_digits_are_understood():
    assert parse("LAMINA-1-" + TEXT[9:].replace("0", "O").replace("1", "l")) == ROOT


@pytest.mark.parametrize("place", range(9, len(TEXT), 5))
def test_one_misread_letter_is_noticed(place: int):
    wrong = "2" if TEXT[place] != "2" else "3"
    with pytest.raises(WrongPassphrase, match="misspelt"):
        parse(TEXT[:place] + wrong + TEXT[place + 1 :] if TEXT[place] != "-" else TEXT[:place] + wrong + TEXT[place:])


@pytest.mark.parametrize("text", ["LAMINA-1-", "LAMINA-1-é", TEXT[:-1], TEXT + "0", TEXT[:-8], "LAMINA-1-!!!!"])
def test_a_key_of_another_length_or_alphabet_is_misspelt(text: str):
    with pytest.raises(WrongPassphrase, match="misspelt"):
        parse(text)


@pytest.mark.parametrize(
    "text", ["", "a passphrase", "lamina-2-x", "\ud800".encode("utf-8", "surrogatepass").decode("latin-1")]
)
def test_a_passphrase_is_no_recovery_key(text: str):
    assert parse(text) is None


def test_stretching_depends_on_passphrase_salt_and_cost():
    cheap, dearer = KdfCost(64, 1, 1), KdfCost(64, 2, 1)
    salt = b"s" * 16
    keys = {
        stretch(Secret(b"a"), salt, cheap),
        stretch(Secret(b"b"), salt, cheap),
        stretch(Secret(b"a"), b"t" * 16, cheap),
        stretch(Secret(b"a"), salt, dearer),
    }
    assert len(keys) == 4
