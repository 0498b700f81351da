"""A bucket policy, put with a request signed by hand: clients for storages have no call for it."""

from __future__ import annotations

import hashlib
import hmac
import json
import urllib.request
from datetime import UTC, datetime

from tests.integration.s3_server import KEY, SECRET, S3Server


def forbid_delete(server: S3Server, bucket: str) -> None:
    """Nobody may delete an object of *bucket* from now on."""
    statement = {
        "Effect": "Deny",
        "Principal": "*",
        "Action": ["s3:DeleteObject", "s3:DeleteObjectVersion"],
        "Resource": f"arn:aws:s3:::{bucket}/*",
    }
    body = json.dumps({"Version": "2012-10-17", "Statement": [statement]}).encode()
    _put(server, f"/{bucket}", "policy=", body)


def _put(server: S3Server, path: str, query: str, body: bytes) -> None:
    """PUT with signature version 4 (AWS General Reference: Signing)."""
    host = server.endpoint.removeprefix("http://")
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    digest = hashlib.sha256(body).hexdigest()
    headers = {"host": host, "x-amz-content-sha256": digest, "x-amz-date": stamp}
    signed = ";".join(headers)
    lines = "".join(f"{name}:{value}\n" for name, value in headers.items())
    canonical = f"PUT\n{path}\n{query}\n{lines}\n{signed}\n{digest}"
    scope = f"{stamp[:8]}/us-east-1/s3/aws4_request"
    text = "\n".join(["AWS4-HMAC-SHA256", stamp, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    key = f"AWS4{SECRET}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.digest(key, text.encode(), "sha256").hex()
    headers["authorization"] = f"AWS4-HMAC-SHA256 Credential={KEY}/{scope},SignedHeaders={signed},Signature={signature}"
    request = urllib.request.Request(f"{server.endpoint}{path}?{query}", data=body, headers=headers, method="PUT")
    with urllib.request.urlopen(request, timeout=10):
        return
