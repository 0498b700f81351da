"""The pages people read name every error, decision, word and command as the code has it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from lamina import errors
from lamina.cli.arguments import iter_parsers
from lamina.cli.exit_codes import exit_code
from lamina.cli.parser import build_parser, parse
from lamina.filters.pipeline import LEVELS
from lamina.model.snapshots import Role, Trust

CHECKOUT = Path(__file__).parents[2]
DOCS = CHECKOUT / "docs"
PAGES = {str(page.relative_to(CHECKOUT)): page.read_text() for page in [CHECKOUT / "README.md", *DOCS.glob("**/*.md")]}
ADRS = sorted((DOCS / "adr").glob("[0-9]*.md"))
PARSERS = {parser.prog: parser for parser in iter_parsers(build_parser())}


def _error_tree(root: type[errors.LaminaError] = errors.LaminaError) -> Iterator[type[errors.LaminaError]]:
    yield root
    for one in root.__subclasses__():
        if one.__module__ == errors.__name__:
            yield from _error_tree(one)


def test_every_error_has_a_section_with_its_exit_code():
    page = PAGES["docs/reference/errors.md"]
    said = dict(re.findall(r"^###? (\w+)\n\nExit code (\d+)\. ", page, re.MULTILINE))
    assert said == {one.__name__: str(exit_code(one)) for one in _error_tree()}


@pytest.mark.parametrize("page", ADRS, ids=lambda page: page.stem)
def test_a_decision_has_its_number_its_sections_and_its_line_in_the_table(page: Path):
    text = page.read_text()
    heading = re.match(r"# (\d+)\. (.+)\n\nStatus: \w+", text)
    assert heading
    assert int(heading[1]) == int(page.name[:4])
    assert [one for one in ("## Context", "## Decision", "## Consequences") if one not in text] == []
    assert f"| {heading[1]} | [{heading[2]}]({page.name}) |" in PAGES["docs/adr/README.md"]


def test_decisions_are_numbered_without_gaps():
    assert [int(page.name[:4]) for page in ADRS] == list(range(1, len(ADRS) + 1))


def test_the_glossary_is_sorted_and_has_the_words_the_code_shows_to_people():
    words = re.findall(r"^\| \*\*(.+?)\*\*", PAGES["docs/glossary.md"], re.MULTILINE)
    assert words == sorted(set(words))
    single = {word for one in words for word in one.split(", ")}
    assert {role.value for role in Role} <= single
    assert {Trust.DISTRUSTED.value, "trust", "snapshot", "chunk", "pack", "repository", "storage"} <= single


@pytest.mark.parametrize("name", PAGES)
def test_pages_say_it_in_our_words(name: str):
    """Words that mean what the glossary calls otherwise."""
    strangers = re.findall(r"\b(?:datastores?|revisions?|fsck|garbage collect\w*|vacuum)\b", PAGES[name], re.IGNORECASE)
    assert strangers == []


def _commands(text: str) -> Iterator[str]:
    """Every call of `lamina` in the shell blocks of a page, up to where the shell takes over."""
    for language, block in re.findall(r"```(console|sh|bash|ini)\n(.*?)```", text, re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            if language != "console" or line.startswith("$ "):
                yield from re.findall(r"(?:^|[\s/(])lamina (?=[a-z-])((?:'[^']*'|[^|;&)#>])*)", line.removeprefix("$ "))


@pytest.mark.parametrize("name", PAGES)
def test_every_command_on_the_page_parses(name: str):
    for command in _commands(PAGES[name]):
        words = [word for word in shlex.split(command) if not word.startswith("${")]
        if words != ["--version"]:
            assert parse(words).run, command


def test_commands_are_found_on_the_pages():
    assert len([command for text in PAGES.values() for command in _commands(text)]) > 60


@pytest.mark.parametrize("name", PAGES)
def test_every_command_within_a_sentence_has_a_verb_and_options_that_exist(name: str):
    for command in re.findall(r"`(lamina(?: [a-z-][^`]*)?)`", re.sub(r"```.*?```", "", PAGES[name], flags=re.DOTALL)):
        words = command.split()
        length = max((n for n in (1, 2, 3) if " ".join(words[:n]) in PARSERS), default=0)
        parser = PARSERS[" ".join(words[:length])]
        known = {option for action in parser._actions for option in action.option_strings}
        assert length > 1 or all(word.startswith("-") for word in words[1:]), command
        assert {word.partition("=")[0] for word in words if word.startswith("--")} <= known, command


@pytest.mark.parametrize("name", PAGES)
def test_every_link_into_a_page_finds_its_heading(name: str):
    page = CHECKOUT / name
    text = re.sub(r"```.*?```", "", PAGES[name], flags=re.DOTALL)
    for link, anchor in re.findall(r"\]\(([^)\s#]*\.md)?#([^)\s]+)\)", text):
        target = (page.parent / link).resolve() if link else page
        assert anchor in _anchors(target.read_text()), f"{link}#{anchor}"


def _anchors(text: str) -> set[str]:
    """As GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_guarantee_that_code_and_tests_cite_is_in_the_threat_model():
    promised = re.findall(r"^\| \*\*G(\d+)\*\* \|", PAGES["docs/threat-model.md"], re.MULTILINE)
    assert promised == [str(number) for number in range(1, len(promised) + 1)]
    sources = [*CHECKOUT.glob("src/**/*.py"), *CHECKOUT.glob("tests/**/*.py")]
    cited = {number for path in sources for number in re.findall(r"threat model,? G(\d+)", path.read_text())}
    assert cited
    assert cited <= set(promised)


def test_every_guarantee_names_tests_that_exist():
    rows = re.findall(r"^\| G(\d+) \| (.+) \|$", PAGES["docs/threat-model.md"], re.MULTILINE)
    promised = re.findall(r"^\| \*\*G(\d+)\*\* \|", PAGES["docs/threat-model.md"], re.MULTILINE)
    assert [number for number, _ in rows] == promised
    for _, row in rows:
        linked = [(DOCS / link).read_text() for link in re.findall(r"\]\(([^)]+)\)", row)]
        named = re.findall(r"`(test_\w+)`", row)
        assert linked
        assert [one for one in named if not any(f"def {one}(" in text for text in linked)] == []


def test_every_variable_and_option_of_s3_is_on_the_page_of_storages():
    page = PAGES["docs/reference/storage.md"]
    source = (CHECKOUT / "src/lamina/storage/backends/s3_credentials.py").read_text()
    variables = set(re.findall(r'"(AWS_[A-Z0-9_]+)"', source)) | {"AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"}
    assert len(variables) > 8
    assert {one for one in variables if f"`{one}`" not in page} == set()
    assert {one for one in ("endpoint", "region", "style") if f"`{one}=" not in page} == set()


def test_every_compression_is_on_the_page_about_performance():
    rows = dict(re.findall(r"^\| `(\w+)` \| (\w+) \|", PAGES["docs/concepts/performance.md"], re.MULTILINE))
    assert rows == {name: "none" if level is None else str(level) for name, level in LEVELS.items()}
