"""Formats that a tree can be dumped in."""
