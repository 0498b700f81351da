"""The independent reader, as a module and as a program that certainly cannot import Lamina."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from functools import cache
from pathlib import Path
from types import ModuleType

READER = Path(__file__).parents[2] / "docs" / "spec" / "reader" / "lamina_reader.py"
TREES = READER.with_name("restore_tree.py")

# Runs the reader as a program; refuses every import of what the specification must make unnecessary.
_ALONE = """
import runpy, sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("lamina", "msgspec"):
            raise ImportError(f"the reader may not import {name}")
sys.meta_path.insert(0, Refuse())
sys.argv = sys.argv[1:]
sys.path.insert(0, sys.argv[0].rpartition("/")[0])
runpy.run_path(sys.argv[0], run_name="__main__")
loaded = {name.partition(".")[0] for name in sys.modules}
assert not loaded & {"lamina", "msgspec"}, "the reader imported what it must not"
"""


@cache
def load_reader() -> ModuleType:
    """The reader's functions."""
    spec = importlib.util.spec_from_file_location("lamina_reader", READER)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run_reader(*arguments: str | Path) -> str:
    """What the reader prints, run alone."""
    done = read_alone(*arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def read_alone(*arguments: str | Path, program: Path = READER) -> subprocess.CompletedProcess[str]:
    """One run of the reader in an interpreter of its own that refuses to import Lamina."""
    command = [sys.executable, "-I", "-B", "-c", _ALONE, program, *arguments]
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=120)


def restore_alone(repository: Path, key_file: Path, snapshot: str, path: str, out: Path) -> bytes:
    """One image as the reader restores it."""
    run_reader(repository, key_file, snapshot, path, out)
    return out.read_bytes()


def restore_tree_alone(repository: Path, key_file: Path, snapshot: str, path: str, out: Path) -> str:
    """Have the reader restore a tree; what it had to say."""
    done = read_alone(repository, key_file, snapshot, path, out, program=TREES)
    assert done.returncode == 0, done.stderr
    return done.stderr
