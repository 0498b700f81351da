"""Image files under the contract of image sources; devices are in tests/integration."""

from __future__ import annotations

import os

import pytest

from lamina.sources.image import open_image
from lamina.testing.contracts.sources import ImageSourceContract


def write_plain(path, content):
    path.write_bytes(content)


def write_sparse(path, content):
    with path.open("wb") as file:
        for offset in range(0, len(content), 4096):
            block = content[offset : offset + 4096]
            if block.strip(b"\0"):
                os.pwrite(file.fileno(), block, offset)
        file.truncate(len(content))


class FileContract(ImageSourceContract):
    write = None

    @pytest.fixture
    def make_source(self, tmp_path):
        opened = []

        def make(content):
            path = tmp_path / f"{len(opened)}.img"
            type(self).write(path, content)
            opened.append(open_image(str(path)))
            return opened[-1]

        yield make
        for source in opened:
            source.close()


class TestPlainFile(FileContract):
    write = write_plain


class TestSparseFile(FileContract):
    write = write_sparse
