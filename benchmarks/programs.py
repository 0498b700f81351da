"""The programs that are compared, each with a repository of its own; what is passed to them is all there is to see here."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Protocol

from benchmarks.process import Command

PASSPHRASE = "benchmark only"
BORG_REQUIREMENT = "borgbackup==1.4.*"
_BORG_ENVIRONMENT = Path(__file__).parents[1] / ".venv-bench"


class Program(Protocol):
    """One program and its repository.

    `backup` saves an image or a tree; it runs in the folder that holds it and names it relatively. An image is read, also where
    the program's own bookkeeping says that it did not change; in a tree, such files are passed over, as they are for everybody.
    `restore` brings the newest snapshot to *folder*/NAME; `list_all` prints all that is in it, with sizes and times; `find` prints
    where a file of that name lies in any snapshot.
    """

    name: str
    place: Path

    def version(self) -> str: ...

    def init(self) -> Command: ...

    def backup(self, path: Path) -> Command: ...

    def restore(self, path: Path, folder: Path) -> Command: ...

    def list_all(self) -> Command: ...

    def find(self, name: str) -> Command: ...


@dataclass(slots=True)
class Lamina:
    """Lamina as it comes, but for what *options* adds to `backup`."""

    place: Path
    name: str = "lamina"
    options: Sequence[str] = ("--verify", "none")

    def version(self) -> str:
        return _version([sys.executable, "-m", "lamina", "--version"])

    def init(self) -> Command:
        return self.run("init", "--no-probe")

    def backup(self, path: Path) -> Command:
        return self.backup_with(path)

    def backup_with(self, path: Path, *more: str) -> Command:
        return self.run("backup", *self.options, *more, path.name, directory=path.parent)

    def restore(self, path: Path, folder: Path) -> Command:
        target = folder / path.name
        written = f"{folder}/" if path.is_dir() else str(target)
        return self.run("restore", "latest", written, directory=path.parent, durable=target)

    def list_all(self) -> Command:
        return self.run("ls", "--recursive", "latest")

    def find(self, name: str) -> Command:
        return self.run("find", name)

    def run(self, *arguments: str, directory: Path = Path("/"), durable: Path | None = None) -> Command:
        environment = {
            "LAMINA_REPOSITORY": str(self.place / "repository"),
            "LAMINA_PASSPHRASE": PASSPHRASE,
            "XDG_CACHE_HOME": str(self.place / "cache"),
            "XDG_CONFIG_HOME": str(self.place / "config"),
        }
        return Command([sys.executable, "-m", "lamina", "-q", *arguments], environment, directory, durable)


@dataclass(slots=True)
class Restic:
    """restic as it comes; `--force` makes it read an image again that has the size and the times of before."""

    place: Path
    name: str = "restic"

    def version(self) -> str:
        return _version(["restic", "version"])

    def init(self) -> Command:
        return self._run("init")

    def backup(self, path: Path) -> Command:
        options = _no_scan() if path.is_dir() else ["--force"]
        return self._run("backup", *options, path.name, directory=path.parent)

    def restore(self, path: Path, folder: Path) -> Command:
        return self._run("restore", "latest", "--target", str(folder), durable=folder / path.name)

    def list_all(self) -> Command:
        return self._run("ls", "--long", "latest")

    def find(self, name: str) -> Command:
        return self._run("find", name)

    def check(self) -> Command:
        """Read and check everything that is stored."""
        return self._run("check", "--read-data")

    def _run(self, *arguments: str, directory: Path = Path("/"), durable: Path | None = None) -> Command:
        environment = {
            "RESTIC_REPOSITORY": str(self.place / "repository"),
            "RESTIC_PASSWORD": PASSPHRASE,
            "RESTIC_CACHE_DIR": str(self.place / "cache"),
        }
        return Command(["restic", "--quiet", *arguments], environment, directory, durable)


@dataclass(slots=True)
class Borg:
    """borg with zstd at Lamina's and restic's level; `--files-cache=disabled` makes it read an image again."""

    place: Path
    name: str = "borg"
    archives: int = 0

    def version(self) -> str:
        return _version([borg_command(), "--version"])

    def init(self) -> Command:
        return self._run("init", "--encryption", "repokey-blake2", self._repository)

    def backup(self, path: Path) -> Command:
        self.archives += 1
        again = [] if path.is_dir() else ["--files-cache=disabled"]
        return self._run("create", "--compression", "zstd,3", *again, self._newest, path.name, directory=path.parent)

    def restore(self, path: Path, folder: Path) -> Command:
        options = [] if path.is_dir() else ["--sparse"]
        return self._run("extract", *options, self._newest, directory=folder, durable=folder / path.name)

    def list_all(self) -> Command:
        return self._run("list", self._newest)

    def find(self, name: str) -> Command:
        """Where it lies in the newest archive: borg searches one at a time."""
        return self._run("list", "--short", self._newest, f"sh:**/{name}")

    @property
    def _newest(self) -> str:
        return f"{self._repository}::{self.archives}"

    @property
    def _repository(self) -> str:
        return str(self.place / "repository")

    def _run(self, *arguments: str, directory: Path = Path("/"), durable: Path | None = None) -> Command:
        environment: Mapping[str, str] = {
            "BORG_PASSPHRASE": PASSPHRASE,
            "BORG_BASE_DIR": str(self.place / "base"),
            "BORG_RELOCATED_REPO_ACCESS_IS_OK": "yes",
        }
        return Command([borg_command(), *arguments], environment, directory, durable)


def borg_command() -> str:
    """The borg to measure: the one the set-up built, else the machine's own."""
    own = _BORG_ENVIRONMENT / "bin" / "borg"
    return str(own) if own.exists() else shutil.which("borg") or str(own)


def install_rivals(names: Sequence[str]) -> None:
    """See that what is asked for is there; builds borg in an environment of its own. Raises: SystemExit, saying how."""
    if "restic" in names and shutil.which("restic") is None:
        raise SystemExit("restic is missing: run `scripts/bootstrap bench`, or leave it out with --programs")
    if "borg" in names and not Path(borg_command()).exists():
        print(f"building {BORG_REQUIREMENT} in {_BORG_ENVIRONMENT.name} (once)", file=sys.stderr)
        python = str(_BORG_ENVIRONMENT / "bin" / "python")
        try:
            subprocess.run([sys.executable, "-m", "venv", str(_BORG_ENVIRONMENT)], check=True)
            subprocess.run([python, "-m", "pip", "install", "-q", "--no-input", BORG_REQUIREMENT], check=True)
        except subprocess.CalledProcessError as error:
            raise SystemExit(
                "borg could not be built: run `scripts/bootstrap bench` for its libraries, or leave it out with --programs"
            ) from error


def compile_lamina() -> None:
    """Write the byte code that any installation has; a checkout may be used where Python must not write any."""
    import lamina

    subprocess.run([sys.executable, "-m", "compileall", "-q", *lamina.__path__], check=True)


@cache
def _no_scan() -> list[str]:
    """What keeps restic from counting the files first, which costs time and only serves to show progress."""
    shown = subprocess.run(["restic", "backup", "--help"], capture_output=True, text=True, check=True).stdout
    return ["--no-scan"] if "--no-scan" in shown else []


def _version(arguments: Sequence[str]) -> str:
    text = subprocess.run(arguments, capture_output=True, text=True, check=True).stdout
    found = re.search(r"\d+(\.\w+)+", text)
    return found.group() if found else text.strip()
