"""Back up a real disk image, change it, back it up again, verify, restore both, and compare byte for byte.

Everything happens in a temporary directory, which is removed at the end unless KEEP=1. Nothing needs root.
"""

from __future__ import annotations

import filecmp
import json
import os
import random
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NoReturn

MIB = 1 << 20
IMAGE_SIZE = 320 * MIB
COPIED_SIZE = 140 * MIB  # at most, of the machine's own files: text, programs, libraries
RANDOM_SIZE = 24 * MIB  # does not compress, and lies in the image twice
TEXT_SIZE = 24 * MIB  # compresses well
ADDED_SIZE = 6 * MIB  # between the two backups


def main() -> int:
    started = time.monotonic()
    workplace = Path(tempfile.mkdtemp(prefix="lamina-demo-"))
    try:
        Demo(workplace).run()
    finally:
        if os.environ.get("KEEP"):
            print(f"\nKept for you: {workplace}")
        else:
            shutil.rmtree(workplace, ignore_errors=True)
    print(f"\nBoth images came back byte for byte. The demo took {time.monotonic() - started:.0f} s.")
    return 0


class Demo:
    """One run in one directory; each method is one paragraph of the transcript."""

    def __init__(self, workplace: Path) -> None:
        self.workplace = workplace
        self.image = workplace / "disk.img"
        self.original = workplace / "original.img"  # the image as it was at the first backup
        self.environment = {
            **os.environ,
            "LAMINA_REPOSITORY": str(workplace / "repository"),
            "LAMINA_PASSPHRASE": secrets.token_urlsafe(24),
            "XDG_CACHE_HOME": str(workplace / "cache"),
            "XDG_CONFIG_HOME": str(workplace / "config"),
        }

    def run(self) -> None:
        self.build_image()
        self.lamina("init")
        say("a new repository; its recovery key was printed once")
        self.back_up("first backup")
        self.change_image()
        self.back_up("second backup")
        print(self.lamina("snapshots").rstrip())
        self.verify()
        self.bring_back("latest~1", self.original)
        self.bring_back("latest", self.image)

    def build_image(self) -> None:
        content = self.workplace / "content"
        fill(content)
        with self.image.open("wb") as file:
            file.truncate(IMAGE_SIZE)
        self.tool("mkfs.ext4", "-q", "-F", "-N", "65536", "-d", str(content), str(self.image))
        say(
            f"disk.img: an ext4 file system of {size_text(IMAGE_SIZE)}, {size_text(allocated(self.image))} of it in use"
        )
        shutil.rmtree(content)

    def change_image(self) -> None:
        """Remove one file from the file system and add another one, as a person at work would."""
        self.tool("cp", "--sparse=always", "--reflink=auto", str(self.image), str(self.original))
        added = self.workplace / "added.bin"
        added.write_bytes(random.Random(2).randbytes(ADDED_SIZE))
        for request in ("rm /generated/text-0.log", f"write {added} added.bin"):
            self.tool("debugfs", "-w", "-R", request, str(self.image))
        print()
        say(f"disk.img changed: one file removed, one of {size_text(ADDED_SIZE)} added")

    def back_up(self, title: str) -> None:
        report = self.report("backup", "disk.img")
        read, duration = int(report["read_bytes"]), float(report["duration_s"])
        say(
            f"{title}: read {size_text(read)} in {duration:.1f} s ({speed_text(read, duration)}), "
            f"{size_text(report['new_bytes'])} of it new, stored as {size_text(report['stored_bytes'])}"
        )
        say(f"{float(report['coverage']['share']):.0%} of it was then read again and compared with what is stored")
        say(f"the repository now takes {size_text(allocated(self.workplace / 'repository'))}")

    def verify(self) -> None:
        report = self.report("verify")
        read, duration = int(report["bytes_read"]), float(report["duration_s"])
        if report["problems"]:
            fail(f"verify found problems: {report['problems']}")
        say(
            f"{report['objects']} objects, {size_text(read)} read and checked in {duration:.1f} s "
            f"({speed_text(read, duration)}): no problems"
        )

    def bring_back(self, snapshot: str, wanted: Path) -> None:
        """Restore *snapshot* and compare it with the image *wanted*."""
        restored = self.workplace / f"restored-{snapshot.replace('~', '-')}.img"
        report = self.report("restore", snapshot, restored.name)
        written, duration = int(report["written_bytes"]), float(report["duration_s"])
        if not filecmp.cmp(wanted, restored, shallow=False):
            fail(f"{restored.name} differs from {wanted.name}")
        self.tool("e2fsck", "-f", "-n", str(restored))
        say(
            f"{size_text(written)} written in {duration:.1f} s (the image is {size_text(restored.stat().st_size)}: "
            f"{speed_text(restored.stat().st_size, duration)}); identical to {wanted.name}, and e2fsck finds it clean"
        )

    def lamina(self, *arguments: str, as_typed: Iterable[str] = ()) -> str:
        """Run `lamina` as a person would and return what it wrote to standard output."""
        print(f"\n$ lamina {' '.join(as_typed or arguments)}", flush=True)
        command = Path(sys.executable).with_name("lamina")
        return self.tool(str(command), *arguments)

    def report(self, *arguments: str) -> dict[str, Any]:
        """Run a verb with `--json` and return its last event: what came of it."""
        output = self.lamina("--json", *arguments, as_typed=arguments)
        events = [json.loads(line) for line in output.splitlines()]
        if not events or events[-1].get("event") != "report":
            fail(f"lamina {arguments[0]} ended without a report:\n{output}")
        last: dict[str, Any] = events[-1]
        return last

    def tool(self, *command: str) -> str:
        done = subprocess.run(
            command, cwd=self.workplace, env=self.environment, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            fail(f"{' '.join(command)} left exit code {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout


def fill(content: Path) -> None:
    """Make a folder of the machine's own files and of generated ones."""
    generated = content / "generated"
    generated.mkdir(parents=True)
    noise = random.Random(1)
    once = noise.randbytes(RANDOM_SIZE)
    (generated / "random.bin").write_bytes(once)
    (generated / "random-again.bin").write_bytes(once)
    for number in range(4):
        lines = (
            f"{tick:012d} service-{noise.randrange(40)} answered {noise.randrange(500)}\n" for tick in range(10**9)
        )
        write_up_to(generated / f"text-{number}.log", lines, TEXT_SIZE // 4)
    budget = COPIED_SIZE
    for folder in ("/usr/share", "/usr/lib", "/usr/bin"):
        budget = copy_some(Path(folder), content / folder.strip("/"), budget)


def write_up_to(path: Path, lines: Iterable[str], size: int) -> None:
    with path.open("w", encoding="ascii") as file:
        written = 0
        for line in lines:
            written += file.write(line)
            if written >= size:
                return


def copy_some(source: Path, target: Path, budget: int) -> int:
    """Copy regular files of one folder, in the order of their names, while *budget* bytes last; return what is left."""
    for folder, folders, names in os.walk(source):
        folders.sort()
        for name in sorted(names):
            path = Path(folder, name)
            if path.is_symlink() or not path.is_file() or not os.access(path, os.R_OK):
                continue
            budget -= path.stat().st_size + 4096  # a block is lost for each file, on average
            if budget < 0:
                return 0
            copy = target / path.relative_to(source)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
    return budget


def allocated(path: Path) -> int:
    """Bytes that a file, or everything below a folder, takes on the disk."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.lstat().st_blocks * 512 for file in files)


def size_text(size: float) -> str:
    if size < MIB:
        return f"{size / 1024:.1f} KiB"
    return f"{size / MIB:.1f} MiB"


def speed_text(size: float, duration_s: float) -> str:
    return f"{size / MIB / max(duration_s, 1e-3):.0f} MiB/s"


def say(text: str) -> None:
    print(f"  {text}", flush=True)


def fail(text: str) -> NoReturn:
    raise SystemExit(f"demo: {text}")


if __name__ == "__main__":
    sys.exit(main())
