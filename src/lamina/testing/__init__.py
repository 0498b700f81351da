"""Public test kit: contract suites and doubles for authors of plug-ins."""
