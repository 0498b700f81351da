"""Public test kit: contract suites and doubles for authors of plug-ins."""

from lamina.testing.damaged import damage_kinds, damaged_repository

__all__ = ["damage_kinds", "damaged_repository"]
