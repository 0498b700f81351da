"""Lamina: backups of disk images and more, deduplicated, compressed and encrypted."""

__version__ = "0.1.0"
