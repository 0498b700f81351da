"""Find installed plug-ins of one kind by name.

Built-ins use the same door as strangers: an entry point in the group `lamina.<kind>`.
"""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Any

from lamina.errors import UsageError


def find_plugin(kind: str, name: str) -> Any:  # the caller knows the kind's Protocol
    """Return the plug-in *name* of *kind*, imported.

    Raises: UsageError if none of that name is installed, or its own dependencies are not.
    """
    group = entry_points(group=f"lamina.{kind}")
    if name not in group.names:
        known = ", ".join(sorted(group.names)) or "none"
        raise UsageError(f"no {kind} plug-in is called {name!r}", hint=f"installed: {known}")
    try:
        return group[name].load()
    except ModuleNotFoundError as error:
        raise UsageError(
            f"the {kind} plug-in {name!r} needs the package {error.name!r}", hint=f"pip install 'lamina[{name}]'"
        ) from error
