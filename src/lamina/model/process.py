"""Which process runs here, as far as the operating system says."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Process:
    """Identifies a process well enough for a prune on the same host to see that it is gone."""

    host: str = ""  # machine id and name: copies of a virtual machine may share the id
    boot: str = ""  # boot id
    number: int = 0
    started: int = 0  # clock ticks after boot
    namespace: str = ""  # of processes: numbers mean something only within one
