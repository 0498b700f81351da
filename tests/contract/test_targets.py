"""Image files under the contract of image targets; devices are in tests/integration."""

from __future__ import annotations

import pytest

from lamina.targets.image import open_image_target
from lamina.testing.contracts.targets import ImageTargetContract


class FilePlace:
    def __init__(self, path):
        self.path = path

    def fill(self, content):
        self.path.write_bytes(content)

    def open(self, size):
        return open_image_target(str(self.path), size, force=True, resume=False)

    def content(self, size):
        return self.path.read_bytes()[:size]


class TestNewFile(ImageTargetContract):
    @pytest.fixture
    def place(self, tmp_path):
        return FilePlace(tmp_path / "disk.img")


class TestFileThatWasLonger(ImageTargetContract):
    @pytest.fixture
    def place(self, tmp_path):
        place = FilePlace(tmp_path / "disk.img")
        place.fill(b"old" * 5_000_000)
        return place
