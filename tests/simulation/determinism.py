"""The same bytes in every run of a seed: what the code under test draws at random comes from the seed instead.

Nothing of the protocol is replaced here. Envelopes are: HPKE draws its randomness where nobody can reach it, so a session key is
hidden with a hash of the public key instead. Passphrases are not stretched, which costs time and is no part of the protocol.
Whether a signature holds is remembered, because it never changes.
"""

from __future__ import annotations

import functools
import os
import random
import secrets
import sys
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

from lamina.crypto import certificates, signing
from lamina.crypto.envelope import EnvelopeKey
from lamina.crypto.hashing import public_hash
from lamina.errors import Damaged
from lamina.model.secret import Secret

_REMEMBERED = 100_000


class InlineExecutor:
    """Does each task at once, in the thread that submits it: a simulated client is one thread."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __enter__(self) -> InlineExecutor:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def submit(self, task: Any, *args: Any, **named: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(task(*args, **named))
        except Exception as error:
            future.set_exception(error)
        return future

    def map(self, task: Any, *items: Any, **_: Any) -> Iterator[Any]:
        return map(task, *items)

    def shutdown(self, **_: Any) -> None:
        pass


@contextmanager
def reproducible(chance: random.Random) -> Iterator[None]:
    """Inside this block nothing depends on anything but *chance*."""
    with ExitStack() as stack:
        for target, name, new in (
            (os, "urandom", chance.randbytes),
            (secrets, "randbelow", chance.randrange),
            (EnvelopeKey, "unseal", _unseal),
        ):
            stack.enter_context(patch.object(target, name, new))
        stack.enter_context(patch("lamina.repository.session_keys.seal_to", _seal_to))
        stack.enter_context(patch("lamina.repository.keyring.stretch", _stretch))
        for module in ("lamina.repository.control", "lamina.repository.keyring", "lamina.crypto.certificates"):
            stack.enter_context(patch(f"{module}.is_signed", _is_signed))
        for module in ("lamina.repository.control", "lamina.repository.keyring"):
            stack.enter_context(patch(f"{module}.decode_certificate", _decode_certificate))
        for module in _with_threads():
            stack.enter_context(patch(f"{module}.ThreadPoolExecutor", InlineExecutor))
        yield


def _with_threads() -> list[str]:
    """The modules under test that start threads."""
    return [
        name
        for name, module in sys.modules.items()
        if name.startswith("lamina.") and "ThreadPoolExecutor" in vars(module)
    ]


_is_signed = functools.lru_cache(_REMEMBERED)(signing.is_signed)
_decode_certificate = functools.lru_cache(1000)(certificates.decode_certificate)


def _stretch(passphrase: Secret, salt: bytes, cost: object) -> bytes:
    return public_hash([passphrase.reveal(), salt])


def _pad(public: bytes, info: bytes) -> bytes:
    return public_hash([public, info])


def _seal_to(public: bytes, secret: bytes, info: bytes) -> bytes:
    hidden = bytes(a ^ b for a, b in zip(secret, _pad(public, info), strict=True))
    return hidden + public_hash([hidden, public, info])


def _unseal(key: EnvelopeKey, envelope: bytes, info: bytes) -> bytes:
    hidden, proof = envelope[:32], envelope[32:]
    if proof != public_hash([hidden, key.public, info]):
        raise Damaged("a sealed session key does not open")
    return bytes(a ^ b for a, b in zip(hidden, _pad(key.public, info), strict=True))
