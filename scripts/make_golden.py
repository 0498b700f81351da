"""Make the golden repository of the format's current version: committed once, restored by every later release.

    python scripts/make_golden.py DIRECTORY

Keys and salts are random, so no two runs give the same bytes: run it only for a new version of the format. DIRECTORY gets
`repository/`, `passphrase.txt`, `writer-passphrase.txt`, `recovery-key.txt` and `expected.json`.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import sys
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

from lamina.engine.backup import BackupOptions, Input, backup
from lamina.model.operation import Operation
from lamina.model.secret import Secret
from lamina.model.snapshots import Role, Snapshot
from lamina.repository.repository import CreateOptions, Repository
from lamina.sources.image import open_image
from lamina.storage.backends.local import LocalStorage
from lamina.testing.clocks import FrozenClock

CHUNK = 64 << 10
OWNER_PASSPHRASE = b"golden owner"
WRITER_PASSPHRASE = b"golden writer"


def main(arguments: list[str]) -> int:
    if len(arguments) != 1:
        print(__doc__, file=sys.stderr)
        return 2
    target = Path(arguments[0])
    target.mkdir(parents=True)
    with tempfile.TemporaryDirectory(prefix="lamina-golden-") as workplace:
        expected = Golden(target / "repository", Path(workplace)).make()
    (target / "passphrase.txt").write_bytes(OWNER_PASSPHRASE + b"\n")
    (target / "writer-passphrase.txt").write_bytes(WRITER_PASSPHRASE + b"\n")
    (target / "recovery-key.txt").write_text(expected.pop("recovery_key") + "\n")
    (target / "expected.json").write_text(json.dumps(expected, indent=2) + "\n")
    return 0


class Golden:
    """One small repository that holds every kind of object a writer makes."""

    def __init__(self, directory: Path, workplace: Path) -> None:
        self._directory = directory
        self._workplace = workplace
        self._clock = FrozenClock()
        self._operation = Operation(self._clock)
        self._expected: dict[str, Any] = {"snapshots": []}

    def make(self) -> dict[str, Any]:
        """Make it; returns what a reader must find."""
        storage = LocalStorage(self._directory, create=True)
        options = CreateOptions(chunk_size=CHUNK, label="owner of the golden repository")
        owner, recovery_key = Repository.create(storage, Secret(OWNER_PASSPHRASE), options, self._operation)
        owner.add_key(Role.WRITER, Secret(WRITER_PASSPHRASE), label="writer")
        first = self._back_up(owner, "machine", self._first_images(), tags={"daily"})
        owner.edit(first, add_tags=["kept"], note="the first one")
        writer = Repository.open(
            LocalStorage(self._directory, create=False), Secret(WRITER_PASSPHRASE), self._operation
        )
        self._back_up(writer, "machine", self._changed_images(), tags=set())
        writer.close()
        mistake = self._back_up(owner, "mistake", {"mistake.img": b"not wanted" * 1000}, tags=set())
        owner.forget(mistake)
        self._expected["snapshots"][-1]["removed"] = True
        self._expected["repository"] = owner.id.hex()
        self._expected["recovery_key"] = recovery_key
        owner.close()
        return self._expected

    def _first_images(self) -> dict[str, bytes]:
        noise = random.Random(1)
        text = b"".join(b"line %d of a text that compresses well\n" % number for number in range(3000))
        disk = bytearray(24 * CHUNK + 12345)  # what is left out below is a hole
        disk[0:CHUNK] = noise.randbytes(CHUNK)  # stored raw
        disk[2 * CHUNK + 100 : 2 * CHUNK + 100 + len(text)] = text  # compressed
        disk[20 * CHUNK : 21 * CHUNK] = disk[0:CHUNK]  # stored once
        disk[-12345:] = text[:12345]
        return {"vm/disk.img": bytes(disk), "small.img": b"one chunk, no node", "empty.img": b""}

    def _changed_images(self) -> dict[str, bytes]:
        images = self._first_images()
        disk = bytearray(images["vm/disk.img"])
        disk[10 * CHUNK : 10 * CHUNK + 9] = b"a change\n"
        images["vm/disk.img"] = bytes(disk[: -CHUNK // 2])
        return images

    def _back_up(self, repository: Repository, name: str, images: Mapping[str, bytes], *, tags: set[str]) -> Snapshot:
        self._clock.advance(timedelta(hours=1))
        with ExitStack() as stack:
            inputs = []
            for path, content in images.items():
                source = open_image(os.fspath(self._write(path, content)))
                stack.callback(source.close)
                inputs.append(Input(path, source))
            options = BackupOptions(name=name, host="golden", tags=frozenset(tags), program="make_golden")
            report = backup(repository, inputs, options, self._operation)
        assert report.snapshot is not None
        hashes = {path: hashlib.sha256(content).hexdigest() for path, content in sorted(images.items())}
        self._expected["snapshots"].append(
            {
                "id": report.snapshot.hex(),
                "name": name,
                "tags": sorted(tags),
                "removed": False,
                "sha256": hashes,
                "writer": repository.role is Role.WRITER,
            }
        )
        return repository.find_snapshot(report.snapshot.hex())

    def _write(self, path: str, content: bytes) -> Path:
        """An image file with real holes where whole chunks are zero, except that its chunk 1 is written zeros."""
        file_path = self._workplace / path.replace("/", "-")
        with file_path.open("wb") as file:
            file.truncate(len(content))
            for offset in range(0, len(content), CHUNK):
                chunk = content[offset : offset + CHUNK]
                if any(chunk) or offset == CHUNK:
                    file.seek(offset)
                    file.write(chunk)
        return file_path


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
