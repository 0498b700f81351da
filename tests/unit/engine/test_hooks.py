"""Hooks: when they run, what they are told, and what their failure means."""

from __future__ import annotations

import os
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lamina.engine.hooks import Ending, Hook, Outcome, hooked, run_post, run_pre
from lamina.errors import HookFailed, SourceUnreadable, Stopped, UsageError
from lamina.model.operation import Operation
from lamina.sources import child
from lamina.testing.repositories import ListeningProgress

ENVIRONMENT = {"PATH": os.environ["PATH"], "LAMINA_PASSPHRASE": "sesame", "LAMINA_PASSPHRASE_FILE": "/s"}


@pytest.fixture
def operation() -> Operation:
    return Operation(progress=ListeningProgress())


def messages(operation: Operation) -> list[str]:
    assert isinstance(operation.progress, ListeningProgress)
    return operation.progress.messages


def shell(script: str, when: Any = "pre", **changes: Any) -> Hook:
    """A hook that runs *script*."""
    return replace(Hook(("sh", "-c", script), when, on_failure="fail", deadline_s=600), **changes)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Where hooks of a test note that they ran."""
    return tmp_path / "log"


def note(log: Path, text: str, when: Any = "pre", more: str = "", **changes: Any) -> Hook:
    """A hook that notes that it ran."""
    return shell(f"echo {text} >> '{log}'; {more}", when, **changes)


def test_hooks_run_in_order_around_the_body(log: Path, operation: Operation):
    hooks = [note(log, "3", "post"), note(log, "1"), note(log, "2"), note(log, "4", "post")]
    with hooked(hooks, "vm", ENVIRONMENT, operation):
        assert log.read_text().split() == ["1", "2"]
    assert log.read_text().split() == ["1", "2", "3", "4"]
    assert messages(operation) == []


def test_a_hook_is_told_what_it_may_know_and_no_passphrase(log: Path, operation: Operation):
    hooks = [shell(f"env | grep ^LAMINA_ | sort >> '{log}'", when) for when in ("pre", "post")]
    with hooked(hooks, "vm 1", ENVIRONMENT, operation) as ending:
        ending.snapshot, ending.outcome = "0123abcd", Outcome.PARTIAL
    assert log.read_text().splitlines() == [
        "LAMINA_NAME=vm 1", "LAMINA_NAME=vm 1", "LAMINA_OUTCOME=partial", "LAMINA_SNAPSHOT=0123abcd",
    ]  # fmt: skip


def test_a_pre_hook_that_fails_stops_the_backup_and_post_hooks_run(log: Path, operation: Operation):
    hooks = [note(log, "1", more="echo locked >&2; exit 5"), note(log, "2"), note(log, "$LAMINA_OUTCOME", "post")]
    with (
        pytest.raises(HookFailed, match="the pre hook sh ended with exit status 5: locked"),
        hooked(hooks, "vm", ENVIRONMENT, operation),
    ):
        pytest.fail("the backup ran")
    assert log.read_text().split() == ["1", "failure"]


def test_a_failure_that_is_a_warning_is_a_message(log: Path, operation: Operation):
    hooks = [
        shell("kill -9 $$", on_failure="warn"), note(log, "1"),
        shell("echo no mail; exit 1", "post", on_failure="warn"), note(log, "2", "post"),
    ]  # fmt: skip
    with hooked(hooks, "vm", ENVIRONMENT, operation):
        pass
    assert log.read_text().split() == ["1", "2"]
    assert messages(operation) == [
        "the pre hook sh was killed by SIGKILL", "the post hook sh ended with exit status 1: no mail",
    ]  # fmt: skip


def test_every_post_hook_runs_and_every_failure_is_named(log: Path, operation: Operation):
    hooks = [note(log, "1", "post", "exit 3"), note(log, "2", "post"), note(log, "3", "post", "exit 4")]
    with pytest.raises(HookFailed, match=r"status 3; the post hook sh ended with exit status 4"):
        run_post(hooks, Ending("vm", snapshot="0123abcd"), ENVIRONMENT, operation)
    assert log.read_text().split() == ["1", "2", "3"]


def test_a_failed_backup_fails_for_its_own_reason(log: Path, operation: Operation):
    hooks = [note(log, "$LAMINA_OUTCOME", "post", "exit 3")]
    with pytest.raises(SourceUnreadable), hooked(hooks, "vm", ENVIRONMENT, operation) as ending:
        ending.outcome = Outcome.SUCCESS
        raise SourceUnreadable("gone")
    assert log.read_text().split() == ["failure"]
    assert messages(operation) == ["the post hook sh ended with exit status 3"]


@pytest.mark.parametrize("policy", ["fail", "warn"])
def test_a_hook_that_is_not_there_has_failed(operation: Operation, policy: Any):
    hook = Hook(("/no/such/hook",), "pre", policy, 600)
    if policy == "fail":
        with pytest.raises(HookFailed, match="the pre hook /no/such/hook cannot be started"):
            run_pre([hook], "vm", ENVIRONMENT, operation)
    else:
        run_pre([hook], "vm", ENVIRONMENT, operation)
        assert "cannot be started" in messages(operation)[0]


@pytest.mark.parametrize("trap", ["", "trap '' TERM;"], ids=["obeys", "ignores SIGTERM"])
def test_the_deadline_ends_a_hook_and_all_it_started(
    tmp_path: Path, operation: Operation, monkeypatch: pytest.MonkeyPatch, trap: str
):
    """A named pipe ends when nobody has it open for writing any more; nobody but the hook ever had."""
    monkeypatch.setattr(child, "GRACE_S", 0.2)
    os.mkfifo(tmp_path / "alive")
    with open(os.open(tmp_path / "alive", os.O_RDONLY | os.O_NONBLOCK), "rb") as alive:
        script = f"{trap} exec 3>'{tmp_path}/alive'; sleep 1000 & wait; sleep 1000"
        with pytest.raises(HookFailed, match=r"did not end within 0\.3 s"):
            run_pre([shell(script, deadline_s=0.3)], "vm", ENVIRONMENT, operation)
        os.set_blocking(alive.fileno(), True)
        assert alive.read() == b""


def test_the_stop_button_ends_a_pre_hook_and_post_hooks_still_run(log: Path, operation: Operation):
    hooks = [note(log, "1", more="exec sleep 1000"), note(log, "2"), note(log, "$LAMINA_OUTCOME", "post")]
    timer = threading.Timer(0.3, operation.stop.set)
    timer.start()
    with pytest.raises(Stopped), hooked(hooks, "vm", ENVIRONMENT, operation):
        pytest.fail("the backup ran")
    timer.join()
    assert log.read_text().split()[-1] == "failure"
    assert "2" not in log.read_text().split()


def test_what_a_hook_leaves_running_is_waited_for_by_nobody(tmp_path: Path, operation: Operation):
    """A pre hook may start a daemon; a post hook ends it."""
    start = f"sleep 1000 & echo $! > '{tmp_path}/pid'"
    with hooked([shell(start), shell(f"kill $(cat '{tmp_path}/pid')", "post")], "vm", ENVIRONMENT, operation):
        pass


def test_a_hook_may_say_a_lot(operation: Operation):
    run_pre([shell("head -c 10000000 /dev/zero; head -c 10000000 /dev/zero >&2")], "vm", ENVIRONMENT, operation)


def test_an_empty_hook_is_refused():
    with pytest.raises(UsageError, match="post hook is empty"):
        Hook((), "post", "fail", 600)
