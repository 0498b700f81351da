"""Block devices as sources and targets, and a source of which a part cannot be read."""

from __future__ import annotations

import random

import pytest

from tests.end_to_end.lamina_cli import Person
from tests.integration.eio_file import eio_file, needs_fuse
from tests.integration.test_block_devices import loop_device

pytestmark = pytest.mark.integration

MIB = 1 << 20


@pytest.mark.root
def test_a_device_is_backed_up_restored_to_a_device_and_only_with_force(person: Person):
    content = random.Random(1).randbytes(6 * MIB)
    with loop_device(person.write("disk", content)) as device:
        report = person.report("backup", "--name", "disk", device)
        assert report["coverage"]["mode"] == "sample"
    person.do("restore", f"disk@latest:{device}", "file.img")
    assert (person.directory / "file.img").read_bytes() == content
    with loop_device(person.write("other", bytes(6 * MIB))) as device:
        assert person.run("restore", "latest", device).returncode == 1
        person.do("restore", "latest", device, "--force", "--verify")
    assert (person.directory / "other").read_bytes() == content
    with loop_device(person.write("small", bytes(5 * MIB))) as device:
        done = person.run("restore", "latest", device, "--force")
    assert done.returncode == 1
    assert f"has {5 * MIB} bytes, the image has {6 * MIB}".encode() in done.stderr


@needs_fuse
def test_a_range_that_cannot_be_read_is_recorded_and_the_exit_code_is_3(person: Person):
    content = random.Random(1).randbytes(4 * MIB)
    image = person.write("content", content)
    with eio_file(image, person.directory / "mnt", 2 * MIB + 5, 2 * MIB + 6) as bad:
        done = person.run("backup", "--name", "disk", bad)
    assert done.returncode == 3, done.stderr
    assert b"could not be read" in done.stderr
    assert "partial" in person.do("snapshots")
    restored = person.run("restore", "latest", "b.img")
    assert restored.returncode == 3
    came_back = (person.directory / "b.img").read_bytes()
    assert came_back[: 2 * MIB] == content[: 2 * MIB]
    assert came_back[3 * MIB :] == content[3 * MIB :]
