"""The reference pages say what the code does."""

from __future__ import annotations

import importlib.util
import re
from dataclasses import fields
from pathlib import Path
from types import ModuleType

import pytest

from lamina.cli.arguments import iter_parsers
from lamina.cli.parser import build_parser, parse
from lamina.settings import ENVIRONMENT
from lamina.settings_file import Profile, SettingsFile, decode_settings

CHECKOUT = Path(__file__).parents[2]
DOCS = CHECKOUT / "docs"


def _generator() -> ModuleType:
    path = CHECKOUT / "scripts" / "generate_reference.py"
    spec = importlib.util.spec_from_file_location("generate_reference", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


PAGES: dict[str, str] = _generator().pages()


@pytest.mark.parametrize("name", PAGES)
def test_the_generated_page_is_current(name: str):
    """Run `make docs` when this fails."""
    assert (DOCS / name).read_text() == PAGES[name]


def test_there_is_no_man_page_of_a_verb_that_is_gone():
    assert {f"man/{path.name}" for path in (DOCS / "man").glob("*.1")} == {
        one for one in PAGES if one.startswith("man/")
    }


def test_every_verb_has_examples_and_they_parse():
    for parser in iter_parsers(build_parser()):
        examples = parser.get_default("examples")
        assert examples, parser.prog
        for example in examples:
            call = re.search(r"\blamina (.*?)(?: [|>] .*| > .*)?$", example)
            assert call, example
            words = re.sub(r"'([^']*)'", r"\1", call[1]).split()
            assert parse(words).run, example


def test_every_field_of_the_settings_has_its_line():
    page = PAGES["reference/settings.md"]
    for one in (*fields(SettingsFile), *fields(Profile)):
        assert f"| `{one.name}` |" in page
    for variable in ENVIRONMENT:
        assert f"| `{variable}` |" in page


def test_the_sample_settings_file_is_valid():
    import tomllib

    sample = re.search(r"```toml\n(.*?)```", PAGES["reference/settings.md"], re.DOTALL)
    assert sample
    settings = decode_settings(tomllib.loads(sample[1]), Path("/home/u/.config/lamina/lamina.toml"))
    assert settings.default_repository in settings.repository


def test_every_field_of_every_json_document_is_described():
    page = (DOCS / "reference" / "json.md").read_text()
    sources = (CHECKOUT / "src/lamina/cli").glob("*documents.py")
    named = {name for source in sources for name in re.findall(r'"([a-z_]+)": ', source.read_text())}
    assert len(named) > 40
    assert {one for one in named if f"`{one}`" not in page} == set()
