"""What an S3 server's refusals mean for a storage. Pure.

The library gives one exception class for most answers, so the status and the S3 error code are read from its text. No
part of the text goes into our messages: servers quote signed headers back, among them the session token.
"""

from __future__ import annotations

import re

from lamina.errors import (
    ObjectMissing,
    ObjectTruncated,
    StorageDenied,
    StorageError,
    StorageFull,
    StorageUnavailable,
    StorageUnsuitable,
)

_STATUS = re.compile(r"non-2xx status code: (\d{3})")
_CODE = re.compile(r"<Code>([A-Za-z0-9]{1,64})</Code>")
_KIND = re.compile(r"kind: (Timeout|Connect|Interrupted|Request|Decode|Unknown)\b")

_PASSING_STATUS = {408, 409, 425, 429}  # and all from 500 on: the server asks for another try
_PASSING_CODE = {"SlowDown", "RequestTimeout", "InternalError", "ServiceUnavailable", "OperationAborted"}
_FULL_CODE = {"QuotaExceeded", "XMinioStorageFull", "InsufficientStorage", "EntityTooLarge"}
_SKEW_HINT = "this machine's clock is off: set it right (the server refuses requests more than 15 minutes away)"
_REASONS = {
    "Timeout": "no answer in time",
    "Connect": "no connection",
    "Interrupted": "the connection broke in the middle of the answer",
    "Request": "the connection broke",
    "Decode": "the answer makes no sense",
    "Unknown": "the connection failed",
}


def explain(error: Exception, verb: str, name: str, address: str) -> StorageError:
    """The error of ours that says what *error* of the client library means."""
    text = str(error)
    what = f"{verb} {name or '/'} in {address}"
    status, code = _STATUS.search(text), _CODE.search(text)
    if status is not None:
        return _explain_answer(int(status[1]), code[1] if code else "", what, verb)
    if "UnexpectedRange" in text:
        return ObjectTruncated(f"{what}: fewer bytes came than were asked for")
    if "NotPartial" in text:
        return StorageUnsuitable(f"{what}: the server ignores the range asked for and sends the whole object")
    kind = _KIND.search(text)
    if kind is not None:
        return StorageUnavailable(
            f"{what}: {_REASONS[kind[1]]}", hint="check the endpoint and the network; what was stored stays valid"
        )
    return StorageError(f"{what}: the client failed ({type(error).__name__})")


def _explain_answer(status: int, code: str, what: str, verb: str) -> StorageError:
    message = f"{what}: the server answered {status}{f' {code}' if code else ''}"
    if status == 507 or code in _FULL_CODE:
        return StorageFull(message, hint="make room, or raise the quota; what was stored stays valid")
    if status in _PASSING_STATUS or status >= 500 or code in _PASSING_CODE:
        return StorageUnavailable(message, hint="the server is busy or in trouble; try again later")
    if code == "RequestTimeTooSkewed":
        return StorageDenied(message, hint=_SKEW_HINT)
    if status in {401, 403}:
        return StorageDenied(message, hint="check the access key and what it may do with this bucket and prefix")
    if code == "NoSuchBucket":
        return StorageError(f"{message}: the bucket does not exist", hint="make the bucket, or correct the address")
    if status == 404 and (code == "NoSuchKey" or verb == "HEAD"):  # the caller of HEAD asks again with GET
        return ObjectMissing(f"{what}: there is no such object")
    if status == 416:
        return ObjectTruncated(f"{what}: the object ends before the range that was asked for")
    return StorageError(message, hint="check that the endpoint speaks S3 and the region is right")
