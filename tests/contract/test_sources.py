"""Image files and directories under the contracts of sources; devices are in tests/integration."""

from __future__ import annotations

import os
import shutil

import pytest

from lamina.sources.files import LocalFiles
from lamina.sources.image import open_image
from lamina.sources.selection import Selection
from lamina.testing.contracts.file_sources import FileSourceContract
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


class DirectoryPlace:
    def __init__(self, path):
        self.path = os.fsencode(path)
        self.opened = []
        os.mkdir(self.path)

    def put(self, path, content):
        whole = self.clear(path)
        os.makedirs(os.path.dirname(whole), exist_ok=True)
        with open(whole, "wb") as file:
            file.write(content)

    def make_directory(self, path):
        os.mkdir(self.clear(path))

    def make_link(self, path, target):
        os.symlink(target, self.clear(path))

    def remove(self, path):
        self.clear(path)

    def clear(self, path):
        whole = os.path.join(self.path, path)
        if os.path.isdir(whole) and not os.path.islink(whole):
            shutil.rmtree(whole)
        elif os.path.lexists(whole):
            os.unlink(whole)
        return whole

    def open(self):
        self.opened.append(LocalFiles(self.path, Selection(), devices={}))
        return self.opened[-1]


class TestLocalFiles(FileSourceContract):
    @pytest.fixture
    def place(self, tmp_path):
        place = DirectoryPlace(tmp_path / "source")
        yield place
        for source in place.opened:
            source.close()
