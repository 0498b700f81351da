"""Lamina: backups of directories and disk images, deduplicated, compressed and encrypted."""

__version__ = "0.1.0"
