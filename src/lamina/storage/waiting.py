"""Waiting that ends when the stop button is pressed."""

from __future__ import annotations

from threading import Event

from lamina.model.operation import Clock

_STEP_S = 0.2  # a person who presses Ctrl-C should not have time to wonder


def wait(clock: Clock, seconds: float, stop: Event | None) -> None:
    """Sleep for *seconds*, or until *stop* is pressed."""
    left = seconds
    while left > 0 and not (stop is not None and stop.is_set()):
        step = min(left, _STEP_S)
        clock.sleep(step)
        left -= step
