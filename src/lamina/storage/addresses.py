"""Where a repository lies, as people write it. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from lamina.errors import UsageError

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,62}")
_PREFIX = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*(?:/[A-Za-z0-9_-][A-Za-z0-9._-]*)*")
_SECRETS_HINT = "give credentials in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or in a profile, never in the address"


@dataclass(frozen=True, slots=True)
class StorageAddress:
    """A place: which plug-in opens it, and what that plug-in is told."""

    kind: str  # the plug-in's name: file, s3, …
    options: Mapping[str, str]
    text: str  # as a person should see it again; never holds a secret

    def __str__(self) -> str:
        return self.text

    @property
    def is_remote(self) -> bool:
        """Whether a network lies between, on which an answer may fail to come; a directory answers, or its kernel hangs."""
        return self.kind != "file"


def parse_address(text: str, environment: Mapping[str, str]) -> StorageAddress:
    """Read a path, `file:///PATH`, or `s3://BUCKET/PREFIX?endpoint=…&region=…&style=path|virtual`.

    Another scheme is taken for the name of a plug-in, whose options are the whole text (`url`).
    Raises: UsageError if it makes no sense, or holds credentials.

    >>> parse_address("/srv/backup", {}).options["path"]
    '/srv/backup'
    >>> sorted(parse_address("s3://bucket/a/b?region=eu-1", {}).options.items())
    [('bucket', 'bucket'), ('prefix', 'a/b'), ('region', 'eu-1')]
    """
    if not text or "\0" in text:
        raise UsageError("the address of the repository is empty", hint="give a path, or s3://BUCKET/PREFIX")
    scheme = _SCHEME.match(text)
    if scheme is None:
        path = _expand_home(text, environment)
        return StorageAddress("file", {"path": path}, path)
    kind = scheme[1].lower()
    url = _split(text)
    if kind == "file":
        return _parse_file(url)
    if kind == "s3":
        return _parse_s3(url)
    return StorageAddress(kind, {"url": text}, text)


def _split(text: str) -> SplitResult:
    try:
        url = urlsplit(text)
        _ = url.port  # read here because it may raise
    except ValueError as error:
        raise UsageError("the address of the repository is not a valid URL") from error
    if url.username is not None or url.password is not None:
        raise UsageError(f"the {url.scheme} address holds credentials", hint=_SECRETS_HINT)
    if url.fragment:
        raise UsageError(f"the {url.scheme} address holds a #", hint="write it as %23")
    return url


def _parse_file(url: SplitResult) -> StorageAddress:
    path = unquote(url.path)
    if url.netloc not in {"", "localhost"} or not path.startswith("/") or url.query:
        raise UsageError(f"{url.geturl()!r} is not the address of a directory", hint="write file:///PATH, or the path")
    return StorageAddress("file", {"path": path}, path)


def _parse_s3(url: SplitResult) -> StorageAddress:
    bucket, prefix = url.netloc, unquote(url.path).strip("/")
    if _BUCKET.fullmatch(bucket) is None:
        raise UsageError(f"{bucket!r} is not the name of a bucket", hint="write s3://BUCKET/PREFIX")
    if prefix and _PREFIX.fullmatch(prefix) is None:
        raise UsageError(
            f"{prefix!r} cannot be the prefix of a repository",
            hint="use letters, digits and ._- between slashes; no part may be empty or begin with a dot",
        )
    options = {"bucket": bucket, "prefix": prefix}
    pairs = parse_qsl(url.query, keep_blank_values=True)
    for key, value in pairs:
        if any(word in key.lower() for word in ("key", "secret", "token", "password")):
            raise UsageError(f"the address holds credentials ({key})", hint=_SECRETS_HINT)
        if key not in {"endpoint", "region", "style"}:
            raise UsageError(f"an s3 address has no option {key!r}", hint="it has endpoint, region and style")
        if key in options:
            raise UsageError(f"the option {key} stands twice in the address")
        options[key] = value
    _check_options(options)
    query = "&".join(f"{key}={value}" for key, value in pairs)
    return StorageAddress("s3", options, f"s3://{bucket}/{prefix}".rstrip("/") + (f"?{query}" if query else ""))


def _check_options(options: Mapping[str, str]) -> None:
    if "endpoint" in options:
        endpoint = _split(options["endpoint"])
        if endpoint.scheme not in {"http", "https"} or not endpoint.hostname or endpoint.query:
            raise UsageError(
                f"{options['endpoint']!r} is not an endpoint", hint="write for example endpoint=https://s3.example.org"
            )
    if options.get("style", "path") not in {"path", "virtual"}:
        raise UsageError(f"the style {options['style']!r} does not exist", hint="write style=path or style=virtual")
    if options.get("region") == "":
        raise UsageError("the region in the address is empty")


def _expand_home(path: str, environment: Mapping[str, str]) -> str:
    """Replace a leading `~/`: an address from a settings file never saw a shell."""
    if path == "~" or path.startswith("~/"):
        return environment.get("HOME", "~") + path[1:]
    return path
