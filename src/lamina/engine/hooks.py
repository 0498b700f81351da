"""Commands that are run before and after a backup: stop a database, thaw a file system, tell somebody."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from threading import Event
from typing import Literal

from lamina.errors import HookFailed, Stopped, UsageError
from lamina.model.operation import Operation
from lamina.model.quantities import format_duration
from lamina.sources.child import Child, program

LOOK_EVERY_S = 0.2


@dataclass(frozen=True, slots=True)
class Hook:
    """One command (words; no shell), when it is run, what its failure means, and how long it may take."""

    words: tuple[str, ...]
    when: Literal["pre", "post"]
    on_failure: Literal["fail", "warn"]
    deadline_s: float

    def __post_init__(self) -> None:
        if not self.words:
            raise UsageError(f"a {self.when} hook is empty", hint="name a program and its arguments")

    def __str__(self) -> str:
        return f"the {self.when} hook {program(self.words)}"


class Outcome(StrEnum):
    """How a backup ended, as hooks are told."""

    SUCCESS = "success"
    PARTIAL = "partial"
    FAILURE = "failure"  # stopped, too


@dataclass(slots=True)
class Ending:
    """What post hooks are told of a backup."""

    name: str
    outcome: Outcome = Outcome.SUCCESS
    snapshot: str = ""  # empty: none was made

    def variables(self) -> dict[str, str]:
        """The same as environment variables."""
        return {"LAMINA_NAME": self.name, "LAMINA_OUTCOME": self.outcome.value, "LAMINA_SNAPSHOT": self.snapshot}


@contextmanager
def hooked(hooks: Sequence[Hook], name: str, environment: Mapping[str, str], operation: Operation) -> Iterator[Ending]:
    """Run the body between the pre and the post hooks; it writes into the `Ending` what came of it.

    Whatever it raises is a failure and is raised again after the post hooks, whose own failures are then only messages.

    Raises: HookFailed, of a post hook after the body is done; Stopped.
    """
    ending = Ending(name)
    try:
        run_pre(hooks, name, environment, operation)
        yield ending
    except BaseException:
        ending.outcome = Outcome.FAILURE
        try:
            run_post(hooks, ending, environment, operation)
        except HookFailed as error:
            operation.progress.message(error.message)
        raise
    run_post(hooks, ending, environment, operation)


def run_pre(hooks: Sequence[Hook], name: str, environment: Mapping[str, str], operation: Operation) -> None:
    """Run every pre hook in order, up to the first whose failure means failure. Raises: HookFailed, Stopped."""
    for hook in hooks:
        if hook.when != "pre":
            continue
        operation.check_stop()
        why = _run(hook, {**environment, "LAMINA_NAME": name}, operation, operation.stop)
        if why and hook.on_failure == "fail":
            raise HookFailed(
                why, hint="nothing was backed up; mend the hook, or let its failure be a warning: --hook-failure warn"
            )
        if why:
            operation.progress.message(why)


def run_post(hooks: Sequence[Hook], ending: Ending, environment: Mapping[str, str], operation: Operation) -> None:
    """Run every post hook in order, even if one fails, and even if the stop button is pressed: they clean up.

    Raises: HookFailed after the last, with every failure that means failure.
    """
    failures = []
    for hook in hooks:
        if hook.when != "post":
            continue
        why = _run(hook, {**environment, **ending.variables()}, operation, None)
        if why and hook.on_failure == "fail":
            failures.append(why)
        elif why:
            operation.progress.message(why)
    if failures:
        raise HookFailed(
            "; ".join(failures), hint="mend the hook, or let its failure be a warning: --hook-failure warn"
        )


def _run(hook: Hook, environment: Mapping[str, str], operation: Operation, stop: Event | None) -> str:
    """Run one hook to its end; says why it failed, or nothing. Raises: Stopped once *stop* is set."""
    try:
        child = Child(hook.words, environment, output=False)
    except (OSError, ValueError) as error:
        return f"{hook} cannot be started: {error}"
    try:
        begun = operation.clock.monotonic()
        left = hook.deadline_s
        while (status := child.wait(max(0.0, min(left, LOOK_EVERY_S)))) is None:
            if stop is not None and stop.is_set():
                raise Stopped(f"stopped while {hook} was running", hint="run the same command again")
            left = begun + hook.deadline_s - operation.clock.monotonic()
            if left <= 0:
                return f"{hook} did not end within {format_duration(hook.deadline_s)}"
        return f"{hook} {child.ending(status)}" if status else ""
    finally:
        child.end()
