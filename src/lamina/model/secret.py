"""A passphrase or key that does not show itself."""

from __future__ import annotations


class Secret:
    """Bytes that never appear in `repr`, `str`, logs or tracebacks; ask for them with `reveal`."""

    __slots__ = ("_value",)

    def __init__(self, value: bytes) -> None:
        self._value = value

    def reveal(self) -> bytes:
        """The bytes themselves; only for the code that derives a key from them."""
        return self._value

    def __repr__(self) -> str:
        return "***"

    __str__ = __repr__

    def __reduce__(self) -> str:
        raise TypeError("a secret is never pickled")
