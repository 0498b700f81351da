"""The log file: one line for the start, the end and each error of a call, as text or as JSON."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from lamina.errors import UsageError

if TYPE_CHECKING:
    import logging


class Log:
    """Where a call leaves its traces; without a logger, nowhere."""

    def __init__(self, logger: logging.Logger | None = None) -> None:
        self._logger = logger

    def info(self, text: str, **fields: Any) -> None:
        """Something that went as it should."""
        if self._logger:
            self._logger.info(text, extra={"fields": fields})

    def error(self, text: str, **fields: Any) -> None:
        """Something that did not."""
        if self._logger:
            self._logger.error(text, extra={"fields": fields})

    def crash(self, fault: BaseException) -> None:
        """A fault of our own, with its traceback."""
        if self._logger:
            self._logger.error("unexpected fault", exc_info=fault, extra={"fields": {"error": type(fault).__name__}})


@contextmanager
def opened_log(path: str | None) -> Iterator[Log]:
    """Append to the file at *path*, made readable by its owner alone; no path, no log. Raises: UsageError."""
    if path is None:
        yield Log()
        return
    import logging

    logger = logging.getLogger("lamina")
    try:
        file = open(path, "a", encoding="utf-8", errors="backslashreplace", opener=_open_private)  # noqa: SIM115
    except OSError as error:
        raise UsageError(f"the log file {path} cannot be written: {error.strerror}") from error
    handler = logging.StreamHandler(file)
    handler.setFormatter(_formatter(as_json=path.endswith((".json", ".jsonl"))))
    level, propagate = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    try:
        yield Log(logger)
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        logger.propagate = propagate
        handler.close()
        with suppress(OSError):  # of a full disk the user was told when the line was written
            file.close()


def _open_private(path: str, flags: int) -> int:
    """A new file is its owner's alone: it names sources and places."""
    return os.open(path, flags | os.O_CLOEXEC, 0o600)


def _formatter(*, as_json: bool) -> logging.Formatter:
    import json
    import logging
    import time

    class Lines(logging.Formatter):
        """One line an event; UTC; fields after the text."""

        converter = staticmethod(time.gmtime)
        default_time_format = "%Y-%m-%dT%H:%M:%S"
        default_msec_format = "%s.%03dZ"

        def format(self, record: logging.LogRecord) -> str:
            fields: dict[str, Any] = {key: value for key, value in getattr(record, "fields", {}).items() if value != ""}
            time_text = self.formatTime(record)
            trace = self.formatException(record.exc_info) if record.exc_info else ""
            if as_json:
                traced = {"traceback": trace} if trace else {}
                head = {"time": time_text, "level": record.levelname.lower(), "message": record.getMessage()}
                return json.dumps({**head, **fields, **traced}, ensure_ascii=False)
            shown = "".join(f" {key}={value!r}" for key, value in fields.items())
            return f"{time_text} {record.levelname} {record.getMessage()}{shown}" + (f"\n{trace}" if trace else "")

    return Lines()
