"""The installed `lamina` in a subprocess, as a person would use it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

LAMINA = [sys.executable, "-m", "lamina"]
PASSPHRASE = "correct horse battery staple"
TIMEOUT_S = 120


@dataclass
class Person:
    """Somebody at a directory of their own, with a repository in it."""

    directory: Path
    passphrase: str = PASSPHRASE
    variables: dict[str, str] = field(default_factory=dict)

    @property
    def repository(self) -> Path:
        return self.directory / "repository"

    def environment(self) -> dict[str, str]:
        """Nothing of the machine's own settings, so that the tests mean the same everywhere."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("LAMINA_", "XDG_", "AWS_"))}
        return kept | {
            "HOME": str(self.directory),
            "LAMINA_REPOSITORY": str(self.repository),
            "LAMINA_PASSPHRASE": self.passphrase,
            **self.variables,
        }

    def run(self, *words: str | Path, data: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
        """Call `lamina`; its exit code is the caller's to look at."""
        return subprocess.run(
            [*LAMINA, *map(str, words)],
            cwd=self.directory,
            env=self.environment(),
            input=data,
            stdin=subprocess.DEVNULL if data is None else None,
            capture_output=True,
            timeout=TIMEOUT_S,
            check=False,
        )

    def do(self, *words: str | Path, data: bytes | None = None) -> str:
        """Call `lamina`, which must succeed; returns its standard output."""
        done = self.run(*words, data=data)
        assert done.returncode == 0, f"{words}: {done.returncode}\n{done.stdout.decode()}\n{done.stderr.decode()}"
        return done.stdout.decode()

    def report(self, *words: str | Path, data: bytes | None = None) -> dict[str, Any]:
        """Call `lamina --json`, which must succeed; returns its report."""
        return events(self.do(*words, "--json", data=data).encode())[-1]

    def start(self, *words: str | Path, **options: Any) -> subprocess.Popen[bytes]:
        """Begin a call, to be met while it runs."""
        return subprocess.Popen(
            [*LAMINA, *map(str, words)],
            cwd=self.directory,
            env=self.environment(),
            **{"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options},
        )

    def write(self, name: str, content: bytes | Mapping[int, bytes], size: int | None = None) -> Path:
        """Make a file of *content*, or a sparse one of *size* with content at some offsets."""
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            for offset, piece in (content if isinstance(content, Mapping) else {0: content}).items():
                file.seek(offset)
                file.write(piece)
            if size is not None:
                file.truncate(size)
        return path


def events(output: bytes) -> list[dict[str, Any]]:
    """The JSON Lines of a call; each line must be an event."""
    found = [json.loads(line) for line in output.decode().splitlines()]
    assert all(event["schema"] == 1 and event["event"] for event in found)
    return found
