"""Values everybody speaks of: no I/O, no third-party imports."""
