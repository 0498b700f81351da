"""Standard input, if there is one."""

from __future__ import annotations

import sys
from typing import TextIO

from lamina.errors import UsageError
from lamina.sources.stoppable import StoppableInput

__all__ = ["StoppableInput", "standard_input"]


def standard_input() -> TextIO:
    """What standard input is. Raises: UsageError if whoever started us closed it."""
    if sys.stdin is None:
        raise UsageError(
            "standard input is closed", hint="give it the data: some-command | lamina …, or lamina … < FILE"
        )
    return sys.stdin
