"""Objects in a bucket of S3 or of a server that speaks its protocol, by way of obstore.

An object is one PUT with `If-None-Match: *`, never a multipart upload (whose last step many servers do not guard). The
client library's own retries are off: `Retrying` does them, with the stop button at hand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import S3Store

from lamina.errors import ObjectMissing, ObjectTruncated
from lamina.storage.addresses import StorageAddress
from lamina.storage.backends.s3_credentials import Account, find_account
from lamina.storage.backends.s3_errors import explain
from lamina.storage.names import check_name, check_prefix, is_name
from lamina.storage.storage import Parts, StoredObject, settle

if TYPE_CHECKING:
    from obstore.store import S3Config, S3Credential

_SMALL = 1 << 20  # bytes; a PUT up to this size is over soon or not at all


@dataclass(frozen=True, slots=True)
class Timeouts:
    """When to stop waiting, in seconds."""

    connect_s: float = 10.0  # a handshake over the worst line
    silence_s: float = 60.0  # without one more byte of an answer; AWS gives up on us sooner
    transfer_s: float = 900.0  # one object of 40 MiB at 50 KiB/s, a slow line shared by a few uploads


def open_storage(address: StorageAddress, environment: Mapping[str, str], *, create: bool) -> S3Storage:  # noqa: ARG001
    """The bucket and prefix that *address* names, with the account that *environment* names; a bucket is never made."""
    return S3Storage(address, find_account(address.options, environment))


class S3Storage:
    """A storage in a bucket, below a prefix; see `lamina.storage.storage.Storage` for the promises."""

    def __init__(self, address: StorageAddress, account: Account, timeouts: Timeouts | None = None) -> None:
        self._address = address
        self._prefix = address.options.get("prefix", "")
        timeouts = timeouts or Timeouts()
        # the client counts the time of sending as silence, so large uploads have their own client with no such limit
        self._store = _make_store(address.options, account, timeouts, silence=True)
        self._upload_store = _make_store(address.options, account, timeouts, silence=False)

    @property
    def address(self) -> str:
        return self._address.text

    def put(self, name: str, parts: Parts) -> None:
        size = sum(memoryview(part).nbytes for part in parts)
        store = self._store if size <= _SMALL else self._upload_store
        data = parts[0] if len(parts) == 1 else b"".join(parts)
        with self._explaining("PUT", check_name(name)):
            try:
                obstore.put(store, self._key(name), data, mode="create", use_multipart=False)
                return
            except AlreadyExistsError:
                pass  # 412, or 409: two at once and the server does not say who won
        settle(self, name, parts)

    def get(self, name: str) -> bytes:
        with self._explaining("GET", check_name(name)):
            return obstore.get(self._store, self._key(name)).bytes().to_bytes()

    def get_range(self, name: str, offset: int, length: int) -> bytes:
        if length == 0:  # HTTP has no empty range
            self._check_length(self.stat(name), offset)
            return b""
        with self._explaining("GET", check_name(name)):
            data = obstore.get_range(self._store, self._key(name), start=offset, length=length).to_bytes()
        if len(data) != length:
            raise ObjectTruncated(f"{name} in {self.address}: asked for {length} bytes at {offset}, got {len(data)}")
        return data

    def stat(self, name: str) -> StoredObject:
        try:
            with self._explaining("HEAD", check_name(name)):
                return self._stored(obstore.head(self._store, self._key(name)))
        except ObjectMissing:
            # an answer to HEAD has no body: it cannot say whether the object or the whole bucket is missing
            with self._explaining("GET", name):
                return self._stored(obstore.get(self._store, self._key(name)).meta)

    def objects(self, prefix: str = "") -> Iterator[StoredObject]:
        return self._list(check_prefix(prefix))

    def delete(self, name: str) -> None:
        with self._explaining("DELETE", check_name(name)):
            obstore.delete(self._store, self._key(name))

    def close(self) -> None:
        """Nothing to give back: idle connections close by themselves."""

    def _list(self, prefix: str) -> Iterator[StoredObject]:
        pages = iter(obstore.list(self._store, self._key(prefix).rstrip("/") or None, chunk_size=1000))
        while True:
            with self._explaining("LIST", prefix):
                page = next(pages, None)
            if page is None:
                return
            for meta in page:
                stored = self._stored(meta)
                if stored.name.startswith(prefix) and is_name(stored.name):  # consoles make markers for "folders"
                    yield stored

    def _key(self, name: str) -> str:
        return f"{self._prefix}/{name}" if self._prefix else name

    def _stored(self, meta: obstore.ObjectMeta) -> StoredObject:
        name = meta["path"].removeprefix(f"{self._prefix}/" if self._prefix else "")
        return StoredObject(name, meta["size"], meta["last_modified"])

    def _check_length(self, stored: StoredObject, length: int) -> None:
        if stored.size < length:
            raise ObjectTruncated(f"{stored.name} in {self.address} has {stored.size} bytes, not {length}")

    @contextmanager
    def _explaining(self, verb: str, name: str) -> Iterator[None]:
        try:
            yield
        except (BaseError, OSError, ValueError) as error:
            # not "from error": its text quotes the server's answer, which may quote a session token back
            raise explain(error, verb, name, self.address) from None


def _make_store(options: Mapping[str, str], account: Account, timeouts: Timeouts, *, silence: bool) -> S3Store:
    config: S3Config = {
        "region": account.region,
        # one DELETE an object: the bulk request needs other rights, and some servers do not have it
        "disable_bulk_delete": True,
    }
    bucket, endpoint = options["bucket"], account.endpoint
    virtual = options.get("style", "path" if endpoint or "." in bucket else "virtual") == "virtual"
    config["virtual_hosted_style_request"] = virtual
    if endpoint:
        config["endpoint"] = _with_bucket(endpoint, bucket) if virtual else endpoint
    client = {
        "allow_http": endpoint.startswith("http://"),
        "connect_timeout": timedelta(seconds=timeouts.connect_s),
        "timeout": timedelta(seconds=timeouts.transfer_s),
    }
    if silence:
        client["read_timeout"] = timedelta(seconds=timeouts.silence_s)
    return S3Store(
        bucket,
        config=config,
        client_options=client,  # type: ignore[arg-type]  # a TypedDict, built in two steps
        retry_config={"max_retries": 0, "retry_timeout": timedelta(0)},
        credential_provider=_give(account),
    )


def _give(account: Account) -> Callable[[], S3Credential]:
    """Hand the credentials over when asked, so that neither the store's `repr` nor the process's environment has a say."""

    def credential() -> S3Credential:
        token = account.session_token.reveal().decode()
        return {
            "access_key_id": account.access_key_id,
            "secret_access_key": account.secret_access_key.reveal().decode(),
            "token": token or None,
            "expires_at": None,
        }

    return credential


def _with_bucket(endpoint: str, bucket: str) -> str:
    """The endpoint that the virtual style needs: the bucket is its first host label.

    >>> _with_bucket("https://s3.example.org:8443", "backups")
    'https://backups.s3.example.org:8443'
    """
    url = urlsplit(endpoint)
    return url._replace(netloc=f"{bucket}.{url.netloc}").geturl()
