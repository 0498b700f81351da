"""The promises of `lamina.storage.storage.Storage`, as tests.

For those who write a back-end: subclass the suite and give it an empty storage.

    class TestMyStorage(StorageContract):
        @pytest.fixture
        def storage(self):
            with closing(MyStorage(...)) as storage:
                yield storage

The storage need not be new for each test as long as it is empty, or `folder` is overridden to name an unused prefix.
Not everything can be tested from here: that bytes survive a power cut is yours to think about.
"""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from threading import Barrier

import pytest

from lamina.errors import ObjectExists, ObjectMissing, ObjectTruncated, UsageError
from lamina.model.entries import Buffer
from lamina.storage.storage import Storage

_THREADS = 8
_HASHES = ["00" * 32, "ab" * 32, "abcd" + "0" * 60, "f" * 64]
_NAMES = ["lamina.json", "format/1", "keys/epoch-1", "index/delta/ab12-3", "a/b/c/d/e", "x.y-z_0/" + "0123abcd" * 8]
_BAD_NAMES = [
    "",
    "/",
    "/a",
    "a/",
    "a//b",
    ".",
    "..",
    "a/../b",
    "../a",
    ".hidden",
    "a/.b",
    "a b",
    "a\n",
    "ä",
    "a\\b",
    "a\0",
]


class StorageContract:
    """Every implementation and every wrapper passes this suite."""

    @pytest.fixture
    def storage(self) -> Storage:
        """Override this: an empty storage."""
        raise NotImplementedError

    @pytest.fixture
    def folder(self) -> str:
        """The prefix that a test's objects lie under: empty, or one that ends in a slash."""
        return ""

    @pytest.mark.parametrize("name", [*_NAMES, *(f"data/{digest}" for digest in _HASHES)])
    def test_what_was_put_is_got(self, storage: Storage, folder: str, name: str) -> None:
        storage.put(folder + name, [b"one ", b"two"])
        assert storage.get(folder + name) == b"one two"

    @pytest.mark.parametrize("size", [1, 2, 4095, 4096, 65537, (1 << 20) + 1, 6 << 20])
    def test_objects_of_many_sizes_come_back(self, storage: Storage, folder: str, size: int) -> None:
        content = random.Random(size).randbytes(size)  # noqa: S311 - content, not a secret
        storage.put(folder + "sized", [content])
        assert storage.get(folder + "sized") == content
        assert storage.stat(folder + "sized").size == size

    def test_parts_of_every_buffer_type_are_joined_in_order(self, storage: Storage, folder: str) -> None:
        parts: list[Buffer] = [b"a", bytearray(b"bc"), memoryview(b"def"), b"", b"g"]
        storage.put(folder + "parts", parts)
        assert storage.get(folder + "parts") == b"abcdefg"

    def test_thousands_of_parts_make_one_object(self, storage: Storage, folder: str) -> None:
        parts = [number.to_bytes(3, "big") for number in range(5000)]
        storage.put(folder + "parts", parts)
        assert storage.get(folder + "parts") == b"".join(parts)

    def test_a_single_part_of_every_buffer_type_is_put(self, storage: Storage, folder: str) -> None:
        parts: list[Buffer] = [b"abc", bytearray(b"abc"), memoryview(b"abc")]
        for number, part in enumerate(parts):
            storage.put(f"{folder}single-{number}", [part])
            assert storage.get(f"{folder}single-{number}") == b"abc"

    def test_an_empty_object_is_an_object(self, storage: Storage, folder: str) -> None:
        storage.put(folder + "empty", [])
        assert storage.get(folder + "empty") == b""
        assert storage.stat(folder + "empty").size == 0

    def test_putting_the_same_bytes_again_is_done(self, storage: Storage, folder: str) -> None:
        storage.put(folder + "same", [b"bytes"])
        storage.put(folder + "same", [b"by", b"tes"])
        assert storage.get(folder + "same") == b"bytes"

    @pytest.mark.parametrize("other", [b"other", b"byte", b"bytes and more", b""])
    def test_putting_other_bytes_is_refused_and_the_first_stay(
        self, storage: Storage, folder: str, other: bytes
    ) -> None:
        storage.put(folder + "taken", [b"bytes"])
        with pytest.raises(ObjectExists):
            storage.put(folder + "taken", [other])
        assert storage.get(folder + "taken") == b"bytes"

    def test_of_many_puts_at_once_exactly_one_wins(self, storage: Storage, folder: str) -> None:
        contents = [f"writer {number} ".encode() * 1000 for number in range(_THREADS)]
        barrier = Barrier(_THREADS)

        def race(content: bytes) -> bool:
            barrier.wait()
            try:
                storage.put(folder + "snapshots/raced", [content])
            except ObjectExists:
                return False
            return True

        with ThreadPoolExecutor(_THREADS) as pool:
            won = list(pool.map(race, contents))
        assert won.count(True) == 1
        assert storage.get(folder + "snapshots/raced") == contents[won.index(True)]

    def test_many_puts_of_the_same_bytes_at_once_are_all_done(self, storage: Storage, folder: str) -> None:
        barrier = Barrier(_THREADS)

        def race(_: int) -> None:
            barrier.wait()
            storage.put(f"{folder}data/{_HASHES[1]}", [b"the same"])

        with ThreadPoolExecutor(_THREADS) as pool:
            list(pool.map(race, range(_THREADS)))
        assert storage.get(f"{folder}data/{_HASHES[1]}") == b"the same"

    def test_threads_put_get_list_and_delete_at_once(self, storage: Storage, folder: str) -> None:
        def work(thread: int) -> None:
            for number in range(8):
                name = f"{folder}busy/{thread}-{number}"
                storage.put(name, [name.encode()])
                assert storage.get(name) == name.encode()
                assert name in {stored.name for stored in storage.objects(f"{folder}busy/")}
                if number % 2:
                    storage.delete(name)

        with ThreadPoolExecutor(_THREADS) as pool:
            list(pool.map(work, range(_THREADS)))
        expected = {f"{folder}busy/{thread}-{number}" for thread in range(_THREADS) for number in range(0, 8, 2)}
        assert {stored.name for stored in storage.objects(f"{folder}busy/")} == expected

    @pytest.mark.parametrize(("offset", "length"), [(0, 1), (0, 10), (3, 4), (9, 1), (0, 0), (5, 0), (10, 0)])
    def test_a_range_is_exact(self, storage: Storage, folder: str, offset: int, length: int) -> None:
        storage.put(folder + "range", [b"0123456789"])
        assert storage.get_range(folder + "range", offset, length) == b"0123456789"[offset : offset + length]

    @pytest.mark.parametrize(("offset", "length"), [(0, 11), (9, 2), (10, 1), (11, 0), (50, 5)])
    def test_a_range_beyond_the_end_is_truncated(self, storage: Storage, folder: str, offset: int, length: int) -> None:
        storage.put(folder + "range", [b"0123456789"])
        with pytest.raises(ObjectTruncated):
            storage.get_range(folder + "range", offset, length)

    def test_a_missing_object_is_said_to_be_missing(self, storage: Storage, folder: str) -> None:
        storage.put(folder + "there/one", [b"x"])
        for name in ("missing", "there/two", "there/one/below", "there", f"data/{_HASHES[0]}"):
            with pytest.raises(ObjectMissing):
                storage.get(folder + name)
            with pytest.raises(ObjectMissing):
                storage.get_range(folder + name, 0, 1)
            with pytest.raises(ObjectMissing):
                storage.get_range(folder + name, 0, 0)
            with pytest.raises(ObjectMissing):
                storage.stat(folder + name)

    def test_stat_says_size_and_an_aware_recent_time(self, storage: Storage, folder: str) -> None:
        storage.put(folder + "known", [b"12345"])
        stored = storage.stat(folder + "known")
        assert (stored.name, stored.size) == (folder + "known", 5)
        assert stored.modified.utcoffset() == timedelta(0)
        assert stored.modified > datetime(2020, 1, 1, tzinfo=UTC)

    def test_a_listing_shows_every_object_once_as_stat_does(self, storage: Storage, folder: str) -> None:
        names = {folder + name for name in [*_NAMES, *(f"data/{digest}" for digest in _HASHES)]}
        for name in names:
            storage.put(name, [name.encode()])
        listed = list(storage.objects(folder))
        assert sorted(stored.name for stored in listed) == sorted(names)
        assert all(stored == storage.stat(stored.name) for stored in listed)

    def test_a_listing_below_a_prefix_shows_that_folder_only(self, storage: Storage, folder: str) -> None:
        digests = [f"data/{digest}" for digest in _HASHES]
        for name in [*digests, "data/a/1", "database/1", "dat/1", "other"]:
            storage.put(folder + name, [b"x"])
        listed = {stored.name.removeprefix(folder) for stored in storage.objects(f"{folder}data/")}
        assert listed == {*digests, "data/a/1"}
        assert {stored.name for stored in storage.objects(f"{folder}data/a/")} == {f"{folder}data/a/1"}

    def test_a_listing_of_nothing_is_empty(self, storage: Storage, folder: str) -> None:
        storage.put(folder + "there/one", [b"x"])
        assert list(storage.objects(f"{folder}nothing/")) == []
        assert list(storage.objects(f"{folder}there/one/")) == []

    def test_more_objects_than_a_page_holds_are_all_listed(self, storage: Storage, folder: str) -> None:
        names = {f"{folder}many/{number:04}" for number in range(1100)}  # S3 answers a thousand at a time
        with ThreadPoolExecutor(_THREADS) as pool:
            list(pool.map(lambda name: storage.put(name, [b"x"]), names))
        assert {stored.name for stored in storage.objects(f"{folder}many/")} == names

    def test_a_deleted_object_is_gone_and_its_name_is_free(self, storage: Storage, folder: str) -> None:
        storage.put(folder + "gone", [b"first"])
        storage.delete(folder + "gone")
        with pytest.raises(ObjectMissing):
            storage.get(folder + "gone")
        assert folder + "gone" not in {stored.name for stored in storage.objects(folder)}
        storage.put(folder + "gone", [b"second"])
        assert storage.get(folder + "gone") == b"second"

    def test_deleting_what_is_not_there_is_no_error(self, storage: Storage, folder: str) -> None:
        storage.delete(folder + "never/was")
        storage.delete(f"{folder}data/{_HASHES[2]}")

    @pytest.mark.parametrize("name", _BAD_NAMES)
    def test_a_bad_name_is_refused(self, storage: Storage, name: str) -> None:
        for call in (storage.get, storage.stat, storage.delete):
            with pytest.raises(UsageError):
                call(name)
        with pytest.raises(UsageError):
            storage.put(name, [b"x"])
        with pytest.raises(UsageError):
            storage.get_range(name, 0, 1)

    @pytest.mark.parametrize("prefix", ["a", "/", "../", "a//", "a/../", ".a/"])
    def test_a_bad_prefix_is_refused(self, storage: Storage, prefix: str) -> None:
        with pytest.raises(UsageError):
            list(storage.objects(prefix))

    def test_the_address_is_text_for_people(self, storage: Storage) -> None:
        assert storage.address
        assert storage.address.isprintable()
