"""What is committed ties nobody to one machine's settings, and the page on architecture names what there is."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]
# Put together here, so that this file names none of them either.
REGISTRIES = re.compile(
    "|".join(
        re.escape(".".join(parts))
        for parts in (
            ("pypi", "org"),
            ("pythonhosted", "org"),
            ("deb", "debian", "org"),
            ("ftp", "debian", "org"),
            ("security", "debian", "org"),
            ("archive", "ubuntu", "com"),
            ("npmjs", "org"),
            ("npmjs", "com"),
            ("crates", "io"),
            ("proxy", "golang", "org"),
            ("anaconda", "org"),
            ("docker", "io"),
            ("ghcr", "io"),
            ("quay", "io"),
        )
    )
)


def _committed() -> list[Path]:
    listed = subprocess.run(
        ["git", "-C", CHECKOUT, "ls-files", "-z", "--cached"], capture_output=True, text=True, check=True
    ).stdout
    return [path for name in listed.split("\0") if name and (path := CHECKOUT / name).is_file()]


def test_no_committed_file_names_the_host_of_a_registry_of_packages():
    """Where packages come from is the business of whoever installs: pip's and apt's own settings say it."""
    committed = _committed()
    assert len(committed) > 100
    found = {
        str(path.relative_to(CHECKOUT)): match[0]
        for path in committed
        if (match := REGISTRIES.search(path.read_text(errors="replace")))
    }
    assert found == {}


def test_the_page_on_architecture_names_every_module_and_no_other():
    page = (CHECKOUT / "docs/architecture.md").read_text()
    folders: list[str] = []
    named: set[str] = set()
    for line in page.partition("```text\nsrc/lamina/\n")[2].partition("```")[0].splitlines():
        depth = (len(line) - len(line.lstrip())) // 2
        del folders[depth - 1 :]
        if folder := re.match(r"(\w+)/", line.lstrip()):
            folders.append(folder[1])
        listed = re.match(r"(?:\w+\.py ?)*", line.lstrip())
        assert listed
        named |= {"/".join([*folders, module]) for module in listed[0].split()}
    source = CHECKOUT / "src/lamina"
    modules = {str(path.relative_to(source)) for path in source.glob("**/*.py") if path.name != "__init__.py"}
    assert named == modules
