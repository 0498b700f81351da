"""The pages on selectors say what the grammar understands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lamina.cli.selecting import GRAMMAR
from lamina.model.selector_text import parse
from lamina.model.selectors import Field, State
from lamina.model.snapshots import Trust

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "selectors.md"
ROWS = re.findall(r"^\| (`.+?`) \|", PAGE.read_text(), re.MULTILINE)
EXAMPLES = [example for row in ROWS for example in re.findall("`([^`]+)`", row)]
WORDS = [*(f"{field.value}:" for field in Field), *(state.value for state in State),
         *(f"trust:{trust.value}" for trust in Trust), "first(", "last(", "not(", "reverse(", "latest", "..", " & ", ", "]  # fmt: skip


@pytest.mark.parametrize("example", EXAMPLES)
def test_every_selector_on_the_page_is_understood(example: str):
    parse(example)


@pytest.mark.parametrize("word", WORDS)
def test_the_page_and_the_help_know_every_word(word: str):
    assert any(word in example for example in EXAMPLES)
    assert word.strip() in GRAMMAR


def test_there_are_selectors_on_the_page():
    assert len(EXAMPLES) > 30
