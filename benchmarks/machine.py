"""What one must know of the machine to read its figures."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from pathlib import Path


def machine_facts(directory: Path) -> dict[str, str]:
    """Processor, memory, kernel, file system below *directory*, Python."""
    cpu = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    memory = re.search(r"MemTotal:\s*(\d+)", Path("/proc/meminfo").read_text())
    mount = subprocess.run(
        ["stat", "--file-system", "--format=%T", str(directory)], capture_output=True, text=True, check=False
    ).stdout.strip()
    return {
        "processor": f"{cpu.group(1) if cpu else platform.machine()}, {len(os.sched_getaffinity(0))} cores",
        "memory": f"{int(memory.group(1)) / (1 << 20):.0f} GiB" if memory else "unknown",
        "system": f"{platform.system()} {platform.release()}, {_distribution()}",
        "file system": f"{mount or 'unknown'}, {shutil.disk_usage(directory).free >> 30} GiB free",
        "Python": platform.python_version(),
        "commit": _commit(),
        "load when it began": f"{os.getloadavg()[0]:.1f}",
    }


def _commit() -> str:
    """The commit that is measured; with a star if files were changed since."""
    command = ["git", "describe", "--always", "--dirty=*", "--exclude=*"]
    try:
        said = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False).stdout
    except OSError:
        said = ""
    return said.strip() or "unknown"


def _distribution() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return "unknown distribution"
