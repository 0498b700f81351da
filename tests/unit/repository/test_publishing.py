"""One manifest decides a generation, however close together two prunes publish theirs."""

from __future__ import annotations

from collections.abc import Iterator

from lamina.repository.records import ManifestRecord
from lamina.repository.segments import publish
from lamina.storage.storage import StoredObject
from lamina.testing.repositories import SmallRepository
from lamina.testing.storages import FaultyStorage


def manifest(*segments: str) -> ManifestRecord:
    return ManifestRecord(0, bytes(32), list(segments), [], 1)


class Overtaken(FaultyStorage):
    """Somebody else publishes right behind the first listing of manifests."""

    def __init__(self, small: SmallRepository) -> None:
        super().__init__(small.storage)
        self._small = small
        self.is_over = False

    def objects(self, prefix: str = "") -> Iterator[StoredObject]:
        found = list(super().objects(prefix))
        if prefix == "index/manifest/" and not self.is_over:
            self.is_over = True
            other = self._small.open()
            publish(other.access, manifest("theirs"), None)
            other.close()
        return iter(found)


def test_who_is_overtaken_while_publishing_believes_the_other():
    """The simulator found that: the loser took the next number, with segments that the winner had deleted."""
    small = SmallRepository()
    late = small.open(storage=Overtaken(small))
    assert publish(late.access, manifest("ours"), None).segments == ["theirs"]
    assert [found.name for found in small.storage.objects("index/manifest/")] == ["index/manifest/00000001"]
    late.close()
