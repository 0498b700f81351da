"""A file of which a part cannot be read, through the kernel."""

from __future__ import annotations

import os

import pytest

from lamina.errors import SourceUnreadable
from lamina.sources.image import open_image
from tests.integration.eio_file import eio_file, needs_fuse

pytestmark = [pytest.mark.integration, needs_fuse]

MIB = 1 << 20


def test_a_bad_range_is_named_and_the_rest_can_be_read(tmp_path):
    content = os.urandom(4 * MIB)
    (tmp_path / "content").write_bytes(content)
    with eio_file(tmp_path / "content", tmp_path / "mnt", 2 * MIB + 5, 2 * MIB + 6) as path:
        source = open_image(str(path))
        try:
            buffer = bytearray(MIB)
            for offset in (0, MIB, 3 * MIB):
                assert source.read_into(offset, memoryview(buffer)) == MIB
                assert buffer == content[offset : offset + MIB]
            with pytest.raises(SourceUnreadable, match=r"at offset 2\d+ of .*disk\.img: Input/output error"):
                source.read_into(2 * MIB, memoryview(buffer))
        finally:
            source.close()
