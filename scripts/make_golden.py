"""Make a golden repository of the format as it is now: committed once, restored by every later release.

    python scripts/make_golden.py images|trees DIRECTORY

Keys and salts are random, so no two runs give the same bytes: run it only when the format grew. DIRECTORY gets `repository/`,
`passphrase.txt`, `writer-passphrase.txt`, `recovery-key.txt` and `expected.json`. Trees need root's rights, and a temporary
directory on a file system with extended attributes and access control lists.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import random
import sys
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from golden_trees import ByHand, change_tree, describe_tree, make_tree
from lamina.engine.backup import BackupOptions, Input, backup
from lamina.model.operation import Operation
from lamina.model.process import Process
from lamina.model.secret import Secret
from lamina.model.snapshots import Role, Snapshot
from lamina.repository.repository import CreateOptions, Repository
from lamina.repository.sessions import SnapshotFacts
from lamina.repository.writer import EncodingOptions
from lamina.sources.files import LocalFiles
from lamina.sources.image import open_image
from lamina.sources.selection import Selection
from lamina.sources.stream import StdinSource
from lamina.storage.backends.local import LocalStorage
from lamina.testing.clocks import FrozenClock

CHUNK = 64 << 10
OWNER_PASSPHRASE = b"golden owner"
WRITER_PASSPHRASE = b"golden writer"


def main(arguments: list[str]) -> int:
    if len(arguments) != 2 or arguments[0] not in {"images", "trees"}:
        print(__doc__, file=sys.stderr)
        return 2
    target = Path(arguments[1])
    target.mkdir(parents=True)
    with tempfile.TemporaryDirectory(prefix="lamina-golden-") as workplace:
        golden = {"images": GoldenImages, "trees": GoldenTrees}[arguments[0]](target / "repository", Path(workplace))
        expected = golden.make()
    (target / "passphrase.txt").write_bytes(OWNER_PASSPHRASE + b"\n")
    (target / "writer-passphrase.txt").write_bytes(WRITER_PASSPHRASE + b"\n")
    (target / "recovery-key.txt").write_text(expected.pop("recovery_key") + "\n")
    (target / "expected.json").write_text(json.dumps(expected, indent=2 if "images" in arguments else None) + "\n")
    return 0


class Golden:
    """One small repository, under construction."""

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
        writer = Repository.open(
            LocalStorage(self._directory, create=False), Secret(WRITER_PASSPHRASE), self._operation
        )
        self._fill(owner, writer)
        writer.close()
        self._expected["repository"] = owner.id.hex()
        self._expected["recovery_key"] = recovery_key
        owner.close()
        return self._expected

    def _fill(self, owner: Repository, writer: Repository) -> None:
        raise NotImplementedError

    def _edit(self, owner: Repository, snapshot: Snapshot) -> None:
        owner.edit(snapshot, add_tags=["kept"], note="the first one")
        self._expected["snapshots"][-1]["tags"].append("kept")
        self._expected["snapshots"][-1]["note"] = "the first one"

    def _expect(self, repository: Repository, name: str, tags: set[str], snapshot: str, **found: Any) -> Snapshot:
        """Note what must be found in a snapshot."""
        is_writers = repository.role is Role.WRITER
        self._expected["snapshots"].append(
            {"id": snapshot, "name": name, "tags": sorted(tags), "removed": False, "writer": is_writers, **found}
        )
        return repository.find_snapshot(snapshot)


class GoldenImages(Golden):
    """Disk images, and every kind of object a writer makes."""

    def _fill(self, owner: Repository, writer: Repository) -> None:
        self._edit(owner, self._back_up(owner, "machine", self._first_images(), tags={"daily"}))
        self._back_up(writer, "machine", self._changed_images(), tags=set())
        mistake = self._back_up(owner, "mistake", {"mistake.img": b"not wanted" * 1000}, tags=set())
        owner.forget(mistake)
        self._expected["snapshots"][-1]["removed"] = True

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
        return self._expect(repository, name, tags, report.snapshot.hex(), sha256=hashes)

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


class GoldenTrees(Golden):
    """A tree of files twice, with an image and a stream; and one snapshot made by hand of what no writer makes on demand."""

    def _fill(self, owner: Repository, writer: Repository) -> None:
        root = self._workplace / "home"
        make_tree(root)
        self._edit(owner, self._back_up(writer, root, tags={"daily"}))
        change_tree(root)
        self._back_up(writer, root, tags=set())
        self._make_by_hand(owner)

    def _back_up(self, repository: Repository, root: Path, *, tags: set[str]) -> Snapshot:
        """Save a directory, a small image and a stream in one snapshot."""
        now = datetime.fromtimestamp(os.stat(root / "files").st_ctime, UTC) + timedelta(
            hours=1
        )  # long after all changes
        self._clock.advance(max(now - self._clock.now(), timedelta(hours=1)))
        image = self._workplace / "disk.img"
        image.write_bytes(b"an image" * CHUNK)
        dump = b"a stream of standard input"
        with ExitStack() as stack:
            files, disk = LocalFiles(os.fsencode(root), Selection(), devices={}), open_image(os.fspath(image))
            stack.callback(files.close)
            stack.callback(disk.close)
            inputs = [
                Input("srv/home", files),
                Input("vm/disk.img", disk),
                Input("dump.sql", StdinSource(io.BytesIO(dump), name="dump.sql")),
            ]
            options = BackupOptions(name="machine", host="golden", tags=frozenset(tags), program="make_golden")
            report = backup(repository, inputs, options, self._operation)
        assert report.snapshot is not None
        assert not report.flaws
        entries = {f"srv/home/{path}": found for path, found in describe_tree(root).items()}
        for path, content in {"vm/disk.img": image.read_bytes(), "dump.sql": dump}.items():
            entries[path] = {"type": 2, "size": len(content), "sha256": hashlib.sha256(content).hexdigest(), "state": 0}
        entries |= {path: {"type": 1, "state": 0, "error": ""} for path in ("srv", "srv/home", "vm")}
        return self._expect(repository, "machine", tags, report.snapshot.hex(), entries=entries, users={"0": "root"})

    def _make_by_hand(self, repository: Repository) -> None:
        self._clock.advance(timedelta(hours=1))
        session = repository.begin(Process(), EncodingOptions(3, check=True), self._operation)
        made = ByHand(session.writer)
        root = made.make()
        users = {0: "root", 1000: "ada", 4_294_967_294: os.fsdecode(b"not-utf-8-\xff")}
        facts = SnapshotFacts(
            root=root, size=0, read=0, partial=True, name="by hand", host="golden", program="make_golden",
            paths=("",), tags=frozenset(), expires=None, users=users, groups={0: "root", 1000: "users"},
        )  # fmt: skip
        session.commit(facts)
        session.close()
        self._expect(
            repository, "by hand", set(), session.id.hex(), entries=made.expected, partial=True,
            users={str(number): name for number, name in users.items()},
        )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
